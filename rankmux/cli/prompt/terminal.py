"""The terminal as something to write to that never blocks: what it does not take waits here.

It has what prompt_toolkit's output asks of a stream. Lines are not its business, see `prompt_screen`.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable

from ..seat.loop import WRITABLE, Driver

__all__ = ["Terminal"]

_FAREWELL_S = 2.0  # a terminal that takes nothing for so long is not waited for at the end


class Terminal:
    """The terminal behind the descriptor `fd`; `on_drained()` is called whenever all that waited has been taken."""

    encoding = "utf-8"

    def __init__(self, loop: Driver, fd: int, on_drained: Callable[[], None]) -> None:
        self._loop = loop
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
        """Whether it has not taken everything yet."""
        return bool(self._waiting)

    def write(self, text: str) -> int:
        """Have `text` written."""
        self._waiting += text.encode(errors="replace")
        return len(text)

    def flush(self) -> None:
        """Have it written soon: what one turn of the loop draws goes out at once, and does not flicker."""
        if not self._flushing:
            self._flushing = True
            self._loop.after(0.0, self._flush)

    def close(self) -> None:
        """Write the rest, as far as it is taken in two seconds, and close."""
        self._closed = True
        self._loop.watch(self._fd, 0, self._drain)
        deadline = time.monotonic() + _FAREWELL_S
        self._write()
        while self._waiting and (rest_s := deadline - time.monotonic()) > 0:
            select.select([], [self._fd], [], rest_s)
            self._write()
        os.close(self._fd)

    def _flush(self) -> None:
        self._flushing = False
        if not self._closed:
            self._drain(0)

    def _drain(self, _: int) -> None:
        self._write()
        self._loop.watch(self._fd, WRITABLE if self._waiting else 0, self._drain)
        if not self._waiting:
            self._on_drained()

    def _write(self) -> None:
        try:
            while self._waiting:
                del self._waiting[: os.write(self._fd, self._waiting)]
        except BlockingIOError:
            pass
        except OSError:  # it has gone, as SIGHUP or the end of our input says too
            self._waiting.clear()
