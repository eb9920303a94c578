"""A request that was sent, and its answers: a command with its results and counts, a WHO with its page.

Shared by both drivers, which add the waiting. Nothing here knows a socket, a thread or a clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from ...errors import CommandRefused, RankmuxError, StateError
from ..wire.codes import RefusedCode, Status
from .events import CommandAccepted, CommandDone, MembersPage, ResultRouted

__all__ = ["Counts", "PageRequest", "Progress", "RoutedResult", "SentCommand", "gathered"]

# The memory of a result besides its payload, in CPython; for the bound on unread results.
_RESULT_OVERHEAD_BYTES = 200
_TO_NOBODY = (RefusedCode.NO_TARGET, RefusedCode.ABSENT)


@dataclass(frozen=True, slots=True)
class RoutedResult:
    """A result of one executor (section 6): `rank` is its rank at dispatch, `ticket` its identity (section 1)."""

    rank: int
    ticket: int
    status: Status
    payload: bytes

    @property
    def final(self) -> bool:
        """Whether the executor has ended with it; more follows a PART."""
        return self.status is not Status.PART

    @property
    def text(self) -> str:
        """The payload as UTF-8 text; bytes that are not UTF-8 show as U+FFFD."""
        return self.payload.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Counts:
    """How many executors ended in which way (section 6); they add up to the command's executors."""

    ok: int
    failed: int
    rejected: int
    expired: int
    left: int
    cancelled: int = 0

    @property
    def total(self) -> int:
        """The number of executors."""
        return self.ok + self.failed + self.rejected + self.expired + self.left + self.cancelled


class Progress:
    """The state of one command, and its results that nobody has read yet.

    `forgiving`: that it went to nobody is no error; its `refusal` is noted.
    """

    __slots__ = (
        "__weakref__",
        "absent",
        "counts",
        "error",
        "executors",
        "forgiving",
        "id",
        "refusal",
        "rejected",
        "results",
        "seq",
        "unread_size",
        "wants_results",
    )

    def __init__(self, id_: int, wants_results: bool, forgiving: bool = False) -> None:
        self.id = id_
        self.wants_results = wants_results
        self.forgiving = forgiving
        self.seq: int | None = None
        self.executors: int | None = None
        self.rejected: int | None = None
        self.absent: int | None = None
        self.refusal: CommandRefused | None = None
        self.results: deque[RoutedResult] = deque()
        self.unread_size = 0
        self.counts: Counts | None = None
        self.error: RankmuxError | None = None

    @property
    def dispatched(self) -> bool:
        """Whether the server has dispatched or refused it, or the connection is gone."""
        answered = self.seq is not None or self.refusal is not None
        return answered or self.counts is not None or self.error is not None

    @property
    def over(self) -> bool:
        """Whether no more results come: they are complete, or the connection is gone."""
        return self.counts is not None or self.error is not None

    def accept(self, event: CommandAccepted) -> None:
        """The server has dispatched it."""
        self.seq, self.executors = event.seq, event.executors
        self.rejected, self.absent = event.rejected, event.absent

    def refuse(self, refusal: CommandRefused) -> None:
        """It was refused; there was nobody to refuse it for where it was looked up here and no name matched."""
        self.refusal = refusal
        if not (self.forgiving and refusal.code in _TO_NOBODY):
            self.error = refusal
            return
        self.executors = 0
        if self.wants_results:
            self.counts = Counts(0, 0, 0, 0, 0)

    def add(self, event: ResultRouted) -> int:
        """Keep a result that came; returns its bytes of memory until it is read."""
        self.results.append(RoutedResult(event.rank, event.ticket, event.status, event.payload))
        size = len(event.payload) + _RESULT_OVERHEAD_BYTES
        self.unread_size += size
        return size

    def take(self) -> RoutedResult | None:
        """The oldest unread result; None if there is none."""
        if not self.results:
            return None
        result = self.results.popleft()
        self.unread_size -= len(result.payload) + _RESULT_OVERHEAD_BYTES
        return result

    def finish(self, event: CommandDone) -> None:
        """All executors have ended."""
        self.counts = Counts(
            event.ok, event.failed, event.rejected, event.expired, event.left, event.cancelled
        )

    def check_dispatched(self) -> None:
        """Raise CommandRefused or ConnectionLost unless the server has dispatched it."""
        if self.error is not None and self.seq is None:
            raise self.error

    def final_counts(self) -> Counts:
        """The counts of a command that is over; raises ConnectionLost where the connection went before the end."""
        if self.counts is None:
            assert self.error is not None
            raise self.error
        return self.counts


class PageRequest:
    """One WHO under way: its page once it has come, or the error that came instead."""

    __slots__ = ("__weakref__", "error", "id", "page")

    def __init__(self, id_: int) -> None:
        self.id = id_
        self.page: MembersPage | None = None
        self.error: RankmuxError | None = None

    @property
    def over(self) -> bool:
        """Whether the page has come, or cannot come any more."""
        return self.page is not None or self.error is not None

    def result(self) -> MembersPage:
        """The page of a request that is over; raises ConnectionLost where the connection went first."""
        if self.page is None:
            assert self.error is not None
            raise self.error
        return self.page


class SentCommand:
    """A command that was sent, and the server's answer. The receipts of both drivers add the waiting."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __repr__(self) -> str:
        return f"<Receipt {self.id}: seq {self.seq}, {self.executors} executors, {self.counts or 'not done'}>"

    @property
    def id(self) -> int:
        """The command's number on this connection."""
        return self._progress.id

    @property
    def seq(self) -> int | None:
        """The command's place in the server's order (section 1); None for a quiet one, or one that went to nobody."""
        return self._progress.seq

    @property
    def executors(self) -> int | None:
        """The number of members it went to; None for a quiet one that is not done."""
        counts = self._progress.counts
        return self._progress.executors if counts is None else counts.total

    @property
    def rejected(self) -> int | None:
        """The number of targeted members that outrank this client and do not get it; None for a quiet one."""
        return self._progress.rejected

    @property
    def absent(self) -> int | None:
        """The number of targeted members that were passed over as they are absent, or gone; None for a quiet one."""
        return self._progress.absent

    @property
    def refusal(self) -> CommandRefused | None:
        """The server's refusal, where a broadcast went to nobody: NO_TARGET or ABSENT."""
        return self._progress.refusal

    @property
    def counts(self) -> Counts | None:
        """How the executors ended; None until all have, and for a command without results."""
        return self._progress.counts

    def _require_results(self, step: str) -> None:
        if not self._progress.wants_results:
            raise StateError(step, "none were asked for: send the command with results=True")


def gathered(results: Iterable[RoutedResult]) -> list[RoutedResult]:
    """One result for each executor, in rank order: the payloads of its PARTs joined in front of its last."""
    parts: dict[int, list[bytes]] = {}
    ends: list[RoutedResult] = []
    for result in results:
        parts.setdefault(result.ticket, []).append(result.payload)
        if result.final:
            payload = b"".join(parts.pop(result.ticket))
            ends.append(RoutedResult(result.rank, result.ticket, result.status, payload))
    return sorted(ends, key=lambda result: result.rank)
