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
    """

    entries: Counter[Ruling] = field(default_factory=Counter)
    window_full: int = 0
    fences: int = 0
    took_max_s: float = 0.0

    def read(self, ruling: Ruling) -> None:
        """An entry was read."""
        self.entries[ruling] += 1

    def took(self, seconds: float) -> None:
        """An own entry was read back, that long after it was written."""
        self.took_max_s = max(self.took_max_s, seconds)

    def take_longest(self) -> float:
        """The longest of these times since the last call."""
        longest, self.took_max_s = self.took_max_s, 0.0
        return longest
