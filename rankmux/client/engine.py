"""The engine of the blocking client: one connection at a time, run by whichever thread happens to wait.

There is no thread of its own. Of the threads that wait for something, one reads and writes for all, and the others wait
for it; when it has what it came for, the next takes over. The lock is held except while that thread sleeps in the
selector or connects. It knows sessions and sockets, and nothing of commands, handlers or results.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from copy import copy

from ..core.client.arguments import Token, token_of
from ..core.client.backoff import Backoff
from ..core.client.events import Ended
from ..core.client.inbox import Inbox
from ..core.client.session import ClientSession, State
from ..errors import ConnectionLost, RankmuxError, StateError
from .link import Link
from .stream import Address, Stream, connected_socket

__all__ = ["Engine"]

_GOODBYE_S = 1.0  # as long as a server sends what it still owes after LEAVE (section 3.4)


class Engine:
    """Keeps a client connected. All methods but `connect` and `close` want `condition` to be held.

    `on_change(error)` is called, with the lock held, after each loss (with why) and each return (with None).
    """

    def __init__(
        self,
        address: Address,
        name: str,
        token: Token,
        timeout_s: float,
        backoff: Backoff | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.inbox = Inbox(ClientSession(name))  # judges the name before anything is opened
        self.condition = threading.Condition(threading.Lock())
        self.link: Link | None = None
        self.closed = False
        self._address = address
        self._name = name
        self._token = token
        self._timeout_s = timeout_s
        self._backoff = backoff
        self.can_wait: Callable[[], bool] = lambda: (
            False
        )  # whether received commands become fewer by themselves
        self.on_change: Callable[[RankmuxError | None], None] = lambda _: None
        self._clock = clock
        self._busy = False
        self._unread = False  # who is busy receives nothing for now
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
            link, inbox = self._opened()
        except BaseException:
            self.close()
            raise
        with self.condition:
            self._use(link, inbox)

    def ready(self) -> Link:
        """The connection, restored if need be. Raises why there is none."""
        self.run_until(
            lambda: self.closed or (self.link is not None and not self.link.ended), self._timeout_s
        )
        if self.closed or self.link is None:
            raise copy(self._failure)
        return self.link

    def _opened(self) -> tuple[Link, Inbox]:
        """A connection with its WELCOME; takes `timeout_s` twice at most. The lock is not held."""
        token = token_of(self._token)
        session = ClientSession(self._name, token)
        link = Link(session, Stream(connected_socket(self._address, self._timeout_s)), self._clock)
        inbox = Inbox(session)
        deadline_s = self._clock() + self._timeout_s
        try:
            with selectors.DefaultSelector() as poller:
                poller.register(link, selectors.EVENT_READ)
                readable = False
                while True:
                    link.run(readable)
                    for event in link.events():
                        inbox.apply(event, self._clock())
                        if isinstance(event, Ended) and event.error is not None:
                            raise event.error
                    if session.state is State.JOINED:
                        return link, inbox
                    poller.modify(link, selectors.EVENT_READ | (selectors.EVENT_WRITE * link.wants_write))
                    remaining_s = deadline_s - self._clock()
                    if remaining_s <= 0:
                        raise ConnectionLost(f"{self._address} did not answer within {self._timeout_s:g} s")
                    ready = poller.select(0 if link.wants_read_now else remaining_s)
                    readable = link.wants_read_now or any(mask & selectors.EVENT_READ for _, mask in ready)
        except BaseException:
            link.close()
            raise

    def _opened_or_failed(self) -> tuple[Link, Inbox] | RankmuxError:
        try:
            return self._opened()
        except RankmuxError as error:
            return error

    def _use(self, link: Link, inbox: Inbox) -> None:
        self._poller.register(link, selectors.EVENT_READ)
        self.link, self.inbox = link, inbox
        if self._backoff is not None:
            self._backoff.welcomed()
        self.on_change(None)
        self.condition.notify_all()

    def _lose(self, link: Link, error: RankmuxError | None) -> None:
        self._poller.unregister(link)
        link.close()
        self.link = None
        self._failure = error or ConnectionLost("this client was closed")
        self._plan_retry()
        self.on_change(self._failure)
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
            self._backoff = None  # of no use: from now on everything raises the failure

    def _restore(self, timeout_s: float | None) -> None:
        """Try to get a lost connection back, for about `timeout_s`; raises when that is not wanted or of no use."""
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
                opened = self._opened_or_failed()
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
        """Run the connection until `done()`, which is asked with the lock held; False when `timeout_s` passed first.

        Raises why the connection is gone, when it is gone for good; StateError when so many results are unread that
        nothing more can be received, unless `patient`: then it waits until somebody has read them.
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
            if link is not None and self.inbox.many_results and not self.closed and not patient:
                raise StateError(
                    "waiting", "too many results are unread: read those of the receipts, or drop them"
                )
            if self._busy:
                self.condition.wait(remaining_s)
            elif link is None:
                self._restore(remaining_s)
            elif self._paused():
                self._sit_out(link, remaining_s)
            else:
                self._turn(link, remaining_s)
        return True

    def _paused(self) -> bool:
        """Whether others must take what has come before more is received; TCP slows down who sends it."""
        inbox = self.inbox
        return not self.closed and (inbox.many_results or (inbox.many_commands and self.can_wait()))

    def _sit_out(self, link: Link, timeout_s: float | None) -> None:
        """Receive nothing until others have taken what has come; but write, so that the server knows that we live."""
        link.run_unread()
        if link.ended:
            self._absorb(link)
        elif link.wants_write:
            self._turn(link, timeout_s, reading=False)
        else:
            waits = [wait_s for wait_s in (timeout_s, link.patience_s(reading=False)) if wait_s is not None]
            self.condition.wait(min(waits, default=None))

    def _turn(self, link: Link, timeout_s: float | None, *, reading: bool = True) -> None:
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
                link.run_unread()
            self._absorb(link)
        finally:
            self._busy = self._unread = False
            self.condition.notify_all()

    def _absorb(self, link: Link) -> None:
        now_s = self._clock()
        for event in link.events():
            self.inbox.apply(event, now_s)
            if isinstance(event, Ended):
                self._lose(link, event.error)

    def push(self, link: Link) -> None:
        """Send what `link`'s session has to send, as far as that goes without waiting."""
        link.flush()
        if not self._busy:
            self._absorb(link)
        elif link.wants_write or link.ended:
            self._wake()  # the thread that waits must wait for writability too, or learn of the end

    def taken(self) -> None:
        """Some of what has come has been taken: who waits looks again whether more may be received."""
        self.condition.notify_all()
        if self._unread and not self._paused():
            self._wake()  # it sleeps until it can write

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # then it is full of wake-ups already
            self._waker.send(b"\0")

    def close(self) -> None:
        """Leave, wait up to a second for the server's end, close. From any thread; a second time does nothing."""
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
                    self.run_until(lambda: self.link is None, _GOODBYE_S)
            self._wake()
            self.condition.wait_for(lambda: not self._busy, _GOODBYE_S)
            if self.link is not None:
                self.link.session.receive_eof()
                self._absorb(self.link)
            self._failure = ConnectionLost("this client was closed")
            self._poller.close()
            self._waker.close()
            self._woken.close()
            self.condition.notify_all()
