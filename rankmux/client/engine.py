"""The engine of the blocking client: one connection at a time, run by the threads that wait for something.

It starts no thread. Of the threads that wait, one reads and writes for all, and the others wait for it; when that one
has what it waited for, the next takes over. The lock is held except while that thread sleeps in the selector or
connects. It knows sessions and sockets, and nothing of commands, handlers or results.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from copy import copy

from ..core.client.backoff import Backoff
from ..core.client.events import Ended
from ..core.client.inbox import Inbox
from ..core.client.session import ClientSession
from ..errors import ConnectionLost, RankmuxError, StateError
from .connect import joined_link
from .failures import nothing_read, too_many_results
from .limits import GOODBYE_S, UNSENT_MAX_BYTES
from .link import StreamLink
from .membership import JoinOptions

__all__ = ["Engine"]

_CHANGES_MAX = 1024


class Engine:
    """Keeps a client connected. All methods but `connect` and `close` want `condition` to be held.

    `takes_commands()` tells whether received commands are being run, so that reading may stop while many wait.
    `changes` holds the last 1,024 joinings and losses, for callbacks: the rank at joining, the error of a loss.
    """

    def __init__(
        self,
        options: JoinOptions,
        backoff: Backoff | None,
        takes_commands: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.inbox = Inbox(ClientSession(options.name))  # empty, until there is a connection
        self.condition = threading.Condition(threading.Lock())
        self.changes: deque[int | RankmuxError] = deque(maxlen=_CHANGES_MAX)
        self.link: StreamLink | None = None
        self.closed = False
        self._options = options
        self._backoff = backoff
        self._takes_commands = takes_commands
        self._clock = clock
        self._busy = False  # a thread runs the connection, or makes it
        self._unread = False  # and receives nothing for now
        self._failure: RankmuxError = ConnectionLost("it has never been made")
        self._retry_at_s = 0.0
        self._poller = selectors.DefaultSelector()
        self._waker, self._woken = socket.socketpair()
        for end in (self._waker, self._woken):
            end.setblocking(False)
        self._poller.register(self._woken, selectors.EVENT_READ)

    # the connection

    def connect(self) -> None:
        """Connect for the first time. Raises ConnectionLost, ServerError or ProtocolViolation."""
        try:
            link, inbox = joined_link(self._options, self._clock)
        except BaseException:
            self.close()
            raise
        with self.condition:
            self._use(link, inbox)

    def ready(self) -> tuple[StreamLink, Inbox]:
        """The connection, restored if need be, and its inbox. Raises the reason where there is none."""
        self.run_until(
            lambda: self.closed or (self.link is not None and not self.link.ended), self._options.timeout_s
        )
        if self.closed or self.link is None:
            raise copy(self._failure)
        return self.link, self.inbox

    def _joined(self) -> tuple[StreamLink, Inbox] | RankmuxError:
        try:
            return joined_link(self._options, self._clock)
        except RankmuxError as error:
            return error

    def _use(self, link: StreamLink, inbox: Inbox) -> None:
        self._poller.register(link, selectors.EVENT_READ)
        self.link, self.inbox = link, inbox
        if self._backoff is not None:
            self._backoff.reset()
        if link.session.seat.rank is not None:
            self.changes.append(link.session.seat.rank)
        self.condition.notify_all()

    def _lose(self, link: StreamLink, error: RankmuxError | None) -> None:
        self._poller.unregister(link)
        link.close()
        self.link = None
        self._failure = error or ConnectionLost("this client was closed")
        self._plan_retry()
        if not self.closed:
            self.changes.append(self._failure)
        self.condition.notify_all()

    @property
    def _lost_for_good(self) -> bool:
        return self.link is None and (self._backoff is None or self.closed)

    def _plan_retry(self) -> None:
        if self._backoff is None or self.closed:
            return
        try:
            self._retry_at_s = self._clock() + self._backoff.delay_s(self._failure)
        except RankmuxError:
            self._backoff = None  # pointless: from now on every wait raises the failure

    def _restore(self, timeout_s: float | None) -> None:
        """Try to restore a lost connection, for about `timeout_s`; raises when that is not wanted or pointless."""
        if self._lost_for_good:
            raise copy(self._failure)
        self._busy = True
        try:
            delay_s = max(0.0, self._retry_at_s - self._clock())
            if timeout_s is not None and timeout_s < delay_s:
                self.condition.wait_for(lambda: self.closed, timeout_s)
                return
            if self.condition.wait_for(lambda: self.closed, delay_s):
                return
            self.condition.release()
            try:
                opened = self._joined()
            finally:
                self.condition.acquire()
            if isinstance(opened, RankmuxError):
                self._failure = opened
                self._plan_retry()
            elif self.closed:
                opened[0].close()
            else:
                self._use(*opened)
        finally:
            self._busy = False
            self.condition.notify_all()

    # waiting

    def run_until(
        self, done: Callable[[], bool], timeout_s: float | None = None, *, patient: bool = False
    ) -> bool:
        """Run the connection until `done()`, called with the lock held; False when `timeout_s` passed first.

        Raises the reason when the connection is gone for good; StateError when too many results are unread to receive
        anything, unless `patient`: then it waits until other threads have read them.
        """
        deadline_s = None if timeout_s is None else self._clock() + timeout_s
        tried = False
        while not done():
            remaining_s = None if deadline_s is None else deadline_s - self._clock()
            if remaining_s is not None:
                if remaining_s <= 0 and tried and not self._lost_for_good:
                    return False
                remaining_s = max(0.0, remaining_s)
            tried = True
            link = self.link
            if link is not None and self.inbox.results_suffice and not self.closed and not patient:
                raise too_many_results()
            if self._busy:
                self.condition.wait(remaining_s)
            elif link is None:
                self._restore(remaining_s)
            elif self._paused():
                self._wait_paused(link, remaining_s)
            else:
                self._turn(link, remaining_s)
        return True

    def _paused(self) -> bool:
        """Whether nothing more is received until commands or results have been taken; TCP slows the senders down."""
        inbox = self.inbox
        return not self.closed and (
            inbox.results_suffice or (inbox.commands_suffice and self._takes_commands())
        )

    def _wait_paused(self, link: StreamLink, timeout_s: float | None) -> None:
        """Receive nothing until other threads have taken enough; but write, which shows the server a sign of life."""
        link.run_paused()
        if link.ended:
            self._absorb(link)
        elif link.wants_write:
            self._turn(link, timeout_s, reading=False)
        else:
            waits = [wait_s for wait_s in (timeout_s, link.patience_s(reading=False)) if wait_s is not None]
            self.condition.wait(min(waits, default=None))

    def _turn(self, link: StreamLink, timeout_s: float | None, *, reading: bool = True) -> None:
        self._busy, self._unread = True, not reading
        try:
            waits = [] if timeout_s is None else [timeout_s]
            if (patience_s := link.patience_s(reading=reading)) is not None:
                waits.append(patience_s)
            if link.ended or (reading and link.wants_read_now):
                waits.append(0)
            interest = (selectors.EVENT_READ * reading) | (selectors.EVENT_WRITE * link.wants_write)
            if self._poller.get_key(link).events != interest:
                self._poller.modify(link, interest)
            self.condition.release()
            try:
                ready = self._poller.select(min(waits, default=None))
            finally:
                self.condition.acquire()
            readable = reading and link.wants_read_now
            for key, mask in ready:
                if key.fileobj is link:
                    readable = readable or bool(mask & selectors.EVENT_READ)
                else:
                    with suppress(BlockingIOError):
                        while self._woken.recv(4096):
                            pass
            if reading:
                link.run(readable)
            else:
                link.run_paused()
            self._absorb(link)
        finally:
            self._busy = self._unread = False
            self.condition.notify_all()

    def _absorb(self, link: StreamLink) -> None:
        now_s = self._clock()
        for event in link.events():
            self.inbox.apply(event, now_s)
            if isinstance(event, Ended):
                self._lose(link, event.error)

    def push(self, link: StreamLink) -> None:
        """Send the output of `link`, as far as that is possible without waiting."""
        link.flush()
        if not self._busy:
            self._absorb(link)
        elif link.wants_write or link.ended:
            self._wake()  # that thread must wait for writability too, or learn of the end

    def drain(self, link: StreamLink) -> None:
        """Wait until the server has read enough of the output of `link`. Raises TimeoutError."""

        def drained() -> bool:
            return link.ended or link.session.output_size < UNSENT_MAX_BYTES

        if not self.run_until(drained, self._options.timeout_s, patient=True):
            raise nothing_read(self._options.timeout_s)

    def taken(self) -> None:
        """Commands or results have been taken: waiting threads look again whether more may be received."""
        self.condition.notify_all()
        if self._unread and not self._paused():
            self._wake()  # the thread that runs it sleeps until it can write

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # the pipe is full of wake-ups already
            self._waker.send(b"\0")

    def close(self) -> None:
        """Leave, wait up to a second for the server's end, close. From any thread; a second call does nothing."""
        with self.condition:
            if self.closed:
                return
            self.closed = True
            self.condition.notify_all()
            link = self.link
            if link is not None:
                with suppress(StateError):
                    link.session.send_leave()
                self.push(link)
                with suppress(RankmuxError):
                    self.run_until(lambda: self.link is None, GOODBYE_S)
            self._wake()
            self.condition.wait_for(lambda: not self._busy, GOODBYE_S)
            if self.link is not None:
                self.link.session.receive_eof()
                self._absorb(self.link)
            self._failure = ConnectionLost("this client was closed")
            self._poller.close()
            self._waker.close()
            self._woken.close()
            self.condition.notify_all()
