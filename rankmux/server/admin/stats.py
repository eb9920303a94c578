"""The server's counters, updated once per turn and never per receiver.

Closes by reason, accepted connections and queued bytes are counted elsewhere. No I/O, no clock, no presentation.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Mapping
from itertools import islice
from operator import add, attrgetter, itemgetter
from typing import NamedTuple

from ...core.room.ranks import Ranks, has_seat
from ...core.room.turn import Outcome
from ...core.wire.codes import Cause
from ...core.wire.layouts import DONE_FRAME

__all__ = ["BOUNDS_S", "EVENTS_MAX", "Histogram", "RoomEvent", "Stats"]

BOUNDS_S = (50e-6, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""The upper bounds of a histogram's buckets, in seconds."""
EVENTS_MAX = 256
"""The number of recent joins, departures and promotions kept."""

_STATUSES = ("ok", "failed", "rejected", "expired", "left", "cancelled")


class Histogram:
    """A histogram of durations with their `sum`. The last bucket counts durations beyond all bounds."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Add a duration."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum += seconds


class RoomEvent(NamedTuple):
    """A change of the room.

    `number`: counts changes from 1.
    `what`: joined, left, yielded, absent, back or promoted; after yielded comes joined, with the new ticket.
    `rank`: the rank taken or given up; for a promotion, the highest rank from which members moved up.
    `name`: of the member; for a promotion, of the new rank 0, if it changed.
    `moved`: the number of members that moved up.
    """

    number: int
    at: float
    what: str
    rank: int
    ticket: int
    name: str
    cause: str
    moved: int


def _promoted(outcome: Outcome) -> int:
    """How many members moved up in a turn: those below the first that departed, but for others that did."""
    departed = outcome.departed
    return max(0, len(outcome.tickets) - len(departed) - departed[0].rank)


class Stats:
    """Totals since the start.

    `turns`: how long turns take.
    `lag`: how late the loop is for its deadlines.
    `results`: executors by status, counted when their command is done; only while `watched`.
    `recent`: the last changes of the room; only while `watched`.
    """

    __slots__ = (
        "_paced",
        "_since",
        "commands",
        "deliveries",
        "done",
        "dropped_results",
        "happened",
        "joins",
        "lag",
        "paced_s",
        "promotions",
        "recent",
        "refused",
        "results",
        "returns",
        "turns",
        "watched",
        "yields",
    )

    def __init__(self, watched: bool = False) -> None:
        self.watched = watched
        self.joins = 0
        self.returns = 0
        self.yields = 0
        self.promotions = 0
        self.commands = 0
        self.deliveries = 0
        self.done = 0
        self.dropped_results = 0
        self.refused: Counter[int] = Counter()
        self.results = dict.fromkeys(_STATUSES, 0)
        self.paced_s = 0.0
        self.turns = Histogram()
        self.lag = Histogram()
        self.happened = 0
        self.recent: deque[RoomEvent] = deque(maxlen=EVENTS_MAX)
        self._paced = 0
        self._since = 0.0

    def count(self, outcome: Outcome, ranks: Ranks, now: float) -> None:
        """Count the outcome of a turn; `ranks` are those after it."""
        self.commands += outcome.commands
        self.deliveries += outcome.deliveries.executions
        self.dropped_results += outcome.dropped_results
        self.done += outcome.settled
        if outcome.joined:
            returned = len([one for one in outcome.joined if one.returned])
            self.joins += len(outcome.joined) - returned
            self.returns += returned
        self.yields += len(outcome.yielded)
        if outcome.departed:
            self.promotions += _promoted(outcome)
        if outcome.refused:
            self.refused.update(map(itemgetter(1), outcome.refused))
        if not self.watched:
            return
        if outcome.settled:
            self._count_results(outcome.deliveries.done)
        if outcome.departed or outcome.joined or outcome.absent:
            self._remember(outcome, ranks, now)

    def turn(self, began: float, ended: float, paced: int) -> None:
        """Count a turn; `paced` senders are held back until the end of the next one."""
        self.turns.add(ended - began)
        self.paced_s += self._paced * (ended - self._since)
        self._paced, self._since = paced, ended

    def since(self, number: int) -> list[RoomEvent]:
        """The changes after `number` that are still kept, in order."""
        fresh = min(len(self.recent), max(0, self.happened - number))
        return list(islice(self.recent, len(self.recent) - fresh, None))

    def _count_results(self, done: Mapping[int, bytes | bytearray]) -> None:
        ended = [0] * len(_STATUSES)
        for frames in done.values():
            for _length, _type, _id, *counts in DONE_FRAME.iter_unpack(frames):
                ended = list(map(add, ended, counts))
        for status, count in zip(_STATUSES, ended, strict=True):
            self.results[status] += count

    def _remember(self, outcome: Outcome, ranks: Ranks, now: float) -> None:
        departed, joined = outcome.departed, outcome.joined
        self.happened += max(0, len(departed) - EVENTS_MAX)  # these would fall out of `recent` at once
        for gone in departed[-EVENTS_MAX:]:
            what = "yielded" if gone.cause == Cause.YIELDED else "left"
            self._add(now, what, gone.rank, gone.ticket, gone.name, gone.cause.name.lower(), 0)
        if departed:
            first, moved = departed[0].rank, _promoted(outcome)
            if moved:
                ticket, name = (ranks.tickets[0], ranks.names[0]) if not first else (0, "")
                self._add(now, "promoted", first, ticket, name, "", moved)
        for ticket in outcome.absent[-EVENTS_MAX:]:
            if has_seat(ranks.tickets, ticket):
                rank = ranks.rank_of(ticket)
                self._add(now, "absent", rank, ticket, ranks.names[rank], "", 0)
        places = [*joined, *(place for _, place in outcome.yielded)]
        places.sort(key=attrgetter("seq"))
        self.happened += max(0, len(places) - EVENTS_MAX)
        for one in places[-EVENTS_MAX:]:
            self._add(now, "back" if one.returned else "joined", one.rank, one.ticket, one.name, "", 0)

    def _add(self, now: float, what: str, rank: int, ticket: int, name: str, cause: str, moved: int) -> None:
        self.happened += 1
        self.recent.append(RoomEvent(self.happened, now, what, rank, ticket, name, cause, moved))
