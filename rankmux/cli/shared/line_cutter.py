"""Lines of standard input, cut from bytes as they come. It knows no descriptor."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["LineCutter"]

_MARGIN_BYTES = 64 * 1024  # for a target in front of the command, and for white space


class LineCutter:
    """Cuts bytes into lines. Of one far longer than `limit` bytes only the beginning is kept, which is still longer."""

    def __init__(self, limit: int) -> None:
        self._limit = limit + _MARGIN_BYTES
        self._rest = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that `data` completes, without their line breaks; `b""` is the end of input."""
        self._rest += data
        if b"\n" in data or not data:
            *lines, rest = bytes(self._rest).split(b"\n")
            if not data and rest:  # the last line may lack its line break
                lines, rest = [rest], b""
            self._rest = bytearray(rest)
            for line in lines:
                if not self._skipping:
                    yield line
                self._skipping = False
        if len(self._rest) > self._limit:
            if not self._skipping:
                yield bytes(self._rest)
            self._rest.clear()
            self._skipping = True
