"""The writer of one server: its entries, numbered, on their way into the log until they are read back."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from ...core.cluster.entries import Entry, Genesis, Kind
from ...core.cluster.fold import Fold
from ...core.cluster.window import Window, Written
from .log import Log

__all__ = ["Writer"]


class Writer:
    """Writes to `log` as one incarnation after the other.

    `resent`  own entries that were sent again
    """

    def __init__(self, fold: Fold, log: Log, random: Callable[[int], int] = secrets.randbits) -> None:
        self.window = Window()
        self.written_at = float("-inf")
        self.resent = 0
        self._fold = fold
        self._log = log
        self._random = random
        self._offset_ms: int | None = None  # from our clock to the room's
        self.begin_anew()

    def begin_anew(self) -> None:
        """Another incarnation begins; nothing that was written before is wanted any more."""
        self.incarnation = self._random(63)
        self.n = 0
        self.window.clear()

    def write(self, kind: Kind, body: bytes, now: float) -> None:
        """Write the next entry, and keep it until it is read back."""
        self.n += 1
        data = self._entry(kind, self.n, body, now).pack()
        self.written_at = now
        self.window.add(Written(self.n, data, now))
        self._log.append(data)

    def write_genesis(self, first_ticket: int, now: float) -> None:
        """Begin the room, unless another server is first."""
        genesis = Genesis(self._random(64), first_ticket, self._fold.rules)
        self.written_at = now
        self._log.append(self._entry(Kind.GENESIS, 0, genesis.pack(), now).pack(), first=True)

    def _entry(self, kind: Kind, n: int, body: bytes, now: float) -> Entry:
        fold = self._fold
        clock_ms = self.clock_ms(now)
        return Entry(kind, fold.version, self.incarnation, n, clock_ms, fold.seq, fold.chain, body)

    def send_again(self, now: float, *, gap: bool = False) -> None:
        """Send everything that is under way once more, if nothing moves, or if one was missed on the way."""
        for data in self.window.again(now, gap=gap):
            self.resent += 1
            self._log.append(data)

    def send_all_again(self, now: float) -> None:
        """Send everything that is under way once more: the log is another connection now."""
        for data in self.window.all_again(now):
            self.resent += 1
            self._log.append(data)

    def clock_ms(self, now: float) -> int:
        """The room's time now, as we propose it: it goes on where the room's clock has been read."""
        return int(now * 1000) + (self._offset_ms or 0)

    def follow_clock(self, now: float) -> None:
        """The room's clock is ours, moved by as much as it has ever been ahead of it."""
        offset_ms = self._fold.room.clock_ms - int(now * 1000)
        self._offset_ms = offset_ms if self._offset_ms is None else max(self._offset_ms, offset_ms)
