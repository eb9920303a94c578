"""A turn: what goes into the room at once, and what comes out (PROTOCOL section 4).

An `Entry` is the part that every server with the same room applies in the same order: commands and results, departures,
joins, and the clock by which the room decides what is due. The rest of a `Turn` is local: queries and PINGs, which only
the server answers that received them. Members are named by ticket.
"""

from __future__ import annotations

from array import array
from collections.abc import Container
from dataclasses import dataclass, field

from ..._twin import twin
from ..wire.codes import Cause
from ..wire.frames import Who
from .batch import Batch
from .deliveries import Deliveries

__all__ = ["Departed", "Departure", "Entry", "Join", "Joined", "Outcome", "Turn"]


@twin
@dataclass(slots=True)
class Join:
    """A connection whose HELLO was accepted.

    `handle` names the connection; the room never interprets it. -1: the member is connected elsewhere.
    With a `secret` (its SHA-256) it returns to the seat that was taken with it, or takes one that is kept for
    `keep_ms`; `last_seq` is the last EXECUTE that it has received, `identity` stands for the names in its certificate
    (section 9).
    """

    handle: int
    name: str
    address: str
    secret: bytes = b""
    keep_ms: int = 0
    last_seq: int = 0
    identity: str = ""


@dataclass(slots=True)
class Departure:
    """The member `ticket` goes."""

    ticket: int
    cause: Cause


@dataclass(slots=True)
class Entry:
    """The part of a turn that is applied in an order that all servers of a room agree on.

    `clock_ms`  milliseconds of a clock that only grows, rounded down
    `absences`  tickets whose connection was lost, to be kept
    `yields`    (ticket, id of its YIELD) in the order of arrival
    `cancels`   (ticket of a sender, id of its command) in the order of arrival
    `judge`     whether commands that are due at `clock_ms` expire now; not while input that may hold their results is
                still unread
    `slow`      senders, by ticket, with more queued than they should have: they are told of LEFT and EXPIRED later
    """

    clock_ms: int
    batch: Batch
    departures: list[Departure] = field(default_factory=list)
    joins: list[Join] = field(default_factory=list)
    cancels: list[tuple[int, int]] = field(default_factory=list)
    absences: list[int] = field(default_factory=list)
    yields: list[tuple[int, int]] = field(default_factory=list)
    judge: bool = True
    slow: Container[int] = ()

    def __bool__(self) -> bool:
        return bool(len(self.batch) or self.cancels or self.moves())

    def moves(self) -> bool:
        """Whether anybody's place in the line may change."""
        return bool(self.departures or self.absences or self.yields or self.joins)


@dataclass(slots=True)
class Turn:
    """An entry, and what was asked locally: (ticket, query) and (ticket, payload of a PING).

    In the place of a ticket may stand a number from `OBSERVERS` on. `observers` are the handles of connections that
    want to look on. `watched`: somebody here wants CHANGED.
    """

    entry: Entry
    queries: list[tuple[int, Who]] = field(default_factory=list)
    pings: list[tuple[int, bytes]] = field(default_factory=list)
    observers: list[int] = field(default_factory=list)
    watched: bool = False

    def is_asked(self) -> bool:
        """Whether anybody here waits for an answer that is no part of the entry."""
        return bool(self.queries or self.pings or self.observers)


@dataclass(slots=True)
class Departed:
    """A member that went, with the rank that it had."""

    rank: int
    ticket: int
    handle: int
    name: str
    cause: Cause
    address: str


@twin
@dataclass(slots=True)
class Joined:
    """The place of a member that joined, returned or yielded; `seq` is that of the event.

    `members`   how many there were, itself included
    `keep_ms`   for how long its seat is kept
    `returned`  whether it had that seat before
    `baton`     what it is told behind WELCOME or YIELDED: the baton, if it has rank 0
    """

    handle: int
    ticket: int
    rank: int
    seq: int
    name: str
    members: int
    keep_ms: int = 0
    returned: bool = False
    baton: bytes = b""


@dataclass(slots=True)
class Outcome:
    """The effects of a turn.

    `tickets`, `handles`  by rank as of the start of the turn, as `deliveries` counts ranks
    `absent`              tickets whose seats have no connection any more
    `yielded`             (ticket before, place now) of members that yielded
    `barred`              joins that may not return to the seat that they name
    `full`                joins for which no seat was free
    `refused`             (ticket, RefusedCode) of each refused command
    `commands`            commands dispatched
    `dropped_results`     results for which nothing waited, and frames of tickets that hold no seat
    `settled`             commands that got their DONE
    """

    deliveries: Deliveries
    tickets: array[int]
    handles: array[int]
    departed: list[Departed]
    joined: list[Joined]
    absent: list[int]
    yielded: list[tuple[int, Joined]]
    barred: list[Join]
    full: list[Join]
    refused: list[tuple[int, int]]
    commands: int
    dropped_results: int
    settled: int

    def moves(self) -> bool:
        """Whether anybody's place has changed, or was refused."""
        return bool(self.joined or self.departed or self.absent or self.yielded or self.barred or self.full)
