"""Line output of a held seat, which never waits for a reader: it would lose the seat meanwhile.

A line that the stream does not take at once is dropped; the next one that it takes tells how many were.
"""

from __future__ import annotations

from typing import TextIO

from ...system.line_pipe import LinePipe
from ...system.printable import escaped
from .streams import Unwritable

__all__ = ["LineWriter"]


class LineWriter:
    """Writes lines to `stream`, each after `prefix`."""

    def __init__(self, stream: TextIO, prefix: str = "") -> None:
        self._prefix = prefix
        self._encoding = stream.encoding
        self._pipe = LinePipe(stream.fileno())
        self._dropped = 0

    def write(self, line: str) -> None:
        """Write `line`, or drop it. Raises Unwritable when the stream is closed or broken."""
        if self._dropped and self._put(f"{self._dropped} lines were dropped because nobody read them"):
            self._dropped = 0
        if not self._put(line):
            self._dropped += 1

    def _put(self, line: str) -> bool:
        text = f"{self._prefix}{escaped(line)}"
        try:
            return self._pipe.write(text.encode(self._encoding, errors="backslashreplace"))
        except OSError as error:
            raise Unwritable(error) from error
