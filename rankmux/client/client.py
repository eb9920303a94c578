"""The blocking client: `rankmux.Client`.

It starts no threads. Whatever waits - a command for its answer, a receipt for results, `serve`, `poll` - reads for
all, so PINGs are answered while something waits. A program that computes between two calls for longer than a server
waits for a sign of life (27 s by default) gives `keep_reading` a thread of its own, or is taken for lost. All methods
may be called from several threads at once.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from itertools import count
from os import PathLike
from types import TracebackType
from typing import Self

from ..core.client.arguments import Payload, To, Token, check_options, payload_of, target_of, ttl_ms_of
from ..core.client.backoff import Backoff
from ..core.client.events import Promoted
from ..core.client.inbox import Inbox, Listing
from ..core.client.received import Rejected, reject
from ..core.client.sent import Counts, Progress, RoutedResult
from ..core.client.session import ClientSession
from ..core.wire.codes import DEFAULT_PORT, Status
from ..core.wire.frames import MemberInfo
from ..errors import ConnectionLost, RankmuxError
from .base import Membership
from .callbacks import Calls, Handler
from .engine import Engine
from .link import Link
from .receipt import Receipt, ReceivedCommand
from .stream import Address

__all__ = [
    "Client",
    "Counts",
    "Handler",
    "Promoted",
    "Receipt",
    "ReceivedCommand",
    "Rejected",
    "RoutedResult",
    "Status",
    "reject",
]

_UNSENT_MAX_BYTES = 256 * 1024  # a quiet sender waits above it until the server has read


class Client(Membership):
    """A member of a room, connected when made.

    `host` and `port`, or the path `unix`, say where the server is; `ssl_context` asks for TLS, and `server_hostname`
    is the name its certificate must have if that is not `host`. `name` is shown to others. `token` may be a callable,
    asked at each connection. `timeout` (seconds) bounds connecting, and every answer that the server itself gives.

    `handler` runs received commands, one at a time and in order, in whichever thread waits in this client; without one
    they queue up until `serve` is called (16,384 of them; more are answered FAILED). `handler=reject` executes nothing.
    `on_promoted(promoted)`, `on_joined(rank)` and `on_lost(error)` are called in the same way, never from within
    a thread that does something else.

    With `reconnect`, a lost connection is made again by whatever waits next: after 0.1 s to 5 s with full jitter, until
    the token is wrong twice in a row. Commands that were under way raise ConnectionLost and are never sent again; the
    new rank is the last in line.

    Raises ConnectionLost when no server can be reached, ServerError (AuthError) when it says no, ArgumentError.
    """

    _kind = "rankmux.Client"

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
        on_promoted: Callable[[Promoted], object] | None = None,
        on_joined: Callable[[int], object] | None = None,
        on_lost: Callable[[RankmuxError], object] | None = None,
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
        self._engine = Engine(self._address, name, token, timeout, Backoff() if reconnect else None)
        self._calls = Calls(self._engine, self._drain, handler, on_promoted, on_joined, on_lost)
        self._engine.connect()

    # what it is

    @property
    def _session(self) -> ClientSession | None:
        link = self._engine.link
        return None if link is None else link.session

    @property
    def address(self) -> str:
        """The server's: `HOST:PORT`, or the path of its socket."""
        return str(self._address)

    @property
    def closed(self) -> bool:
        """Whether `close` has been called."""
        return self._engine.closed

    def fileno(self) -> int:
        """The socket's descriptor, for a loop of the caller's own: when it is readable, call `poll(0)`."""
        link = self._engine.link
        return -1 if link is None else link.fileno()

    # commanding

    def command(
        self,
        payload: Payload,
        to: To = "all",
        *,
        results: bool = False,
        timeout: float | None = None,
        quiet: bool = False,
    ) -> Receipt:
        """Have `payload` executed by members below: `"all"`, the `"next"`, the `"least"` loaded, or that of a rank.

        Returns when the server has dispatched it. With `results` the receipt gives what the executors answer; those
        who have not answered after `timeout` seconds count as expired (None: the server's default, 60 s). `quiet`
        does not wait for the server's word: the receipt knows no seq, and a refusal shows with the results, or, where
        none are wanted, in the log.

        Raises CommandRefused when nobody got it, PayloadTooBig, ConnectionLost (whether it was carried out is not
        known then), TimeoutError when the server does not answer, ArgumentError.
        """
        target, arg = target_of(to)
        data = payload_of(payload)
        ttl_ms = ttl_ms_of(timeout)
        with self._engine.condition:
            link, inbox = self._ready()
            id_ = link.session.send_command(data, target, arg, results=results, quiet=quiet, ttl_ms=ttl_ms)
            progress = inbox.expect(id_, results) if results or not quiet else Progress(id_, results)
            self._engine.push(link)
        receipt = Receipt(self, progress)
        if quiet:
            self._drain(link)
        elif not self.wait(lambda: progress.dispatched, self._timeout_s):
            raise TimeoutError(f"the server did not answer command {id_} within {self._timeout_s:g} s")
        elif progress.error is not None and progress.seq is None:
            raise progress.error
        return receipt

    def who(self) -> list[MemberInfo]:
        """All members in rank order. Raises ConnectionLost, TimeoutError."""
        listing = Listing()
        while True:
            with self._engine.condition:
                link, inbox = self._ready()
                id_ = link.session.send_who(*listing.request())
                inbox.pages[id_] = None
                self._engine.push(link)
            try:
                came = self.wait(lambda: inbox.pages[id_] is not None or link.ended, self._timeout_s)  # noqa: B023
            finally:
                page = inbox.pages.pop(id_)
            if page is None:
                if came:
                    raise ConnectionLost("it went before the members were listed")
                raise TimeoutError(f"the server did not list its members within {self._timeout_s:g} s")
            if listing.receive(page):
                return listing.members

    # executing

    def serve(self, handler: Handler | None = None) -> None:
        """Run received commands until this client is closed, by the handler, a callback or another thread.

        `handler(command)` returns the result (bytes, text or None), or raises; what it raises is logged and answered
        FAILED. It may use this client, and send commands of its own. Raises why the connection was lost for good.
        """
        with self._calls.served(handler):
            self.wait(lambda: self._engine.closed, None)

    def poll(self, timeout: float = 0.0) -> None:
        """Read, answer and run what has come, waiting at most `timeout` seconds for it to come.

        Raises why the connection was lost for good.
        """
        turns = count()

        def done() -> bool:  # one turn; and one more after a loss, which raises it
            return next(turns) > 0 and (self._calls.pending() or self._engine.link is not None)

        with self._engine.condition:
            self._engine.run_until(done, 0.0 if self._calls.pending() else timeout)
        self._calls.run()

    def keep_reading(self) -> None:
        """Read and answer PINGs until this client is closed, running no handler and no callback.

        For a thread of the caller's own, so that another one may compute for long between two calls:
        `threading.Thread(target=client.keep_reading, daemon=True).start()`. Raises why the connection was lost.
        """
        with self._engine.condition:
            self._engine.run_until(lambda: self._engine.closed, patient=True)

    def promotions(self) -> Iterator[Promoted]:
        """Each promotion as it comes, until this client is closed; for who has no `on_promoted`.

        Raises why the connection was lost for good.
        """
        while self.wait(lambda: bool(self._engine.inbox.promotions) or self._engine.closed, None):
            with self._engine.condition:
                if not self._engine.inbox.promotions:
                    return
                promoted = self._engine.inbox.promotions.popleft()
            yield promoted

    def wait_for_rank(self, rank: int = 0, timeout: float | None = None) -> bool:
        """Wait until the own rank is `rank` or higher up; False when `timeout` seconds passed first.

        The commands that came before the promotion have been run then, if this thread is the one that runs them.
        """
        reached = self.wait(lambda: self.rank is not None and self.rank <= rank, timeout)
        if reached:
            self._calls.run()
        return reached

    # ending

    def close(self) -> None:
        """Give the seat back and close. From any thread; a second time does nothing.

        What this client still has to send goes out first; both together take a second at most.
        """
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # for receipts and for waiting in one's own way

    def wait(self, done: Callable[[], bool], timeout: float | None) -> bool:
        """Read, answer, run handlers and callbacks until `done()`; False when `timeout` seconds passed first.

        `done` is asked with this client's lock held: it may look at things, and must not call methods that wait.
        """
        deadline_s = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._engine.condition, self._calls.waiting():
                remaining_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
                in_time = self._engine.run_until(lambda: done() or self._calls.pending(), remaining_s)
                if done():
                    return True
                if not in_time or remaining_s == 0.0:
                    return False
            self._calls.run()

    def take(self, progress: Progress) -> RoutedResult | None:
        """The oldest unread result of a command; for receipts."""
        with self._engine.condition:
            result = progress.take()
            self._engine.taken()
            return result

    # inside

    def _ready(self) -> tuple[Link, Inbox]:
        link = self._engine.ready()
        return link, self._engine.inbox

    def _drain(self, link: Link) -> None:
        """Wait until the server has read enough of what was sent to it."""

        def drained() -> bool:
            return link.ended or link.session.output_size < _UNSENT_MAX_BYTES

        with self._engine.condition:
            in_time = self._engine.run_until(drained, self._timeout_s, patient=True)
        if not in_time:
            raise TimeoutError(f"the server has read nothing for {self._timeout_s:g} s")
