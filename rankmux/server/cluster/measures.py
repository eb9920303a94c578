"""Measures of a server's place in a room that several servers share, for those who watch it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ...core.cluster.fold import Ruling

__all__ = ["Measures"]


@dataclass(slots=True)
class Measures:
    """Counters since the start, and times in seconds.

    `entries`      read, by what became of them
    `window_full`  turns in which nothing could be written, since too much was under way
    `fences`       times that all members were dropped
    `snapshot_at`  when this server wrote its last snapshot, 0 before
    `took_s`       from writing an entry to reading it back: of the last one; `took_max_s` since the last look
    """

    entries: Counter[Ruling] = field(default_factory=Counter)
    window_full: int = 0
    fences: int = 0
    snapshot_at: float = 0.0
    took_s: float = 0.0
    took_max_s: float = 0.0

    def read(self, ruling: Ruling) -> None:
        """An entry was read."""
        self.entries[ruling] += 1

    def took(self, seconds: float) -> None:
        """An own entry was read back."""
        self.took_s = seconds
        self.took_max_s = max(self.took_max_s, seconds)
