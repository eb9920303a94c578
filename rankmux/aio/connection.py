"""The connection of the asyncio client: opened, lost, restored, closed; and waiting for events over it.

Between a loss and the return one task waits for the back-off; otherwise there is none. It knows sessions and links,
and nothing of handlers, receipts or iterators.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from contextvars import ContextVar
from copy import copy
from typing import Protocol

from ..client.failures import no_welcome, nothing_read, too_many_results, used_after_fork
from ..client.limits import GOODBYE_S
from ..client.membership import JoinOptions
from ..core.client.backoff import Backoff, concerns_one_server
from ..core.client.events import (
    ClientEvent,
    CommandAccepted,
    CommandDone,
    CommandsForgotten,
    Ended,
    ExecuteRejected,
    LineChanged,
    MembersPage,
    Promoted,
    RefusalReceived,
    ResultsRouted,
    SeatAbsent,
    SeatLost,
    SeatReturned,
    Welcomed,
    Yielded,
)
from ..core.client.inbox import Inbox
from ..core.client.sent import Progress
from ..core.client.session import ClientSession, ClientState
from ..core.wire.codes import Status
from ..errors import ConnectionLost, RankmuxError, StateError
from .connect import connected_socket
from .incidents import Incidents
from .link import LoopLink
from .waiters import LINE, RANK, Urgency, Waiters, cancel_and_wait, results_of

__all__ = ["ClientConnection", "Executor", "handling"]

_WRITABLE = "writable"

handling: ContextVar[object] = ContextVar("handling", default=None)
"""The connection whose command is being run, in the tasks of its handler."""


class Executor(Protocol):
    """Runs the commands that a connection receives."""

    @property
    def active(self) -> bool:
        """Whether commands are being run, so that fewer of them wait soon."""

    def start(self, connection: ClientConnection) -> None:
        """Start the commands that may run now. Must not wait."""


class ClientConnection:
    """Keeps a client connected, with `backoff` until another attempt is pointless."""

    def __init__(
        self,
        options: JoinOptions,
        backoff: Backoff | None,
        executor: Executor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.link: LoopLink | None = None
        self.closed = False
        self.closer: asyncio.Task[object] | None = None  # the task that closes it
        self.waiters = Waiters()
        self._options = options
        self._backoff = backoff
        self._executor = executor
        self.incidents = Incidents()
        self._clock = clock
        self._failure: RankmuxError = ConnectionLost(
            "it has never been made: enter `async with client`, or await client.connect()"
        )
        self._connecting = False
        self._loop: asyncio.AbstractEventLoop | None = None  # the one it was connected in
        self._restoring: asyncio.Task[None] | None = None
        self._senders: deque[asyncio.Task[object] | None] = deque()  # the tasks in `ready`
        self._pid = os.getpid()
        self._left: tuple[int, Inbox] | None = None  # what a kept seat still owes
        self._urgency = Urgency()
        self._nested = 0  # the number of waits in this client by its handlers

    # connecting

    async def connect(self) -> None:
        """Connect for the first time. Raises ConnectionLost, ServerError or ProtocolViolation; try again then."""
        if self.closed:
            raise StateError("connecting", "the client is closed")
        if self._connecting or not self._lost_for_good:
            raise StateError("connecting", "the client is connected")
        self._connecting, self._loop = True, asyncio.get_running_loop()
        try:
            await self._open_one(self._options.session)
        except RankmuxError as error:
            self._failure = error
            raise
        finally:
            self._connecting = False

    async def _open_one(self, session: Callable[[], ClientSession]) -> None:
        """Connect to the first server of the room that takes us, or raise."""
        addresses = self._options.addresses
        for _ in range(1, len(addresses)):
            try:
                await self._open(session())
            except RankmuxError as error:
                if self.closed or not concerns_one_server(error):
                    raise
                addresses.turn()
            else:
                return
        await self._open(session())

    async def _open(self, session: ClientSession) -> None:
        """Connect until WELCOME, or raise; takes the timeout twice at most."""
        link = LoopLink(session, self._received, self._clock)
        address, timeout_s = self._options.address, self._options.timeout_s
        sock = await connected_socket(address, timeout_s)
        try:
            link.open(sock)
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    while session.state is ClientState.AWAITING and not self.closed:
                        await self.waiters.wait(link)
            if session.state is ClientState.AWAITING:
                raise copy(self._failure) if self.closed else no_welcome(address, timeout_s)
            if self.link is not link:
                raise copy(self._failure)
        except BaseException:
            link.abort()
            raise

    async def _restore(self) -> None:
        try:
            while self.link is None and self._backoff is not None:
                try:
                    delay_s = self._backoff.delay_s(self._failure)
                except RankmuxError:
                    return  # pointless: from now on every wait raises the failure
                await asyncio.sleep(delay_s)
                try:
                    await self._open_one(self._new_session)
                except RankmuxError as error:
                    self._failure = error
        finally:
            self._restoring = None
            self.waiters.wake_all()

    def _new_session(self) -> ClientSession:
        try:
            return self._options.session()
        except RankmuxError:
            raise
        except Exception as error:  # of the token's callable: a file being replaced, a service that is down
            raise ConnectionLost(f"no token could be had to make it again: {error!r}") from error

    @property
    def _lost_for_good(self) -> bool:
        return self.link is None and self._restoring is None

    # receiving

    def _received(self, link: LoopLink, events: list[ClientEvent]) -> None:
        for event in events:
            match event:
                case ResultsRouted():
                    self.waiters.wake(results_of(event.id))
                case CommandDone() | RefusalReceived():
                    self.waiters.wake(event.id)
                    self.waiters.wake(results_of(event.id))
                case CommandAccepted() | MembersPage():
                    self.waiters.wake(event.id)
                case Welcomed():
                    self._use(link, event)
                case Yielded():
                    self.waiters.wake(event.id)
                    self.waiters.wake(RANK)
                case CommandsForgotten():
                    self.waiters.wake_all()
                case LineChanged():
                    self.waiters.wake(LINE)
                case Promoted() | SeatAbsent() | SeatReturned() | SeatLost():
                    self.waiters.wake(RANK)
                    self.incidents.publish(event)
                case ExecuteRejected():
                    self.incidents.publish(event)
                case Ended():
                    self._lose(link, event)
                case _:
                    pass
        self.waiters.wake(link)
        if not link.write_paused:
            self.waiters.wake(_WRITABLE)
            if self._senders:
                self._wake_sender()
        self.regulate()
        if self._urgency.wholes:
            self._lull(link if events else None)
        self._executor.start(self)

    def _lull(self, link: LoopLink | None) -> None:
        """Read in larger pieces where results come that are wanted only once all are there, and nothing else is.

        Not after a lull in which nothing has come, so that a slow command costs no wake-up each 5 ms.
        """
        if self.link is not None:
            self.link.lull(self._urgency.owed_size(link.session) if link is self.link else 0)

    def _use(self, link: LoopLink, event: Welcomed) -> None:
        if self.closed:
            return  # it comes too late; the task in `_open` sees that
        before, self._left = self._left, None
        if before is not None and before[0] == link.session.generation:
            link.inbox.adopt(before[1])
        self.link = link
        if self._backoff is not None:
            self._backoff.reset()
        self.waiters.wake_all()
        self.incidents.publish(event)

    def _lose(self, link: LoopLink, event: Ended) -> None:
        if event.error is not None and not self.closed:
            self._failure = event.error
        if link is not self.link:
            return  # it was never used; the task in `_open` sees that
        self.link = None
        self._options.addresses.turn()
        self._left = (link.session.generation, link.inbox) if event.kept else None
        self.waiters.wake_all()
        if not self.closed:
            if self._backoff is not None and self._restoring is None and not self._connecting:
                self._restoring = asyncio.get_running_loop().create_task(self._restore())
            self.incidents.publish(event)

    def regulate(self) -> None:
        """Pause or resume reading, by the commands and results that wait. To be called when some have been taken."""
        link = self.link
        if link is None:
            return
        inbox = link.inbox
        commands_suffice = inbox.commands_suffice and self._executor.active and not self._nested
        paused = not self.closed and (commands_suffice or inbox.results_suffice)
        if paused is not link.read_paused and link.read(not paused) and paused:
            self.waiters.wake_all()  # so that waits that cannot end raise

    # waiting

    async def until(
        self,
        key: Hashable,
        done: Callable[[], bool],
        timeout_s: float | None = None,
        *,
        patient: bool = False,
        whole: int | None = None,
    ) -> bool:
        """Wait until `done()`, called when `key` is woken; False when `timeout_s` passed first.

        `whole` is a command whose results are wanted only once they are complete: they are read in large pieces.

        Raises the reason when the connection is gone for good; StateError in another loop, and when too many results
        are unread to receive anything, unless `patient`: then it waits until other tasks have read them.
        """
        self._check_loop()
        if done():
            return True
        nested = handling.get() is self and not patient
        self._nested += nested
        self._urgency.enter(whole, patient)
        until_s = None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
        try:
            self.regulate()
            if self._urgency.wholes:
                self._lull(self.link)
            while not done():
                if self._lost_for_good:
                    raise copy(self._failure)
                stuck = self.link is not None and self.link.inbox.results_suffice
                if stuck and not (self.closed or patient):
                    raise too_many_results()
                if not await self.waiters.wait(key, until_s):
                    return done()
        finally:
            self._nested -= nested
            self._urgency.leave(whole, patient)
            if whole is not None:
                self._lull(None)
        return True

    async def ready(self) -> LoopLink:
        """The connection, restored if need be, once it takes more output; in the order of the calls.

        To be used before the next `await`. Raises the reason where there is no connection, TimeoutError where the
        server does not read.
        """
        self._check_loop()
        link = self.link
        if link is not None:
            link.mend()
        if link is not None and link is self.link and not (self._senders or self.closed or link.write_paused):
            return link
        task, timeout_s = asyncio.current_task(), self._options.timeout_s
        try:
            self._senders.append(task)
            in_time = await self.until(
                task,
                lambda: self.closed or (self._first_sender() is task and self._takes_output()),
                timeout_s,
                patient=True,
            )
        finally:
            with suppress(ValueError):
                self._senders.remove(task)
            self._wake_sender()
        link = self.link
        if self.closed or link is None:
            raise copy(self._failure)
        if not in_time:
            raise nothing_read(timeout_s)
        return link

    def _check_loop(self) -> None:
        """Raise StateError in another loop, before it touches what the client's own may be at."""
        if self._loop is not asyncio.get_running_loop() and self._loop is not None:
            if os.getpid() != self._pid:
                raise used_after_fork()
            raise StateError("using the client", "it belongs to another loop")

    def _takes_output(self) -> bool:
        return self.link is not None and not self.link.write_paused

    def _first_sender(self) -> asyncio.Task[object] | None:
        while self._senders and (first := self._senders[0]) is not None and first.done():
            self._senders.popleft()  # a signal handler has raised before it could leave
        return self._senders[0] if self._senders else None

    def _wake_sender(self) -> None:
        if self._takes_output() and (first := self._first_sender()) is not None:
            self.waiters.wake(first)

    async def drained(self, link: LoopLink) -> None:
        """Wait until the server has read enough of the output. Raises TimeoutError."""
        timeout_s = self._options.timeout_s
        if not await self.until(
            _WRITABLE, lambda: link.ended or not link.write_paused, timeout_s, patient=True
        ):
            raise nothing_read(timeout_s)

    def way_back(self, link: LoopLink) -> LoopLink | None:
        """The connection for results of commands that came by `link`: itself, or a later one of the same seat."""
        now = self.link
        if now is None or now.session.state is not ClientState.JOINED:
            return None
        return now if now is link or self._same_seat(link) else None

    def hold_back(self, link: LoopLink, seq: int, status: Status, payload: bytes) -> None:
        """Keep a final result of a command that came by `link` until its seat has returned. Raises ConnectionLost."""
        kept = self._options.kept
        if kept is None or status is Status.PART or self.closed or not self._same_seat(link):
            raise ConnectionLost("it ended before the result was sent")
        kept.keep_result(seq, status, payload)

    def _same_seat(self, link: LoopLink) -> bool:
        kept = self._options.kept
        return kept is not None and kept.keep_s > 0 and kept.generation == link.session.generation

    def cancel(self, progress: Progress) -> None:
        """End a command early for those of its executors that have not ended; nothing where there are none."""
        link = self.link
        if not progress.over and link is not None and link.session.state is ClientState.JOINED:
            link.send(lambda: link.session.send_cancel(progress.id))

    # closing

    @property
    def closed_or_closing(self) -> bool:
        """Whether a task has closed it, or does so now; not if an exception out of a signal handler ended that task."""
        closing = self.closer is not None and not self.closer.done()
        return self.closed and (self.link is None or (closing and self.closer is not asyncio.current_task()))

    def disowned(self) -> bool:
        """Whether this is a forked child; if so, its descriptors are closed, and the parent's connection stays."""
        if os.getpid() == self._pid:
            return False
        self.closed = True
        if self.link is not None:
            self.link.disown()
        self._options.release()
        return True

    def leave(self, stay: bool = False) -> None:
        """Close it: send LEAVE, wake every task. Pending output still goes out, and the server's still comes in.

        With `stay` the connection only ends: a kept seat becomes absent.
        """
        self.closed, self.closer = True, asyncio.current_task()
        self._failure = ConnectionLost("this client was closed")
        if self.link is not None:
            if stay:
                self.link.send(lambda: None)
                self.link.abort()
            else:
                with suppress(StateError):
                    self.link.send(self.link.session.send_leave)
            self.regulate()
        if self._restoring is not None:
            self._restoring.cancel()
        self.waiters.wake_all()

    async def end(self) -> None:
        """After `leave`: wait up to a second for the server's end, then close."""
        link, restoring = self.link, self._restoring
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    while link is not None and not link.gone:
                        await self.waiters.wait(link)
        finally:
            if restoring is not None:
                await cancel_and_wait([restoring])
            if link is not None:
                link.abort()
            self._options.release()
            self.waiters.wake_all()
