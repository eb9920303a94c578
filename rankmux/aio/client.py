"""The asyncio client: `rankmux.aio.Client`, with the words of the blocking one.

Reading, answering PINGs and judging a silent server go on in callbacks of the loop, whatever the program awaits. It
starts no threads; what tasks it has are ended by `close`. Several tasks of one loop may share a client; no other loop
and no other thread may. It works under uvloop as well.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from os import PathLike
from types import TracebackType
from typing import Self

from ..client.base import Membership
from ..client.stream import Address
from ..core.client.arguments import Payload, To, Token, check_options, payload_of, target_of, ttl_ms_of
from ..core.client.backoff import Backoff
from ..core.client.events import Ended, ExecuteRejected, MembersPage, Promoted, Welcomed
from ..core.client.inbox import Listing
from ..core.client.received import Rejected, reject
from ..core.client.sent import Counts, Progress, RoutedResult
from ..core.client.session import ClientSession
from ..core.wire.codes import DEFAULT_PORT, Status
from ..core.wire.frames import MemberInfo
from ..errors import ConnectionLost, RankmuxError
from .connection import RANK, Connection, Incident
from .events import Callbacks, Events, Subscriptions
from .handlers import Handler, Handlers
from .receipt import Receipt, ReceivedCommand
from .waiters import ended

__all__ = [
    "Client",
    "Counts",
    "Ended",
    "Events",
    "Handler",
    "Promoted",
    "Receipt",
    "ReceivedCommand",
    "Rejected",
    "RoutedResult",
    "Status",
    "Welcomed",
    "reject",
]


class Client(Membership):
    """A member of a room, from `async with` (or `await connect()`) to `close`.

    `host` and `port`, or the path `unix`, say where the server is; `ssl_context` asks for TLS, and `server_hostname`
    is the name its certificate must have if that is not `host`. `name` is shown to others. `token` may be a callable,
    asked at each connection. `timeout` (seconds) bounds connecting, and every answer that the server itself gives.

    `handler` runs received commands, at most `parallel` at a time and started in order; without one they queue up until
    `serve` is called (16,384 of them; more are answered FAILED). `handler=reject` executes nothing. A handler is a
    coroutine function, or a plain one, which must not block. One that runs past its command's deadline is cancelled,
    and nothing is answered. `on_promoted(promoted)`, `on_joined(rank)` and `on_lost(error)` are called one at a time,
    in order; they may be coroutine functions, too.

    With `reconnect`, a lost connection is made again: after 0.1 s to 5 s with full jitter, until the token is wrong
    twice in a row. Commands that were under way raise ConnectionLost and are never sent again; the new rank is the last
    in line.

    Any await may be cancelled. A command that was cancelled while it waited to be sent is not sent; one whose answer
    was awaited is under way. Raises ArgumentError.
    """

    _kind = "rankmux.aio.Client"

    def __init__(
        self,
        host: str = "127.0.0.1",
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
    ) -> None:
        check_options(
            host,
            port,
            timeout,
            handler=handler,
            on_promoted=on_promoted,
            on_joined=on_joined,
            on_lost=on_lost,
        )
        self.name = name
        self._address = Address(host, port, unix, ssl_context, server_hostname)
        self._timeout_s = timeout
        self._connection = Connection(self._address, name, token, timeout, Backoff() if reconnect else None)
        self._handlers = Handlers(self._connection, handler, parallel)
        self._connection.on_change = self._handlers.start
        self._subscriptions = Subscriptions(self._connection)
        self._callbacks = Callbacks(on_promoted, on_joined, on_lost)
        self._calling: asyncio.Task[None] | None = None
        self._order = (
            asyncio.Lock()
        )  # commands go out in the order of their calls, also when they have to wait

    # what it is

    @property
    def _session(self) -> ClientSession | None:
        link = self._connection.link
        return None if link is None else link.session

    @property
    def address(self) -> str:
        """The server's: `HOST:PORT`, or the path of its socket."""
        return str(self._address)

    @property
    def closed(self) -> bool:
        """Whether `close` has been called."""
        return self._connection.closed

    # joining

    async def connect(self) -> None:
        """Join the room; `async with` does it. May be tried again after it has raised.

        Raises ConnectionLost when no server can be reached, ServerError (AuthError) when it says no, StateError when
        the client is connected or closed.
        """
        events = self._subscriptions.add(Welcomed, Promoted, Ended, patient=True)
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
        results: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109 the time the executors have
        quiet: bool = False,
    ) -> Receipt:
        """Have `payload` executed by members below: `"all"`, the `"next"`, the `"least"` loaded, or that of a rank.

        Returns when the server has dispatched it. With `results` the receipt gives what the executors answer; those
        who have not answered after `timeout` seconds count as expired (None: the server's default, 60 s). `quiet`
        does not wait for the server's word: the receipt knows no seq, and a refusal shows with the results, or, where
        none are wanted, in the log. Waits while the server has not read what was sent to it before.

        Raises CommandRefused when nobody got it, PayloadTooBig, ConnectionLost (whether it was carried out is not
        known then), TimeoutError when the server does not answer, ArgumentError.
        """
        target, arg = target_of(to)
        data = payload_of(payload)
        ttl_ms = ttl_ms_of(timeout)
        if quiet:
            await asyncio.sleep(0)  # who sends much without waiting lets others run
        async with self._order:
            link = await self._connection.ready()
            id_ = link.session.send_command(data, target, arg, results=results, quiet=quiet, ttl_ms=ttl_ms)
            progress = link.inbox.expect(id_, results) if results or not quiet else Progress(id_, results)
            link.flush()
        if not quiet:
            if not await self._connection.until(id_, lambda: progress.dispatched, self._timeout_s):
                raise TimeoutError(f"the server did not answer command {id_} within {self._timeout_s:g} s")
            if progress.error is not None and progress.seq is None:
                raise progress.error
        return Receipt(self._connection, progress)

    async def who(self) -> list[MemberInfo]:
        """All members in rank order. Raises ConnectionLost, TimeoutError."""
        listing = Listing()
        while not listing.receive(await self._page(*listing.request())):
            pass
        return listing.members

    async def count(self) -> int:
        """The number of members now, as in `members` from then on. Raises ConnectionLost, TimeoutError."""
        return (await self._page(0, 0)).total

    async def _page(self, first_rank: int, count: int) -> MembersPage:
        link = await self._connection.ready()
        id_ = link.session.send_who(first_rank, count)
        pages = link.inbox.pages
        pages[id_] = None
        link.flush()
        try:
            came = await self._connection.until(
                id_, lambda: pages[id_] is not None or link.ended, self._timeout_s
            )
        finally:
            page = pages.pop(id_)
        if page is not None:
            return page
        if came:
            raise ConnectionLost("it went before the members were listed")
        raise TimeoutError(f"the server did not list its members within {self._timeout_s:g} s")

    # executing

    async def serve(self, handler: Handler | None = None, *, parallel: int | None = None) -> None:
        """Run received commands until this client is closed, by the handler, a callback or another task.

        `await handler(command)` returns the result (bytes, text or None), or raises; what it raises is logged and
        answered FAILED. At most `parallel` of them run at a time (None: as the client was made with), started in the
        order of their commands. They may use this client, and send commands of their own. When this ends, or is
        cancelled, those that still run are cancelled, and their commands answered FAILED. Raises why the connection was
        lost for good.
        """
        await self._handlers.serve(handler, parallel)

    # what happens

    def events(self) -> Events[Incident]:
        """What happens from now on, for `async for`: `Welcomed`, `Promoted`, and `Ended` for each loss.

        `ExecuteRejected` is a command from a member that is not above this one; it was not run. Ends when this client
        is closed; raises why the connection was lost for good.
        """
        return self._subscriptions.add(Welcomed, Promoted, ExecuteRejected, Ended)

    def promotions(self) -> Events[Promoted]:
        """Each promotion from now on, for `async for`; ends as `events` does."""
        return self._subscriptions.add(Promoted)

    async def wait_for_rank(self, rank: int = 0, timeout: float | None = None) -> bool:  # noqa: ASYNC109
        """Wait until the own rank is `rank` or higher up; False when `timeout` seconds passed first."""
        return await self._connection.until(
            RANK, lambda: self.rank is not None and self.rank <= rank, timeout
        )

    # ending

    async def close(self) -> None:
        """Give the seat back and close; a second time does nothing.

        What this client still has to send goes out first; both together take a second at most. Its tasks are cancelled
        and awaited. Cancelled itself, it closes at once.
        """
        if self.closed:
            return
        self._connection.leave()
        tasks = {*self._handlers.own_tasks, *([] if self._calling is None else [self._calling])}
        for task in tasks - {asyncio.current_task()}:
            task.cancel()
        try:
            await self._connection.end()
        finally:
            await ended(tasks)
