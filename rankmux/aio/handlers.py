"""Running received commands in an asyncio client: each in a task of its own, so many at a time, until its deadline.

There is no task that waits for commands: they are started by the callback that brought them, or by the end of one
before them.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from ..core.client.received import (
    Returned,
    report_expired,
    report_failure,
    report_lateness,
    report_unsent,
    result_of,
    status_of,
)
from ..core.client.session import State
from ..core.wire.codes import Status
from ..errors import ArgumentError, ConnectionLost, StateError
from .connection import Connection, handling
from .link import Link
from .receipt import ReceivedCommand
from .waiters import ended

__all__ = ["Handler", "Handlers"]

Handler = Callable[[ReceivedCommand], Awaitable[Returned] | Returned]
"""Runs a command. What it returns, in the end, is the RESULT, OK; an exception makes it FAILED, `Rejected` REJECTED."""


@dataclass(slots=True)
class _Service:
    """Who runs commands now: at most `parallel` tasks of `handler`."""

    handler: Handler
    parallel: int
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


class Handlers:
    """The handlers of one client. `handler` runs whenever no `serve` does."""

    def __init__(self, connection: Connection, handler: Handler | None, parallel: int) -> None:
        self._connection = connection
        self._parallel = _checked(parallel)
        self._own = None if handler is None else _Service(handler, parallel)
        self._service = self._own
        self._serving = False
        connection.executes = lambda: self._service is not None

    @property
    def own_tasks(self) -> set[asyncio.Task[None]]:
        """Those that the client has to end, and not a `serve`."""
        return set() if self._own is None else self._own.tasks

    def start(self) -> None:
        """Start as many of the commands that wait as may run now."""
        link, service = self._connection.link, self._service
        if link is None or service is None or self._connection.closed:
            return
        loop = asyncio.get_running_loop()
        while len(service.tasks) < service.parallel and (taken := link.inbox.take_command()) is not None:
            answer = _Answer(self._connection, link)
            command = ReceivedCommand(*taken, link.session.max_payload or 0, answer)
            if command.seconds_left() == 0.0:
                report_expired(command.event)
                continue
            task = loop.create_task(_run(self._connection, service.handler, command, answer))
            service.tasks.add(task)
            task.add_done_callback(service.tasks.discard)
            task.add_done_callback(lambda _: self.start())
        self._connection.regulate()

    async def serve(self, handler: Handler | None, parallel: int | None) -> None:
        """Run commands until the client is closed or lost for good; what still runs then is cancelled."""
        parallel = self._parallel if parallel is None else _checked(parallel)
        if self._serving:
            raise StateError("serving", "another call of serve runs")
        if handling.get() is self._connection:
            raise StateError("serving", "a handler runs in this task")
        if handler is None and self._own is not None:
            handler = self._own.handler
        mine = None if handler is None else _Service(handler, parallel)
        self._serving, self._service = True, mine
        try:
            self.start()
            await self._connection.until(None, lambda: self._connection.closed)
        except BaseException:
            await self._stop(mine)
            raise
        else:
            await self._stop(mine, spared=self._connection.closer)

    async def _stop(self, mine: _Service | None, spared: asyncio.Task[Any] | None = None) -> None:
        self._serving, self._service = False, self._own
        self.start()
        if mine is not None:
            await ended(mine.tasks, spared)


def _checked(parallel: int) -> int:
    if not isinstance(parallel, int) or isinstance(parallel, bool) or parallel < 1:
        raise ArgumentError(
            "parallel", parallel, "how many handlers may run at a time is expected, at least 1"
        )
    return parallel


class _Answer:
    """The way back for the results of one command: the connection that it came by, or none."""

    def __init__(self, connection: Connection, link: Link) -> None:
        self._connection = connection
        self._link = link
        self._given = False

    async def __call__(self, seq: int, status: Status, payload: bytes) -> None:
        await self._connection.drained(self._link)
        if self._link.session.state is not State.JOINED:
            raise ConnectionLost("it went before the result was sent")
        self._link.session.send_result(seq, status, payload)
        self._link.flush()
        self._given = self._given or status is not Status.PART

    def give_up(self, command: ReceivedCommand) -> None:
        """Say at once that nothing more comes, so that the sender does not wait for it."""
        if command.wants_result and not self._given:
            self._link.session.try_result(command.seq, Status.FAILED, b"the handler was cancelled")
            self._link.flush()


async def _run(connection: Connection, handler: Handler, command: ReceivedCommand, answer: _Answer) -> None:
    handling.set(connection)
    began_s = time.monotonic()
    try:
        async with asyncio.timeout(command.seconds_left()) as deadline:
            await _carry_out(handler, command, began_s, deadline)
    except TimeoutError:
        report_lateness(command.event, time.monotonic() - began_s)
    except asyncio.CancelledError:
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
        status, payload = status_of(error)  # a task that the handler awaited may have been cancelled, too
        report_failure(command.event, error, time.monotonic() - began_s)
    else:
        late = deadline.expired() or command.seconds_left() == 0.0  # a loop may ring a millisecond early
        if late and not command.finished:
            report_lateness(command.event, time.monotonic() - began_s)
            return
    if not command.finished:
        try:
            await command.finish(status, payload)
        except (ConnectionLost, TimeoutError) as error:
            report_unsent(command.event, error)
