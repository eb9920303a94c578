"""What comes back for a command: each result, the counts at the end, and how far one command has come.

Shared by the blocking and the asyncio driver, which add the waiting. Nothing here knows a socket, a thread or a clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from ...errors import CommandRefused, RankmuxError, StateError
from ..wire.codes import Status
from .events import CommandAccepted, CommandDone, RefusalReceived, ResultRouted

__all__ = ["Counts", "Progress", "RoutedResult", "SentCommand", "gathered"]

_RESULT_OVERHEAD_BYTES = (
    200  # what a result costs besides its payload, in CPython; for the bound on unread results
)


@dataclass(frozen=True, slots=True)
class RoutedResult:
    """What an executor gave (section 6): `rank` is its rank at dispatch, `ticket` tells it from all others for good."""

    rank: int
    ticket: int
    status: Status
    payload: bytes

    @property
    def final(self) -> bool:
        """Whether this was the executor's end; more follows a PART."""
        return self.status is not Status.PART

    @property
    def text(self) -> str:
        """The payload as UTF-8 text; what is not UTF-8 shows as U+FFFD."""
        return self.payload.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Counts:
    """How many executors ended in which way (section 6); they add up to the command's executors."""

    ok: int
    failed: int
    rejected: int
    expired: int
    left: int

    @property
    def total(self) -> int:
        """All executors."""
        return self.ok + self.failed + self.rejected + self.expired + self.left


class Progress:
    """How far one command has come, and its results that nobody has read yet."""

    __slots__ = (
        "__weakref__",
        "counts",
        "error",
        "executors",
        "id",
        "rejected",
        "results",
        "seq",
        "unread_size",
        "wants_results",
    )

    def __init__(self, id_: int, wants_results: bool) -> None:
        self.id = id_
        self.wants_results = wants_results
        self.seq: int | None = None
        self.executors: int | None = None
        self.rejected: int | None = None
        self.results: deque[RoutedResult] = deque()
        self.unread_size = 0
        self.counts: Counts | None = None
        self.error: RankmuxError | None = None

    @property
    def dispatched(self) -> bool:
        """Whether the server has said yes or no."""
        return self.seq is not None or self.counts is not None or self.error is not None

    @property
    def over(self) -> bool:
        """Whether no more results come."""
        return self.counts is not None or self.error is not None

    def accepted(self, event: CommandAccepted) -> None:
        """The server dispatched it."""
        self.seq, self.executors, self.rejected = event.seq, event.executors, event.rejected

    def refused(self, event: RefusalReceived) -> None:
        """The server did not dispatch it."""
        self.error = CommandRefused(event.id, event.code, event.text)

    def routed(self, event: ResultRouted) -> int:
        """A result came; how many bytes it takes until it is read."""
        self.results.append(RoutedResult(event.rank, event.ticket, event.status, event.payload))
        size = len(event.payload) + _RESULT_OVERHEAD_BYTES
        self.unread_size += size
        return size

    def take(self) -> RoutedResult | None:
        """The oldest unread result."""
        if not self.results:
            return None
        result = self.results.popleft()
        self.unread_size -= len(result.payload) + _RESULT_OVERHEAD_BYTES
        return result

    def done(self, event: CommandDone) -> None:
        """All executors have ended."""
        self.counts = Counts(event.ok, event.failed, event.rejected, event.expired, event.left)


class SentCommand:
    """A command that was sent, and what the server said of it. The receipts of both drivers add the waiting."""

    def __init__(self, progress: Progress) -> None:
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

    def _must_want_results(self, step: str) -> None:
        if not self._progress.wants_results:
            raise StateError(step, "none were asked for: send the command with results=True")


def gathered(results: Iterable[RoutedResult]) -> list[RoutedResult]:
    """One result for each executor, in rank order: its PARTs joined in front of its end."""
    parts: dict[int, list[bytes]] = {}
    ends: list[RoutedResult] = []
    for result in results:
        parts.setdefault(result.ticket, []).append(result.payload)
        if result.final:
            payload = b"".join(parts.pop(result.ticket))
            ends.append(RoutedResult(result.rank, result.ticket, result.status, payload))
    return sorted(ends, key=lambda result: result.rank)
