"""A command that the blocking client has sent, and one that it has received, for its user.

Both are thin: they wait and send through the client, and keep nothing that its inbox does not keep.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol, Self

from ..core.client.arguments import Payload
from ..core.client.events import ExecuteReceived
from ..core.client.received import ExecutedCommand
from ..core.client.results import Counts, RoutedResult, gathered
from ..core.client.sent import Progress, SentCommand
from ..core.wire.codes import Status
from .failures import no_result, not_done

__all__ = ["CommandDriver", "Receipt", "ReceivedCommand"]


class _Waiting(Protocol):
    """The part of a client that a receipt needs."""

    def wait(self, done: Callable[[], bool], timeout_s: float | None, whole: int | None = None) -> bool:
        """Run the client until `done()`; False when `timeout_s` passed first.

        `whole` is a command whose results are wanted only once they are complete.
        """

    def take(self, progress: Progress) -> RoutedResult | None:
        """The oldest unread result."""

    def take_all(self, progress: Progress) -> list[RoutedResult]:
        """All unread results."""

    def cancel(self, progress: Progress) -> None:
        """End a command early."""


class Receipt(SentCommand):
    """A command that was sent: the server's answer, and the results as they come (section 6).

    Iterate over it for the results (`RoutedResult`); the iteration ends when every executor has ended, and `counts` is
    there then. Each result is given once. A receipt that is dropped takes its unread results with it.

    As a context manager (`with client.command(...) as receipt:`) it cancels the command at the end of the block, for
    the executors that have not ended by then.
    """

    def __init__(self, client: _Waiting, progress: Progress) -> None:
        super().__init__(progress)
        self._client = client

    def __iter__(self) -> Iterator[RoutedResult]:
        """The results, each as it comes. Raises ConnectionLost when the connection goes before the end."""
        return self.results()

    def results(self, timeout: float | None = None) -> Iterator[RoutedResult]:
        """The results as they come; raises TimeoutError when none has come for `timeout` seconds."""
        self._require_results("reading results")
        progress = self._progress
        while True:
            if not self._client.wait(lambda: bool(progress.results) or progress.over, timeout):
                raise no_result(self.id, timeout)
            result = self._client.take(progress)
            if result is not None:
                yield result
            elif progress.error is not None:
                raise progress.error
            else:
                return

    def wait(self, timeout: float | None = None) -> Counts:
        """Wait until every executor has ended. The results can still be iterated over then.

        Raises TimeoutError after `timeout` seconds, ConnectionLost when the connection goes first.
        """
        self._require_results("waiting for results")
        if not self._client.wait(lambda: self._progress.over, timeout, self._progress.id):
            raise not_done(self.id, timeout)
        return self._progress.final_counts()

    def gather(self, timeout: float | None = None) -> list[RoutedResult]:
        """Wait for all results: one for each executor, in rank order, with the payloads of its partial ones in front.

        Raises as `wait` does.
        """
        self.wait(timeout)
        return gathered(self._client.take_all(self._progress))

    def cancel(self) -> None:
        """End the command for the executors that have not ended: they stop, and count as cancelled (section 6).

        Does nothing once all have ended, or the connection is gone. The results of the others still come. Raises
        StateError where no results were asked for.
        """
        self._require_results("cancelling")
        self._client.cancel(self._progress)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress.wants_results:
            self._client.cancel(self._progress)


class CommandDriver(Protocol):
    """The part of a client that a received command needs; one for all commands of a connection."""

    def answer(self, seq: int, status: Status, payload: bytes) -> None:
        """Send a result. Raises ConnectionLost."""

    def look(self) -> None:
        """Take what has come, without waiting."""

    def wait(self, done: Callable[[], bool], timeout_s: float | None) -> bool:
        """Run the client until `done()`; False when `timeout_s` passed first."""


class ReceivedCommand(ExecutedCommand):
    """A command to run (section 5). The handler's return value becomes its RESULT; `emit` sends output before that."""

    def __init__(
        self,
        event: ExecuteReceived,
        received_s: float,
        max_payload: int,
        driver: CommandDriver,
    ) -> None:
        super().__init__(event, received_s, max_payload, time.monotonic)
        self._driver = driver

    @property
    def cancelled(self) -> bool:
        """Whether the sender has cancelled it: stop; nothing is sent for it any more (section 6).

        To be looked at now and then by a handler that takes long; it reads what has come, at most every 2 ms.
        """
        if not self._cancelled and not self._copied:
            self._driver.look()
        return self._cancelled

    def wait_cancelled(self, timeout: float | None = None) -> bool:
        """Wait until the sender has cancelled it, reading meanwhile; False when `timeout` seconds passed first.

        Raises the reason when the connection is lost for good.
        """
        self._check_original()
        return self._driver.wait(lambda: self._cancelled, timeout)

    def emit(self, output: Payload) -> None:
        """Send `output` now, as a partial result; nothing where no result is wanted. Output over a frame is cut.

        Raises ConnectionLost when the connection that the command came by is gone.
        """
        for status, piece in self._partial(output):
            self._driver.answer(self.seq, status, piece)

    def finish(self, status: Status = Status.OK, output: Payload = b"") -> None:
        """Send the final result now, instead of the handler's return value. Raises as `emit` does."""
        for final, piece in self._final(status, output):
            self._driver.answer(self.seq, final, piece)
