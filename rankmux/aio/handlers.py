"""The handlers of an asyncio client: received commands, run by the loop itself, or each in its own task.

No task waits for commands: the callback that brought some has the loop run them. A plain function is called right
there; what a coroutine function returns is awaited in a task, until its deadline. The number of tasks is limited, and
so is the time before other callbacks of the loop have their turn.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from functools import partial
from inspect import iscoroutinefunction
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

_Call = Callable[[], Awaitable[Returned] | Returned]
_PLAIN = (bytes, str, bytearray, memoryview)
_TURN_S = 0.002  # before other callbacks of the loop have their turn


class _Service:
    """A handler in service: at most `parallel` tasks of it.

    `awaits`: it is a coroutine function, and called in a task; `starting` are the
    seqs of commands whose tasks have not called it yet. `due`: the loop is about to run commands.
    """

    def __init__(self, handler: Handler, parallel: int) -> None:
        self.handler = handler
        self.parallel = parallel
        self.tasks: set[asyncio.Task[None]] = set()
        self.starting: set[int] = set()
        self.awaits = iscoroutinefunction(handler) or iscoroutinefunction(type(handler).__call__)
        self.due = False
        self.driver: _Driver | None = None
        self._context: Context | None = None

    def context(self, connection: ClientConnection) -> Context:
        """The context of its callbacks and tasks."""
        if self._context is None:
            self._context = copy_context()
            self._context.run(handling.set, connection)
        return self._context


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
        """Have the loop run the oldest commands that wait, if some may run now."""
        service = self._service
        if service is None or service.due or len(service.tasks) >= service.parallel:
            return
        if self._begins(connection, service):
            if service.awaits:
                self._begin_tasks(connection, service)
                return
            service.due = True
            loop = asyncio.get_running_loop()
            loop.call_soon(self._turn, connection, service, context=service.context(connection))

    def _begin_tasks(self, connection: ClientConnection, service: _Service) -> None:
        """A task for each command that may begin."""
        context = service.context(connection)
        while (
            len(service.tasks) < service.parallel and (command := self._next(connection, service)) is not None
        ):
            call = partial(service.handler, command)
            context.run(self._begin_task, connection, service, command, call, time.monotonic())

    def _begins(self, connection: ClientConnection, service: _Service) -> bool:
        """Whether `service` may begin a command, and one waits."""
        link = connection.link
        return (
            link is not None
            and service is self._service
            and bool(link.inbox.commands)
            and not (connection.closed or self._draining)
        )

    def _next(
        self, connection: ClientConnection, service: _Service, *, quiet: bool = False
    ) -> ReceivedCommand | None:
        """The oldest command that waits and is not too late, if it may begin; of those without results if `quiet`."""
        while self._begins(connection, service):
            link = connection.link
            assert link is not None
            if quiet and link.inbox.commands[0][0].wants_result:
                break
            taken = link.inbox.take_command()
            if taken is None:
                break
            driver = service.driver
            if driver is None or driver.link is not link:
                at_once = service.awaits and service.parallel == 1
                driver = service.driver = _Driver(connection, link, at_once)
            command = ReceivedCommand(*taken, driver.max_payload, driver)
            if command.seconds_left() != 0.0:
                return command
            report_expired(command._event)
        return None

    def _turn(self, connection: ClientConnection, service: _Service) -> None:
        """Run commands until none may begin, or others must have their turn."""
        service.due = False
        until_s = time.monotonic() + _TURN_S
        try:
            while len(service.tasks) < service.parallel:
                command = self._next(connection, service)
                if command is None:
                    break
                began_s = time.monotonic()
                if command.wants_result and command._held_up:
                    self._begin_task(connection, service, command, partial(service.handler, command), began_s)
                elif (returned := _called(service.handler, command, began_s)) is not None:
                    self._begin_task(connection, service, command, partial(_given, returned), began_s)
                if time.monotonic() >= until_s:
                    break
        finally:
            if connection.link is not None:
                connection.link.flush()
            self._go_on(connection)

    def _go_on(self, connection: ClientConnection) -> None:
        """Some commands have been run: others may be received, and begun."""
        connection.regulate()
        self.start(connection)
        connection.waiters.wake(self)

    def _begin_task(
        self,
        connection: ClientConnection,
        service: _Service,
        command: ReceivedCommand,
        call: _Call,
        began_s: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        service.starting.add(command.seq)
        task = loop.create_task(self._run(connection, service, command, call, began_s))
        link = connection.link
        running = {} if link is None else link.inbox.running
        service.tasks.add(task)
        if command.wants_result:  # so that its sender may cancel it
            command._on_cancel = task.cancel
            running[command.seq] = command

        def end(_: object) -> None:
            service.tasks.discard(task)
            service.starting.discard(command.seq)  # it was cancelled before it began
            running.pop(command.seq, None)
            self._go_on(connection)

        task.add_done_callback(end)

    async def _run(
        self,
        connection: ClientConnection,
        service: _Service,
        command: ReceivedCommand,
        call: _Call,
        began_s: float,
    ) -> None:
        """Await what `call` returns, and go on with those commands behind that want no result.

        Their senders cannot cancel them, so nothing but the end of the client cancels the task then.
        """
        service.starting.discard(command.seq)
        await _awaited(command, call, began_s)
        until_s = began_s + _TURN_S
        # Commands begin in order: not before those that have been given to tasks that have not begun.
        while (
            service.awaits
            and not service.starting
            and (following := self._next(connection, service, quiet=True)) is not None
        ):
            began_s = time.monotonic()
            await _awaited(following, partial(service.handler, following), began_s)
            if began_s >= until_s:
                connection.regulate()
                await asyncio.sleep(0)
                until_s = time.monotonic() + _TURN_S

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


def _checked(parallel: int) -> int:
    if not isinstance(parallel, int) or isinstance(parallel, bool) or parallel < 1:
        raise ArgumentError(
            "parallel", parallel, "expected the number of handlers that may run at a time, at least 1"
        )
    return parallel


class _Driver:
    """What the commands of one connection need of the client. `at_once`: results are sent one by one."""

    def __init__(self, connection: ClientConnection, link: LoopLink, at_once: bool) -> None:
        self.link = link
        self._at_once = at_once
        self.max_payload = link.session.max_payload or 0
        self._connection = connection

    @property
    def held_up(self) -> bool:
        """Whether there is no room for output now."""
        link = self._connection.way_back(self.link)
        return link is not None and link.write_paused

    async def drained(self) -> None:
        """Wait until there is room for output. Raises TimeoutError."""
        link = self._connection.way_back(self.link)
        if link is not None and link.write_paused:
            await self._connection.drained(link)

    def answer(self, seq: int, status: Status, payload: bytes) -> None:
        """Send a result by this connection, or a later one of the same seat. Raises ConnectionLost."""
        link = self._connection.way_back(self.link)
        if link is None:
            self._connection.hold_back(self.link, seq, status, payload)
        else:
            send = link.send if self._at_once else link.post
            send(partial(link.session.send_result, seq, status, payload))

    def give_up(self, command: ReceivedCommand) -> None:
        """Answer FAILED at once where nothing has been answered, so that the sender does not wait."""
        if command.wants_result:
            link = self._connection.way_back(self.link) or self.link
            failed = b"the handler was cancelled"
            link.send(lambda: link.session.try_result(command.seq, Status.FAILED, failed))


def _called(handler: Handler, command: ReceivedCommand, began_s: float) -> Awaitable[Returned] | None:
    """Call the handler. What it returns is the result, which is sent; something to be awaited is returned instead."""
    try:
        returned = handler(command)
        if returned is not None and not isinstance(returned, _PLAIN) and inspect.isawaitable(returned):
            return returned
        status, payload = Status.OK, b"" if returned is None else result_of(returned)
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is the command's result
        status, payload = status_of(error)
        report_failure(command._event, error, time.monotonic() - began_s)
    else:
        if command.seconds_left() == 0.0 and not command.finished:
            report_lateness(command._event, time.monotonic() - began_s)
            return None
    if command.wants_result and not command.finished:
        try:
            command._finish_at_once(status, payload)
        except ConnectionLost as error:
            report_unsent(command._event, error)
    return None


def _given(returned: Awaitable[Returned]) -> Awaitable[Returned]:
    return returned


async def _awaited(command: ReceivedCommand, call: _Call, began_s: float) -> None:
    try:
        left_s = command.seconds_left()
        if left_s is None:
            await _carry_out(command, call, began_s)
            return
        async with asyncio.timeout(left_s) as deadline:
            await _carry_out(command, call, began_s, deadline)
    except TimeoutError:
        report_lateness(command._event, time.monotonic() - began_s)
    except asyncio.CancelledError:
        if not command.cancelled:  # by its sender, to whom nothing is answered then
            command._give_up()
            raise


async def _carry_out(
    command: ReceivedCommand,
    call: _Call,
    began_s: float,
    deadline: asyncio.Timeout | None = None,
) -> None:
    try:
        returned = call()
        status, payload = Status.OK, result_of(await returned if inspect.isawaitable(returned) else returned)
    except (Exception, asyncio.CancelledError) as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        status, payload = status_of(error)  # the cancelled task may be one that the handler awaited
        report_failure(command._event, error, time.monotonic() - began_s)
    else:
        # Timers of a loop may run a millisecond early.
        late = deadline is not None and (deadline.expired() or command.seconds_left() == 0.0)
        if late and not command.finished:
            report_lateness(command._event, time.monotonic() - began_s)
            return
    if command.wants_result and not command.finished:
        try:
            await command.finish(status, payload)
        except (ConnectionLost, TimeoutError) as error:
            report_unsent(command._event, error)
