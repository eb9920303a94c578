"""Measures of a server's place in a room that several servers share, for those who watch it."""

from __future__ import annotations

from collections import Counter

from ...core.cluster.fold import Fold, Ruling
from .log import Log
from .snapshots import Snapshots
from .writer import Writer

__all__ = ["Measures"]


class Measures:
    """Counters since the start, and times in seconds.

    `entries`      read, by what became of them
    `window_full`  turns in which nothing could be written, since too much was under way
    `fences`       times that all members were dropped
    """

    def __init__(self, fold: Fold, log: Log, writer: Writer, snapshots: Snapshots) -> None:
        self.entries: Counter[Ruling] = Counter()
        self.window_full = 0
        self.fences = 0
        self._took_max_s = 0.0
        self._fold = fold
        self._log = log
        self._writer = writer
        self._snapshots = snapshots

    @property
    def behind(self) -> int:
        """How many entries are known to be in the log and have not been read."""
        return max(0, self._log.newest - self._fold.seq)

    @property
    def snapshot_seq(self) -> int:
        """The entry of the newest snapshot that this server has stored, or began with."""
        return self._snapshots.kept

    @property
    def under_way(self) -> int:
        """How many own entries have not been read back."""
        return len(self._writer.window)

    def waits_s(self, now: float) -> float:
        """How long the oldest of them has been under way, in seconds."""
        return max(0.0, now - self._writer.window.since)

    @property
    def resent(self) -> int:
        """How many own entries were sent again."""
        return self._writer.resent

    @property
    def log_restarts(self) -> int:
        """How often what carries the log had to be started again."""
        return self._log.restarts

    def read(self, ruling: Ruling) -> None:
        """An entry was read."""
        self.entries[ruling] += 1

    def took(self, seconds: float) -> None:
        """An own entry was read back, that long after it was written."""
        self._took_max_s = max(self._took_max_s, seconds)

    def take_longest(self) -> float:
        """The longest of these times since the last call."""
        longest, self._took_max_s = self._took_max_s, 0.0
        return longest
