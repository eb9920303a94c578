"""The terminal as a stream that never blocks: output that it does not take waits here.

It has the methods that prompt_toolkit's output asks of a stream. It knows no lines, those are in `screen`.
"""

from __future__ import annotations

import asyncio
import os
import select
import time
from collections.abc import Callable

__all__ = ["Terminal"]

_FAREWELL_S = 2.0  # a terminal that takes nothing for this long is not waited for at the end


class Terminal:
    """The terminal behind the descriptor `fd`; `on_drained()` is called whenever all that waited has been taken."""

    encoding = "utf-8"

    def __init__(self, fd: int, on_drained: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_drained = on_drained
        self._waiting = bytearray()
        self._flushing = False
        self._closed = False
        try:  # opened anew: others share the descriptor that we got, and would stumble over O_NONBLOCK
            self._fd = os.open(os.ttyname(fd), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            self._fd = os.dup(fd)

    @property
    def behind(self) -> bool:
        """Whether some output is still waiting."""
        return bool(self._waiting)

    def write(self, text: str) -> int:
        """Take `text` to be written at the next flush."""
        self._waiting += text.encode(errors="replace")
        return len(text)

    def flush(self) -> None:
        """Write soon: what one turn of the loop draws goes out at once, and does not flicker."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Write the rest, as far as it is taken in two seconds, and close."""
        self._closed = True
        self._loop.remove_writer(self._fd)
        deadline = time.monotonic() + _FAREWELL_S
        self._write()
        while self._waiting and (rest_s := deadline - time.monotonic()) > 0:
            select.select([], [self._fd], [], rest_s)
            self._write()
        os.close(self._fd)

    def _flush(self) -> None:
        self._flushing = False
        if not self._closed:
            self._drain()

    def _drain(self) -> None:
        self._write()
        if self._waiting:
            self._loop.add_writer(self._fd, self._drain)
        else:
            self._loop.remove_writer(self._fd)
            self._on_drained()

    def _write(self) -> None:
        try:
            while self._waiting:
                del self._waiting[: os.write(self._fd, self._waiting)]
        except BlockingIOError:
            pass
        except OSError:  # it has gone, as SIGHUP or the end of our input tells too
            self._waiting.clear()
