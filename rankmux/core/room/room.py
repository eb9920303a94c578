"""The room: members, gating, results, departures and joins, turn by turn (PROTOCOL sections 4 to 6).

A `Turn` is one entry of the log: what arrived, in the order in which it counts. `apply` is a pure function of the
entries: the same turns give the same room and the same frames on every server that applies them. No I/O, no clock
(times come in with the turn), no randomness.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from ..wire.codes import FRAME_OVERHEAD, Cause
from ..wire.frames import MemberInfo, Members, Pong, Who
from ..wire.layouts import MEMBER, MEMBERS, TYPE_BYTES
from .batch import Batch
from .deliveries import Deliveries
from .dispatch import Observe, dispatch, rank_frames
from .ledger import Ledger
from .ranks import Ranks

__all__ = ["Departed", "Departure", "Join", "Joined", "Outcome", "Room", "Turn"]

_MEMBERS_HEAD_BYTES = TYPE_BYTES + MEMBERS.size  # of a MEMBERS frame's length: all before the first member
_MEMBER_HEAD_BYTES = MEMBER.size + 1  # of one member: all but the texts; 1 is the size of its address


@dataclass(slots=True)
class Join:
    """A HELLO was accepted; `peer` is the handle of the connection."""

    peer: int
    name: str
    address: str


@dataclass(slots=True)
class Departure:
    """The member `ticket` goes."""

    ticket: int
    cause: Cause


@dataclass(slots=True)
class Turn:
    """What is applied at once. `now` in seconds, monotonic; `expired` are seqs whose time is over by then."""

    now: float
    batch: Batch
    expired: list[int] = field(default_factory=list)
    departures: list[Departure] = field(default_factory=list)
    joins: list[Join] = field(default_factory=list)
    queries: list[tuple[int, Who]] = field(default_factory=list)
    pings: list[tuple[int, bytes]] = field(default_factory=list)


@dataclass(slots=True)
class Departed:
    """A member that went: the rank that it had, the handle of its connection."""

    rank: int
    ticket: int
    peer: int
    name: str
    cause: Cause


@dataclass(slots=True)
class Joined:
    """A newcomer's place; `seq` and `members` as of its join."""

    peer: int
    ticket: int
    rank: int
    seq: int
    name: str


@dataclass(slots=True)
class Outcome:
    """What a turn came to. `peers` and `tickets` are by the ranks at its start, as `deliveries` counts them."""

    deliveries: Deliveries
    tickets: array[int]
    peers: array[int]
    departed: list[Departed]
    joined: list[Joined]
    full: list[Join]
    refused: list[tuple[int, int]]
    commands: int
    dropped_results: int
    settled: int


class Room:
    """At most `seats` members.

    `waiting_max` commands of one sender may wait for results, for `result_ttl_ms` if they do not say how long, and in
    all `waiting_total_max` results may be waited for.
    """

    __slots__ = (
        "_deadlines",
        "_ledger",
        "_max_payload",
        "_next_ticket",
        "_result_ttl_ms",
        "_waiting_max",
        "_waiting_total_max",
        "ranks",
        "seats",
        "seq",
    )

    def __init__(
        self,
        seats: int,
        max_payload: int,
        waiting_max: int,
        result_ttl_ms: int,
        waiting_total_max: int = 4_194_304,
    ) -> None:
        self.seats = seats
        self.seq = 0
        self.ranks = Ranks()
        self._ledger = Ledger()
        self._max_payload = max_payload
        self._waiting_max = waiting_max
        self._waiting_total_max = waiting_total_max
        self._result_ttl_ms = result_ttl_ms
        self._next_ticket = 1
        self._deadlines: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self.ranks)

    @property
    def waiting(self) -> int:
        """How many commands wait for results."""
        return len(self._ledger)

    def next_deadline(self) -> float | None:
        """When the next command that waits for results expires, if any."""
        while self._deadlines and self._deadlines[0][1] not in self._ledger:
            heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def due(self, now: float) -> list[int]:
        """The seqs whose time is over at `now`, each given once: they belong into the next turn."""
        seqs = []
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            seqs.append(heappop(self._deadlines)[1])
        return seqs

    def apply(self, turn: Turn, observe: Observe | None = None) -> Outcome:
        """Apply `turn`: results and expiries, then commands, then departures, then joins; answers come last."""
        ranks, ledger = self.ranks, self._ledger
        deliveries = Deliveries()
        tickets, peers = ranks.tickets, ranks.peers
        dropped = ledger.settle(turn.batch, tickets, ranks.loads, deliveries.routed)
        for seq in turn.expired:
            ledger.expire(seq, tickets, ranks.loads, deliveries.routed)
        first_seq = self.seq
        self.seq, opened, refused = dispatch(
            turn.batch,
            tickets,
            ranks.loads,
            ledger,
            deliveries,
            first_seq,
            self._waiting_max,
            self._waiting_total_max,
            self._result_ttl_ms,
            observe,
        )
        commands = self.seq - first_seq
        for seq, ttl_ms in opened:
            heappush(self._deadlines, (turn.now + ttl_ms / 1000, seq))
        if (
            len(self._deadlines) > 2 * len(ledger) + 64
        ):  # most have been answered: do not keep them till they expire
            self._deadlines = [deadline for deadline in self._deadlines if deadline[1] in ledger]
            heapify(self._deadlines)
        if turn.departures or turn.joins:
            tickets, peers = tickets[:], peers[:]
        departed = self._depart(turn.departures, deliveries) if turn.departures else []
        settled = ledger.finish(deliveries.done)
        joined, full = self._join(turn.joins)
        for ticket, who in turn.queries:
            deliveries.answer(deliveries.members, ticket, self._page(who).encode())
        for ticket, payload in turn.pings:
            deliveries.answer(deliveries.pongs, ticket, Pong(payload).encode())
        return Outcome(
            deliveries, tickets, peers, departed, joined, full, refused, commands, dropped, settled
        )

    def clear(self) -> None:
        """All members are gone, and nothing waits. Tickets and the sequence go on where they were."""
        self.ranks.clear()
        self._ledger = Ledger()
        self._deadlines.clear()

    def _depart(self, departures: list[Departure], deliveries: Deliveries) -> list[Departed]:
        """Take all departures out in one sweep. They are numbered in the order of their ranks."""
        ranks, ledger = self.ranks, self._ledger
        departed = []
        for departure in sorted(departures, key=lambda departure: departure.ticket):
            rank = ranks.rank_of(departure.ticket)
            departed.append(
                Departed(rank, departure.ticket, ranks.peers[rank], ranks.names[rank], departure.cause)
            )
        for gone in departed:
            ledger.forget(gone.ticket, ranks.tickets, ranks.loads)
        owing = [gone.ticket for gone in departed if ranks.loads[gone.rank]]
        if owing:
            ledger.leave(owing, deliveries.routed)
        vacant = deliveries.departed = [gone.rank for gone in departed]
        seq = self.seq + len(departed)
        causes = [gone.cause for gone in departed]
        deliveries.rank_frames = rank_frames(vacant, causes, len(ranks) - len(vacant), seq)
        ranks.remove(vacant)
        self.seq = seq
        return departed

    def _join(self, joins: list[Join]) -> tuple[list[Joined], list[Join]]:
        joined, full = [], []
        for join in joins:
            if len(self.ranks) >= self.seats:
                full.append(join)
                continue
            ticket, self._next_ticket = self._next_ticket, self._next_ticket + 1
            self.seq += 1
            rank = self.ranks.append(ticket, join.peer, join.name, join.address)
            joined.append(Joined(join.peer, ticket, rank, self.seq, join.name))
        return joined, full

    def _page(self, who: Who) -> Members:
        """As many of the members asked for as fit into a frame; at least one if there is one."""
        ranks = self.ranks
        room = self._max_payload + FRAME_OVERHEAD - _MEMBERS_HEAD_BYTES
        page: list[MemberInfo] = []
        for rank in range(
            who.first_rank, min(who.first_rank + who.count, len(ranks), who.first_rank + 0xFFFF)
        ):
            name, address = ranks.names[rank], ranks.addresses[rank]
            size = _MEMBER_HEAD_BYTES + len(name.encode()) + len(address.encode())
            if size > room:
                if page:
                    break
                name, address = "", ""  # a max_payload of a few bytes: the rank at least
            room -= size
            page.append(MemberInfo(rank, ranks.tickets[rank], ranks.loads[rank], name, address))
        return Members(who.id, self.seq, len(ranks), tuple(page))
