"""The loop of the prompt: that of asyncio, which prompt_toolkit needs, seen as the seat and its socket need theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..seat.loop import READABLE, WRITABLE, Timing

__all__ = ["PromptLoop"]


class PromptLoop:
    """A `loop.Driver` over `loop`. The settlers are called after each of its callbacks, and when they asked to be."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.settlers: list[Callable[[], float | None]] = []
        self._loop = loop
        self._watched: dict[int, tuple[int, Callable[[int], None]]] = {}
        self._settling: asyncio.Handle | None = None
        self._due: asyncio.TimerHandle | None = None

    def clock(self) -> float:
        """Seconds that never go back."""
        return self._loop.time()

    def watch(self, fd: int, interest: int, callback: Callable[[int], None]) -> None:
        """Call `callback(mask)` whenever `fd` is ready for some of `interest`; 0 stops that: do so before closing."""
        before, _ = self._watched.pop(fd, (0, None))
        if interest:
            self._watched[fd] = interest, callback
        changed = before ^ interest
        if changed & READABLE:
            if interest & READABLE:
                self._loop.add_reader(fd, self._ready, fd, READABLE)
            else:
                self._loop.remove_reader(fd)
        if changed & WRITABLE:
            if interest & WRITABLE:
                self._loop.add_writer(fd, self._ready, fd, WRITABLE)
            else:
                self._loop.remove_writer(fd)

    def after(self, seconds: float, callback: Callable[[], None]) -> Timing:
        """Call `callback()` once, in so many seconds, unless it is cancelled."""

        def call() -> None:
            callback()
            self.settle_again()

        return self._loop.call_later(seconds, call)

    def settle_again(self) -> None:
        """Call the settlers soon: there is something for them to do."""
        if self._settling is None:
            self._settling = self._loop.call_soon(self._settle)

    def _ready(self, fd: int, mask: int) -> None:
        if fd in self._watched:  # the other half of the same event may have ended it
            self._watched[fd][1](mask)
            self.settle_again()

    def _settle(self) -> None:
        self._settling = None
        if self._due is not None:
            self._due.cancel()
            self._due = None
        waits = [wait for settle in self.settlers if (wait := settle()) is not None]
        if waits:
            self._due = self._loop.call_later(min(waits), self.settle_again)
