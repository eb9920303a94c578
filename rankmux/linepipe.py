"""Lines to a descriptor that nobody may be reading: one is written whole and at once, or not at all.

A server, or a client that holds a seat, must not wait for who reads what it tells. It knows nothing of what
a line says.
"""

from __future__ import annotations

import os
import select

__all__ = ["LinePipe"]

_LINE_BYTES = 4096  # PIPE_BUF: what a pipe that is ready at all takes at once
_HEAD_BYTES = 1024
_WILL_NOT_WAIT = select.POLLOUT | select.POLLERR | select.POLLHUP  # an error is had at once, too


class LinePipe:
    """Writes lines to `fd`, which stays its owner's."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def write(self, line: bytes) -> bool:
        """Write `line` and a line break, the middle of a long one left out; False where that would mean to wait.

        Raises OSError when `fd` takes nothing any more, as a pipe whose reader has gone (BrokenPipeError).
        """
        if len(line) >= _LINE_BYTES:
            line = line[:_HEAD_BYTES] + b" ... " + line[len(line) - _LINE_BYTES + _HEAD_BYTES + 6 :]
        ready = self._poll.poll(0)
        if not ready or not ready[0][1] & _WILL_NOT_WAIT:
            return False
        try:
            os.write(self._fd, line + b"\n")
        except BlockingIOError:
            return False
        return True
