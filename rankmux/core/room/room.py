"""The room: members, gating, results, departures and joins, turn by turn (PROTOCOL sections 4 to 6).

`apply` is a pure function of the entries: the same entries give the same room and the same frames on every server that
applies them. No I/O, no clock (times come in with the entry), no randomness.
"""

from __future__ import annotations

from array import array
from collections.abc import Container, Iterable
from operator import itemgetter

from ...errors import SnapshotError
from ..wire.codes import FRAME_OVERHEAD, Cause, Change, FrameType, Presence
from ..wire.fields import frame
from ..wire.frames import Changed, Pong, Stop, Who
from ..wire.layouts import MEMBER, MEMBERS, MEMBERS_LENGTH, ROUTED_FRAME
from .batch import OBSERVERS
from .deliveries import Deliveries
from .dispatch import Observe, dispatch, rank_frames
from .expiry import Expiries
from .ledger import Ledger
from .ranks import Ranks, has_seat
from .snapshot import MemberState, RoomState, WaitingState, pack, unpack
from .turn import Departed, Departure, Entry, Join, Joined, Outcome, Turn

__all__ = ["Room"]

_EXPIRED_PER_TURN = 2048  # results that expire in one turn
_TOLD_PER_TURN = 2048  # LEFT and EXPIRED that go out in one turn
_NONE = array("I")
_CHANGES = {
    Cause.LEFT: Change.LEFT,
    Cause.LOST: Change.LOST,
    Cause.EVICTED: Change.EVICTED,
    Cause.YIELDED: Change.YIELDED,
}


class Room:
    """At most `seats` members.

    `waiting_max` commands of one sender may wait for results, for `result_ttl_ms` if they do not say how long, and in
    all `waiting_total_max` results may be waited for. A sender is told of up to `told_max_bytes` of LEFT and EXPIRED in
    a turn.
    """

    __slots__ = (
        "_clock_ms",
        "_expiries",
        "_ledger",
        "_max_payload",
        "_next_ticket",
        "_result_ttl_ms",
        "_told_max",
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
        told_max_bytes: int = 1 << 20,
        first_ticket: int = 1,
    ) -> None:
        self.seats = seats
        self.seq = 0
        self.ranks = Ranks()
        self._ledger = Ledger()
        self._max_payload = max_payload
        self._waiting_max = waiting_max
        self._waiting_total_max = waiting_total_max
        self._result_ttl_ms = result_ttl_ms
        self._told_max = max(1, told_max_bytes // ROUTED_FRAME.size)
        self._next_ticket = first_ticket
        self._clock_ms = 0
        self._expiries = Expiries(self._ledger)

    def __len__(self) -> int:
        return len(self.ranks)

    @property
    def waiting(self) -> int:
        """How many commands wait for results."""
        return len(self._ledger)

    def owed_by(self, ticket: int) -> int:
        """How many results the member `ticket` owes; 0 when it holds no seat."""
        ranks = self.ranks
        return ranks.loads[ranks.rank_of(ticket)] if has_seat(ranks.tickets, ticket) else 0

    def owed_to(self, ticket: int, id_: int) -> int:
        """How many results the command `id_` of the member `ticket` waits for."""
        return self._ledger.owed_to(ticket, id_)

    def next_deadline_ms(self) -> int | None:
        """When the next command that waits for results expires, by the clock of the entries; never too late."""
        return self._expiries.next_ms()

    def is_due(self, entry: Entry) -> bool:
        """Whether anything expires in `entry`, or a sender is still to be told of what has."""
        deadline_ms = self.next_deadline_ms() if entry.judge else None
        due = deadline_ms is not None and deadline_ms <= entry.clock_ms
        return due or self.has_news(entry.slow)

    def has_news(self, slow: Container[int]) -> bool:
        """Whether a sender that is not `slow` is still to be told of LEFT or EXPIRED."""
        return self._ledger.has_news(slow)

    def apply(self, turn: Turn, observe: Observe | None = None) -> Outcome:
        """Apply `turn`: results and expiries, commands, cancels, departures, joins; answers come last."""
        entry = turn.entry
        self._clock_ms = max(self._clock_ms, entry.clock_ms)
        deliveries = Deliveries()
        ranks, ledger = self.ranks, self._ledger
        tickets, handles = ranks.tickets, ranks.handles
        dropped = ledger.settle(entry.batch, tickets, ranks.loads, deliveries.routed)
        if entry.judge:
            self._expire()
        told = ledger.tell(entry.slow, _TOLD_PER_TURN, self._told_max, deliveries.routed)
        first_seq = self.seq
        self.seq, opened, refused, unseated = dispatch(
            entry.batch,
            tickets,
            ranks.loads,
            _NONE,
            ledger,
            deliveries,
            first_seq,
            self._waiting_max,
            self._waiting_total_max,
            self._result_ttl_ms,
            observe,
        )
        commands = self.seq - first_seq
        self._await(opened)
        cancelled = self._cancel(entry.cancels, deliveries) if entry.cancels else 0
        if entry.departures or entry.joins:
            tickets, handles = tickets[:], handles[:]
        departed = self._depart(entry.departures, deliveries) if entry.departures else []
        if departed or cancelled:
            ledger.tell(entry.slow, _TOLD_PER_TURN - told + cancelled, self._told_max, deliveries.routed)
        settled = ledger.finish(deliveries.done)
        joined, full = self._join(entry.joins)
        if turn.watched:
            self._tell_changes(departed, joined, deliveries)
        for ticket, who in turn.queries:
            if has_seat(tickets, ticket) or ticket >= OBSERVERS:
                kind = deliveries.members if ticket < OBSERVERS else deliveries.observed
                deliveries.answer(kind, ticket, self._page(who))
        for ticket, payload in turn.pings:
            if has_seat(tickets, ticket) or ticket >= OBSERVERS:
                kind = deliveries.pongs if ticket < OBSERVERS else deliveries.observed
                deliveries.answer(kind, ticket, Pong(payload).encode())
        dropped += unseated
        return Outcome(
            deliveries, tickets, handles, departed, joined, full, refused, commands, dropped, settled
        )

    def _await(self, opened: list[tuple[int, int]]) -> None:
        """Note when the commands (seq, ttl_ms) expire."""
        for seq, ttl_ms in opened:
            self._expiries.add(self._clock_ms + ttl_ms, seq)
        self._expiries = self._expiries.trimmed()

    def _expire(self) -> None:
        """Note the ends of the commands that are due, a bounded number of results per turn."""
        ranks, left = self.ranks, _EXPIRED_PER_TURN
        while left > 0:
            deadline_ms = self._expiries.next_ms()
            if deadline_ms is None or deadline_ms > self._clock_ms:
                return
            left -= self._ledger.expire(self._expiries.pop(), ranks.tickets, ranks.loads) or 1

    def _cancel(self, cancels: list[tuple[int, int]], deliveries: Deliveries) -> int:
        """End the commands that are cancelled, the most senior sender's first; returns for how many executors."""
        ranks, ended = self.ranks, 0
        for ticket, id_ in sorted(cancels, key=itemgetter(0)):
            seq, stopped = self._ledger.cancel(ticket, id_, ranks.tickets, ranks.loads)
            _stop(seq, stopped, deliveries)
            ended += len(stopped)
        return ended

    def clear(self) -> None:
        """All members are gone, and nothing waits. Tickets and the sequence go on where they were."""
        self.ranks.clear()
        self._ledger = Ledger()
        self._expiries = Expiries(self._ledger)

    def dump(self) -> bytes:
        """The room as bytes: the same ones for the same room, whichever twin runs (`snapshot`)."""
        ranks = self.ranks
        deadline_of = {seq: deadline_ms for deadline_ms, seq in self._expiries}
        members = [MemberState(*one) for one in zip(ranks.tickets, ranks.names, ranks.addresses, strict=True)]
        waiting = [
            WaitingState(
                seq,
                sender,
                id_,
                tied,
                deadline_of[seq] if 0 in answered else 0,
                tickets,
                places,
                answered,
                ended,
            )
            for seq, sender, id_, tied, tickets, places, answered, ended in self._ledger.entries()
        ]
        return pack(RoomState(self.seq, self._next_ticket, self._clock_ms, members, waiting))

    def load(self, data: bytes) -> None:
        """Become the room that was dumped as `data`, with all members connected elsewhere (handle -1).

        Raises SnapshotError, and changes nothing, when `data` is damaged or has more members than seats.
        """
        state = unpack(data)
        if len(state.members) > self.seats:
            raise SnapshotError(f"it has {len(state.members)} members, there are {self.seats} seats")
        self.ranks, self._ledger = Ranks(), Ledger()
        for member in state.members:
            self.ranks.append(member.ticket, -1, member.name, member.address)
        for one in state.waiting:
            self._ledger.restore(
                one.seq, one.sender, one.id, one.tied, one.tickets, one.ranks, one.answered, one.ended
            )
            for ticket, answered in zip(one.tickets, one.answered, strict=True):
                if not answered:
                    self.ranks.loads[self.ranks.rank_of(ticket)] += 1
        expiries = ((one.deadline_ms, one.seq) for one in state.waiting if one.deadline_ms)
        self._expiries = Expiries(self._ledger, expiries)
        self.seq, self._next_ticket, self._clock_ms = state.seq, state.next_ticket, state.clock_ms

    def _depart(self, departures: list[Departure], deliveries: Deliveries) -> list[Departed]:
        """Take all departures out in one sweep. They are numbered in the order of their ranks."""
        ranks, ledger = self.ranks, self._ledger
        departed: list[Departed] = []
        for departure in sorted(departures, key=lambda departure: departure.ticket):
            if (departed and departed[-1].ticket == departure.ticket) or not has_seat(
                ranks.tickets, departure.ticket
            ):
                continue
            rank = ranks.rank_of(departure.ticket)
            departed.append(
                Departed(rank, departure.ticket, ranks.handles[rank], ranks.names[rank], departure.cause)
            )
        for gone in departed:
            for seq, stopped in ledger.forget(gone.ticket, ranks.tickets, ranks.loads):
                _stop(seq, stopped, deliveries)
        owing = [gone for gone in departed if ranks.loads[gone.rank]]
        if owing:
            ledger.leave([gone.ticket for gone in owing], sum(ranks.loads[gone.rank] for gone in owing))
        vacant = deliveries.departed = [gone.rank for gone in departed]
        seq = self.seq + len(departed)
        causes = [gone.cause for gone in departed]
        deliveries.rank_frames = rank_frames(vacant, causes, len(ranks) - len(vacant), seq)
        ranks.remove(vacant)
        self.seq = seq
        return departed

    def _tell_changes(self, departed: list[Departed], joined: list[Joined], deliveries: Deliveries) -> None:
        """CHANGED for each event of the turn, in the order of their seqs (section 11)."""
        members = len(self.ranks) - len(joined)
        seq = self.seq - len(joined) - len(departed)
        for gone in departed:
            seq += 1
            what = _CHANGES[gone.cause]
            deliveries.change(seq, Changed(seq, what, gone.ticket, gone.rank, members, gone.name).encode())
        for one in joined:
            members += 1
            frame = Changed(one.seq, Change.JOINED, one.ticket, one.rank, members, one.name)
            deliveries.change(one.seq, frame.encode())

    def _join(self, joins: list[Join]) -> tuple[list[Joined], list[Join]]:
        joined, full = [], []
        for join in joins:
            if len(self.ranks) >= self.seats:
                full.append(join)
                continue
            ticket, self._next_ticket = self._next_ticket, self._next_ticket + 1
            self.seq += 1
            rank = self.ranks.append(ticket, join.handle, join.name, join.address)
            joined.append(Joined(join.handle, ticket, rank, self.seq, join.name))
        return joined, full

    def _page(self, who: Who) -> bytes:
        """MEMBERS with as many of the members asked for as fit into a frame; at least one if there is one."""
        ranks = self.ranks
        room = self._max_payload + FRAME_OVERHEAD - MEMBERS_LENGTH
        page = bytearray()
        stop = min(who.first_rank + who.count, len(ranks), who.first_rank + 0xFFFF)
        rank = who.first_rank
        while rank < stop:
            name, address = ranks.names[rank].encode(), ranks.addresses[rank].encode()
            size = MEMBER.size + len(name) + 1 + len(address)
            if len(page) + size > room:
                if page:
                    break
                name = address = b""  # a max_payload of a few bytes: the rank at least, and nobody else
                stop = rank
            page += (
                MEMBER.pack(rank, ranks.tickets[rank], ranks.loads[rank], Presence.PRESENT, len(name)) + name
            )
            page.append(len(address))
            page += address
            rank += 1
        listed = max(0, rank - who.first_rank)
        return frame(FrameType.MEMBERS, MEMBERS.pack(who.id, self.seq, len(ranks), listed), page)


def _stop(seq: int, ranks: Iterable[int], deliveries: Deliveries) -> None:
    """Tell the executors at `ranks` to stop what they run for `seq` (section 7)."""
    frame = Stop(seq).encode()
    for rank in ranks:
        deliveries.splice(rank, frame)
