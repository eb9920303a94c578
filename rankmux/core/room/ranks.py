"""The ranks: parallel columns in rank order, compacted in one sweep when members depart (PROTOCOL section 1).

Tickets only grow and a newcomer always comes last, so the column of tickets is sorted: joining is appending, the rank
of a ticket is a bisection, the juniors of rank r are the slice behind r. No member stores its rank, so none goes stale.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise

from ...errors import StateError

__all__ = ["Ranks", "has_seat"]


def has_seat(tickets: Sequence[int], ticket: int) -> bool:
    """Whether `ticket` is among the rising `tickets`."""
    at = bisect_left(tickets, ticket)
    return at < len(tickets) and tickets[at] == ticket


class Ranks:
    """Who holds which rank: `tickets[r]`, `handles[r]`, `loads[r]`, `names[r]`, `addresses[r]` belong to rank r.

    `tickets` are u64, `handles` the int handles of the connections (the room never looks into them), `loads` u32: how
    many commands with results wanted a member has not answered for good (PROTOCOL section 5).
    """

    __slots__ = ("addresses", "handles", "loads", "names", "tickets")

    def __init__(self) -> None:
        self.tickets = array("Q")
        self.handles = array("i")
        self.loads = array("I")
        self.names: list[str] = []
        self.addresses: list[str] = []

    def __len__(self) -> int:
        return len(self.tickets)

    def append(self, ticket: int, handle: int, name: str, address: str) -> int:
        """Give `ticket` the last rank and return it. Raises StateError when the ticket is not the largest so far."""
        return self.extend(ticket, [handle], [name], [address])

    def extend(self, ticket: int, handles: list[int], names: list[str], addresses: list[str]) -> int:
        """Give the last ranks to members with `ticket` and the tickets behind it; returns the first of the ranks.

        Raises StateError when the ticket is not the largest so far.
        """
        if self.tickets and ticket <= self.tickets[-1]:
            raise StateError(f"joining with ticket {ticket}", f"ticket {self.tickets[-1]} holds a rank")
        first, count = len(self.tickets), len(handles)
        self.tickets.extend(range(ticket, ticket + count))
        self.handles.extend(handles)
        self.loads.frombytes(bytes(count * self.loads.itemsize))
        self.names += names
        self.addresses += addresses
        return first

    def rank_of(self, ticket: int) -> int:
        """The rank of `ticket`; KeyError when it holds none."""
        rank = bisect_left(self.tickets, ticket)
        if rank == len(self.tickets) or self.tickets[rank] != ticket:
            raise KeyError(ticket)
        return rank

    def unplug(self, ticket: int) -> None:
        """The member `ticket`, if it holds a rank, has no connection here any more."""
        if has_seat(self.tickets, ticket):
            self.handles[self.rank_of(ticket)] = -1

    def clear(self) -> None:
        """Take out all members."""
        for column in (self.tickets, self.handles, self.loads, self.names, self.addresses):
            del column[:]

    def remove(self, ranks: Iterable[int]) -> None:
        """Take out the members at `ranks` (ascending, each once), in one sweep however many they are."""
        gone = list(ranks)
        if not gone:
            return
        size = len(self.tickets)
        if gone[-1] >= size or gone[0] < 0 or any(a >= b for a, b in pairwise(gone)):
            raise StateError(f"removing the ranks {gone[:8]}", f"there are {size} members")
        runs = []  # (where it goes, where it starts, where it ends): the survivors between two departures
        write = gone[0]
        for rank, following in zip(gone, [*gone[1:], size], strict=True):
            if rank + 1 < following:
                runs.append((write, rank + 1, following))
                write += following - rank - 1
        for column in (self.tickets, self.handles, self.loads, self.names, self.addresses):
            for to, start, end in runs:
                column[to : to + end - start] = column[start:end]  # type: ignore[assignment]
            del column[write:]
