"""One turn of the server, in six steps: gather, order, apply, deliver, judge, close (docs/protocol.md, section 4).

    gather   accept, shake hands, read: frames go into the turn
    order    commands and results, departures and joins become an entry; the sequencer says what is applied now
    apply    the room turns the entry into an outcome: the frames for every member
    deliver  each member gets its frames in one send; what the kernel does not take is queued; newcomers get their seats
    judge    deadlines, limits of the queues, pauses that are over
    close    last words, then close what is done

The statistics and the event log look at the outcome afterwards.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from hashlib import sha256
from operator import attrgetter

from ..config import Config
from ..core.room.batch import Batch
from ..core.room.ranks import has_seat
from ..core.room.room import Room
from ..core.room.turn import Departure, Entry, Join, Outcome, Turn
from ..core.wire.codes import Cause
from .admin.stats import Stats
from .admission import Admission
from .connections.closes import CloseReason
from .connections.connection import Connection
from .connections.deadlines import Deadlines
from .connections.reaper import Reaper
from .connections.registry import Connections
from .connections.states import JOINING
from .event_log import EventLog
from .intake.reading import Intake
from .kernel.fanout import Ring, flush
from .sequencer import Sequencer
from .sockets.descriptors import WATCHES

__all__ = ["Turns"]

_ENDED_PER_TURN = 16_384  # results that departures end, and as many that cancels end


class Turns:
    """Runs turn after turn over `connections` and `room`. After `freeze`, nothing is ordered or applied any more."""

    def __init__(
        self,
        config: Config,
        room: Room,
        batch: Batch,
        intake: Intake,
        sequencer: Sequencer,
        connections: Connections,
        reaper: Reaper,
        deadlines: Deadlines,
        stats: Stats,
        event_log: EventLog,
        ring: Ring,
    ) -> None:
        self._config = config
        self._admission = Admission(config, sequencer, room, connections, ring)
        self._room = room
        self._batch = batch
        self._intake = intake
        self._sequencer = sequencer
        self._connections = connections
        self._reaper = reaper
        self._deadlines = deadlines
        self._stats = stats
        self._event_log = event_log
        self._ring = ring
        self._frozen = False
        self.admits = True  # newcomers; see `draining`
        self._kicked: list[int] = []  # tickets of the absent

    def run(self, ready: list[tuple[int, int]], now: float) -> list[int]:
        """One turn over the `ready` (fd, mask); returns the ready descriptors that are no connection's."""
        self._event_log.tick(now)
        self._sequencer.begin(now)
        takes = self._sequencer.takes_input
        turn, foreign = self._gather(ready, now, takes)
        for ordered in self._order(turn, now, takes):
            outcome = self._apply(ordered)
            reasons, taken = self._deliver(ordered, outcome, now)
            self._sequencer.applied(outcome)
            self._record(outcome, reasons, taken, now)  # by the ranks of this turn, not of the next
        self._judge(now)
        self._close(now)
        return foreign

    def freeze(self, now: float) -> None:
        """The ranks stay as they are from now on; connections that ended get their last words."""
        self._frozen = True
        self._sequencer.release(now, "the server is going away")
        self._connections.unseat(list(self._connections.departing))
        self._reaper.reap(now)
        self._deadlines.plan(now)

    def patience(self, now: float) -> float:
        """The time in seconds that may pass until the next turn, if nothing becomes ready before."""
        intake, sequencer = self._intake, self._sequencer
        if intake.more():
            return 0.0
        waits = self._connections.departing or self._kicked or intake.cancels or intake.paused
        if waits and sequencer.takes_input:
            return 0.0
        until = self._deadlines.next_at
        if sequencer.shared:
            return max(0.0, min(until - now, sequencer.patience(now)))
        if not self._frozen and self._room.has_news(self._connections.outbox.over):
            return 0.0
        deadline_ms = None if self._frozen else self._room.next_deadline_ms()
        if deadline_ms is not None:
            until = min(until, deadline_ms / 1000)
        return max(0.0, until - now)

    def kick(self, ticket: int, now: float) -> bool:
        """Throw out the member `ticket`, present or absent; False when no seat has that ticket (section 9)."""
        if not has_seat(self._room.ranks.tickets, ticket) or self._frozen:
            return False
        conn = self._connections.seats.get(ticket)
        if conn is not None:
            self._connections.end(conn, CloseReason.KICKED, "the operator has thrown you out", now)
        if (
            conn is None or self._sequencer.shared
        ):  # where it may have another connection before the log has it
            self._kicked.append(ticket)
        return True

    def leaving(self) -> set[int]:
        """The members that the next turn would take out, with their kept seats."""
        departing = self._connections.departing.items()
        ended = {ticket for ticket, conn in departing if conn.reason is not None and not conn.reason.keeps}
        return ended.union(self._kicked)

    def start_over(self) -> None:
        """Drop the gathered input and empty the room."""
        self._batch.clear()
        self._intake.clear()
        self._room.clear()

    # 1. gather

    def _gather(self, ready: list[tuple[int, int]], now: float, takes: bool) -> tuple[Turn, list[int]]:
        turn = Turn(Entry(int(now * 1000), self._batch))
        foreign = self._intake.gather(ready, turn, len(self._room), now, takes)
        return turn, foreign

    # 2. order

    def _order(self, turn: Turn, now: float, takes: bool) -> Iterable[Turn]:
        shared = self._sequencer.shared
        if self._frozen:
            return self._sequencer.order(turn, now) if shared else ()
        if not takes and not self._sequencer.is_up:
            self._send_elsewhere(now)
        elif not self.admits:
            self._turn_away(now)
        if not takes:
            return self._sequencer.order(turn, now)
        entry, intake, connections = turn.entry, self._intake, self._connections
        entry.judge = self._deadlines.may_judge(intake.waits())
        entry.slow = connections.outbox.over
        if intake.cancels:
            entry.cancels = self._cancels()
        if connections.departing or self._kicked:
            self._depart(entry)
        turn.watched = bool(connections.watchers)
        if intake.joining:
            for conn in sorted(intake.joining, key=attrgetter("serial")):
                if conn.state is not JOINING:
                    continue
                if conn.observes:
                    turn.observers.append(conn.fd)
                    continue
                entry.joins.append(self._join(conn))
                turn.watched = turn.watched or conn.watches
            intake.joining.clear()
        if not (shared or entry or turn.is_asked() or self._room.is_due(entry)):
            return ()
        return self._sequencer.order(turn, now)

    def _send_elsewhere(self, now: float) -> None:
        """Nobody can join here now."""
        for conn in self._intake.joining:
            if conn.state is JOINING:
                text = "this server is not up in its room: use another one"
                self._connections.end(conn, CloseReason.SHUTDOWN, text, now)
        self._intake.joining.clear()

    def _turn_away(self, now: float) -> None:
        """The server drains: nobody joins. Members return to their seats, to finish what they owe.

        In a cluster they do so at another server.
        """
        kept, shared = self._room.line.kept, self._sequencer.shared
        for conn in self._intake.joining:
            if conn.state is not JOINING:
                continue
            secret = b"" if conn.keep is None or conn.observes else sha256(conn.keep.secret).digest()
            if shared or not kept.ticket_of(secret):
                text = "the server is draining, and admits nobody"
                self._connections.end(conn, CloseReason.SHUTDOWN, text, now)

    def _cancels(self) -> list[tuple[int, int]]:
        """The cancels of the turn: the first ones, as many as one turn can end results."""
        cancels, owed = self._intake.cancels, 0
        for at, cancel in enumerate(cancels):
            owed += self._room.owed_to(*cancel)
            if owed >= _ENDED_PER_TURN:
                self._intake.cancels = cancels[at + 1 :]
                return cancels[: at + 1]
        self._intake.cancels = []
        return cancels

    def _join(self, conn: Connection) -> Join:
        join = Join(conn.fd, conn.name, conn.address)
        if conn.keep is not None and conn.keep.ms:
            join.secret = sha256(conn.keep.secret).digest()
            join.keep_ms = min(conn.keep.ms, round(self._config.keep_max_s * 1000))
            join.last_seq = conn.keep.last_seq
            if self._config.tls_client_ca:
                names = "\n".join(sorted(conn.transport.peer_names()))  # a certificate may have any number
                join.identity = sha256(names.encode(errors="surrogateescape")).hexdigest()
        return join

    def _depart(self, entry: Entry) -> None:
        """Enter the departures and absences of the turn: as many as owe no more results than one turn can end.

        A member whose cancels wait for a turn with room for them departs behind these.
        """
        owed = 0
        waiting = {ticket for ticket, _ in self._intake.cancels}
        kept = self._room.line.kept
        kicked = set(self._kicked)
        entry.departures = [Departure(ticket, Cause.EVICTED) for ticket in self._kicked]
        self._kicked.clear()
        for ticket, conn in self._connections.departing.items():
            if conn.reason is None or ticket in waiting or ticket in kicked:
                continue
            if conn.reason.keeps and ticket in kept:
                entry.absences.append(ticket)
                continue
            entry.departures.append(Departure(ticket, conn.reason.cause))
            owed += self._room.owed_by(ticket)
            if owed >= _ENDED_PER_TURN:
                break

    # 3. apply

    def _apply(self, turn: Turn) -> Outcome:
        log = self._event_log
        heard = log.listens
        shown = heard and log.left("command")
        outcome = self._room.apply(turn, log.command if shown else None)
        if heard and not shown:
            log.skip("command", outcome.commands)
        turn.entry.batch.clear()
        return outcome

    # 4. deliver

    def _deliver(self, turn: Turn, outcome: Outcome, now: float) -> tuple[dict[int, str], dict[int, str]]:
        """Send it; newcomers get their seats, departed ones lose theirs.

        Returns why each of these went, by ticket, and the address that a returned connection took its seat from, by its
        handle.
        """
        connections, deliveries, tickets = self._connections, outcome.deliveries, outcome.tickets
        behind = flush(deliveries, tickets, outcome.handles, connections.descriptors, self._ring)
        filled = self._queue(outcome, behind, now) if behind else []
        if connections.pacing.elsewhere:
            elsewhere = (bisect_left(tickets, ticket) for ticket in connections.pacing.elsewhere)
            filled += [rank for rank in elsewhere if rank < len(tickets)]
        if filled:
            filled.sort()
            connections.pace(connections.pacing.judge(filled, deliveries, tickets), now)
        return self._admission.settle(turn, outcome, now)

    def _queue(self, outcome: Outcome, behind: list[tuple[int, int, int]], now: float) -> list[int]:
        """Queue for the members that did not get everything, (rank, bytes sent, errno).

        Returns the ranks of those that have more queued than they should.
        """
        connections, deliveries, tickets = self._connections, outcome.deliveries, outcome.tickets
        outbox = connections.outbox
        position = outbox.share(deliveries.executes) if deliveries.executes else 0
        filled = []
        for rank, sent, error in behind:
            ticket = tickets[rank]
            conn = connections.seats[ticket]
            with connections.guard(conn, now):
                watches = bool(connections.descriptors.modes[conn.fd] & WATCHES)
                pieces = deliveries.pieces(rank, ticket, watches)
                connections.deliver(conn, pieces, position, sent, error, now)
            if ticket in outbox.over:
                filled.append(rank)
        return filled

    # 5. judge

    def _judge(self, now: float) -> None:
        connections = self._connections
        late = self._deadlines.judge(now, self._intake.waits())
        if late is not None:
            self._stats.lag.add(late)
            self._reaper.give_back()
        self._reaper.limit_all(now)
        connections.outbox.settle()
        connections.release_paced(now)

    # 6. close

    def _close(self, now: float) -> None:
        self._reaper.reap(now)
        if self._connections.closes.fresh:
            for close in self._connections.closes.take():
                self._event_log.closed(close)

    # statistics and the event log

    def _record(self, outcome: Outcome, reasons: dict[int, str], taken: dict[int, str], now: float) -> None:
        self._stats.count(outcome, self._room.ranks, now)
        log = self._event_log
        if log.listens:
            log.departed(outcome.departed, reasons)
            log.absent(outcome.absent, reasons)
            log.placed(outcome.joined, outcome.yielded, taken)
            if outcome.departed:
                log.ranking()
            log.refused(outcome.refused)
