"""The members in an order, all of them or those that a text is found in, as of one moment, and built in slices.

A turn pays for one slice only. Text from peers is not escaped here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...core.room.expiry import over_ms
from ...core.room.room import Room
from ..connections.registry import Connections

__all__ = ["COUNT_MAX", "SLICE", "SORTS", "Listing", "Row", "Wish"]

COUNT_MAX = 1000
"""The maximum number of members in one answer."""
SLICE = 100
"""The number of members built in one step."""
SORTS = ("rank", "load", "queue", "age", "activity")
"""The orders of members: load and queue, highest first; age and activity, latest first; then by rank."""

_LOOKED_AT = 2000  # members whose name and address are looked at in one step

Row = dict[str, Any]


class Wish:
    """What is asked for: `count` members from `first` on.

    `find`: of those whose name or address contains it, whatever its case, or whose rank or ticket it is.
    `reverse`: from the other end.
    """

    __slots__ = ("count", "find", "first", "reverse", "sort")

    def __init__(
        self, first: int, count: int, sort: str = "rank", find: str = "", *, reverse: bool = False
    ) -> None:
        self.first = first
        self.count = min(count, COUNT_MAX)
        self.sort = sort
        self.find = find.casefold()
        self.reverse = reverse

    @property
    def key(self) -> tuple[int, int, str, str, bool]:
        """Equal for equal wishes."""
        return self.first, self.count, self.sort, self.find, self.reverse


class Listing:
    """The rows, in slices of SLICE, as of the first step. `found`: how many there are in all, known at the end."""

    def __init__(self, room: Room, connections: Connections, now: float, wish: Wish) -> None:
        self._room = room
        self._connections = connections
        self._now = now
        self._wish = wish
        self.found = 0

    def __iter__(self) -> Iterator[list[Row]]:
        ranks, connections, wish = self._room.ranks, self._connections, self._wish
        order = self._order()
        if wish.reverse:
            order = order[::-1]
        if wish.find:
            # Ranks may change from step to step, so all that is looked at has to be of this moment.
            tickets, names, addresses, loads = (
                list(ranks.tickets),
                list(ranks.names),
                list(ranks.addresses),
                list(ranks.loads),
            )
            found: list[int] = []
            for start in range(0, len(order), _LOOKED_AT):
                if start:
                    yield []
                some = order[start : start + _LOOKED_AT]
                found += [
                    rank for rank in some if self._matches(rank, tickets[rank], names[rank], addresses[rank])
                ]
            order = found
        else:
            tickets, names, addresses, loads = ranks.tickets, ranks.names, ranks.addresses, ranks.loads  # type: ignore[assignment]
        self.found = len(order)
        seats = connections.seats
        taken = [
            (rank, tickets[rank], loads[rank], names[rank], addresses[rank], seats.get(tickets[rank]))
            for rank in order[wish.first : wish.first + wish.count]
        ]
        away = {ticket: self._away(ticket) for _, ticket, *_ in taken}
        for start in range(0, len(taken), SLICE):
            yield [self._row(*one, away[one[1]]) for one in taken[start : start + SLICE]]

    def _matches(self, rank: int, ticket: int, name: str, address: str) -> bool:
        find = self._wish.find
        return find in name.casefold() or find in address.casefold() or find in (str(rank), str(ticket))

    def _row(
        self,
        rank: int,
        ticket: int,
        load: int,
        name: str,
        address: str,
        conn: Any,
        away: tuple[float, float] | None,
    ) -> Row:
        connections, now = self._connections, self._now
        here = conn is not None and ticket in connections.seats  # a later slice may find it gone
        queue = connections.outbox.queues.get(ticket) if here else None
        row: Row = {"rank": rank, "ticket": ticket, "name": name, "address": address, "load": load}
        row["state"] = "present" if away is None else "absent"
        row["absent_s"], row["kept_s"] = away or (0.0, 0.0)
        row["age_s"] = round(now - conn.opened_at, 3) if conn is not None else 0.0
        row["idle_s"] = round(max(0.0, now - connections.descriptors.heard[conn.fd]), 3) if here else 0.0
        row["queued_bytes"] = queue.size if queue is not None else 0
        row["paced"] = conn is not None and conn.paced
        return row

    def _away(self, ticket: int) -> tuple[float, float] | None:
        """For how long the member has been absent, and for how much longer its seat is kept; None when present."""
        keep = self._room.line.kept.get(ticket)
        if keep is None or keep.until_ms is None:
            return None
        absent_s = self._now - (keep.until_ms - over_ms(0, keep.keep_ms)) / 1000
        return round(max(0.0, absent_s), 3), round(max(0.0, keep.keep_ms / 1000 - absent_s), 3)

    def _order(self) -> Sequence[int]:
        """The ranks of all members in the order asked for."""
        ranks, connections, now, sort = self._room.ranks, self._connections, self._now, self._wish.sort
        everybody = range(len(ranks))
        if sort == "rank":
            return everybody
        if sort == "load":
            return sorted(everybody, key=ranks.loads.__getitem__, reverse=True)
        if sort == "queue":
            queues = connections.outbox.queues
            sizes = [queues[ticket].size if ticket in queues else 0 for ticket in ranks.tickets]
            return sorted(everybody, key=sizes.__getitem__, reverse=True)
        conns = [connections.seats.get(ticket) for ticket in ranks.tickets]
        if sort == "activity":
            heard = connections.descriptors.heard
            times = [now if conn is None else heard[conn.fd] for conn in conns]
        else:
            times = [now if conn is None else conn.opened_at for conn in conns]
        return sorted(everybody, key=times.__getitem__, reverse=True)
