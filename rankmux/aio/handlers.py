"""The handlers of an asyncio client: received commands, each run in its own task until its deadline.

No task waits for commands: one is started by the callback that brought it, or by the end of an earlier one. The number
of tasks is limited.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from ..client.reports import report_expired, report_failure, report_lateness, report_unsent
from ..core.client.received import Returned, result_of, status_of
from ..core.wire.codes import Status
from ..errors import ArgumentError, ConnectionLost, StateError
from .connection import ClientConnection, handling
from .link import LoopLink
from .receipt import ReceivedCommand
from .waiters import cancel_and_wait

__all__ = ["Handler", "Handlers"]

Handler = Callable[[ReceivedCommand], Awaitable[Returned] | Returned]
"""Runs a command. Its value, awaited, is the RESULT, OK; an exception makes it FAILED, `Rejected` REJECTED."""


@dataclass(slots=True)
class _Service:
    """A handler in service: at most `parallel` tasks of it."""

    handler: Handler
    parallel: int
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


class Handlers:
    """The handlers of one client: `handler`, except while a `serve` runs. The `Executor` of its connection."""

    def __init__(self, handler: Handler | None, parallel: int) -> None:
        self._parallel = _checked(parallel)
        self._own = None if handler is None else _Service(handler, parallel)
        self._service = self._own
        self._serving = False
        self._draining = False

    @property
    def active(self) -> bool:
        """Whether there is a handler, so that fewer commands wait soon."""
        return self._service is not None

    @property
    def own_tasks(self) -> set[asyncio.Task[None]]:
        """The tasks of the client's handler, which the client ends; those of a `serve` end with it."""
        return set() if self._own is None else self._own.tasks

    def start(self, connection: ClientConnection) -> None:
        """Start the oldest commands that wait, up to the number that may run now."""
        link, service = connection.link, self._service
        if link is None or service is None or connection.closed or self._draining:
            return
        loop = asyncio.get_running_loop()
        while len(service.tasks) < service.parallel and (taken := link.inbox.take_command()) is not None:
            answer = _Answer(connection, link)
            command = ReceivedCommand(*taken, link.session.max_payload or 0, answer)
            if command.seconds_left() == 0.0:
                report_expired(command.event)
                continue
            task = loop.create_task(_run(connection, service.handler, command, answer))
            service.tasks.add(task)
            command.on_cancel = task.cancel
            link.inbox.running[command.seq] = command
            task.add_done_callback(_forget(link, command.seq))
            task.add_done_callback(service.tasks.discard)
            task.add_done_callback(lambda _: self._ended(connection))
        connection.regulate()

    def _ended(self, connection: ClientConnection) -> None:
        self.start(connection)
        connection.waiters.wake(self)

    async def drain(self, connection: ClientConnection, drain_s: float) -> None:
        """Start no command until `resume`, and wait up to `drain_s` for the end of those that run."""
        self._draining = True

        def idle() -> bool:
            running = 0 if self._service is None else len(self._service.tasks)
            return running <= (handling.get() is connection)  # the handler that asks may run on

        if drain_s > 0:
            await connection.until(self, idle, drain_s)

    def resume(self, connection: ClientConnection) -> None:
        """Start commands again."""
        self._draining = False
        self.start(connection)

    async def serve(
        self, connection: ClientConnection, handler: Handler | None, parallel: int | None
    ) -> None:
        """Run commands until the client is closed or lost for good; handlers that still run then are cancelled."""
        parallel = self._parallel if parallel is None else _checked(parallel)
        if self._serving:
            raise StateError("serving", "another call of serve runs")
        if handling.get() is connection:
            raise StateError("serving", "a handler runs in this task")
        if handler is None and self._own is not None:
            handler = self._own.handler
        mine = None if handler is None else _Service(handler, parallel)
        self._serving, self._service = True, mine
        try:
            self.start(connection)
            await connection.until(None, lambda: connection.closed)
        except BaseException:
            await self._stop(connection, mine)
            raise
        else:
            await self._stop(connection, mine, spared=connection.closer)

    async def _stop(
        self, connection: ClientConnection, mine: _Service | None, spared: asyncio.Task[Any] | None = None
    ) -> None:
        self._serving, self._service = False, self._own
        self.start(connection)
        if mine is not None:
            await cancel_and_wait(mine.tasks, spared)


def _forget(link: LoopLink, seq: int) -> Callable[[object], object]:
    return lambda _: link.inbox.running.pop(seq, None)


def _checked(parallel: int) -> int:
    if not isinstance(parallel, int) or isinstance(parallel, bool) or parallel < 1:
        raise ArgumentError(
            "parallel", parallel, "expected the number of handlers that may run at a time, at least 1"
        )
    return parallel


class _Answer:
    """The way back for the results of one command: only the connection that it came by."""

    def __init__(self, connection: ClientConnection, link: LoopLink) -> None:
        self._connection = connection
        self._link = link
        self._given = False

    async def __call__(self, seq: int, status: Status, payload: bytes) -> None:
        connection = self._connection
        link = connection.way_back(self._link)
        if link is not None:
            await connection.drained(link)
            link = connection.way_back(link)
        if link is None:
            connection.hold_back(self._link, seq, status, payload)
        else:
            session = link.session
            link.send(lambda: session.send_result(seq, status, payload))
        self._given = self._given or status is not Status.PART

    def give_up(self, command: ReceivedCommand) -> None:
        """Answer FAILED at once where nothing has been answered, so that the sender does not wait."""
        if command.wants_result and not self._given:
            failed = b"the handler was cancelled"
            link = self._connection.way_back(self._link) or self._link
            link.send(lambda: link.session.try_result(command.seq, Status.FAILED, failed))


async def _run(
    connection: ClientConnection, handler: Handler, command: ReceivedCommand, answer: _Answer
) -> None:
    handling.set(connection)
    began_s = time.monotonic()
    try:
        async with asyncio.timeout(command.seconds_left()) as deadline:
            await _carry_out(handler, command, began_s, deadline)
    except TimeoutError:
        report_lateness(command.event, time.monotonic() - began_s)
    except asyncio.CancelledError:
        if not command.cancelled:  # by its sender, to whom nothing is answered then
            answer.give_up(command)
            raise


async def _carry_out(
    handler: Handler, command: ReceivedCommand, began_s: float, deadline: asyncio.Timeout
) -> None:
    try:
        returned = handler(command)
        if inspect.isawaitable(returned):
            returned = await returned
        status, payload = Status.OK, result_of(returned)
    except (Exception, asyncio.CancelledError) as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        status, payload = status_of(error)  # the cancelled task may be one that the handler awaited
        report_failure(command.event, error, time.monotonic() - began_s)
    else:
        # Timers of a loop may run a millisecond early.
        late = deadline.expired() or command.seconds_left() == 0.0
        if late and not command.finished:
            report_lateness(command.event, time.monotonic() - began_s)
            return
    if not command.finished:
        try:
            await command.finish(status, payload)
        except (ConnectionLost, TimeoutError) as error:
            report_unsent(command.event, error)
