"""What the blocking client hands to its user: the receipt of a command sent, and a command received.

Both are thin: they wait through their client, and keep nothing that the client's inbox does not keep.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from .client_arguments import Payload, payload_of
from .client_events import ExecuteReceived
from .client_executing import pieces
from .client_results import Counts, Progress, RoutedResult, gathered
from .codes import Status
from .errors import StateError

if TYPE_CHECKING:
    from .client import Client

__all__ = ["Receipt", "ReceivedCommand"]


class Receipt:
    """A command that was sent: what the server said of it, and its results as they come.

    Iterate over it for the results (`RoutedResult`); the iteration ends when every executor has ended, and `counts` is
    there then. Each result is given once. A receipt that is dropped takes its unread results with it.
    """

    def __init__(self, client: Client, progress: Progress) -> None:
        self._client = client
        self._progress = progress

    def __repr__(self) -> str:
        return f"<Receipt {self.id}: seq {self.seq}, {self.executors} executors, {self.counts or 'not done'}>"

    @property
    def id(self) -> int:
        """The number under which this connection knows the command."""
        return self._progress.id

    @property
    def seq(self) -> int | None:
        """The command's place in the one order of everything (section 1); None for a quiet one."""
        return self._progress.seq

    @property
    def executors(self) -> int | None:
        """How many members it went to; None for a quiet one that is not done."""
        counts = self._progress.counts
        return self._progress.executors if counts is None else counts.total

    @property
    def rejected(self) -> int | None:
        """For how many members it was rejected because they outrank this client; None for a quiet one."""
        return self._progress.rejected

    @property
    def counts(self) -> Counts | None:
        """How the executors ended; None until all have, and for a command without results."""
        return self._progress.counts

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

    def _must_want_results(self, step: str) -> None:
        if not self._progress.wants_results:
            raise StateError(step, "none were asked for: send the command with results=True")


class ReceivedCommand:
    """A command to run. What the handler returns becomes its RESULT; `emit` sends output before that."""

    def __init__(
        self,
        event: ExecuteReceived,
        received_s: float,
        max_payload: int,
        send_result: Callable[[int, Status, bytes], None],
    ) -> None:
        self._event = event
        self._received_s = received_s
        self._max_payload = max_payload
        self._send_result = send_result
        self._finished = False

    def __repr__(self) -> str:
        return f"<ReceivedCommand {self.seq} of rank {self.sender_rank}: {self.payload[:32]!r}>"

    @property
    def event(self) -> ExecuteReceived:
        """All of it, as it came."""
        return self._event

    @property
    def seq(self) -> int:
        """Its place in the one order of everything (section 1)."""
        return self._event.seq

    @property
    def sender_rank(self) -> int:
        """The rank of who sent it, at dispatch; smaller than `rank`."""
        return self._event.sender_rank

    @property
    def rank(self) -> int:
        """Our own rank at dispatch."""
        return self._event.rank

    @property
    def wants_result(self) -> bool:
        """Whether the sender waits for a result."""
        return self._event.wants_result

    @property
    def payload(self) -> bytes:
        """The command itself."""
        return self._event.payload

    @property
    def text(self) -> str:
        """The payload as UTF-8 text; what is not UTF-8 shows as U+FFFD."""
        return self._event.payload.decode(errors="replace")

    def seconds_left(self) -> float | None:
        """How long the sender still waits, at least 0.0; None for as long as it takes."""
        if not self._event.ttl_ms:
            return None
        return max(0.0, self._received_s + self._event.ttl_ms / 1000 - time.monotonic())

    def emit(self, output: Payload) -> None:
        """Send `output` now, as a partial result; nothing where no result is wanted. More than a frame carries is cut.

        Raises ConnectionLost when the sender can no longer be reached over the connection that the command came by.
        """
        if self._finished:
            raise StateError("sending output", "the command has its final result")
        data = payload_of(output)
        if self.wants_result and data:
            for piece, _ in pieces(data, self._max_payload):
                self._send_result(self.seq, Status.PART, piece)

    def finish(self, status: Status = Status.OK, output: Payload = b"") -> None:
        """Send the final result. Who returns from the handler need not call it. Raises as `emit` does."""
        if self._finished:
            raise StateError("sending a final result", "the command has one already")
        data = payload_of(output)
        self._finished = True
        if self.wants_result:
            for piece, last in pieces(data, self._max_payload):
                self._send_result(self.seq, status if last else Status.PART, piece)

    @property
    def finished(self) -> bool:
        """Whether the final result has been given."""
        return self._finished
