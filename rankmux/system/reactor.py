"""The reactor: readiness through `selectors`, monotonic timers and a wake-up. Knows no protocol and no connection.

The caller runs the loop: `poll`, then serve the ready descriptors, then `run_due`. Watching a descriptor for nothing
unregisters it, because a selector asked for no events would still report the end of the stream, in every poll.
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
"""In a readiness mask (the values are epoll's): bytes to read, or the end of the stream."""
WRITABLE = 0x0004
"""In a readiness mask: room to send."""
HUNG_UP = 0x2018
"""In a readiness mask: the peer's end of stream (EPOLLRDHUP), a hang-up or an error, perhaps after more bytes."""

_EVENTS = {
    READABLE: selectors.EVENT_READ,
    WRITABLE: selectors.EVENT_WRITE,
    READABLE | WRITABLE: selectors.EVENT_READ | selectors.EVENT_WRITE,
}

_LATE_S = 0.01
_RDHUP = getattr(select, "EPOLLRDHUP", 0)


class EpollSelector(selectors.BaseSelector):
    """A selector whose `ready` returns epoll's (fd, mask) pairs, without an object per event.

    Its `select` behaves like that of `selectors.EpollSelector`. It also asks for EPOLLRDHUP, so that the end of a
    stream is reported together with the bytes before it.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._watched = 0  # descriptors that `watch` has registered: thousands, so nothing is kept for each

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

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """Two connected sockets that it can watch, for a wake-up."""
        return socket.socketpair()

    def watch(self, fd: int, before: int, interest: int) -> None:
        """Change the interest (READABLE, WRITABLE, 0 for none) of a descriptor that only `ready` tells of.

        The caller knows what it was `before`.
        """
        if not interest:
            self._epoll.unregister(fd)
            self._watched -= 1
            return
        mask = interest | _RDHUP if interest & READABLE else interest
        if before:
            self._epoll.modify(fd, mask)
        else:
            self._epoll.register(fd, mask)
            self._watched += 1

    def watch_all(self, fds: list[int], interests: bytearray) -> int:
        """Watch `fds` for READABLE, in order, and note it in `interests`, up to one that the system refuses.

        Returns how many it took.
        """
        register, mask, done = self._epoll.register, READABLE | _RDHUP, 0
        with suppress(OSError, MemoryError):
            for fd in fds:
                register(fd, mask)
                interests[fd] = READABLE
                done += 1
        self._watched += done
        return done

    def ready(self, timeout: float | None) -> list[tuple[int, int]]:
        """The ready descriptors with their masks (READABLE, WRITABLE, HUNG_UP)."""
        if timeout is not None and timeout < 0:
            timeout = 0  # epoll takes a negative timeout as infinite
        return self._epoll.poll(timeout, max(len(self._keys) + self._watched, 1))

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
            return self._keys[fd]
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """As of BaseSelector."""
        return dict(self._keys)

    def close(self) -> None:
        """As of BaseSelector."""
        self._epoll.close()
        self._keys.clear()

    def _enter(self, fileobj: Any, fd: int, events: int, data: Any) -> selectors.SelectorKey:
        key = self._keys[fd] = selectors.SelectorKey(fileobj, fd, events, data)
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
    """A callback due at `when`, unless cancelled."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[float], None]) -> None:
        self.when = when
        self.callback: Callable[[float], None] | None = callback

    def cancel(self) -> None:
        """Cancel the callback."""
        self.callback = None


class Reactor:
    """One selector, by default the fastest available, with timers on `clock`, which must be monotonic."""

    def __init__(
        self, selector: selectors.BaseSelector | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock = clock
        self._selector = selector or (
            EpollSelector() if hasattr(select, "epoll") else selectors.DefaultSelector()
        )
        self._epoll = self._selector if isinstance(self._selector, EpollSelector) else None
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()
        pair = socket.socketpair if self._epoll is None else self._epoll.pair
        self._wake_reader, self._wake_writer = pair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._interests = bytearray()
        self.watch(self._wake_reader.fileno(), READABLE)

    def watch(self, fd: int, interest: int) -> None:
        """Watch `fd` for `interest` (READABLE, WRITABLE) from now on; 0 stops that, and must precede its close."""
        interests = self._interests
        if fd >= len(interests):
            interests.extend(bytes(fd + 1))
        before = interests[fd]
        if interest == before:
            return
        if self._epoll is not None:
            self._epoll.watch(fd, before, interest)
        else:
            self._change(fd, before, interest)
        interests[fd] = interest

    def watch_all(self, fds: list[int]) -> int:
        """Watch `fds`, none of which is watched yet, for READABLE, in order, up to one that the system refuses.

        For a crowd it costs less than `watch`, which is called for each otherwise. Returns how many it took.
        """
        interests, done = self._interests, 0
        with suppress(OSError, MemoryError):
            highest = max(fds, default=0)
            if highest >= len(interests):
                interests.extend(bytes(highest + 1))
            if self._epoll is not None:
                return self._epoll.watch_all(fds, interests)
            for fd in fds:
                self.watch(fd, READABLE)
                done += 1
        return done

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """Wait until a descriptor is ready, a timer is due or `timeout` seconds have passed; the ready (fd, mask)."""
        if self._timers:
            until = max(0.0, self._timers[0][0] - self.clock())
            timeout = until if timeout is None else min(timeout, until)
        began = self.clock()
        ready = self._ready(timeout)
        if not ready and timeout is not None and self.clock() - began > timeout + _LATE_S:
            # The process was stopped: such a wait ends without a look at what has become ready meanwhile.
            ready = self._ready(0.0)
        return ready

    def _ready(self, timeout: float | None) -> list[tuple[int, int]]:
        if self._epoll is not None:
            return self._epoll.ready(timeout)
        return [(key.fd, _to_mask(events)) for key, events in self._selector.select(timeout)]

    def _change(self, fd: int, before: int, interest: int) -> None:
        selector = self._selector
        if not interest:
            selector.unregister(fd)
        elif before:
            selector.modify(fd, _EVENTS[interest])
        else:
            selector.register(fd, _EVENTS[interest])

    def woken(self, fd: int) -> bool:
        """Whether the ready `fd` is the wake-up's; if so, reset it."""
        if fd != self._wake_reader.fileno():
            return False
        with suppress(BlockingIOError):
            while self._wake_reader.recv(4096):
                pass
        return True

    def call_at(self, when: float, callback: Callable[[float], None]) -> Timer:
        """Have `run_due` call `callback(now)` once the clock has reached `when`."""
        timer = Timer(when, callback)
        heappush(self._timers, (when, next(self._order), timer))
        return timer

    def run_due(self) -> None:
        """Call the callbacks that are due."""
        if not self._timers:
            return
        now = self.clock()
        while self._timers and self._timers[0][0] <= now:
            timer = heappop(self._timers)[2]
            if timer.callback is not None:
                timer.callback(now)

    def wake(self) -> None:
        """Make a waiting `poll` return. The only method safe to call from another thread or a signal handler."""
        try:
            self._wake_writer.send(b"\0")
        except BlockingIOError:  # enough wake-ups are pending
            pass
        except OSError:
            if self._wake_writer.fileno() >= 0:  # else closed meanwhile, and nothing waits
                raise

    def close(self) -> None:
        """Close the selector and the wake-up. Watched descriptors stay open."""
        self._selector.close()
        self._wake_reader.close()
        self._wake_writer.close()


def _to_mask(events: int) -> int:
    return (READABLE if events & selectors.EVENT_READ else 0) | (
        WRITABLE if events & selectors.EVENT_WRITE else 0
    )
