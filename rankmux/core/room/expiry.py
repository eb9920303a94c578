"""The moments at which commands expire: a queue of seqs for each moment, and a heap of the moments.

Commands that ended before are dropped when their turn comes, or when they are most of what is kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Protocol

__all__ = ["Expiries", "Seqs", "over_ms"]

_STALE_PER_CALL = 1024  # seqs of commands that have ended, dropped at once
_LOOKED_PER_CALL = 8192  # seqs looked at in a sweep for such commands


def over_ms(clock_ms: int, lasts_ms: int) -> int:
    """The clock of the first entry behind what began in an entry at `clock_ms` and lasts so long.

    The clock is rounded down: it may have begun almost a millisecond later, and must not be over too early.
    """
    return clock_ms + lasts_ms + 1


class Seqs(Protocol):
    """The seqs of the commands that still wait."""

    def __contains__(self, seq: int, /) -> bool: ...

    def __len__(self) -> int: ...


class Expiries:
    """Moments in milliseconds by the clock of the entries; `waiting` are the commands that have not ended.

    `moments` is a heap of them all: empty, nothing can expire.
    """

    __slots__ = ("_queues", "_size", "_sweep", "_swept", "_waiting", "moments")

    def __init__(self, waiting: Seqs, items: Iterable[tuple[int, int]] = ()) -> None:
        """`items` are (moment, seq), of equal moments in the order of the seqs."""
        self._waiting = waiting
        self._queues: dict[int, deque[int]] = {}
        self._size = 0
        self._sweep: list[int] = []  # the moments that a sweep has still to look at, the last one next
        self._swept = 0  # how many of the last one's seqs it has kept
        for moment_ms, seq in items:
            self._queues.setdefault(moment_ms, deque()).append(seq)
            self._size += 1
        self.moments = list(self._queues)
        heapify(self.moments)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """All (moment, seq)."""
        return ((moment_ms, seq) for moment_ms, seqs in self._queues.items() for seq in seqs)

    def add(self, moment_ms: int, seq: int) -> None:
        """The command `seq`, the latest so far, expires at that moment."""
        seqs = self._queues.get(moment_ms)
        if seqs is None:
            seqs = self._queues[moment_ms] = deque()
            heappush(self.moments, moment_ms)
        seqs.append(seq)
        self._size += 1

    def next_ms(self) -> int | None:
        """The moment at which the next command expires; never too late."""
        for _ in range(_STALE_PER_CALL):
            if not self.moments:
                return None
            seqs = self._queues[self.moments[0]]
            if seqs and seqs[0] in self._waiting:
                break
            before = len(seqs)  # 0 when a sweep emptied it
            if before:
                seqs.popleft()
            self.taken(before - len(seqs))
        return self.moments[0] if self.moments else None

    def due(self, clock_ms: int) -> deque[int] | None:
        """The seqs of the earliest moment, in order, if it has come; what is taken from the left is to be `taken`."""
        deadline_ms = self.next_ms()
        if deadline_ms is None or deadline_ms > clock_ms:
            return None
        return self._queues[deadline_ms]

    def taken(self, count: int) -> None:
        """That many seqs were taken out of the queue of the earliest moment."""
        self._size -= count
        if not self._queues[self.moments[0]]:
            del self._queues[heappop(self.moments)]

    def trim(self) -> None:
        """Drop the commands that have ended if they are most of what is kept; a call looks at a bounded number."""
        if not self._sweep:
            if self._size <= 2 * len(self._waiting) + 64:
                return
            self._sweep, self._swept = list(self._queues), 0
        left = _LOOKED_PER_CALL
        while self._sweep and left > 0:
            seqs = self._queues.get(self._sweep[-1])
            count = min(left, len(seqs) - self._swept) if seqs else 0
            if seqs and count > 0:
                self._look(seqs, count)
                left -= count
            else:
                self._sweep.pop()
                self._swept = 0
                left -= 1
        if not self._sweep:
            self._queues = {moment_ms: seqs for moment_ms, seqs in self._queues.items() if seqs}
            self.moments = list(self._queues)
            heapify(self.moments)

    def _look(self, seqs: deque[int], count: int) -> None:
        """Look at the next `count` of the queue that is swept; their order stays."""
        seqs.rotate(-self._swept)
        kept = [seq for seq in [seqs.popleft() for _ in range(count)] if seq in self._waiting]
        seqs.extendleft(reversed(kept))
        seqs.rotate(self._swept)
        self._swept += len(kept)
        self._size -= count - len(kept)
