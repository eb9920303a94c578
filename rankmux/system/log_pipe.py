"""The server's log on a descriptor that nobody may be reading: what it does not take at once is dropped and counted.

Nothing of it can raise or block.
"""

from __future__ import annotations

import logging

from .json_lines import tagged
from .line_pipe import LinePipe

__all__ = ["PipeHandler"]


class PipeHandler(logging.Handler):
    """Writes to `fd`. `dropped` lines could not be written; the next that can says how many those were."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.dropped = 0
        self._told = 0
        self._pipe = LinePipe(fd)

    def emit(self, record: logging.LogRecord) -> None:
        """As of Handler."""
        try:
            if self.dropped > self._told and self._write(self._dropped(record).encode()):
                self._told = self.dropped
            if not self._write(self.format(record).encode("utf-8", "backslashreplace")):
                self.dropped += 1
        except Exception:  # noqa: BLE001 - whatever is wrong with a log line, it is not worth the server
            self.dropped += 1

    def _dropped(self, following: logging.LogRecord) -> str:
        count = self.dropped - self._told
        facts = {"levelname": "WARNING", "created": following.created, **tagged("lines_dropped", count=count)}
        return self.format(logging.makeLogRecord({"msg": f"{count} log lines were dropped", **facts}))

    def _write(self, line: bytes) -> bool:
        try:
            return self._pipe.write(line)
        except OSError:
            return False
