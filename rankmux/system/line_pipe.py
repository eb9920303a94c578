"""A non-blocking writer of lines: each line is written whole or not at all.

A server, or a client that holds a seat, must not wait for the reader of its output. Knows nothing of a line's content.
"""

from __future__ import annotations

import os
import select
import weakref
from contextlib import suppress

__all__ = ["LinePipe"]

_LINE_BYTES = 4096  # PIPE_BUF: a pipe that is ready takes this much at once
_HEAD_BYTES = 1024
_WILL_NOT_WAIT = select.POLLOUT | select.POLLERR | select.POLLHUP  # a write that fails does not block either


class LinePipe:
    """Writes lines to `fd`, which the caller keeps and closes.

    A terminal is reopened, so that other processes do not find it non-blocking. If it cannot be reopened, it is written
    to as it is, and a write may block.
    """

    def __init__(self, fd: int) -> None:
        if os.isatty(fd):  # it is ready as soon as it takes one byte, and would block on the rest
            with suppress(OSError):
                fd = os.open(os.ttyname(fd), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
                weakref.finalize(self, os.close, fd)
        self._fd = fd
        self._rest = b""
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def write(self, line: bytes) -> bool:
        """Write `line` and a line break; False if that would block. A long line loses its middle.

        The rest of a line that a full terminal took only in part is written before the next line. Raises OSError if
        `fd` is broken, such as a pipe without a reader (BrokenPipeError).
        """
        if len(line) >= _LINE_BYTES:
            line = line[:_HEAD_BYTES] + b" ... " + line[len(line) - _LINE_BYTES + _HEAD_BYTES + 6 :]
        if self._rest:
            self._rest = self._rest[self._write(self._rest) :]
        data = line + b"\n"
        taken = 0 if self._rest else self._write(data)
        if taken:
            self._rest = data[taken:]
        return taken > 0

    def _write(self, data: bytes) -> int:
        """Write without blocking; the number of bytes written."""
        ready = self._poll.poll(0)
        if not ready or not ready[0][1] & _WILL_NOT_WAIT:
            return 0
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
