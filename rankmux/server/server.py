"""The server: accept, read, run the turn, flush, reap. Glue between the room, which knows no I/O, and the connections.

Single-threaded and non-blocking: one `step` is one turn (PROTOCOL section 4). Embed it with `step` or `serve_forever`;
as a context manager it runs in a thread of its own, for tests and demonstrations.
"""

from __future__ import annotations

import logging
import secrets
import selectors
import socket
import time
from collections.abc import Callable
from typing import Self

from ..config import Config
from ..core.room.batch import Batch
from ..core.room.room import Departure, Join, Outcome, Room, Turn
from ..core.server_session import State, Step
from ..core.wire.frames import Welcome
from ..system.json_lines import tagged
from ..system.memory import give_back
from ..system.reactor import Reactor
from .admin.opening import open_onlookers
from .admin.stats import Stats
from .admin.status import View
from .connections.connection import CloseReason, Peer
from .connections.deadlines import Liveness
from .connections.registry import Connections
from .event_log import Journal
from .intake.auth import Access
from .intake.reading import Intake
from .kernel.fanout import Ring, flush
from .shutdown import Shutdown
from .sockets.listener import Listener
from .thread import Background

__all__ = ["Server"]

_EXPIRIES_PER_TURN = 65_536  # results that expire in one turn

log = logging.getLogger("rankmux.server")


class Server:
    """A server that listens from its creation on. `settings` are those of Config.

    `tokens` let in, beside those of `token_file`; without any, everybody is. Raises ConfigError on a wrong setting, an
    address that it can't have, or one where the door would stand open. `listener` and `admin_listener` are sockets that
    somebody else has opened, instead of those that the settings name.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        tokens: tuple[bytes, ...] = (),
        selector: selectors.BaseSelector | None = None,
        clock: Callable[[], float] = time.monotonic,
        listener: socket.socket | None = None,
        admin_listener: socket.socket | None = None,
        **settings: object,
    ) -> None:
        self.config = config = config or Config(**settings)  # type: ignore[arg-type]
        self.instance = secrets.randbits(64)
        self.stopped = False
        self._access = Access(config, tokens)
        self._reactor = Reactor(selector, clock)
        self.room = Room(
            config.seats,
            config.max_payload,
            config.waiting_max,
            config.result_ttl_ms,
            config.waiting_total_max,
        )
        self._journal = Journal(self.room.ranks, config.log_lines_per_s, config.log_excerpt_bytes)
        self.connections = Connections(config, self._reactor, self._journal.closed)
        try:
            self._listener = Listener(config, self._reactor, self._access.check_address, listener)
        except BaseException:
            self._reactor.close()
            raise
        self.connections.links.reserve(self._listener.fd)
        self._liveness = Liveness(config, self.connections, clock())
        self._batch = Batch(config.max_payload)
        self._ring = Ring(config.io_uring == "auto")
        self._intake = Intake(
            config, self._reactor, self._listener, self.connections, self._access, self.room, self._batch
        )
        self.stats = Stats()
        self._view = View(
            config, self.instance, self.room, self.connections, self._listener, self.stats, clock
        )
        try:
            self._onlookers = open_onlookers(config, self._view, self._reactor, admin_listener)
        except BaseException:
            self._listener.close()
            self._reactor.close()
            raise
        self._intake.guest = self._onlookers.ready
        self._expiring: list[int] = []
        self._shutdown = Shutdown(self.connections, self._listener, self._view)
        self._reload_asked = False
        self._background: Background | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens on, the real port where 0 was asked for; a Unix socket's path and 0."""
        return self._listener.address

    @property
    def where(self) -> str:
        """The same in one text: `127.0.0.1:7117`, `unix:/run/rankmux.sock`."""
        return self._listener.where

    @property
    def admin_where(self) -> list[str]:
        """Where people and monitors may look: `http://127.0.0.1:7118/`."""
        return self._onlookers.where

    def serve_forever(self) -> None:
        """Run turns until `stop` was called and everybody is gone."""
        while not self.stopped:
            self.step(None)

    def stop(self, drain_s: float | None = None) -> None:
        """Shut down in order: ERROR SHUTDOWN to all, what is queued goes out for up to `drain_s` (`shutdown_drain_s`).

        May be called from a signal handler or another thread, and again to shorten the time; returns at once.
        """
        self._shutdown.ask(self.config.shutdown_drain_s if drain_s is None else drain_s)
        self._reactor.wake()

    def reload(self) -> None:
        """Read token file and certificates again, in the next turn. May be called from a signal handler."""
        self._reload_asked = True
        self._reactor.wake()

    def close(self) -> None:
        """Give up all sockets at once. For who embeds `step`; after `serve_forever` there is nothing left to close."""
        if self.stopped:
            return
        now = self._reactor.clock()
        self._listener.close()
        for peer in self.connections:
            self.connections.end(peer, CloseReason.SHUTDOWN, "the server closed", now)
            self.connections.drop(peer)
        self.connections.departing.clear()
        self.connections.reap(now)
        self._let_go()

    def _let_go(self) -> None:
        """All connections are closed: close what is left."""
        self._onlookers.close()
        self._reactor.close()
        self._ring.close()
        self.stopped = True

    def __enter__(self) -> Self:
        self._background = Background(self.serve_forever)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
        if self._background is not None:
            self._background.join()

    def step(self, timeout: float | None) -> None:
        """One turn: wait up to `timeout` seconds (None: as long as it takes) for something to do, and do it."""
        if self.stopped:
            return
        reactor = self._reactor
        try:
            ready = reactor.poll(self._patience(timeout))
            turn = Turn(reactor.clock(), self._batch)
        except MemoryError:
            return  # nothing has been taken, so nothing is lost
        try:
            self._turn(ready, turn)
        except MemoryError:
            self._start_over()

    def _turn(self, ready: list[tuple[int, int]], turn: Turn) -> None:
        reactor, connections, now = self._reactor, self.connections, turn.now
        self._journal.tick(now)
        self._intake.read(ready, turn)
        if not self._shutdown.begun:
            self._apply(turn)
        late = self._liveness.turn(now, bool(self._intake.unread))
        if late is not None:
            self._judged(late)
        connections.writing.limit_all(now)
        connections.outbox.settle()
        connections.pacing.settle()
        connections.reap(now)
        reactor.run_due()
        self._onlookers.turn(now)
        self.stats.turn(now, reactor.clock(), len(connections.pacing))
        if self._reload_asked:
            self._reload_asked = False
            self._access.reload()
        if self._shutdown.asked:
            self._shut_down(now)

    def _shut_down(self, now: float) -> None:
        if self._shutdown.begin(now):
            self._expiring.clear()  # nothing is applied any more
        if self._shutdown.is_over(now):
            self._shutdown.drop_all(now)
            self._let_go()
            self._shutdown.report()

    def _patience(self, timeout: float | None) -> float:
        """How long the next `poll` may wait, in seconds."""
        if self._intake.more() or self.connections.departing or self._expiring or self._onlookers.busy:
            return 0.0
        deadline = None if self._shutdown.begun else self.room.next_deadline()
        until = self._liveness.next_at if deadline is None else min(self._liveness.next_at, deadline)
        wait = max(0.0, until - self._reactor.clock())
        return wait if timeout is None else min(timeout, wait)

    def _judged(self, late: float) -> None:
        self.stats.lag.add(late)
        connections = self.connections
        if (
            connections.writing.bursts
            and not connections.outbox.held_bytes
            and not connections.interest.partial
        ):
            connections.writing.bursts = 0
            give_back()

    # The turn: sequence it, apply it, send what it owes.

    def _sequence(self, turn: Turn) -> bool:
        """Complete the turn in the order of section 4; False when there is nothing to apply."""
        connections, intake = self.connections, self._intake
        if connections.departing:
            turn.departures = [
                Departure(peer.session.ticket, peer.reason.cause)
                for peer in connections.departing
                if peer.reason
            ]
        if intake.joining:
            joining = sorted(intake.joining, key=lambda peer: peer.serial)
            turn.joins = [Join(peer.fd, peer.name, peer.address) for peer in joining if peer.reason is None]
        if (self.room.waiting or self._expiring) and self._liveness.may_judge(bool(self._intake.unread)):
            self._expiring += self.room.due(turn.now)
            count = max(1, _EXPIRIES_PER_TURN // max(1, len(self.room)))
            turn.expired, self._expiring = self._expiring[:count], self._expiring[count:]
        return bool(
            len(self._batch) or turn.departures or turn.joins or turn.queries or turn.pings or turn.expired
        )

    def _apply(self, turn: Turn) -> None:
        if not self._sequence(turn):
            return
        journal, connections, now = self._journal, self.connections, turn.now
        heard = journal.listens()
        told = heard and journal.left("command")
        outcome = self.room.apply(turn, journal.command if told else None)
        if heard and not told:
            journal.skip("command", outcome.commands)
        reasons = {peer.session.ticket: peer.why for peer in connections.departing}
        connections.departing.clear()
        self._batch.clear()
        self.stats.count(outcome, self.room.ranks, now)
        self._deliver(outcome, now)
        for joined in outcome.joined:
            peer = connections.at(joined.peer)
            try:
                self._seat(peer, joined.ticket, joined.seq, joined.rank, now)
            except Exception as error:
                if peer.session.state is not State.MEMBER:
                    raise  # it has a rank already, and would keep it for ever
                connections.blame(peer, error, now)
        for full in outcome.full:
            connections.end(connections.at(full.peer), CloseReason.FULL, "no seat is free", now)
        self._intake.joining.clear()
        if heard:
            journal.joined(outcome.joined)
            journal.departed(outcome.departed, reasons)
            journal.refused(outcome.refused)

    def _deliver(self, outcome: Outcome, now: float) -> None:
        connections, deliveries, peers = self.connections, outcome.deliveries, outcome.peers
        tails = deliveries.tails()
        behind = flush(deliveries, outcome.tickets, peers, tails, connections.links, self._ring)
        if not behind:
            return
        position = connections.outbox.share(deliveries.executes) if deliveries.executes else 0
        over = connections.outbox.over
        filled = []
        for rank, sent, error in behind:
            peer = connections.at(peers[rank])
            try:
                pieces = deliveries.pieces(rank, tails.get(outcome.tickets[rank]))
                connections.writing.deliver(peer, pieces, position, sent, error, now)
            except Exception as failure:  # noqa: BLE001 - told there
                connections.blame(peer, failure, now)
            if peer.fd in over:
                filled.append(rank)
        if filled:
            filled.sort()
            connections.pacing.judge(filled, deliveries, outcome.tickets, peers)

    def _seat(self, peer: Peer, ticket: int, seq: int, rank: int, now: float) -> None:
        config, connections = self.config, self.connections
        peer.session.ticket = connections.links.tickets[peer.fd] = ticket
        peer.session.step(Step.SEAT)  # as the last: a member has a ticket
        welcome = Welcome(
            self.instance, ticket, seq, rank, rank + 1, config.seats, config.max_payload, config.ping_ms
        )
        connections.writing.write(peer, welcome.encode(), now)
        if peer.reason is None:
            if peer.session.pending:  # what came behind HELLO; it counts as unseen until then
                connections.interest.again.append(peer)
            connections.interest.look_again(peer)
            connections.interest.tune(peer)

    def _start_over(self) -> None:
        """No memory, and not for one connection's own work, which ends that one: half a turn may have been applied.

        What cannot be taken back is seen by nobody: all connections are reset, the room is empty, and the loop goes on.
        """
        now = self._reactor.clock()
        self._batch.clear()
        self._expiring.clear()
        self._intake.forget()
        count = self.connections.abandon(now)
        self.room.clear()
        give_back()
        text = "no memory to finish a turn: all %d connections were reset, and the room is empty"
        log.critical(text, count, extra=tagged("started_over", connections=count))
