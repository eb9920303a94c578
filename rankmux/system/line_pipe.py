"""Lines to a descriptor that nobody may be reading: each is written whole or not at all, and without waiting.

A server, or a client that holds a seat, must not wait for who reads what it tells. It knows nothing of what
a line says.
"""

from __future__ import annotations

import os
import select
import weakref
from contextlib import suppress

__all__ = ["LinePipe"]

_LINE_BYTES = 4096  # PIPE_BUF: what a pipe that is ready at all takes at once
_HEAD_BYTES = 1024
_WILL_NOT_WAIT = select.POLLOUT | select.POLLERR | select.POLLHUP  # an error is had at once, too


class LinePipe:
    """Writes lines to `fd`, which stays its owner's; a terminal is opened once more, lest others that have it find it
    non-blocking. One that may not be opened by us is written to all the same, and may have us wait.
    """

    def __init__(self, fd: int) -> None:
        if os.isatty(fd):  # ready as soon as it takes a byte, it would have us wait for the others
            with suppress(OSError):
                fd = os.open(os.ttyname(fd), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
                weakref.finalize(self, os.close, fd)
        self._fd = fd
        self._rest = b""
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def write(self, line: bytes) -> bool:
        """Write `line` and a line break, the middle of a long one left out; False where that would mean to wait.

        Of a line that was begun, what a full terminal did not take goes out before the next one.

        Raises OSError when `fd` takes nothing any more, as a pipe whose reader has gone (BrokenPipeError).
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
        """How many bytes of `data` were taken at once."""
        ready = self._poll.poll(0)
        if not ready or not ready[0][1] & _WILL_NOT_WAIT:
            return 0
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
