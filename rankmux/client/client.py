"""The blocking client: `rankmux.Client`.

It starts no threads. Every call that waits - a command for its answer, a receipt for results, `serve`, `poll` - reads
for all, so PINGs are answered while something waits. A program that computes between two calls for longer than a
server waits for a sign of life (27 s by default) calls `keep_reading` in another thread, or loses its seat. All
methods may be called from several threads at once.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from os import PathLike
from types import TracebackType
from typing import Self

from ..core.client.arguments import (
    CommandArguments,
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
from ..core.client.events import MembersPage, Promoted
from ..core.client.inbox import Inbox
from ..core.client.line import Line
from ..core.client.listing import Listing
from ..core.client.results import RoutedResult
from ..core.client.sent import Progress
from ..core.client.session import ClientSession
from ..core.wire.codes import DEFAULT_PORT
from ..core.wire.frames import MemberInfo
from ..errors import ConnectionLost, RankmuxError
from .address import addresses_of
from .callbacks import CallQueue, Handler
from .engine import Engine
from .events import Callbacks
from .failures import no_answer, no_listing, no_rank
from .leading import Term
from .membership import Membership, join_options
from .receipt import Receipt
from .runner import Runner
from .watching import Watch

__all__ = ["Client"]


class Client(Membership):
    """A member of a room, connected when made.

    `host` and `port`, or the path `unix`, are the server's address; `ssl_context` asks for TLS, and `server_hostname`
    is the name in its certificate where that is not `host`. Several servers of one room are given as
    `"a,b,c:7118"` or as a list: they are tried one after the other, from a random one on. `name` is shown to others.
    `token` may be a callable, called for each connection. `timeout` (seconds) bounds connecting, and every answer of
    the server itself.

    `handler` runs received commands, one at a time and in order, in any thread that waits in this client; without one
    they queue up until `serve` is called (16,384 of them; more are answered FAILED). `handler=reject` executes nothing.
    `on_promoted(promoted)`, `on_joined(rank)` and `on_lost(error)` are called in the same way, never in a thread that
    does something else.

    With `reconnect`, the next call that waits restores a lost connection: after 0.1 s to 5 s with full jitter, until
    the token is wrong twice in a row. Commands that were under way raise ResultsLost and are never sent again; without
    a keep, the new rank is the last in line.

    `keep_s` asks that the seat outlive a lost connection for that long (section 9); it implies `reconnect`, and brings
    the client back to its rank. `keep_file` is a private file for the seat's secret, so that a program that was started
    anew comes back, too; one program at a time may use it. `on_absent(error)`, `on_back(rank)` and
    `on_seat_lost(ticket)` tell of the seat; without them, `on_lost` and `on_joined` are called for the first two.

    With `observe` the client looks on without a seat (section 8): it has no rank, and only lists members and watches.
    `watch` has each change of the line told, for `watch()`.

    Raises CannotConnect (a ConnectionLost) when no server can be reached, ServerError when it refuses, with AuthError
    and FullError for the usual reasons, ProtocolViolation when it is a server of something else, ArgumentError.
    """

    _kind = "rankmux.Client"

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
        on_promoted: Callable[[Promoted], object] | None = None,
        on_joined: Callable[[int], object] | None = None,
        on_lost: Callable[[RankmuxError], object] | None = None,
        reconnect: bool = False,
        observe: bool = False,
        watch: bool = False,
        keep_s: float | None = None,
        keep_file: str | PathLike[str] | None = None,
        on_absent: Callable[[RankmuxError], object] | None = None,
        on_back: Callable[[int], object] | None = None,
        on_seat_lost: Callable[[int], object] | None = None,
    ) -> None:
        callbacks = Callbacks(on_promoted, on_joined, on_lost, on_absent, on_back, on_seat_lost)
        check_options(host, port, token, timeout)
        check_functions(awaited=False, handler=handler, **callbacks._asdict())
        if observe:
            check_observer(handler=handler, on_promoted=on_promoted)
        addresses = addresses_of(host, port, unix, ssl_context, server_hostname)
        super().__init__(join_options(addresses, name, token, timeout, observe, watch, keep_s, keep_file))
        runner = Runner(handler)
        backoff = Backoff() if reconnect or keep_s is not None else None
        self._engine = Engine(self._options, backoff, lambda: runner.takes_commands)
        self._calls = CallQueue(self._engine, runner, callbacks)
        self._engine.connect()

    # state

    @property
    def _session(self) -> ClientSession | None:
        link = self._engine.link
        return None if link is None else link.session

    @property
    def closed(self) -> bool:
        """Whether `close` has been called."""
        return self._engine.closed

    def fileno(self) -> int:
        """The socket's descriptor, for the caller's own event loop: when it is readable, call `poll(0)`."""
        link = self._engine.link
        return -1 if link is None else link.fileno()

    # commanding

    def command(
        self,
        payload: Payload,
        to: To = "all",
        *,
        names: Names | None = None,
        tickets: Iterable[int] | None = None,
        results: bool = False,
        timeout: float | None = None,
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
        or, where none are wanted, in the log.

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
            arguments = arguments.looked_up(self.who(), self.ticket)
        link, progress = self._engine.send(lambda inbox: inbox.send_command(arguments))
        if quiet:
            self._engine.drain(link)
        else:
            if not self._calls.wait(lambda: progress.dispatched, self._options.timeout_s):
                raise no_answer(progress.id, self._options.timeout_s)
            progress.check_dispatched()
        return Receipt(self._calls, progress)

    def commands(
        self,
        payloads: Iterable[Payload],
        to: To = "all",
        *,
        names: Names | None = None,
        tickets: Iterable[int] | None = None,
        timeout: float | None = None,
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
            arguments = arguments.looked_up(self.who(), self.ticket)
        for batch in batches_of(payloads):
            link, _ = self._engine.send(partial(_send_quietly, batch, arguments))
            self._engine.drain(link)

    def request(
        self, payload: Payload, to: To = "next", *, name: str | None = None, timeout: float | None = None
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
            arguments = arguments.looked_up(self.who(), self.ticket)
            arguments.check_one(to, name)
        _, progress = self._engine.send(lambda inbox: inbox.send_command(arguments))
        self._calls.wait(lambda: progress.over, None)
        try:
            return progress.only_result()
        finally:
            self._engine.taken()

    def who(self) -> list[MemberInfo]:
        """All members in rank order (section 2). Raises ConnectionLost, TimeoutError."""
        listing = Listing()
        while not listing.receive(self._page(*listing.request())):
            pass
        return listing.members

    def count(self) -> int:
        """The number of members now, which `member_count` has from then on. Raises ConnectionLost, TimeoutError."""
        return self._page(0, 0).total

    def watch(self) -> Watch:
        """The line as it is, and each change of it from then on (section 8); for clients made with `watch=True`.

        Raises StateError, ConnectionLost, TimeoutError.
        """
        line = Line()
        self._engine.send(lambda inbox: inbox.watch(line))
        while not line.receive(self._page(*line.request())):
            if line.error is not None:
                raise line.error
        return Watch(self._calls, line, lambda: self.closed)

    def _page(self, first_rank: int, count: int) -> MembersPage:
        _, request = self._engine.send(lambda inbox: inbox.send_who(first_rank, count))
        if not self._calls.wait(lambda: request.over, self._options.timeout_s):
            raise no_listing(self._options.timeout_s)
        return request.result()

    # executing

    def serve(self, handler: Handler | None = None) -> None:
        """Run received commands until this client is closed, by the handler, a callback or another thread.

        `handler(command)` returns the result (bytes, text or None), or raises; an exception is logged and answered
        FAILED. It may use this client, and send commands itself. One that takes long looks at `command.cancelled` now
        and then: whether the sender has cancelled the command. Raises the reason when the connection is lost for good,
        and StateError when another call of `serve` runs.
        """
        check_functions(awaited=False, handler=handler)
        self._calls.serve(handler)

    def poll(self, timeout: float = 0.0) -> None:
        """Read, answer PINGs, run the handler and callbacks, waiting at most `timeout` seconds for something to come.

        Raises the reason when the connection is lost for good.
        """
        turns = count()

        def done() -> bool:  # one turn; and one more after a loss, which raises it
            return next(turns) > 0 and (self._calls.pending() or self._engine.link is not None)

        self._engine.run_until(done, 0.0 if self._calls.pending() else timeout)
        self._calls.run()

    def keep_reading(self) -> None:
        """Read and answer PINGs until this client is closed, running no handler and no callback.

        For a separate thread, so that another one may compute for long between two calls:
        `threading.Thread(target=client.keep_reading, daemon=True).start()`. Raises the reason when the connection is
        lost for good.
        """
        self._engine.run_until(lambda: self._engine.closed, patient=True)

    def promotions(self) -> Iterator[Promoted]:
        """Each promotion as it comes, until this client is closed; for clients without `on_promoted`.

        Raises the reason when the connection is lost for good.
        """

        def take() -> Promoted | None:
            waiting = self._engine.inbox.promotions
            return waiting.popleft() if waiting else None

        while self._calls.wait(lambda: bool(self._engine.inbox.promotions) or self._engine.closed, None):
            promoted = self._engine.exclusively(take)
            if promoted is None:
                return
            yield promoted

    def wait_for_rank(self, rank: int = 0, timeout: float | None = None) -> bool:
        """Wait until this client's rank is `rank` or higher up; False when `timeout` seconds passed first.

        The commands that came before the promotion have been run then, if this thread is the one that runs them.
        """
        self._check_seat("waiting for a rank")
        check_rank(rank)
        reached = self._calls.wait(lambda: self.rank is not None and self.rank <= rank, timeout)
        if reached:
            self._calls.run()
        return reached

    # leading

    @contextmanager
    def lead(self, timeout: float | None = None) -> Iterator[Term]:
        """Wait for rank 0: `with client.lead() as term:`. The term ends when the rank is lost; see `Term`.

        Received commands run while it waits. The end of the block does not give up the rank: `step_down` does, and
        `close`. Raises TimeoutError when `timeout` seconds passed first, and the reason when the connection is lost for
        good.
        """
        yield self._begin_term(timeout)

    def _begin_term(self, timeout_s: float | None) -> Term:
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        left_s = timeout_s
        while self.wait_for_rank(0, left_s):
            with suppress(ConnectionLost, TimeoutError):
                session = self._session
                self._page(0, 0)  # the baton, if there is one, has come by then
                if session is not None and session is self._session and self.rank == 0 and self.ticket:
                    return Term(self, self.ticket, self.baton)
            left_s = None if until_s is None else until_s - time.monotonic()
            if left_s is not None and left_s <= 0:
                break
        raise no_rank(0, timeout_s)

    def set_baton(self, note: Payload) -> int:
        """Leave a note for the next member with rank 0, in place of the last one (section 10); returns its version.

        For rank 0 alone. An empty one deletes it. The note lives as long as the server. Raises CommandRefused
        (NOT_FIRST), PayloadTooBig, ConnectionLost, TimeoutError.
        """
        self._check_seat("writing the baton")
        payload = payload_of(note)
        _, progress = self._engine.send(lambda inbox: inbox.send_baton(payload))
        self._calls.wait(lambda: progress.dispatched, self._options.timeout_s)
        return self._answered(progress)

    def step_down(self, drain_s: float = 0.0) -> int | None:
        """Give up the rank, and take the last place under a new ticket (section 10); returns the new rank.

        Received commands that run may go on for up to `drain_s` seconds before that; no other is begun. What has not
        been answered then ends as LEFT for its senders, and this client's own commands raise ResultsLost. Raises
        CommandRefused (NO_TARGET) when nobody is below, ConnectionLost, TimeoutError.
        """
        self._check_seat("stepping down")
        check_drain(drain_s)
        self._answered(self._calls.step_back(drain_s, self._options.timeout_s))
        return self.rank

    def _answered(self, progress: Progress) -> int:
        if not progress.dispatched:
            raise no_answer(progress.id, self._options.timeout_s)
        progress.check_dispatched()
        assert progress.seq is not None
        return progress.seq

    # ending

    def close(self, *, leave: bool = True) -> None:
        """Give the seat back (section 3.4) and close. From any thread; a second call does nothing.

        With a keep, `leave=False` only closes the connection: the seat is kept, for the next client with this secret.
        Output that waits to be sent goes out first; both together take a second at most. It may be called in a signal
        handler, too: where the handler has interrupted a call of this client, that call closes it, and ends.
        """
        self._engine.close(leave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # waiting

    def wait(self, done: Callable[[], bool], timeout: float | None) -> bool:
        """Read, answer PINGs, run the handler and callbacks until `done()`; False when `timeout` seconds passed first.

        `done` is called with this client's lock held: it may look at attributes, and must not call methods that wait.
        """
        return self._calls.wait(done, timeout)


def _send_quietly(batch: list[bytes], arguments: CommandArguments, inbox: Inbox) -> None:
    inbox.send_quietly(batch, arguments)
