"""Readiness through `selectors`, monotonic timers and a wake-up. Knows no protocol and no connection.

The loop is the caller's: `poll`, then deal with what is ready, then `run_due`. To watch a descriptor for nothing is to
unregister it: a selector that is asked for no events still reports the end of the stream, for ever.
"""

from __future__ import annotations

import select
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count
from typing import Any

__all__ = ["HUNG_UP", "READABLE", "WRITABLE", "EpollSelector", "Reactor", "Timer"]

READABLE = 0x0001
"""In a readiness mask (the values are epoll's): there are bytes, or the end of the stream."""
WRITABLE = 0x0004
"""In a readiness mask: there is room to send."""
HUNG_UP = 0x2018
"""In a readiness mask: behind the bytes is the peer's end of stream (EPOLLRDHUP), a hang-up or an error."""

_EVENTS = {
    READABLE: selectors.EVENT_READ,
    WRITABLE: selectors.EVENT_WRITE,
    READABLE | WRITABLE: selectors.EVENT_READ | selectors.EVENT_WRITE,
}


class EpollSelector(selectors.BaseSelector):
    """A selector whose `ready` gives the kernel's own (fd, mask) pairs, without an object per event and descriptor.

    Behaves as `selectors.EpollSelector` through `select`. It also asks for EPOLLRDHUP, so that the end of a stream is
    known together with the bytes before it.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._keys: dict[int, selectors.SelectorKey | int] = {}  # events only: a bare descriptor without data

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """As of BaseSelector."""
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        if fd in self._keys:
            raise KeyError(f"{fileobj!r} is already registered")
        self._epoll.register(fd, _to_epoll(events))
        return self._enter(fileobj, fd, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """As of BaseSelector."""
        key = self.get_key(fileobj)
        del self._keys[key.fd]
        self._epoll.unregister(key.fd)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """As of BaseSelector."""
        key = self.get_key(fileobj)
        self._epoll.modify(key.fd, _to_epoll(events))
        return self._enter(fileobj, key.fd, events, data)

    def watch(self, fd: int, before: int, interest: int) -> None:
        """Go over from one interest (READABLE, WRITABLE, 0 for none) to another, for a bare descriptor without data."""
        if not interest:
            self._epoll.unregister(fd)
            del self._keys[fd]
            return
        mask = interest | select.EPOLLRDHUP if interest & READABLE else interest
        if before:
            self._epoll.modify(fd, mask)
        else:
            self._epoll.register(fd, mask)
        self._keys[fd] = _EVENTS[interest]

    def ready(self, timeout: float | None) -> list[tuple[int, int]]:
        """The ready descriptors with their masks (READABLE, WRITABLE, HUNG_UP)."""
        if timeout is not None and timeout < 0:
            timeout = 0  # to epoll, less than nothing is for ever
        return self._epoll.poll(timeout, max(len(self._keys), 1))

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As of BaseSelector."""
        found = []
        for fd, mask in self.ready(timeout):
            key = self.get_key(fd)
            events = (selectors.EVENT_READ if mask & ~WRITABLE else 0) | (
                selectors.EVENT_WRITE if mask & WRITABLE else 0
            )
            found.append((key, events & key.events))
        return found

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """As of BaseSelector."""
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        try:
            key = self._keys[fd]
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None
        return selectors.SelectorKey(fd, fd, key, None) if isinstance(key, int) else key

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """As of BaseSelector."""
        return {fd: self.get_key(fd) for fd in self._keys}

    def close(self) -> None:
        """As of BaseSelector."""
        self._epoll.close()
        self._keys.clear()

    def _enter(self, fileobj: Any, fd: int, events: int, data: Any) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, fd, events, data)
        self._keys[fd] = events if fileobj is fd and data is None else key
        return key


def _to_epoll(events: int) -> int:
    if not events or events & ~(selectors.EVENT_READ | selectors.EVENT_WRITE):
        raise ValueError(f"Invalid events: {events!r}")
    mask = 0
    if events & selectors.EVENT_READ:
        mask |= select.EPOLLIN | select.EPOLLRDHUP
    if events & selectors.EVENT_WRITE:
        mask |= select.EPOLLOUT
    return mask


class Timer:
    """Something to be called at `when`, unless cancelled."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[float], None]) -> None:
        self.when = when
        self.callback: Callable[[float], None] | None = callback

    def cancel(self) -> None:
        """Do not call it any more."""
        self.callback = None


class Reactor:
    """`clock` gives seconds that only grow. One selector, of any kind; by default the fastest there is."""

    def __init__(
        self, selector: selectors.BaseSelector | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock = clock
        self._selector = selector or (
            EpollSelector() if hasattr(select, "epoll") else selectors.DefaultSelector()
        )
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._interests = bytearray()
        self.watch(self._wake_reader.fileno(), READABLE)

    def watch(self, fd: int, interest: int) -> None:
        """Watch `fd` for `interest` (READABLE, WRITABLE) from now on.

        0 stops watching it: do that before closing it.
        """
        if fd >= len(self._interests):
            self._interests.extend(bytes(fd + 1))
        before, self._interests[fd] = self._interests[fd], interest
        if interest == before:
            return
        try:
            self._change(fd, before, interest)
        except BaseException:
            self._interests[fd] = before
            raise

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """Wait until something is ready, a timer is due or `timeout` seconds are over; the ready as (fd, mask)."""
        if self._timers:
            until = max(0.0, self._timers[0][0] - self.clock())
            timeout = until if timeout is None else min(timeout, until)
        if isinstance(self._selector, EpollSelector):
            return self._selector.ready(timeout)
        return [(key.fd, _to_mask(events)) for key, events in self._selector.select(timeout)]

    def _change(self, fd: int, before: int, interest: int) -> None:
        selector = self._selector
        if isinstance(selector, EpollSelector):
            selector.watch(fd, before, interest)
        elif not interest:
            selector.unregister(fd)
        elif before:
            selector.modify(fd, _EVENTS[interest])
        else:
            selector.register(fd, _EVENTS[interest])

    def woken(self, fd: int) -> bool:
        """Whether `fd`, among the ready, stands for a call of `wake`, which is over with this."""
        if fd != self._wake_reader.fileno():
            return False
        with suppress(BlockingIOError):
            while self._wake_reader.recv(4096):
                pass
        return True

    def call_at(self, when: float, callback: Callable[[float], None]) -> Timer:
        """Have `callback(now)` called by `run_due` once the clock has reached `when`."""
        timer = Timer(when, callback)
        heappush(self._timers, (when, next(self._order), timer))
        return timer

    def run_due(self) -> None:
        """Call what is due."""
        if not self._timers:
            return
        now = self.clock()
        while self._timers and self._timers[0][0] <= now:
            timer = heappop(self._timers)[2]
            if timer.callback is not None:
                timer.callback(now)

    def wake(self) -> None:
        """Make a waiting `poll` return. The one method that may be called from another thread or a signal handler."""
        try:
            self._wake_writer.send(b"\0")
        except BlockingIOError:  # it has been called often enough already
            pass
        except OSError:
            if self._wake_writer.fileno() >= 0:  # else it was closed meanwhile: nothing waits any more
                raise

    def close(self) -> None:
        """Stop watching anything. The descriptors stay open, but for the reactor's own."""
        self._selector.close()
        self._wake_reader.close()
        self._wake_writer.close()


def _to_mask(events: int) -> int:
    return (READABLE if events & selectors.EVENT_READ else 0) | (
        WRITABLE if events & selectors.EVENT_WRITE else 0
    )
