"""The moments at which commands expire: a queue of seqs for each moment, and a heap of the moments.

Commands that ended before are dropped when their turn comes, or when they are most of what is kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Protocol

__all__ = ["Expiries", "Seqs"]

_STALE_PER_CALL = 1024  # seqs of commands that have ended, dropped at once


class Seqs(Protocol):
    """The seqs of the commands that still wait."""

    def __contains__(self, seq: int, /) -> bool: ...

    def __len__(self) -> int: ...


class Expiries:
    """Moments in milliseconds by the clock of the entries; `waiting` are the commands that have not ended."""

    __slots__ = ("_moments", "_queues", "_size", "_waiting")

    def __init__(self, waiting: Seqs, items: Iterable[tuple[int, int]] = ()) -> None:
        """`items` are (moment, seq), of equal moments in the order of the seqs."""
        self._waiting = waiting
        self._queues: dict[int, deque[int]] = {}
        self._size = 0
        for moment_ms, seq in items:
            self._queues.setdefault(moment_ms, deque()).append(seq)
            self._size += 1
        self._moments = list(self._queues)
        heapify(self._moments)

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
            heappush(self._moments, moment_ms)
        seqs.append(seq)
        self._size += 1

    def next_ms(self) -> int | None:
        """The moment at which the next command expires; never too late."""
        for _ in range(_STALE_PER_CALL):
            if not self._moments:
                return None
            if self._queues[self._moments[0]][0] in self._waiting:
                break
            self.pop()
        return self._moments[0] if self._moments else None

    def pop(self) -> int:
        """Take out the seq with the earliest moment, the smallest of these."""
        seqs = self._queues[self._moments[0]]
        seq = seqs.popleft()
        self._size -= 1
        if not seqs:
            del self._queues[heappop(self._moments)]
        return seq

    def trimmed(self) -> Expiries:
        """This one; without the commands that have ended if they are most of it."""
        if self._size <= 2 * len(self._waiting) + 64:
            return self
        return Expiries(self._waiting, ((ms, seq) for ms, seq in self if seq in self._waiting))
