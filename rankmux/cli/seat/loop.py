"""The one loop of `hold`, `work`, `wait`, `send` and `who`: callbacks for descriptors, timers and signals.

Readiness and timers are the reactor's; signals come in through a wake-up descriptor, so that nothing runs in the middle
of something else. It knows no protocol, no connection and no program.
"""

from __future__ import annotations

import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Protocol

from ...system.reactor import READABLE, WRITABLE, Reactor, Timer

__all__ = ["READABLE", "WRITABLE", "Driver", "Loop", "Timing"]

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Timing(Protocol):
    """Something that is to happen later."""

    def cancel(self) -> None:
        """Have it not happen."""


class Driver(Protocol):
    """What a seat asks of the loop that it lives in: this one's, or that of the prompt. See `Loop`."""

    settlers: list[Callable[[], float | None]]

    def clock(self) -> float:
        """Seconds that never go back."""

    def watch(self, fd: int, interest: int, callback: Callable[[int], None]) -> None:
        """Call `callback(mask)` whenever `fd` is ready for some of `interest`; 0 stops that."""

    def after(self, seconds: float, callback: Callable[[], None]) -> Timing:
        """Call `callback()` once, in so many seconds."""

    def settle_again(self) -> None:
        """Call the settlers once more before sleeping."""


class Loop:
    """Runs until `stop`. `on_interrupt()` is called for SIGINT, SIGTERM and SIGHUP, `on_child()` for SIGCHLD.

    `on_suspend()`, if there is one, is called for SIGTSTP (Ctrl-Z) instead of being stopped.

    Each of `settlers` is called before the loop sleeps: it does what is left to do, and returns for how many seconds
    the loop may sleep at most, None for ever.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.on_interrupt: Callable[[], None] = lambda: self.stop(130)
        self.on_child: Callable[[], None] = lambda: None
        self.on_suspend: Callable[[], None] | None = None
        self.settlers: list[Callable[[], float | None]] = []
        # epoll takes no plain files, which standard input may be
        selector = getattr(selectors, "PollSelector", selectors.SelectSelector)()
        self._reactor = Reactor(selector, clock)
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._signals: deque[int] = deque()
        self._unsettled = False
        self._code: int | None = None

    def clock(self) -> float:
        """Seconds that never go back."""
        return self._clock()

    def watch(self, fd: int, interest: int, callback: Callable[[int], None]) -> None:
        """Call `callback(mask)` whenever `fd` is ready for some of `interest`; 0 stops that: do so before closing."""
        self._reactor.watch(fd, interest)
        if interest:
            self._callbacks[fd] = callback
        else:
            self._callbacks.pop(fd, None)

    def after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call `callback()` once, in so many seconds, unless the timer is cancelled."""
        return self._reactor.call_at(self._clock() + seconds, lambda _: callback())

    def settle_again(self) -> None:
        """Call the settlers once more before sleeping: one of them made work for another."""
        self._unsettled = True

    def stop(self, code: int) -> None:
        """Have `run` return `code` before it sleeps again; the first code stays."""
        if self._code is None:
            self._code = code

    def run(self) -> int:
        """Run until `stop`; its code."""
        with self._signals_caught():
            while True:
                self._unsettled = True
                while self._unsettled:
                    self._unsettled = False
                    waits = [wait for settle in self.settlers if (wait := settle()) is not None]
                if self._code is not None:
                    return self._code
                for fd, mask in self._reactor.poll(min(waits, default=None)):
                    if not self._reactor.woken(fd) and (callback := self._callbacks.get(fd)) is not None:
                        callback(mask)
                self._reactor.run_due()
                self._deliver_signals()

    def close(self) -> None:
        """Watch nothing any more."""
        self._callbacks.clear()
        self._reactor.close()

    def _deliver_signals(self) -> None:
        numbers = set()
        while self._signals:
            numbers.add(self._signals.popleft())
        if signal.SIGCHLD in numbers:
            self.on_child()
        if numbers & set(_ENDING):
            self.on_interrupt()
        if signal.SIGTSTP in numbers and self.on_suspend is not None:
            self.on_suspend()

    def _caught(self, number: int, _: FrameType | None) -> None:
        self._signals.append(number)

    @contextmanager
    def _signals_caught(self) -> Iterator[None]:
        reader, writer = socket.socketpair()
        with reader, writer:
            reader.setblocking(False)
            writer.setblocking(False)

            def drain(_: int) -> None:
                with suppress(BlockingIOError):
                    while reader.recv(4096):
                        pass

            self.watch(reader.fileno(), READABLE, drain)
            caught = (*_ENDING, signal.SIGCHLD, *((signal.SIGTSTP,) if self.on_suspend is not None else ()))
            before = {number: signal.getsignal(number) for number in caught}
            previous_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
            for number, handler in before.items():
                if handler is not signal.SIG_IGN or number == signal.SIGCHLD:  # nohup stays nohup
                    signal.signal(number, self._caught)
            try:
                yield
            finally:
                signal.set_wakeup_fd(previous_fd)
                for number, handler in before.items():
                    signal.signal(number, handler)
                self.watch(reader.fileno(), 0, drain)
