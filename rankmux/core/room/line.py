"""The line: who joins, leaves, is lost, returns or yields in a turn, and what that does to the ranks.

Steps 4 to 7 of a turn (PROTOCOL section 4). The results that members owe or wait for are the ledger's, which is told of
each move.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..wire.codes import Cause, Change, RefusedCode
from ..wire.frames import Baton, Stop, Yielded
from .changes import CHANGE_OF, LineEvent
from .deliveries import Deliveries
from .dispatch import rank_frames
from .kept import Keep, KeptSeats
from .ledger import Ledger
from .ranks import Ranks, has_seat
from .refusals import no_successor
from .turn import Departed, Departure, Entry, Join, Joined

__all__ = ["Line", "Moves", "stop"]

_ENDED_PER_TURN = 16_384  # results that end with the keeps that run out in a turn


@dataclass(slots=True)
class Moves:
    """The moves of a turn, in the order in which they were made.

    `departed`  in the order of their ranks
    `absent`    tickets whose seats have no connection any more
    `places`    of the members that returned or joined
    `yielded`   (ticket before, place now)
    `barred`    connections that may not return to the seat that they name
    `full`      connections for which no seat was free
    `refused`   (ticket, RefusedCode) of each YIELD that was not granted
    `events`    the changes of the line but for new tickets (`newcomers`), seqs rising
    """

    departed: list[Departed] = field(default_factory=list)
    absent: list[int] = field(default_factory=list)
    places: list[Joined] = field(default_factory=list)
    yielded: list[tuple[int, Joined]] = field(default_factory=list)
    barred: list[Join] = field(default_factory=list)
    full: list[Join] = field(default_factory=list)
    refused: list[tuple[int, int]] = field(default_factory=list)
    events: list[LineEvent] = field(default_factory=list)

    def newcomers(self) -> list[LineEvent]:
        """The events of the tickets that are new."""
        places = [*(place for _, place in self.yielded), *self.places]
        return [
            LineEvent(place.seq, Change.JOINED, place.ticket, place.rank, place.name)
            for place in places
            if not place.returned
        ]


class Line:
    """The members in the order of their ranks, in at most `seats` seats.

    `seq`          the last number that an event took
    `next_ticket`  the ticket of the next member
    `kept`         the seats that outlive their connection
    `baton`        (seq, ticket of the writer, payload), or None
    """

    __slots__ = ("baton", "kept", "next_ticket", "ranks", "seats", "seq")

    def __init__(self, seats: int, first_ticket: int) -> None:
        self.seats = seats
        self.seq = 0
        self.next_ticket = first_ticket
        self.ranks = Ranks()
        self.kept = KeptSeats(self.ranks)
        self.baton: tuple[int, int, bytes] | None = None

    def clear(self) -> None:
        """All members are gone, kept or not. Tickets and seqs go on, and the baton stays."""
        self.ranks.clear()
        self.kept = KeptSeats(self.ranks)

    def is_keep_over(self, clock_ms: int) -> bool:
        """Whether a seat has been without a connection for as long as it is kept."""
        until_ms = self.kept.next_ms()
        return until_ms is not None and until_ms <= clock_ms

    def move(
        self, entry: Entry, before: Sequence[int], ledger: Ledger, deliveries: Deliveries, clock_ms: int
    ) -> Moves:
        """Make the moves of `entry`; `before` are the tickets by rank as of the start of the turn."""
        ranks, kept = self.ranks, self.kept
        moves = Moves()
        first = before[0] if before else 0
        returning = {self._held_by(join) for join in entry.joins if join.secret} - {0}
        departures = list(entry.departures)
        if entry.judge:
            departures += self._run_out(clock_ms, returning)
        ending = {departure.ticket for departure in departures}
        yields = self._judge_yields(entry, ending | returning, deliveries, moves)
        lost = sorted({ticket for ticket in entry.absences if ticket not in ending})
        departures += [Departure(ticket, Cause.LOST) for ticket in lost if ticket not in kept]
        departures += [Departure(ticket, Cause.YIELDED) for ticket in yields]
        if departures:
            self._depart(departures, ledger, deliveries, moves)
        for ticket in lost:
            if ticket in kept and not kept.is_absent(ticket):
                self._lose(ticket, before, ledger, deliveries, moves, clock_ms)
        newcomers = []
        for join in entry.joins:
            if join.secret and kept.ticket_of(join.secret):
                self._return(join, before, ledger, deliveries, moves)
            else:
                newcomers.append(join)
        for gone in moves.departed if yields else ():
            if gone.ticket in yields:
                self._come_back(gone, yields[gone.ticket], deliveries, moves)
        if any(join.secret for join in newcomers):
            for join in newcomers:
                if join.secret and kept.ticket_of(join.secret):  # another HELLO of this turn had the same one
                    self._return(join, before, ledger, deliveries, moves)
                else:
                    self._join([join], moves)
        elif newcomers:
            self._join(newcomers, moves)
        if self.baton is not None and ranks.tickets and ranks.tickets[0] != first:
            self._hand_over(before, deliveries, moves)
        return moves

    def retire(self, ledger: Ledger, gone: set[int]) -> None:
        """The server stops: members that are `gone` or not kept depart, the others are absent, nothing waits."""
        ranks, deliveries, moves = self.ranks, Deliveries(), Moves()
        staying = [ticket for ticket in ranks.tickets if ticket in self.kept and ticket not in gone]
        departures = [Departure(ticket, Cause.LEFT) for ticket in set(ranks.tickets).difference(staying)]
        if departures:
            self._depart(departures, ledger, deliveries, moves)
        for ticket in ranks.tickets:
            ledger.forget(ticket, ranks.tickets, ranks.loads)
        self.kept.wake(0)

    def _held_by(self, join: Join) -> int:
        """The seat that `join` returns to; 0 when it does not."""
        ticket = self.kept.ticket_of(join.secret)
        return ticket if ticket and self.kept[ticket].identity == join.identity else 0

    def _run_out(self, clock_ms: int, returning: set[int]) -> list[Departure]:
        """Departures of members whose keep is over; as many as owe no more results than one turn can end."""
        ranks, departures, owed = self.ranks, [], 0
        while owed < _ENDED_PER_TURN:
            ticket = self.kept.pop_over(clock_ms, returning)
            if not ticket:
                break
            departures.append(Departure(ticket, Cause.LOST))
            owed += 1 + ranks.loads[ranks.rank_of(ticket)]
        return departures

    def _judge_yields(
        self, entry: Entry, ending: set[int], deliveries: Deliveries, moves: Moves
    ) -> dict[int, int]:
        """The ids of the YIELDs that are granted, by ticket. Those whose connection ends in this turn get no answer."""
        ranks, granted = self.ranks, {}
        away = self.kept.away()
        for ticket, id_ in sorted(entry.yields):
            if ticket in ending or ticket in entry.absences or not has_seat(ranks.tickets, ticket):
                continue
            rank = ranks.rank_of(ticket)
            juniors = len(ranks) - rank - 1
            if juniors > len(away) - bisect_left(away, rank):
                granted[ticket] = id_
            else:
                deliveries.answer(deliveries.refused, ticket, no_successor(id_, not juniors))
                moves.refused.append((ticket, RefusedCode.NO_TARGET))
        return granted

    def _depart(
        self, departures: list[Departure], ledger: Ledger, deliveries: Deliveries, moves: Moves
    ) -> None:
        """Take all departures out in one sweep. They are numbered in the order of their ranks."""
        ranks, departed = self.ranks, moves.departed
        for departure in sorted(departures, key=lambda departure: departure.ticket):
            if (departed and departed[-1].ticket == departure.ticket) or not has_seat(
                ranks.tickets, departure.ticket
            ):
                continue
            rank = ranks.rank_of(departure.ticket)
            handle, name, address = ranks.handles[rank], ranks.names[rank], ranks.addresses[rank]
            departed.append(Departed(rank, departure.ticket, handle, name, departure.cause, address))
        if not departed:
            return
        for gone in departed:
            for seq, stopped in ledger.forget(gone.ticket, ranks.tickets, ranks.loads):
                stop(seq, stopped, deliveries)
            if gone.cause != Cause.YIELDED:
                self.kept.drop(gone.ticket)
        owing = [gone for gone in departed if ranks.loads[gone.rank]]
        if owing:
            ledger.leave([gone.ticket for gone in owing], sum(ranks.loads[gone.rank] for gone in owing))
        vacant = deliveries.departed = [gone.rank for gone in departed]
        for gone in departed:
            self.seq += 1
            moves.events.append(LineEvent(self.seq, CHANGE_OF[gone.cause], gone.ticket, gone.rank, gone.name))
        causes = [gone.cause for gone in departed]
        deliveries.rank_frames = rank_frames(vacant, causes, len(ranks) - len(vacant), self.seq)
        ranks.remove(vacant)
        self.kept.moved()

    def _lose(
        self,
        ticket: int,
        before: Sequence[int],
        ledger: Ledger,
        deliveries: Deliveries,
        moves: Moves,
        clock_ms: int,
    ) -> None:
        """The member `ticket` becomes absent (section 9)."""
        self._disconnect(ticket, before, ledger, deliveries)
        self.ranks.handles[self.ranks.rank_of(ticket)] = -1
        self.kept.lose(ticket, clock_ms)
        moves.absent.append(ticket)
        self._note(Change.ABSENT, ticket, before, moves)

    def _return(
        self, join: Join, before: Sequence[int], ledger: Ledger, deliveries: Deliveries, moves: Moves
    ) -> None:
        """Give the seat to the connection that knows its secret, whether it is absent or not (section 9)."""
        ranks, kept = self.ranks, self.kept
        ticket = self._held_by(join)
        if not ticket:
            moves.barred.append(join)
            return
        rank = ranks.rank_of(ticket)
        if not kept.is_absent(ticket):
            self._disconnect(ticket, before, ledger, deliveries)
        ranks.loads[rank] -= ledger.leave([ticket], ranks.loads[rank], join.last_seq)
        ranks.handles[rank], ranks.names[rank], ranks.addresses[rank] = join.handle, join.name, join.address
        kept.find(ticket, join.keep_ms)
        self._note(Change.BACK, ticket, before, moves)
        place = Joined(join.handle, ticket, rank, self.seq, join.name, len(ranks), join.keep_ms, True)
        place.baton = self._baton_for(rank)
        moves.places.append(place)

    def _disconnect(self, ticket: int, before: Sequence[int], ledger: Ledger, deliveries: Deliveries) -> None:
        """Nothing waits for that connection any more, and its tied commands end (section 6)."""
        ranks = self.ranks
        for seq, stopped in ledger.forget(ticket, ranks.tickets, ranks.loads):
            stop(seq, [bisect_left(before, ranks.tickets[rank]) for rank in stopped], deliveries)

    def _note(self, what: Change, ticket: int, before: Sequence[int], moves: Moves) -> None:
        """Number an event that changes no rank."""
        self.seq += 1
        ranks = self.ranks
        rank = ranks.rank_of(ticket)
        name = ranks.names[rank]
        if has_seat(before, ticket):
            rank = bisect_left(before, ticket)
        moves.events.append(LineEvent(self.seq, what, ticket, rank, name))

    def _come_back(self, gone: Departed, id_: int, deliveries: Deliveries, moves: Moves) -> None:
        """The coming half of a yield (section 10)."""
        (place,) = self._seat([Join(gone.handle, gone.name, gone.address)])
        self.kept.move(gone.ticket, place.ticket)
        answer = Yielded(id_, place.seq, place.ticket, place.rank, place.members)
        deliveries.answer(deliveries.yielded, gone.ticket, answer.encode() + place.baton)
        moves.yielded.append((gone.ticket, place))

    def _join(self, joins: list[Join], moves: Moves) -> None:
        """Give newcomers their places, as far as there are seats."""
        free = max(0, self.seats - len(self.ranks))
        if len(joins) > free:
            moves.full += joins[free:]
            joins = joins[:free]
        places = self._seat(joins)
        for join, place in zip(joins, places, strict=True):
            if join.secret and join.keep_ms:
                place.keep_ms = join.keep_ms
                self.kept.add(place.ticket, Keep(join.secret, join.keep_ms, join.identity))
        moves.places += places

    def _seat(self, joins: list[Join]) -> list[Joined]:
        """Give the last places to new tickets."""
        if not joins:
            return []
        ticket, seq = self.next_ticket, self.seq + 1
        handles, names = [join.handle for join in joins], [join.name for join in joins]
        rank = self.ranks.extend(ticket, handles, names, [join.address for join in joins])
        self.next_ticket += len(joins)
        self.seq += len(joins)
        places = [
            Joined(join.handle, ticket + i, rank + i, seq + i, join.name, rank + i + 1)
            for i, join in enumerate(joins)
        ]
        if not rank:
            places[0].baton = self._baton_for(rank)
        return places

    def _baton_for(self, rank: int) -> bytes:
        """The BATON frame, for the member that gets rank 0 (section 10)."""
        return Baton(*self.baton).encode() if self.baton is not None and not rank else b""

    def _hand_over(self, before: Sequence[int], deliveries: Deliveries, moves: Moves) -> None:
        """The member that has moved up to rank 0 gets the baton, unless WELCOME or YIELDED brought it."""
        leader = self.ranks.tickets[0]
        if has_seat(before, leader) and all(place.ticket != leader for place in moves.places):
            deliveries.baton = (bisect_left(before, leader), self._baton_for(0))


def stop(seq: int, ranks: Sequence[int], deliveries: Deliveries) -> None:
    """Tell the executors at `ranks` to stop what they run for `seq` (section 6)."""
    frame = Stop(seq).encode()
    for rank in ranks:
        deliveries.splice(rank, frame)
