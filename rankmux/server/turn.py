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

from collections.abc import Iterable
from operator import attrgetter

from ..config import Config
from ..core.room.batch import Batch
from ..core.room.room import Room
from ..core.room.turn import Departure, Entry, Join, Joined, Outcome, Turn
from ..core.wire.frames import Welcome
from .admin.stats import Stats
from .connections.closes import CloseReason
from .connections.connection import JOINING
from .connections.deadlines import Deadlines
from .connections.reaper import Reaper
from .connections.registry import Connections
from .event_log import EventLog
from .intake.reading import Intake
from .kernel.fanout import Ring, flush
from .sequencer import Sequencer

__all__ = ["Turns"]

_LEFT_PER_TURN = 16_384  # results that departures end


class Turns:
    """Runs turn after turn over `connections` and `room`. After `freeze`, nothing is ordered or applied any more."""

    def __init__(
        self,
        config: Config,
        instance: int,
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
        self._instance = instance
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

    def run(self, ready: list[tuple[int, int]], now: float) -> list[int]:
        """One turn over the `ready` (fd, mask); returns the ready descriptors that are no connection's."""
        self._event_log.tick(now)
        turn, foreign = self._gather(ready, now)
        applied = []
        for ordered in self._order(turn):
            outcome = self._apply(ordered)
            applied.append((outcome, self._deliver(outcome, now)))
        self._judge(now)
        self._close(now)
        for outcome, reasons in applied:
            self._record(outcome, reasons, now)
        return foreign

    def freeze(self, now: float) -> None:
        """The ranks stay as they are from now on; connections that ended get their last words."""
        self._frozen = True
        self._connections.unseat(list(self._connections.departing))
        self._reaper.reap(now)
        self._deadlines.plan(now)

    def patience(self, now: float) -> float:
        """The time in seconds that may pass until the next turn, if nothing becomes ready before."""
        if self._intake.more() or self._connections.departing:
            return 0.0
        until = self._deadlines.next_at
        if not self._frozen and self._room.has_news(self._connections.outbox.over):
            return 0.0
        deadline_ms = None if self._frozen else self._room.next_deadline_ms()
        if deadline_ms is not None:
            until = min(until, deadline_ms / 1000)
        return max(0.0, until - now)

    def start_over(self) -> None:
        """Drop the gathered input and empty the room."""
        self._batch.clear()
        self._intake.clear()
        self._room.clear()

    # 1. gather

    def _gather(self, ready: list[tuple[int, int]], now: float) -> tuple[Turn, list[int]]:
        turn = Turn(Entry(int(now * 1000), self._batch))
        foreign = self._intake.gather(ready, turn, len(self._room), now)
        return turn, foreign

    # 2. order

    def _order(self, turn: Turn) -> Iterable[Turn]:
        if self._frozen:
            return ()
        entry, intake, connections = turn.entry, self._intake, self._connections
        entry.judge = self._deadlines.may_judge(intake.waits())
        entry.slow = connections.outbox.over
        if connections.departing:
            entry.departures = self._departures()
        if intake.joining:
            joining = sorted(intake.joining, key=attrgetter("serial"))
            entry.joins = [
                Join(conn.fd, conn.name, conn.address) for conn in joining if conn.state is JOINING
            ]
            intake.joining.clear()
        if not (entry or turn.queries or turn.pings or self._room.is_due(entry)):
            return ()
        return self._sequencer.order(turn)

    def _departures(self) -> list[Departure]:
        """The departures of the turn: as many as owe no more results than one turn can end."""
        departures, owed = [], 0
        for ticket, conn in self._connections.departing.items():
            if conn.reason is None:
                continue
            departures.append(Departure(ticket, conn.reason.cause))
            owed += self._room.owed_by(ticket)
            if owed >= _LEFT_PER_TURN:
                break
        return departures

    # 3. apply

    def _apply(self, turn: Turn) -> Outcome:
        log = self._event_log
        heard = log.listens()
        shown = heard and log.left("command")
        outcome = self._room.apply(turn, log.command if shown else None)
        if heard and not shown:
            log.skip("command", outcome.commands)
        turn.entry.batch.clear()
        return outcome

    # 4. deliver

    def _deliver(self, outcome: Outcome, now: float) -> dict[int, str]:
        """Send it; newcomers get their seats, departed ones lose theirs. Returns why each of these went, by ticket."""
        connections, deliveries, tickets = self._connections, outcome.deliveries, outcome.tickets
        behind = flush(deliveries, tickets, outcome.handles, connections.descriptors, self._ring)
        if behind:
            self._queue(outcome, behind, now)
        for joined in outcome.joined:
            self._seat(joined, now)
        for full in outcome.full:
            if (conn := connections.at(full.handle)) is not None:
                connections.end(conn, CloseReason.FULL, "no seat is free", now)
        return connections.unseat([gone.ticket for gone in outcome.departed])

    def _queue(self, outcome: Outcome, behind: list[tuple[int, int, int]], now: float) -> None:
        """Queue for the members that did not get everything, (rank, bytes sent, errno); pace those that fill them."""
        connections, deliveries, tickets = self._connections, outcome.deliveries, outcome.tickets
        outbox = connections.outbox
        position = outbox.share(deliveries.executes) if deliveries.executes else 0
        filled = []
        for rank, sent, error in behind:
            ticket = tickets[rank]
            conn = connections.seats[ticket]
            with connections.guard(conn, now):
                pieces = deliveries.pieces(rank, ticket)
                connections.deliver(conn, pieces, position, sent, error, now)
            if ticket in outbox.over:
                filled.append(rank)
        if filled:
            filled.sort()
            connections.pace(connections.pacing.judge(filled, deliveries, tickets), now)

    def _seat(self, joined: Joined, now: float) -> None:
        connections = self._connections
        conn = connections.at(joined.handle)
        if conn is None:
            return  # connected elsewhere
        try:
            connections.seat(conn, joined.ticket)
            connections.send(conn, self._welcome(joined), now)
        except Exception as error:
            if conn.state is JOINING:
                raise  # the room has a seat for it that nobody would ever give up
            connections.blame(conn, error, now)

    def _welcome(self, joined: Joined) -> bytes:
        config = self._config
        return Welcome(
            self._instance,
            joined.ticket,
            joined.seq,
            joined.rank,
            joined.rank + 1,
            config.seats,
            config.max_payload,
            config.ping_ms,
        ).encode()

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
        for close in self._connections.closes.take():
            self._event_log.closed(close)

    # statistics and the event log

    def _record(self, outcome: Outcome, reasons: dict[int, str], now: float) -> None:
        self._stats.count(outcome, self._room.ranks, now)
        if self._event_log.listens():
            self._event_log.joined(outcome.joined)
            self._event_log.departed(outcome.departed, reasons)
            self._event_log.refused(outcome.refused)
