"""A held seat: joined, kept, joined again if asked to, left; its incidents as an iterator.

It stands on one `rankmux.aio.Client`, which connects anew after each loss. It knows no control socket and no terminal.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from ...aio import Client, Counts, Ended, Promoted, Receipt, ReceivedCommand, RoutedResult, Welcomed
from ...aio import incidents as aio
from ...aio.events import Events
from ...client.failures import no_welcome
from ...core.client.backoff import Backoff
from ...core.client.events import ExecuteRejected, SeatAbsent, SeatLost, SeatReturned
from ...core.wire.codes import RefusedCode
from ...errors import CommandRefused, ConfigError, ConnectionLost, RankmuxError, StateError
from ..shared.connection_flags import client_options
from ..shared.targets import Target

__all__ = ["Absent", "Answer", "Incident", "Lost", "Returned", "Seat"]

_TOKEN_RETRY_S = 2.0
_ANSWER_S = 4_000_000.0  # that a server lives shows in its PONGs; an answer may take its time
_COMMANDS_AT_A_TIME = 1 << 30  # handlers begin at once; `work` has a queue of its own
_UNSENT_MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Lost:
    """There is no connection because of `error`. The next try is in `again_s` seconds; None: there is none."""

    error: RankmuxError
    again_s: float | None


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no connection because of `error`, or it is silent; the seat is kept, and the client tries to return."""

    error: RankmuxError | None


@dataclass(frozen=True, slots=True)
class Returned:
    """The seat is ours again, with this `rank`."""

    rank: int


Incident = Welcomed | Promoted | ExecuteRejected | Absent | Returned | Lost
Answer = Receipt | RoutedResult | Counts | RankmuxError


def _keep_options(arguments: argparse.Namespace, keep_s: float | None) -> dict[str, Any]:
    """The keyword arguments of a seat that is kept. Raises ConfigError."""
    for flag in ("keep_file", "hook_absent", "hook_back"):
        value = getattr(arguments, flag, None)
        if keep_s is None and value is not None:
            raise ConfigError(f"--{flag.replace('_', '-')}", value, "it needs --keep S beside it")
    return {} if keep_s is None else {"keep_s": keep_s, "keep_file": arguments.keep_file}


class Seat:
    """A seat at the server that `arguments` name; `handler` executes commands. Raises LocalError."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        handler: Callable[[ReceivedCommand], Awaitable[None]],
        *,
        reconnect: bool,
    ) -> None:
        self._options = client_options(arguments)
        keep_s: float | None = getattr(arguments, "keep", None)
        self._keeps = keep_s is not None
        self.client = Client(
            **self._options,
            **_keep_options(arguments, keep_s),
            timeout=_ANSWER_S,
            handler=self._execute,
            parallel=_COMMANDS_AT_A_TIME,
        )
        self.step_back: Callable[[], Awaitable[int | None]] = self.client.step_down
        """Gives up the rank; its owner may first end what acts with it. Raises CommandRefused, ConnectionLost."""
        self._handler = handler
        self._executing = asyncio.Event()
        self._entrance = asyncio.Lock()
        self._exit = asyncio.Lock()
        self._timeout_s: float = arguments.connect_timeout
        self._backoff = Backoff() if reconnect else None
        self._step: asyncio.Task[None] | None = None
        self._left = False
        self._tries = 0
        self._unsent_size = 0

    def holds(self, ticket: int | None) -> bool:
        """Whether the seat with this ticket is still ours. If not, its commands cannot be answered any more."""
        return ticket is not None and self.client.ticket == ticket

    def execute(self) -> None:
        """Hand commands to the handler from now on, until the connection is lost; until now they wait."""
        self._executing.set()

    async def incidents(self) -> AsyncIterator[Incident]:
        """Join, and go on until the seat is left or lost for good, which is the last incident then."""
        events = self.client.events()
        while not self._left:
            error = await self._join()
            if error is None and self._keeps:
                async for incident in self._kept_incidents(events):
                    yield incident
                return
            if error is None:
                async for event in events:
                    if isinstance(event, Ended):
                        self._executing.clear()
                        error = event.error
                        break
                    if isinstance(event, Welcomed) and self._backoff is not None:
                        self._backoff.reset()
                    if isinstance(event, Welcomed | Promoted | ExecuteRejected):
                        yield event
            if self._left or error is None:
                return
            again_s = self._delay_s(error)
            yield Lost(error, again_s)
            if again_s is None:
                return
            await self._unless_left(asyncio.sleep(again_s))

    async def _kept_incidents(self, events: Events[aio.Incident]) -> AsyncIterator[Incident]:
        """The same of a seat that is kept: the client itself comes back to it."""
        absent = gone = False
        while not self._left:
            try:
                async with asyncio.timeout(self._patience_s() if absent else None):
                    event = await anext(events)
            except StopAsyncIteration:
                return
            except TimeoutError:
                yield Lost(ConnectionLost("the seat was not kept any longer"), None)
                return
            except RankmuxError as failure:  # it was lost for good
                yield Lost(failure, None)
                return
            match event:
                case SeatAbsent():
                    absent = True
                    yield Absent(event.error)
                case SeatReturned(rank):
                    if absent:  # the connection was only silent
                        absent = False
                        yield Returned(rank)
                case Welcomed(returned=True) if absent:
                    absent = False
                    yield event
                    yield Returned(event.rank)
                case SeatLost():
                    gone = True  # what comes right behind it knows why
                case Welcomed() | Ended(kept=False) if gone or isinstance(event, Ended):
                    absent = gone = False
                    self._executing.clear()
                    reason = event.error if isinstance(event, Ended) else None
                    reason = reason or ConnectionLost("the seat was not kept any longer")
                    again_s = self._delay_s(reason)
                    yield Lost(reason, again_s)
                    if again_s is None:
                        return
                    if isinstance(event, Welcomed):
                        yield event
                case Welcomed() | Promoted() | ExecuteRejected():
                    yield event

    def _patience_s(self) -> float | None:
        """Seconds until the server cannot hold the seat any longer; None where a new one would do as well."""
        if self._backoff is not None:
            return None
        # A PING goes out at least each third of the keep, so the server has heard of us that long behind the last one.
        deadline_s, keep_s = self.client.deadline, self.client.keep
        until_s = time.monotonic() if deadline_s is None else deadline_s + keep_s / 3
        return max(0.0, until_s - time.monotonic())

    async def answers(
        self,
        payload: bytes,
        to: Target | tuple[int, ...],
        *,
        results: bool,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Answer]:
        """Send a command: its receipt, then, with `results`, each result and the counts. An error is the last answer.

        `to` may be the tickets of the executors, looked up before.

        A LocalError means that nothing was sent. Commands go out in the order in which this is first awaited.
        """
        client = self.client
        if client.rank is None:
            yield StateError("sending", "there is no connection")
            return
        if self._unsent_size + len(payload) > _UNSENT_MAX_BYTES:
            yield StateError("sending", "the server does not read what was sent before")
            return
        try:
            self._unsent_size += len(payload)
            try:
                async with self._exit:  # no command overtakes one that is being looked up
                    tickets = to if isinstance(to, tuple) else await self._looked_up(to)
                receipt = await client.command(
                    payload,
                    to.keyword or "all" if isinstance(to, Target) else "all",
                    tickets=tickets,
                    results=results,
                    timeout=timeout_s,
                    required=True,
                )
            finally:
                self._unsent_size -= len(payload)
            yield receipt
            if results:
                async for result in receipt:
                    yield result
                assert receipt.counts is not None
                yield receipt.counts
        except RankmuxError as error:
            yield error

    async def _looked_up(self, to: Target) -> tuple[int, ...] | None:
        """The tickets of a target; None for one that the server knows. Raises CommandRefused, ConnectionLost."""
        if to.keyword is not None:
            return None
        members = await self.client.who()
        found = to.find(((member.rank, member.ticket, member.name) for member in members), self.client.ticket)
        if not found.below:
            raise CommandRefused(0, RefusedCode.NO_TARGET, to.nobody)
        return found.tickets

    async def baton(self) -> bytes:
        """The note that came with rank 0; empty if there is none. Raises CommandRefused, ConnectionLost."""
        await self.client.count()  # it has come by then
        if self.client.rank != 0:
            raise CommandRefused(0, RefusedCode.NOT_FIRST, "only rank 0 has the baton")
        return b"" if self.client.baton is None else self.client.baton.payload

    def observer(self) -> Client:
        """A client that looks on at the same server, and takes no seat; to be connected."""
        return Client(**self._options, timeout=self._timeout_s, observe=True, watch=True)

    async def leave(self, *, stay: bool = False) -> None:
        """Give the seat back, or, with `stay`, only end the connection of one that is kept. `incidents` ends."""
        self._left = True
        if self._step is not None:
            self._step.cancel()
        await self.client.close(leave=not stay)

    async def _execute(self, command: ReceivedCommand) -> None:
        ticket = self.client.ticket
        async with (
            self._entrance
        ):  # first come, first served, where an event alone would let some overtake others
            await self._executing.wait()
        if self.holds(ticket):
            await self._handler(command)

    async def _join(self) -> RankmuxError | None:
        self._tries += 1
        try:
            await self._unless_left(self._connect())
        except RankmuxError as error:
            return error
        return None

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self.client.connect()
        except TimeoutError:
            raise no_welcome(self.client.address, self._timeout_s) from None

    async def _unless_left(self, step: Awaitable[None]) -> None:
        """Await `step`, which `leave` cuts short."""
        if self._left:
            return
        self._step = asyncio.ensure_future(step)
        try:
            await self._step
        except asyncio.CancelledError:
            if not self._left:
                raise
        finally:
            self._step = None

    def _delay_s(self, error: RankmuxError) -> float | None:
        if self._backoff is None:
            return None
        if isinstance(error, ConfigError):  # the token file; once it was right, and is perhaps being replaced
            return _TOKEN_RETRY_S if self._tries > 1 else None
        try:
            return self._backoff.delay_s(error)
        except RankmuxError:  # trying again is of no use
            return None
