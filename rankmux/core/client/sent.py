"""A request that was sent, and its answers: a command with its results and counts, a WHO with its page.

Shared by both drivers, which add the waiting. Nothing here knows a socket, a thread or a clock.
"""

from __future__ import annotations

from collections import deque

from ...errors import CommandRefused, RankmuxError, StateError
from ..wire.codes import RefusedCode
from .events import CommandAccepted, CommandDone, MembersPage, ResultsRouted
from .results import Counts, RoutedResult, gathered

__all__ = ["PageRequest", "Progress", "SentCommand"]

# The memory of a result besides its payload, in CPython; for the bound on unread results.
_RESULT_OVERHEAD_BYTES = 200
_TO_NOBODY = (RefusedCode.NO_TARGET, RefusedCode.ABSENT)


class Progress:
    """The state of one command, and its results that nobody has read yet.

    `forgiving`: that it went to nobody is no error; its `refusal` is noted.
    """

    __slots__ = (
        "__weakref__",
        "absent",
        "done",
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
        self.done: CommandDone | None = None
        self.error: RankmuxError | None = None

    @property
    def dispatched(self) -> bool:
        """Whether the server has dispatched or refused it, or the connection is gone."""
        answered = self.seq is not None or self.refusal is not None
        return answered or self.done is not None or self.error is not None

    @property
    def over(self) -> bool:
        """Whether no more results come: they are complete, or the connection is gone."""
        return self.done is not None or self.error is not None

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
            self.done = CommandDone(self.id, 0, 0, 0, 0, 0)

    def add(self, event: ResultsRouted) -> int:
        """Keep results that came; returns their bytes of memory until they are read."""
        self.results.extend(event.results)
        size = event.size + len(event.results) * _RESULT_OVERHEAD_BYTES
        self.unread_size += size
        return size

    def take(self) -> RoutedResult | None:
        """The oldest unread result; None if there is none."""
        if not self.results:
            return None
        result = self.results.popleft()
        self.unread_size -= len(result.payload) + _RESULT_OVERHEAD_BYTES
        return result

    def take_all(self) -> list[RoutedResult]:
        """All unread results, the oldest first."""
        results = list(self.results)
        self.results.clear()
        self.unread_size = 0
        return results

    def finish(self, event: CommandDone) -> None:
        """All executors have ended."""
        self.done = event

    @property
    def counts(self) -> Counts | None:
        """How the executors ended, once all have."""
        done = self.done
        if done is None:
            return None
        return Counts(done.ok, done.failed, done.rejected, done.expired, done.left, done.cancelled)

    def check_dispatched(self) -> None:
        """Raise CommandRefused or ConnectionLost unless the server has dispatched it."""
        if self.error is not None and self.seq is None:
            raise self.error

    def final_counts(self) -> Counts:
        """The counts of a command that is over; raises ConnectionLost where the connection went before the end."""
        counts = self.counts
        if counts is None:
            assert self.error is not None
            raise self.error
        return counts

    def only_result(self) -> RoutedResult:
        """The result of the one executor of a command that is over; raises the error that came instead."""
        if self.done is None:
            assert self.error is not None
            raise self.error
        return gathered(self.take_all())[0]


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
        end = self.counts or ("not done" if self._progress.wants_results else "no results wanted")
        return f"<Receipt {self.id}: seq {self.seq}, {self.executors} executors, {end}>"

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
