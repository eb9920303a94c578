"""The room: members, gating, results, and the moves of the line, turn by turn (PROTOCOL sections 4 to 6, 8 to 10).

`apply` is a pure function of the entries: the same entries give the same room and the same frames on every server that
applies them. No I/O, no clock (times come in with the entry), no randomness.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from operator import itemgetter

from ..wire.codes import FRAME_OVERHEAD, FrameType
from ..wire.fields import frame
from ..wire.frames import Pong, Who
from ..wire.layouts import MEMBER, MEMBERS, MEMBERS_LENGTH, ROUTED_FRAME
from .batch import OBSERVERS
from .changes import tell_changes
from .deliveries import Deliveries
from .dispatch import Observe, dispatch
from .expiry import Expiries, over_ms
from .ledger import Ledger
from .line import Line, Moves, stop
from .ranks import Ranks, has_seat
from .snapshot import MemberState, RoomState, WaitingState, pack, unpack
from .turn import Entry, Outcome, Turn

__all__ = ["Room"]

_EXPIRED_PER_TURN = 1024  # results that expire in one turn
_TOLD_PER_TURN = 1024  # LEFT and EXPIRED that go out in one turn


class Room:
    """At most `seats` members.

    `waiting_max` commands of one sender may wait for results, for `result_ttl_ms` if they do not say how long, and in
    all `waiting_total_max` results may be waited for. A sender is told of up to `told_max_bytes` of LEFT and EXPIRED in
    a turn.

    `clock_ms`: the latest time of an entry, in milliseconds.
    """

    __slots__ = (
        "_expiries",
        "_ledger",
        "_max_payload",
        "_result_ttl_ms",
        "_told_max",
        "_waiting_max",
        "_waiting_total_max",
        "clock_ms",
        "line",
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
        self.line = Line(seats, first_ticket)
        self._ledger = Ledger()
        self._max_payload = max_payload
        self.limit(seats, waiting_max, result_ttl_ms, waiting_total_max, told_max_bytes)
        self.clock_ms = 0
        self._expiries = Expiries(self._ledger)

    def limit(
        self, seats: int, waiting_max: int, result_ttl_ms: int, waiting_total_max: int, told_max_bytes: int
    ) -> None:
        """Set the limits. With fewer `seats` than members nobody goes, and nobody joins until there is room."""
        self.line.seats = seats
        self._waiting_max = waiting_max
        self._waiting_total_max = waiting_total_max
        self._result_ttl_ms = result_ttl_ms
        self._told_max = max(1, told_max_bytes // ROUTED_FRAME.size)

    def __len__(self) -> int:
        return len(self.line.ranks.tickets)

    @property
    def seats(self) -> int:
        """How many members may join."""
        return self.line.seats

    @property
    def ranks(self) -> Ranks:
        """Who holds which rank."""
        return self.line.ranks

    @property
    def seq(self) -> int:
        """The last number that an event took."""
        return self.line.seq

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
        """When the next command that waits for results expires, or a keep is over, by the clock of the entries.

        Never too late.
        """
        expiries, kept = self._expiries, self.line.kept
        if not (expiries.moments or kept.moments):  # nearly always
            return None
        expires_ms, keep_over_ms = expiries.next_ms(), kept.next_ms()
        if expires_ms is None or keep_over_ms is None:
            return keep_over_ms if expires_ms is None else expires_ms
        return min(expires_ms, keep_over_ms)

    def is_due(self, entry: Entry) -> bool:
        """Whether anything expires in `entry`, or a sender is still to be told of what has."""
        deadline_ms = self.next_deadline_ms() if entry.judge else None
        due = deadline_ms is not None and deadline_ms <= entry.clock_ms
        return due or self.has_news(entry.slow)

    def has_news(self, slow: Container[int]) -> bool:
        """Whether a sender that is not `slow` is still to be told of LEFT or EXPIRED."""
        return self._ledger.has_news(slow)

    def apply(self, turn: Turn, observe: Observe | None = None) -> Outcome:
        """Apply `turn` in the order of section 4; answers come last."""
        entry = turn.entry
        self.clock_ms = max(self.clock_ms, entry.clock_ms)
        deliveries = Deliveries()
        line, ledger = self.line, self._ledger
        ranks = line.ranks
        tickets, handles = ranks.tickets, ranks.handles
        dropped = ledger.settle(entry.batch, tickets, ranks.loads, deliveries.routed)
        due_ms = self.next_deadline_ms() if entry.judge else None
        is_due = due_ms is not None and due_ms <= self.clock_ms
        if is_due:
            self._expire()
        told = ledger.tell(entry.slow, _TOLD_PER_TURN, self._told_max, deliveries.routed)
        first_seq = line.seq
        line.seq, opened, refused, batons, unseated = dispatch(
            entry.batch,
            tickets,
            ranks.loads,
            line.kept.away(),
            ledger,
            deliveries,
            first_seq,
            self._waiting_max,
            self._waiting_total_max,
            self._result_ttl_ms,
            observe,
        )
        commands = line.seq - first_seq - len(batons)
        for seq, ttl_ms in opened:
            self._expiries.add(over_ms(self.clock_ms, ttl_ms), seq)
        self._expiries.trim()
        if batons:
            line.baton = batons[-1] if batons[-1][2] else None
        if entry.cancels:
            cancelled = self._cancel(entry.cancels, deliveries)
            ledger.tell(entry.slow, cancelled, self._told_max, deliveries.routed)
        moves = Moves()
        if entry.moves() or (is_due and line.is_keep_over(self.clock_ms)):
            tickets, handles = tickets[:], handles[:]
            moves = line.move(entry, tickets, ledger, deliveries, self.clock_ms)
        if moves.departed or moves.places:
            ledger.tell(entry.slow, _TOLD_PER_TURN - told, self._told_max, deliveries.routed)
        settled = ledger.finish(deliveries.done)
        if turn.watched and (moves.events or moves.places):
            came = moves.newcomers()
            tell_changes(sorted(moves.events + came), len(ranks) - len(came), deliveries)
        if turn.queries or turn.pings:
            self._answer(turn, tickets, deliveries)
        return Outcome(
            deliveries,
            tickets,
            handles,
            moves.departed,
            moves.places,
            moves.absent,
            moves.yielded,
            moves.barred,
            moves.full,
            [*refused, *moves.refused],
            commands,
            dropped + unseated,
            settled,
        )

    def _answer(self, turn: Turn, tickets: Sequence[int], deliveries: Deliveries) -> None:
        """Answer what was asked here."""
        for ticket, who in turn.queries:
            if has_seat(tickets, ticket) or ticket >= OBSERVERS:
                kind = deliveries.members if ticket < OBSERVERS else deliveries.observed
                deliveries.answer(kind, ticket, self._page(who))
        for ticket, payload in turn.pings:
            if has_seat(tickets, ticket) or ticket >= OBSERVERS:
                kind = deliveries.pongs if ticket < OBSERVERS else deliveries.observed
                deliveries.answer(kind, ticket, Pong(payload).encode())

    def _expire(self) -> None:
        """Note the ends of the commands that are due, a bounded number of results per turn."""
        ranks, left = self.ranks, _EXPIRED_PER_TURN
        while left > 0 and (seqs := self._expiries.due(self.clock_ms)):
            before = len(seqs)
            left -= self._ledger.expire(seqs, left, ranks.tickets, ranks.loads)
            self._expiries.taken(before - len(seqs))

    def _cancel(self, cancels: list[tuple[int, int]], deliveries: Deliveries) -> int:
        """End the commands that are cancelled, the most senior sender's first; returns for how many executors."""
        ranks, ended = self.ranks, 0
        for ticket, id_ in sorted(cancels, key=itemgetter(0)):
            seq, stopped = self._ledger.cancel(ticket, id_, ranks.tickets, ranks.loads)
            stop(seq, stopped, deliveries)
            ended += len(stopped)
        return ended

    def clear(self) -> None:
        """All members are gone, and nothing waits. Tickets and the sequence go on where they were."""
        self.line.clear()
        self._ledger = Ledger()
        self._expiries = Expiries(self._ledger)

    def dump(self) -> bytes:
        """The room as bytes: the same ones for the same room, whichever twin runs (`snapshot`)."""
        line, ranks = self.line, self.ranks
        deadline_of = {seq: deadline_ms for deadline_ms, seq in self._expiries}
        members = [
            MemberState(ticket, name, address, self.line.kept.get(ticket))
            for ticket, name, address in zip(ranks.tickets, ranks.names, ranks.addresses, strict=True)
        ]
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
        return pack(RoomState(line.seq, line.next_ticket, self.clock_ms, members, waiting, line.baton))

    def load(self, data: bytes) -> None:
        """Become the room that was dumped as `data`, with all members connected elsewhere (handle -1).

        It may have more members than seats, as behind `limit`. Raises SnapshotError, and changes nothing, when `data`
        is damaged.
        """
        state = unpack(data)
        line = self.line
        line.clear()
        line.next_ticket, line.seq, line.baton = state.next_ticket, state.seq, state.baton
        for member in state.members:
            line.ranks.append(member.ticket, -1, member.name, member.address)
            if member.keep is not None:
                line.kept.add(member.ticket, member.keep)
        self._ledger = Ledger()
        for one in state.waiting:
            self._ledger.restore(
                one.seq, one.sender, one.id, one.tied, one.tickets, one.ranks, one.answered, one.ended
            )
            for ticket, answered in zip(one.tickets, one.answered, strict=True):
                if not answered:
                    self.ranks.loads[self.ranks.rank_of(ticket)] += 1
        expiries = ((one.deadline_ms, one.seq) for one in state.waiting if one.deadline_ms)
        self._expiries = Expiries(self._ledger, expiries)
        self.clock_ms = state.clock_ms

    def begin(self, first_ticket: int, clock_ms: int) -> None:
        """Nobody has joined yet: the first member will get `first_ticket`; the entries' clock shows `clock_ms`."""
        self.line.next_ticket = first_ticket
        self.clock_ms = clock_ms

    def retire(self, gone: set[int]) -> bytes:
        """The room as it outlives a stop of its server (section 9): kept seats and the baton, nothing that waits.

        The members `gone`, by ticket, have left in this turn.
        """
        self.line.retire(self._ledger, gone)
        self._ledger = Ledger()
        self._expiries = Expiries(self._ledger)
        self.clock_ms = 0
        return self.dump()

    def wake(self, clock_ms: int) -> None:
        """The room was loaded as it was retired: all are absent, and their keeps run from now on."""
        self.clock_ms = clock_ms
        self.line.kept.wake(clock_ms)

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
            ticket = ranks.tickets[rank]
            page += (
                MEMBER.pack(rank, ticket, ranks.loads[rank], self.line.kept.is_absent(ticket), len(name))
                + name
            )
            page.append(len(address))
            page += address
            rank += 1
        listed = max(0, rank - who.first_rank)
        return frame(FrameType.MEMBERS, MEMBERS.pack(who.id, self.seq, len(ranks), listed), page)
