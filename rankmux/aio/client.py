"""The asyncio client: `rankmux.aio.Client`, with the methods of the blocking one.

Callbacks of the loop read, answer PINGs and notice a silent server, whatever the program awaits. It starts no threads;
`close` ends the tasks that it has. Several tasks of one loop may share a client; no other loop and no other thread may.
It works under uvloop as well.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from os import PathLike
from types import TracebackType
from typing import Self

from ..client.address import addresses_of
from ..client.failures import no_answer, no_listing, no_rank
from ..client.membership import Membership, join_options
from ..core.client.arguments import (
    Names,
    Payload,
    To,
    Token,
    batches_of,
    check_drain,
    check_functions,
    check_observer,
    check_options,
    check_rank,
    command_arguments,
    payload_of,
)
from ..core.client.backoff import Backoff
from ..core.client.events import (
    Ended,
    ExecuteRejected,
    MembersPage,
    Promoted,
    SeatAbsent,
    SeatLost,
    SeatReturned,
    Welcomed,
)
from ..core.client.line import Line
from ..core.client.listing import Listing
from ..core.client.results import RoutedResult
from ..core.client.sent import Progress
from ..core.client.session import ClientSession
from ..core.wire.codes import DEFAULT_PORT
from ..core.wire.frames import MemberInfo
from ..errors import ConnectionLost, RankmuxError
from .connection import ClientConnection
from .events import Callbacks, Events
from .handlers import Handler, Handlers
from .incidents import Incident
from .leading import Leading, Term
from .receipt import Receipt
from .waiters import RANK, cancel_and_wait
from .watching import Watch

__all__ = ["Client"]

_QUIET_IN_A_ROW = 64  # commands, before other tasks have their turn


class Client(Membership):
    """A member of a room, from `async with` (or `await connect()`) to `close`.

    `host` and `port`, or the path `unix`, are the server's address; `ssl_context` asks for TLS, and `server_hostname`
    is the name in its certificate where that is not `host`. Several servers of one room are given as
    `"a,b,c:7118"` or as a list: they are tried one after the other, from a random one on. `name` is shown to others.
    `token` may be a callable, called for each connection. `timeout` (seconds) bounds connecting, and every answer of
    the server itself.

    `handler` runs received commands, at most `parallel` at a time and started in order; without one they queue up until
    `serve` is called (16,384 of them; more are answered FAILED). `handler=reject` executes nothing. A handler is a
    coroutine function, or a plain one, which must not block. It is cancelled unanswered when its command expires,
    or is cancelled by its sender. `on_promoted(promoted)`, `on_joined(rank)` and `on_lost(error)` are
    called one at a time, in order; they may be coroutine functions, too.

    With `reconnect`, a lost connection is restored: after 0.1 s to 5 s with full jitter, until the token is wrong
    twice in a row. Commands that were under way raise ResultsLost and are never sent again; without a keep, the new
    rank is the last in line.

    `keep_s` asks that the seat outlive a lost connection for that long (section 9); it implies `reconnect`, and brings
    the client back to its rank. `keep_file` is a private file for the seat's secret, so that a program that was started
    anew comes back, too; one program at a time may use it. `on_absent(error)`, `on_back(rank)` and
    `on_seat_lost(ticket)` tell of the seat; without them, `on_lost` and `on_joined` are called for the first two.

    With `observe` the client looks on without a seat (section 8): it has no rank, and only lists members and watches.
    `watch` has each change of the line told, for `watch()`.

    Any await may be cancelled. A command that is cancelled before it was sent is not sent; one whose answer was awaited
    is under way. Raises ArgumentError.
    """

    _kind = "rankmux.aio.Client"

    def __init__(
        self,
        host: str | Sequence[str] = "127.0.0.1",
        port: int = DEFAULT_PORT,
        *,
        name: str = "",
        token: Token = None,
        unix: str | PathLike[str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        timeout: float = 10.0,
        handler: Handler | None = None,
        parallel: int = 1,
        on_promoted: Callable[[Promoted], Awaitable[object] | object] | None = None,
        on_joined: Callable[[int], Awaitable[object] | object] | None = None,
        on_lost: Callable[[RankmuxError], Awaitable[object] | object] | None = None,
        reconnect: bool = False,
        observe: bool = False,
        watch: bool = False,
        keep_s: float | None = None,
        keep_file: str | PathLike[str] | None = None,
        on_absent: Callable[[RankmuxError], Awaitable[object] | object] | None = None,
        on_back: Callable[[int], Awaitable[object] | object] | None = None,
        on_seat_lost: Callable[[int], Awaitable[object] | object] | None = None,
    ) -> None:
        check_options(host, port, token, timeout)
        callbacks = Callbacks(on_promoted, on_joined, on_lost, on_absent, on_back, on_seat_lost)
        check_functions(awaited=True, handler=handler, **callbacks._asdict())
        if observe:
            check_observer(handler=handler, on_promoted=on_promoted)
        self._handlers = Handlers(handler, parallel)
        addresses = addresses_of(host, port, unix, ssl_context, server_hostname)
        super().__init__(join_options(addresses, name, token, timeout, observe, watch, keep_s, keep_file))
        backoff = Backoff() if reconnect or keep_s is not None else None
        self._connection = ClientConnection(self._options, backoff, self._handlers)
        self._callbacks = callbacks
        self._calling: asyncio.Task[None] | None = None
        self._in_a_row = 0  # quiet commands

    # state

    @property
    def _session(self) -> ClientSession | None:
        link = self._connection.link
        return None if link is None else link.session

    @property
    def closed(self) -> bool:
        """Whether `close` has been called."""
        return self._connection.closed

    def fileno(self) -> int:
        """The socket's descriptor, -1 without a connection. The loop reads it; nobody else should."""
        link = self._connection.link
        return -1 if link is None else link.fileno()

    # joining

    async def connect(self) -> None:
        """Join the room; `async with` does it. May be tried again after it has raised.

        Raises CannotConnect (a ConnectionLost) when no server can be reached, ServerError when it refuses, with
        AuthError and FullError for the usual reasons, ProtocolViolation when it is a server of something else,
        StateError when the client is connected or closed.
        """
        events: Events[Incident] = Events(
            self._connection,
            (Welcomed, Promoted, Ended, SeatAbsent, SeatReturned, SeatLost),
            patient=True,
        )
        await self._connection.connect()
        if self._callbacks:
            self._calling = asyncio.get_running_loop().create_task(self._callbacks.run(events))

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # commanding

    async def command(
        self,
        payload: Payload,
        to: To = "all",
        *,
        names: Names | None = None,
        tickets: Iterable[int] | None = None,
        results: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109 the time that the executors have
        quiet: bool = False,
        required: bool = False,
        tied: bool = False,
    ) -> Receipt:
        """Have `payload` executed by members below.

        `to` is `"all"`, the `"next"`, the `"least"` loaded; a member of `who()`, or several; or a rank, which may be
        that of another member by then. Instead of it, `names` is the name of members, a pattern of names such as
        `"web-*"`, or several, looked up in a listing first; or `tickets` are those of members. Members above this
        client are counted as rejected, absent ones, and those that are gone, as `absent`.

        Returns when the server has dispatched it (section 5). With `results` the receipt gives the executors' results;
        executors that have not answered after `timeout` seconds count as expired (None: the server's default, 60 s).
        Without, a command that has waited at its executor for so long is not run (None: it waits for ever).
        `quiet` does not wait for the server's answer: the receipt has no seq, and a refusal shows with the results,
        or, where none are wanted, in the log. Waits while the server has not read earlier output.

        A command with results can be cancelled (`receipt.cancel()`); a `tied` one is cancelled when this client's
        connection ends.

        A broadcast (`"all"`, or names with a wildcard) may go to nobody: the receipt has 0 executors then, and the
        `refusal`; with `required` that is refused, as everything else is that nobody gets. Raises CommandRefused,
        PayloadTooBig (also for a list of too many members: split it), ConnectionLost (whether it was executed is
        unknown then), TimeoutError when the server does not answer, ArgumentError.
        """
        arguments = command_arguments(
            payload, to, results, timeout, quiet, tickets=tickets, names=names, required=required, tied=tied
        )
        if arguments.to.names is not None:
            arguments = arguments.looked_up(await self.who(), self.ticket)
        timeout_s = self._options.timeout_s
        if quiet:
            self._in_a_row += 1
            if self._in_a_row % _QUIET_IN_A_ROW == 0:
                await asyncio.sleep(0)  # a task that sends much without waiting lets others run
        link = await self._connection.ready()
        progress = link.post(lambda: link.inbox.send_command(arguments))
        if not quiet:
            link.flush()
            if not await self._connection.until(progress.id, lambda: progress.dispatched, timeout_s):
                raise no_answer(progress.id, timeout_s)
            progress.check_dispatched()
        return Receipt(self._connection, progress)

    async def commands(
        self,
        payloads: Iterable[Payload],
        to: To = "all",
        *,
        names: Names | None = None,
        tickets: Iterable[int] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 the time that the executors have
    ) -> None:
        """Have each of `payloads` executed by members below, in order; nothing comes back of them.

        As so many calls of `command` with `quiet`, but faster. `to`, `names`, `tickets` and `timeout` are those of
        `command`, and hold for all. Names are looked up once, at the start. What is refused shows in the log. Returns
        when all have been sent, and waits while the server has not read earlier ones. Raises PayloadTooBig,
        ConnectionLost (which ones were executed is unknown then), TimeoutError when the server does not read,
        ArgumentError; those before have been sent then.
        """
        arguments = command_arguments(b"", to, False, timeout, True, tickets=tickets, names=names)
        if arguments.to.names is not None:
            arguments = arguments.looked_up(await self.who(), self.ticket)
        for batch in batches_of(payloads):
            link = await self._connection.ready()
            link.send(partial(link.inbox.send_quietly, batch, arguments))
            await asyncio.sleep(0)  # others have their turn

    async def request(
        self,
        payload: Payload,
        to: To = "next",
        *,
        name: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 the time that the executor has
    ) -> RoutedResult:
        """Have `payload` executed by one member below, and return its result.

        `to` is the `"next"`, the `"least"` loaded, a member of `who()`, or a rank; instead of it, `name` is one that
        a single member has. It takes one way there and one back, where `command` and `gather` take two. A member that
        has not answered after `timeout` seconds gives a result with the status EXPIRED (None: the server's default,
        60 s), one that has gone LEFT. Raises CommandRefused when there is nobody, and as `command` does.
        """
        whom: To = "all" if name is not None and to == "next" else to
        arguments = command_arguments(payload, whom, True, timeout, True, names=name)
        arguments.check_one(to, name)
        if arguments.to.names is not None:
            arguments = arguments.looked_up(await self.who(), self.ticket)
            arguments.check_one(to, name)
        link = await self._connection.ready()
        progress = link.send(lambda: link.inbox.send_command(arguments))
        await self._connection.until(progress.id, lambda: progress.over)
        try:
            return progress.only_result()
        finally:
            self._connection.regulate()

    async def who(self) -> list[MemberInfo]:
        """All members in rank order (section 2). Raises ConnectionLost, TimeoutError."""
        listing = Listing()
        while not listing.receive(await self._page(*listing.request())):
            pass
        return listing.members

    async def count(self) -> int:
        """The number of members now, which `member_count` has from then on. Raises ConnectionLost, TimeoutError."""
        return (await self._page(0, 0)).total

    async def watch(self) -> Watch:
        """The line as it is, and each change of it from then on (section 8); for clients made with `watch=True`.

        Raises StateError, ConnectionLost, TimeoutError.
        """
        line = Line()
        (await self._connection.ready()).inbox.watch(line)
        while not line.receive(await self._page(*line.request())):
            if line.error is not None:
                raise line.error
        return Watch(self._connection, line)

    async def _page(self, first_rank: int, count: int) -> MembersPage:
        link = await self._connection.ready()
        request = link.send(lambda: link.inbox.send_who(first_rank, count))
        if not await self._connection.until(request.id, lambda: request.over, self._options.timeout_s):
            raise no_listing(self._options.timeout_s)
        return request.result()

    # executing

    async def serve(self, handler: Handler | None = None, *, parallel: int | None = None) -> None:
        """Run received commands until this client is closed, by the handler, a callback or another task.

        `await handler(command)` returns the result (bytes, text or None), or raises; an exception is logged and
        answered FAILED. At most `parallel` of them run at a time (None: the client's `parallel`), started in the order
        of their commands. They may use this client, and send commands themselves. When this ends, or is cancelled,
        handlers that still run are cancelled, and their commands answered FAILED. Raises the reason when the connection
        is lost for good, and StateError when another call of `serve` runs.
        """
        check_functions(awaited=True, handler=handler)
        await self._handlers.serve(self._connection, handler, parallel)

    # events

    def events(self) -> Events[Incident]:
        """The events from now on, for `async for`: `Welcomed`, `Promoted`, and `Ended` for each loss.

        `ExecuteRejected` is a command that was not run, as its sender is not above this client. With a keep,
        `SeatAbsent`, `SeatReturned` and `SeatLost` tell of the seat. Ends when this client
        is closed; raises the reason when the connection is lost for good.
        """
        seat = (SeatAbsent, SeatReturned, SeatLost)
        return Events(self._connection, (Welcomed, Promoted, ExecuteRejected, Ended, *seat))

    def promotions(self) -> Events[Promoted]:
        """Each promotion from now on, for `async for`; ends as `events` does."""
        return Events(self._connection, (Promoted,))

    async def wait_for_rank(self, rank: int = 0, timeout: float | None = None) -> bool:  # noqa: ASYNC109
        """Wait until this client's rank is `rank` or higher up; False when `timeout` seconds passed first."""
        self._check_seat("waiting for a rank")
        check_rank(rank)
        return await self._connection.until(
            RANK, lambda: self.rank is not None and self.rank <= rank, timeout
        )

    # leading

    def lead(self, timeout: float | None = None) -> Leading:
        """Wait for rank 0: `async with client.lead() as term:`. The term ends when the rank is lost; see `Term`.

        The end of the block does not give up the rank: `step_down` does, and `close`. Raises TimeoutError when
        `timeout` seconds passed first, and the reason when the connection is lost for good.
        """
        return Leading(lambda: self._begin_term(timeout))

    async def _begin_term(self, timeout_s: float | None) -> Term:
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        left_s = timeout_s
        while await self.wait_for_rank(0, left_s):
            with suppress(ConnectionLost, TimeoutError):
                session = self._session
                await self._page(0, 0)  # the baton, if there is one, has come by then
                if session is not None and session is self._session and self.rank == 0 and self.ticket:
                    return Term(self, self._connection, self.ticket, self.baton)
            left_s = None if until_s is None else until_s - time.monotonic()
            if left_s is not None and left_s <= 0:
                break
        raise no_rank(0, timeout_s)

    async def set_baton(self, note: Payload) -> int:
        """Leave a note for the next member with rank 0, in place of the last one (section 10); returns its version.

        For rank 0 alone. An empty one deletes it. The note lives as long as the server. Raises CommandRefused
        (NOT_FIRST), PayloadTooBig, ConnectionLost, TimeoutError.
        """
        self._check_seat("writing the baton")
        payload = payload_of(note)
        link = await self._connection.ready()
        return await self._answered(link.send(lambda: link.inbox.send_baton(payload)))

    async def step_down(self, drain_s: float = 0.0) -> int | None:
        """Give up the rank, and take the last place under a new ticket (section 10); returns the new rank.

        Received commands that run may go on for up to `drain_s` seconds before that; no other is begun. What has not
        been answered then ends as LEFT for its senders, and this client's own commands raise ResultsLost. Raises
        CommandRefused (NO_TARGET) when nobody is below, ConnectionLost, TimeoutError.
        """
        self._check_seat("stepping down")
        check_drain(drain_s)
        try:
            await self._handlers.drain(self._connection, drain_s)
            link = await self._connection.ready()
            await self._answered(link.send(link.inbox.send_yield))
        finally:
            self._handlers.resume(self._connection)
        return self.rank

    async def _answered(self, progress: Progress) -> int:
        timeout_s = self._options.timeout_s
        if not await self._connection.until(progress.id, lambda: progress.dispatched, timeout_s):
            raise no_answer(progress.id, timeout_s)
        progress.check_dispatched()
        assert progress.seq is not None
        return progress.seq

    # closing

    async def close(self, *, leave: bool = True) -> None:
        """Give the seat back (section 3.4) and close; a second call does nothing.

        With a keep, `leave=False` only closes the connection: the seat is kept, for the next client with this secret.
        Output that waits to be sent goes out first; both together take a second at most. The client's tasks are
        cancelled and awaited. If this call is cancelled, it closes at once.
        """
        if self._connection.disowned() or self._connection.closed_or_closing:
            return
        self._connection.leave(stay=not leave)
        tasks = {*self._handlers.own_tasks, *([] if self._calling is None else [self._calling])}
        for task in tasks - {asyncio.current_task()}:
            task.cancel()
        try:
            await self._connection.end()
        finally:
            await cancel_and_wait(tasks)
