"""What the blocking client hands to its user: the receipt of a command sent, and a command received.

Both are thin: they wait through their client, and keep nothing that the client's inbox does not keep.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..core.client.arguments import Payload
from ..core.client.events import ExecuteReceived
from ..core.client.received import ExecutedCommand
from ..core.client.sent import Counts, Progress, RoutedResult, SentCommand, gathered
from ..core.wire.codes import Status

if TYPE_CHECKING:
    from .client import Client

__all__ = ["Receipt", "ReceivedCommand"]


class Receipt(SentCommand):
    """A command that was sent: what the server said of it, and its results as they come.

    Iterate over it for the results (`RoutedResult`); the iteration ends when every executor has ended, and `counts` is
    there then. Each result is given once. A receipt that is dropped takes its unread results with it.
    """

    def __init__(self, client: Client, progress: Progress) -> None:
        super().__init__(progress)
        self._client = client

    def __iter__(self) -> Iterator[RoutedResult]:
        """The results, each as it comes. Raises ConnectionLost when the connection goes before the end."""
        return self.results()

    def results(self, timeout: float | None = None) -> Iterator[RoutedResult]:
        """The results as they come; raises TimeoutError when none has come for `timeout` seconds."""
        self._must_want_results("reading results")
        progress = self._progress
        while True:
            if not self._client.wait(lambda: bool(progress.results) or progress.over, timeout):
                raise TimeoutError(f"no result of command {self.id} came for {timeout:g} s")
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
        self._must_want_results("waiting for results")
        progress = self._progress
        if not self._client.wait(lambda: progress.over, timeout):
            raise TimeoutError(f"command {self.id} was not done within {timeout:g} s")
        if progress.counts is None:
            assert progress.error is not None
            raise progress.error
        return progress.counts

    def gather(self, timeout: float | None = None) -> list[RoutedResult]:
        """Wait for all results; one for each executor in rank order, its partial output joined in front of its end."""
        self.wait(timeout)
        return gathered(self)


class ReceivedCommand(ExecutedCommand):
    """A command to run. What the handler returns becomes its RESULT; `emit` sends output before that."""

    def __init__(
        self,
        event: ExecuteReceived,
        received_s: float,
        max_payload: int,
        send_result: Callable[[int, Status, bytes], None],
    ) -> None:
        super().__init__(event, received_s, max_payload, time.monotonic)
        self._send_result = send_result

    def emit(self, output: Payload) -> None:
        """Send `output` now, as a partial result; nothing where no result is wanted. More than a frame carries is cut.

        Raises ConnectionLost when the sender can no longer be reached over the connection that the command came by.
        """
        for status, piece in self._partial(output):
            self._send_result(self.seq, status, piece)

    def finish(self, status: Status = Status.OK, output: Payload = b"") -> None:
        """Send the final result. Who returns from the handler need not call it. Raises as `emit` does."""
        for final, piece in self._final(status, output):
            self._send_result(self.seq, final, piece)
