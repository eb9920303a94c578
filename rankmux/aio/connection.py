"""The connection of the asyncio client: made, lost, made again, closed; and waiting for what comes over it.

Between a loss and the return one task waits out the back-off; otherwise it has no task of its own. It knows sessions
and links, and nothing of handlers, receipts or iterators.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from contextvars import ContextVar
from copy import copy

from ..client.stream import Address
from ..core.client.arguments import Token, token_of
from ..core.client.backoff import Backoff
from ..core.client.events import (
    CommandAccepted,
    CommandDone,
    Ended,
    Event,
    ExecuteRejected,
    MembersPage,
    Promoted,
    RefusalReceived,
    ResultRouted,
    Welcomed,
)
from ..core.client.session import ClientSession, State
from ..errors import ConnectionLost, RankmuxError, StateError
from .connect import open_transport
from .link import Link
from .waiters import Waiters, ended

__all__ = ["RANK", "Connection", "Incident", "handling"]

RANK = "rank"  # what a waiter for the rank waits for
_WRITABLE = "writable"
_GOODBYE_S = 1.0  # as long as a server sends what it still owes after LEAVE (section 3.4)

Incident = Welcomed | Promoted | ExecuteRejected | Ended
"""What happens to a member: it joined, moved up, rejected a command, or lost its connection."""

handling: ContextVar[object] = ContextVar("handling", default=None)
"""The connection whose command is being run, in the tasks of its handler."""


class Connection:
    """Keeps a client connected, with `backoff` for as long as that is of use.

    `on_incident` is told what happens to the member, `on_change` that something has come or gone; both are called in
    the middle of things and must not wait. `executes` says whether received commands become fewer by themselves.
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
        ClientSession(name)  # judges the name before anything is opened
        self.link: Link | None = None
        self.closed = False
        self.closer: asyncio.Task[object] | None = None  # the task that closes it
        self.waiters = Waiters()
        self.on_incident: Callable[[Incident], None] = lambda _: None
        self.on_change: Callable[[], None] = lambda: None
        self.executes: Callable[[], bool] = lambda: False
        self._address = address
        self._name = name
        self._token = token
        self._timeout_s = timeout_s
        self._backoff = backoff
        self._clock = clock
        self._failure: RankmuxError = ConnectionLost("it has never been made")
        self._connecting = False
        self._loop: asyncio.AbstractEventLoop | None = None  # the one that it was made in
        self._restoring: asyncio.Task[None] | None = None
        self._nested = 0  # how many waits of handlers there are in this client itself

    # making it

    async def connect(self) -> None:
        """Connect for the first time. Raises ConnectionLost, ServerError or ProtocolViolation; try again then."""
        if self.closed:
            raise StateError("connecting", "the client is closed")
        if self._connecting or not self._lost_for_good:
            raise StateError("connecting", "the client is connected")
        self._connecting, self._loop = True, asyncio.get_running_loop()
        try:
            await self._open(token_of(self._token))
        except RankmuxError as error:
            self._failure = error
            raise
        finally:
            self._connecting = False

    async def _open(self, token: bytes) -> None:
        """A connection with its WELCOME, or nothing; takes `timeout_s` twice at most."""
        session = ClientSession(self._name, token)
        link = Link(session, self._received, self._clock)
        try:
            await open_transport(self._address, link, self._timeout_s)
        except BaseException:
            link.abort()  # the loop has closed its transport; not every loop tells the protocol of that
            raise
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timeout_s):
                    while session.state is State.AWAITING and not self.closed:
                        await self.waiters.wait(link)
            if session.state is State.AWAITING:
                late = f"{self._address} did not answer within {self._timeout_s:g} s"
                raise ConnectionLost("this client was closed" if self.closed else late)
            if self.link is not link:
                raise copy(self._failure)
        except BaseException:
            await self._abandon(link)
            raise

    async def _abandon(self, link: Link) -> None:
        link.abort()
        while not link.gone:
            await self.waiters.wait(link)

    async def _restore(self) -> None:
        try:
            while self.link is None and self._backoff is not None:
                try:
                    delay_s = self._backoff.delay_s(self._failure)
                except RankmuxError:
                    return  # of no use: from now on everything raises the failure
                await asyncio.sleep(delay_s)
                try:
                    await self._open(self._fresh_token())
                except RankmuxError as error:
                    self._failure = error
        finally:
            self._restoring = None
            self.waiters.wake_all()

    def _fresh_token(self) -> bytes:
        try:
            return token_of(self._token)
        except RankmuxError:
            raise
        except Exception as error:  # of the callable: a file that is being replaced, a service that is away
            raise ConnectionLost(f"no token could be had to make it again: {error!r}") from error

    @property
    def _lost_for_good(self) -> bool:
        return self.link is None and self._restoring is None

    # what comes over it

    def _received(self, link: Link, events: list[Event]) -> None:
        for event in events:
            match event:
                case CommandAccepted() | RefusalReceived() | ResultRouted() | CommandDone() | MembersPage():
                    self.waiters.wake(event.id)
                case Welcomed():
                    self._use(link, event)
                case Promoted():
                    self.waiters.wake(RANK)
                    self.on_incident(event)
                case ExecuteRejected():
                    self.on_incident(event)
                case Ended():
                    self._lose(link, event)
                case _:
                    pass
        self.waiters.wake(link)
        if not link.write_paused:
            self.waiters.wake(_WRITABLE)
        self.regulate()
        self.on_change()

    def _use(self, link: Link, event: Welcomed) -> None:
        if self.closed:
            return  # it comes when it is no longer wanted; who opens it finds that out
        self.link = link
        if self._backoff is not None:
            self._backoff.welcomed()
        self.waiters.wake_all()
        self.on_incident(event)

    def _lose(self, link: Link, event: Ended) -> None:
        if event.error is not None and not self.closed:
            self._failure = event.error
        if link is not self.link:
            return  # it was never used; who opens it finds that out
        self.link = None
        self.waiters.wake_all()
        if not self.closed:
            if self._backoff is not None and self._restoring is None and not self._connecting:
                self._restoring = asyncio.get_running_loop().create_task(self._restore())
            self.on_incident(event)

    def regulate(self) -> None:
        """Receive on or pause, as what waits to be taken allows. To be called when it has become less."""
        if self.link is None:
            return
        inbox = self.link.inbox
        commands_suffice = inbox.many_commands and self.executes() and not self._nested
        paused = not self.closed and (inbox.many_results or commands_suffice)
        if self.link.read(not paused) and paused:
            self.waiters.wake_all()  # those who wait in vain are told

    # waiting

    async def until(
        self,
        key: Hashable,
        done: Callable[[], bool],
        timeout_s: float | None = None,
        *,
        patient: bool = False,
    ) -> bool:
        """Wait until `done()`, which is asked when `key` is woken; False when `timeout_s` passed first.

        Raises why the connection is gone, when it is gone for good; StateError when so many results are unread that
        nothing more can be received, unless `patient`: then it waits until somebody has read them; and in another loop.
        """
        if self._loop not in (None, asyncio.get_running_loop()):
            raise StateError("waiting", "the client belongs to another loop")
        nested = handling.get() is self and not patient
        self._nested += nested
        try:
            self.regulate()
            async with asyncio.timeout(timeout_s):
                while not done():
                    if self._lost_for_good:
                        raise copy(self._failure)
                    if (
                        self.link is not None
                        and self.link.inbox.many_results
                        and not (self.closed or patient)
                    ):
                        raise StateError(
                            "waiting", "too many results are unread: read those of the receipts, or drop them"
                        )
                    await self.waiters.wait(key)
        except TimeoutError:
            return done()
        finally:
            self._nested -= nested
        return True

    async def ready(self) -> Link:
        """The connection, restored if need be, when it takes more to send. Raises why there is none."""
        while True:
            await self.until(None, lambda: self.closed or self.link is not None, self._timeout_s)
            link = self.link
            if self.closed or link is None:
                raise copy(self._failure)
            if not link.write_paused:
                return link
            await self.drained(link)

    async def drained(self, link: Link) -> None:
        """Wait until the server has read enough of what was sent to it. Raises TimeoutError."""
        if not await self.until(
            _WRITABLE, lambda: link.ended or not link.write_paused, self._timeout_s, patient=True
        ):
            raise TimeoutError(f"the server has read nothing for {self._timeout_s:g} s")

    # ending it

    def leave(self) -> None:
        """From now on it is closed: say LEAVE, wake everybody. What is owed still goes out, and comes in."""
        self.closed, self.closer = True, asyncio.current_task()
        self._failure = ConnectionLost("this client was closed")
        if self.link is not None:
            with suppress(StateError):
                self.link.session.send_leave()
            self.link.flush()
            self.regulate()
        if self._restoring is not None:
            self._restoring.cancel()
        self.waiters.wake_all()

    async def end(self) -> None:
        """After `leave`: wait up to a second for the server's end, then close."""
        link, restoring = self.link, self._restoring
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_GOODBYE_S):
                    while link is not None and not link.gone:
                        await self.waiters.wait(link)
        finally:
            if restoring is not None:
                await ended([restoring])
            if link is not None:
                await self._abandon(link)
            self.waiters.wake_all()
