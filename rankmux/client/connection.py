"""The connection of the blocking client: its state, and the steps that change it under one lock.

A signal handler may raise between any two steps. If it does while something changes, the connection is reset before it
is used again, so that nothing is sent twice and no frame is torn. Nothing here waits.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from copy import copy

from ..core.client.backoff import Backoff
from ..core.client.events import ClientEvent, Ended, SeatEvent, SeatReturned
from ..core.client.inbox import Inbox
from ..core.client.session import ClientSession
from ..errors import ConnectionLost, RankmuxError
from .failures import client_closed, interrupted, used_after_fork, used_in_signal
from .guards import Bell, Guard, Presence
from .link import StreamLink
from .membership import JoinOptions

__all__ = ["KeptConnection"]

_CHANGES_MAX = 1024
# Between two reads of a thread that sends as fast as it can: each costs half of a send.
_TAKE_INTERVAL_S = 0.002


class KeptConnection:
    """One connection at a time, and what is left of the earlier ones.

    `takes_commands()` tells whether received commands are being run, so that reading may stop while many wait.
    `changes` holds the last 1,024 joinings and losses, for callbacks: the rank at joining, the error of a loss, and the
    events of a seat that is kept.
    `closed`: `close` has been called. Methods with an underscore want the lock held, but `_entry`, `_wake` and those
    that take it.
    """

    def __init__(
        self,
        options: JoinOptions,
        backoff: Backoff | None,
        takes_commands: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.inbox = Inbox(ClientSession(options.name))  # empty, until there is a connection
        self.changes: deque[int | RankmuxError | SeatEvent] = deque(maxlen=_CHANGES_MAX)
        self.link: StreamLink | None = None
        self.closed = False
        self._leaves = True  # when it is closed
        self._options = options
        self._backoff = backoff
        self._takes_commands = takes_commands
        self._clock = clock
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._presence = Presence()
        self._bell = Bell()
        self._guard = Guard()
        self._runner: int | None = None  # the thread that runs the connection, or makes it
        self._unread = False  # and receives nothing for now
        self._lulled = False  # and wakes only when much has come
        self._followers: set[int] = set()  # the threads that wait for the one that runs it
        self._owed_size = 0  # the bytes that the thread in a lull waited for last
        self._over = False  # closed, and nothing is left to be done
        self._failure: RankmuxError = ConnectionLost("it has never been made")
        self._retry_at_s = 0.0
        self._take_at_s = 0.0
        self._goodbye_until_s: float | None = None
        self._generation = 0  # of the seat at the last loss
        self._waker, self._woken = socket.socketpair()
        for end in (self._waker, self._woken):
            end.setblocking(False)

    @property
    def _entry(self) -> threading.Lock:
        """Held by a thread for as long as it is in here. Raises StateError in a signal handler, and after a fork."""
        if os.getpid() != self._pid:
            raise used_after_fork()
        if self._presence.lock.locked():
            raise used_in_signal()
        return self._presence.lock

    @property
    def _usable(self) -> bool:
        return self.link is not None and not self.link.ended

    @property
    def _lost_for_good(self) -> bool:
        return self.link is None and (self._backoff is None or self.closed)

    def _reason(self) -> RankmuxError:
        return client_closed() if self.closed else copy(self._failure)

    def _use(self, link: StreamLink, inbox: Inbox) -> None:
        if self._options.kept is not None and link.session.generation == self._generation:
            inbox.adopt(self.inbox)
        self.link, self.inbox = link, inbox
        if self._backoff is not None:
            self._backoff.reset()
        events = self._take_seat_events()
        rank = link.session.seat.rank
        if rank is not None and not any(isinstance(event, SeatReturned) for event in events):
            self.changes.append(rank)
        self._bell.ring()

    def _take_seat_events(self) -> list[SeatEvent]:
        kept = self._options.kept
        events = [] if kept is None else list(kept.news)
        if kept is not None:
            kept.news.clear()
        self.changes.extend(events)
        return events

    def _lose(self, link: StreamLink, ended: Ended) -> None:
        link.close()
        self.link, self._generation = None, link.session.generation
        self._failure = ended.error or client_closed()
        self._options.addresses.turn()
        self._plan_retry()
        if not self.closed and not ended.kept:
            self.changes.append(self._failure)
        self._bell.ring()

    def _mend(self) -> None:
        """Reset the connection if an exception came in between while something changed; the lock is held."""
        if self._runner == threading.get_ident():  # it has been in here before, and was interrupted
            self._runner, self._unread, self._lulled = None, False, False
            self._bell.ring()
        if not self._guard.torn:
            return
        link = self.link
        if link is not None:
            link.reset()
            self._take(link, link.session.interrupt(interrupted()))
        self._guard.torn = False
        self._wake()

    def _plan_retry(self) -> None:
        if self._backoff is None or self.closed:
            return
        try:
            self._retry_at_s = self._clock() + self._backoff.delay_s(self._failure)
        except RankmuxError:
            self._backoff = None  # pointless: from now on every wait raises the failure

    def _push(self, link: StreamLink) -> None:
        link.flush()
        if self._runner is not None:
            if link.wants_write or link.ended:
                self._wake()  # that thread must wait for writability too, or learn of the end
            return
        # A thread that only sends takes what has come, too: PINGs to answer, and the server's output, which the server
        # does not keep for ever.
        now_s = self._clock()
        if now_s < self._take_at_s and not link.ended:
            return
        self._take_at_s = now_s + _TAKE_INTERVAL_S
        if self._paused():
            link.run_paused()
        else:
            link.run_once()
        self._absorb(link)

    def _absorb(self, link: StreamLink) -> None:
        self._take(link, link.events())

    def _take(self, link: StreamLink, events: list[ClientEvent]) -> None:
        if not events:
            return
        now_s = self._clock()
        self._take_at_s = now_s + _TAKE_INTERVAL_S
        for event in events:
            self.inbox.apply(event, now_s)
            if self._options.kept is not None:
                self._take_seat_events()
            if isinstance(event, Ended):
                self._lose(link, event)
        self._bell.ring()

    def _paused(self) -> bool:
        """Whether nothing more is received until commands or results have been taken; TCP slows the senders down."""
        inbox = self.inbox
        return not self.closed and (
            inbox.results_suffice or (inbox.commands_suffice and self._takes_commands())
        )

    def _wake(self) -> None:
        with suppress(OSError):  # the pipe is full of wake-ups already, or nothing waits any more
            self._waker.send(b"\0")

    def _leave(self) -> None:
        with self._entry, self._lock:
            self._mend()
            link = self.link
            if link is not None and link.session.state.open:
                with self._guard:
                    if self._leaves:
                        link.session.send_leave()
                    self._push(link)
                    if not self._leaves:
                        link.session.receive_eof("this client closed it")
                        self._absorb(link)

    def _end(self) -> None:
        with self._entry, self._lock:
            self._mend()
            if self._over or self._runner is not None:
                return  # the thread that connects ends it
            if self.link is not None:
                self.link.session.receive_eof()
                self._absorb(self.link)
            self._waker.close()
            self._woken.close()
            self._options.release()
            self._over = True
            self._bell.ring()

    def _disown(self) -> None:
        link, self.link = self.link, None
        if link is not None:
            link.close()
        self._waker.close()
        self._woken.close()
        self._options.release()
