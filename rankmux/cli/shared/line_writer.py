"""What a held seat tells: it never waits for who reads that, for the seat would be lost meanwhile.

Lines that the stream does not take at once are dropped; the next one that it takes says how many those were.
"""

from __future__ import annotations

from typing import TextIO

from ...system.line_pipe import LinePipe
from .streams import Unwritable

__all__ = ["Saying"]


class Saying:
    """Says lines on `stream`, each behind `prefix`."""

    def __init__(self, stream: TextIO, prefix: str = "") -> None:
        self._prefix = prefix
        self._encoding = stream.encoding
        self._pipe = LinePipe(stream.fileno())
        self._dropped = 0

    def say(self, *lines: str) -> None:
        """A line each. Raises Unwritable when the stream takes none any more."""
        for line in lines:
            if self._dropped and self._write(f"{self._dropped} lines were dropped, since nobody read them"):
                self._dropped = 0
            if not self._write(line):
                self._dropped += 1

    def _write(self, line: str) -> bool:
        text = f"{self._prefix}{line}"
        try:
            return self._pipe.write(text.encode(self._encoding, errors="backslashreplace"))
        except OSError as error:
            raise Unwritable(error) from error
