"""Log lines to a descriptor that nobody may be reading: written when it takes them, else dropped and counted.

A server must not wait for who reads its log. Nothing of it can raise or block.
"""

from __future__ import annotations

import logging
import os
import select

from .jsonlines import tagged

__all__ = ["PipeHandler"]

_LINE_BYTES = 4096  # PIPE_BUF: what a pipe that is ready at all takes at once
_HEAD_BYTES = 1024


class PipeHandler(logging.Handler):
    """Writes to `fd`. `dropped` lines could not be written; the next that can says how many those were."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.dropped = 0
        self._told = 0
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

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
        if len(line) >= _LINE_BYTES:
            line = line[:_HEAD_BYTES] + b" ... " + line[len(line) - _LINE_BYTES + _HEAD_BYTES + 6 :]
        try:
            ready = self._poll.poll(0)
            if not ready or not ready[0][1] & select.POLLOUT:
                return False
            os.write(self._fd, line + b"\n")
        except OSError:
            return False
        return True
