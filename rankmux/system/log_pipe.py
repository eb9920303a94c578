"""A log handler that never blocks and never raises: lines that the descriptor does not take are dropped and counted."""

from __future__ import annotations

import logging

from .json_lines import tagged
from .line_pipe import LinePipe

__all__ = ["PipeHandler"]


class PipeHandler(logging.Handler):
    """Writes to `fd`. `dropped` counts the lines that could not be written; the next line reports the number."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.dropped = 0
        self._reported = 0
        self._pipe = LinePipe(fd)

    def emit(self, record: logging.LogRecord) -> None:
        """As Handler.emit."""
        try:
            if self.dropped > self._reported and self._write(self._dropped(record).encode()):
                self._reported = self.dropped
            if not self._write(self.format(record).encode("utf-8", "backslashreplace")):
                self.dropped += 1
        except Exception:  # noqa: BLE001 - a bad log line must not stop the server
            self.dropped += 1

    def _dropped(self, following: logging.LogRecord) -> str:
        count = self.dropped - self._reported
        facts = {"levelname": "WARNING", "created": following.created, **tagged("lines_dropped", count=count)}
        return self.format(logging.makeLogRecord({"msg": f"{count} log lines were dropped", **facts}))

    def _write(self, line: bytes) -> bool:
        try:
            return self._pipe.write(line)
        except OSError:
            return False
