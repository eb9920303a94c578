"""A command that the asyncio client has sent, and one that it has received, for its user.

Both are thin: they wait and send through the client's connection, and keep nothing that its inbox does not keep.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Protocol, Self

from ..client.failures import no_result, not_done
from ..core.client.arguments import Payload
from ..core.client.events import ExecuteReceived
from ..core.client.received import ExecutedCommand
from ..core.client.results import Counts, RoutedResult, gathered
from ..core.client.sent import Progress, SentCommand
from ..core.wire.codes import Status
from .connection import ClientConnection
from .waiters import results_of

__all__ = ["CommandDriver", "Receipt", "ReceivedCommand"]


class Receipt(SentCommand):
    """A command that was sent: the server's answer, and the results as they come (section 6).

    `async for` over it gives the results (`RoutedResult`); the iteration ends when every executor has ended, and
    `counts` is there then. Each result is given once. A receipt that is dropped takes its unread results with it.

    As a context manager (`async with await client.command(...) as receipt:`) it cancels the command at the end of the
    block, for the executors that have not ended by then.
    """

    def __init__(self, connection: ClientConnection, progress: Progress) -> None:
        super().__init__(progress)
        self._connection = connection

    def __aiter__(self) -> AsyncIterator[RoutedResult]:
        """The results, each as it comes. Raises ConnectionLost when the connection goes before the end."""
        return self.results()

    def results(self, timeout: float | None = None) -> AsyncIterator[RoutedResult]:
        """The results as they come; raises TimeoutError when none has come for `timeout` seconds."""
        self._require_results("reading results")
        return _Results(self._connection, self._progress, timeout)

    async def wait(self, timeout: float | None = None) -> Counts:  # noqa: ASYNC109 as in the blocking client
        """Wait until every executor has ended. The results can still be iterated over then.

        Raises TimeoutError after `timeout` seconds, ConnectionLost when the connection goes first.
        """
        self._require_results("waiting for results")
        progress = self._progress
        if not await self._connection.until(progress.id, lambda: progress.over, timeout, whole=progress.id):
            raise not_done(self.id, timeout)
        return progress.final_counts()

    async def gather(self, timeout: float | None = None) -> list[RoutedResult]:  # noqa: ASYNC109
        """Wait for all results: one for each executor, in rank order, with the payloads of its partial ones in front.

        Raises as `wait` does.
        """
        await self.wait(timeout)
        results = self._progress.take_all()
        self._connection.regulate()
        return gathered(results)

    def cancel(self) -> None:
        """End the command for the executors that have not ended: they stop, and count as cancelled (section 6).

        Not to be awaited. Does nothing once all have ended, or the connection is gone. The results of the others still
        come. Raises StateError where no results were asked for.
        """
        self._require_results("cancelling")
        self._connection.cancel(self._progress)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._progress.wants_results:
            self._connection.cancel(self._progress)


class _Results:
    """An iterator, not an async generator: one that is left half-way needs no task to end it."""

    def __init__(self, connection: ClientConnection, progress: Progress, timeout_s: float | None) -> None:
        self._connection = connection
        self._progress = progress
        self._timeout_s = timeout_s

    def __aiter__(self) -> _Results:
        return self

    async def __anext__(self) -> RoutedResult:
        progress = self._progress
        if not await self._connection.until(
            results_of(progress.id), lambda: bool(progress.results) or progress.over, self._timeout_s
        ):
            raise no_result(progress.id, self._timeout_s)
        result = progress.take()
        self._connection.regulate()
        if result is not None:
            return result
        if progress.error is not None:
            raise progress.error
        raise StopAsyncIteration


class CommandDriver(Protocol):
    """The part of a client that a received command needs; one for all commands of a connection."""

    @property
    def held_up(self) -> bool:
        """Whether there is no room for output now."""

    async def drained(self) -> None:
        """Wait until there is room for output. Raises TimeoutError."""

    def answer(self, seq: int, status: Status, payload: bytes) -> None:
        """Send a result. Raises ConnectionLost."""

    def give_up(self, command: ReceivedCommand) -> None:
        """Answer FAILED at once, where a result is wanted."""


class ReceivedCommand(ExecutedCommand):
    """A command to run (section 5). The handler's return value becomes its RESULT; `emit` sends output before that."""

    _answered = False  # its final result has gone out

    def __init__(
        self,
        event: ExecuteReceived,
        received_s: float,
        max_payload: int,
        driver: CommandDriver,
    ) -> None:
        super().__init__(event, received_s, max_payload, time.monotonic)
        self._driver = driver

    async def emit(self, output: Payload) -> None:
        """Send `output` now, as a partial result; nothing where no result is wanted. Output over a frame is cut.

        Raises ConnectionLost when the connection that the command came by is gone.
        """
        for status, piece in self._partial(output):
            await self._send(status, piece)
            await asyncio.sleep(0)  # a handler that emits much lets other tasks run

    async def finish(self, status: Status = Status.OK, output: Payload = b"") -> None:
        """Send the final result now, instead of the handler's return value. Raises as `emit` does."""
        for final, piece in self._final(status, output):
            await self._send(final, piece)

    @property
    def _held_up(self) -> bool:
        """Whether a result would have to wait, as the server reads too slowly."""
        return self._driver.held_up

    def _finish_at_once(self, status: Status, output: Payload) -> None:
        """Send the final result where the caller knows that there is room for it. Raises ConnectionLost."""
        for final, piece in self._final(status, output):
            if self.seconds_left() != 0.0:
                self._driver.answer(self.seq, final, piece)

    def _give_up(self) -> None:
        """Answer FAILED where nothing has been answered."""
        if not self._answered:
            self._driver.give_up(self)

    async def _send(self, status: Status, piece: bytes) -> None:
        if self.seconds_left() != 0.0:  # nothing is answered late
            await self._driver.drained()
            self._driver.answer(self.seq, status, piece)
            self._answered = status is not Status.PART
