"""A non-blocking writer of lines: each line is written whole or not at all.

A server, or a client that holds a seat, must not wait for the reader of its output. Knows nothing of a line's content.
"""

from __future__ import annotations

from .unblocked import ATOMIC_BYTES, unblocked

__all__ = ["LinePipe"]

_HEAD_BYTES = 1024


class LinePipe:
    """Writes lines to `fd`, which the caller keeps and closes. Raises OSError if it is closed already."""

    def __init__(self, fd: int) -> None:
        self._rest = b""
        self._write = unblocked(fd)

    def write(self, line: bytes) -> bool:
        """Write `line` and a line break; False if that would block. A long line loses its middle.

        The rest of a line that a full terminal took only in part is written before the next line. Raises OSError if
        `fd` is broken, such as a pipe without a reader (BrokenPipeError).
        """
        if len(line) >= ATOMIC_BYTES:
            line = line[:_HEAD_BYTES] + b" ... " + line[len(line) - ATOMIC_BYTES + _HEAD_BYTES + 6 :]
        if self._rest:
            self._rest = self._rest[self._write(self._rest) :]
        data = line + b"\n"
        taken = 0 if self._rest else self._write(data)
        if taken:
            self._rest = data[taken:]
        return taken > 0
