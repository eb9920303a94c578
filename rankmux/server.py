"""The server: accept, read, run the turn, flush, reap. Glue between the room, which knows no I/O, and the connections.

Single-threaded and non-blocking: one `step` is one turn (PROTOCOL section 4). Embed it with `step` or `serve_forever`;
as a context manager it runs in a thread of its own, for tests and demonstrations.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import selectors
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Self

from .background import Background
from .config import Config
from .connections import Connections
from .errors import ProtocolViolation
from .framing import Batch, Event, flush, receive
from .journal import Journal
from .links import HUNG_UP, READ_DIRECT, READABLE, WRITABLE, WRITE_DIRECT
from .listener import Listener, text_address
from .liveness import Liveness
from .peers import CloseReason, Peer
from .reactor import Reactor
from .room import Departure, Join, Outcome, Room, Turn
from .session import HELLO_MAX_BYTES, State, Step
from .wire import Hello, Leave, Ping, Welcome, Who

__all__ = ["Server"]

_GAP_S = 1.0  # a turn that comes so much later than planned: we were stopped, and judge nobody before all is read
_READ_FIRST_TURNS = 16  # but not for ever

log = logging.getLogger("rankmux.server")


class Server:
    """A server that listens from its creation on. `settings` are those of Config; `tokens` let in, none lets in all.

    Raises ConfigError on a wrong setting or an address that it can't have.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        tokens: tuple[bytes, ...] = (),
        selector: selectors.BaseSelector | None = None,
        clock: Callable[[], float] = time.monotonic,
        **settings: object,
    ) -> None:
        self.config = config = config or Config(**settings)  # type: ignore[arg-type]
        self.instance = secrets.randbits(64)
        self.stopped = False
        self._reactor = Reactor(selector, clock)
        self.room = Room(config.seats, config.max_payload, config.waiting_max, config.result_ttl_ms)
        self.connections = Connections(config, self._reactor)
        self._listener = Listener(config, self._reactor)
        self.connections.links.reserve(self._listener.fd)
        self._liveness = Liveness(config, self.connections)
        self._journal = Journal(self.room.ranks, config.log_lines_per_s)
        self._digests = tuple(sha256(token).digest() for token in tokens)
        self._batch = Batch(config.max_payload)
        self._unread: list[tuple[int, int]] = []
        self._unread_turns = 0
        self._replay: list[Peer] = []
        self._joining: list[Peer] = []
        self._stop_asked = False
        self._stopping = False
        self._stop_by = 0.0
        self._background: Background | None = None
        self._sweep_at = clock() + self._liveness.interval()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens on; the real port where 0 was asked for."""
        return self._listener.address

    def serve_forever(self) -> None:
        """Run turns until `stop` was called and everybody is gone."""
        while not self.stopped:
            self.step(None)

    def stop(self) -> None:
        """Shut down in order: ERROR SHUTDOWN to all, what is queued goes out for up to `shutdown_drain_s`.

        May be called from a signal handler or another thread; returns at once.
        """
        self._stop_asked = True
        self._reactor.wake()

    def close(self) -> None:
        """Give up all sockets at once. For who embeds `step`; after `serve_forever` there is nothing left to close."""
        now = self._reactor.clock()
        self._listener.close()
        for peer in self.connections:
            self.connections.end(peer, CloseReason.SHUTDOWN, "the server closed", now)
            self.connections.overdue(peer)
        self.connections.reap(now)
        if not self.stopped:
            self._reactor.close()
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
        reactor, connections = self._reactor, self.connections
        ready = reactor.poll(self._patience(timeout))
        now = reactor.clock()
        turn = Turn(now, self._batch)
        self._read(ready, turn)
        self._apply(turn)
        self._judge(now)
        connections.reap(now)
        reactor.run_due()
        if self._stop_asked and not self._stopping:
            self._begin_stop(now)
        if self._stopping and (not len(connections) or now >= self._stop_by):
            self._end_stop(now)

    def _patience(self, timeout: float | None) -> float:
        """How long the next `poll` may wait, in seconds."""
        if self._unread or self._replay or self.connections.departing:
            return 0.0
        deadline = self.room.next_deadline()
        until = self._sweep_at if deadline is None else min(self._sweep_at, deadline)
        wait = max(0.0, until - self._reactor.clock())
        return wait if timeout is None else min(timeout, wait)

    # Reading: what has arrived, into the turn.

    def _read(self, ready: list[tuple[int, int]], turn: Turn) -> None:
        if self._unread:
            first = dict(self._unread)
            ready = [r for r in ready if r[0] in first] + [r for r in ready if r[0] not in first]
        config, connections = self.config, self.connections
        for peer in self._replay:
            if peer.reason is None:
                self._feed(peer, b"", turn)
        self._replay.clear()
        events, others, dealt = receive(
            self._batch, ready, connections.links, turn.now, config.read_budget_bytes, config.turn_budget_bytes
        )
        self._unread = ready[dealt:]
        for fd, event in events:
            peer = connections.peers[fd]
            if peer is not None:
                self._on_event(peer, event, turn)
        for fd, mask in others:
            if fd == self._listener.fd:
                self._accept(turn)
            elif not self._reactor.woken(fd):
                self._on_ready(fd, mask, turn)

    def _accept(self, turn: Turn) -> None:
        for sock, address in self._listener.accept(self.config.accept_budget, turn.now):
            peer = self.connections.open(sock, text_address(address), turn.now)
            if peer is not None:
                self._receive(peer, turn)

    def _on_ready(self, fd: int, mask: int, turn: Turn) -> None:
        peer = self.connections.peers[fd]
        if peer is None or peer.dead:
            return
        if fd in self.connections.outbox.queues and mask & (WRITABLE | HUNG_UP):
            self.connections.resume(peer, turn.now)
        if mask & (READABLE | HUNG_UP) and not peer.dead and not peer.input_ended:
            self._receive(peer, turn)

    def _receive(self, peer: Peer, turn: Turn) -> None:
        """Read a connection that the hot loop leaves to us."""
        greeting = peer.session.state is State.GREETING
        try:
            data = peer.sock.recv(HELLO_MAX_BYTES if greeting else self.config.read_budget_bytes)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._on_event(peer, error.errno or 0, turn)
            return
        if not data:
            self._on_event(peer, 0, turn)
            return
        self.connections.links.heard[peer.fd] = turn.now
        self._feed(peer, data, turn)

    def _feed(self, peer: Peer, data: bytes, turn: Turn) -> None:
        for event in peer.session.receive_data(data, self._batch):
            self._on_event(peer, event, turn)
        if peer.session.state is State.MEMBER:
            self._set_direct(peer, turn.now)

    def _set_direct(self, peer: Peer, now: float) -> None:
        """The hot loop reads who has no incomplete frame."""
        modes = self.connections.links.modes
        modes[peer.fd] = modes[peer.fd] & WRITE_DIRECT | (0 if peer.session.pending else READ_DIRECT)
        self.connections.keep_partial(peer, now)

    def _on_event(self, peer: Peer, event: Event, turn: Turn) -> None:
        connections, now = self.connections, turn.now
        if isinstance(event, bytes):
            peer.session.pending = bytearray(event)
            self._set_direct(peer, now)
        elif isinstance(event, int):
            if event:
                connections.fail(peer, event, now)
            else:
                cut = peer.session.pending and peer.session.state is State.MEMBER
                reason = CloseReason.CUT if cut else CloseReason.END_OF_STREAM
                connections.end(peer, reason, "", now)
                connections.input_ended(peer)
        elif isinstance(event, ProtocolViolation):
            connections.end(peer, CloseReason.of(event.code), event.text, now)
        elif isinstance(event, Hello):
            self._on_hello(peer, event, now)
        elif isinstance(event, Who):
            turn.queries.append((peer.session.ticket, event))
        elif isinstance(event, Ping):
            turn.pings.append((peer.session.ticket, event.payload))
        elif isinstance(event, Leave):
            connections.end(peer, CloseReason.LEFT, "", now)

    def _on_hello(self, peer: Peer, hello: Hello, now: float) -> None:
        peer.name = hello.name
        if self._digests:
            digest = sha256(hello.token).digest()
            if not any([hmac.compare_digest(digest, known) for known in self._digests]):
                self.connections.end(peer, CloseReason.AUTH, "the token is not the right one", now)
                return
        peer.session.step(Step.HELLO)
        self.connections.greeted(peer)
        self._joining.append(peer)

    # The turn: sequence it, apply it, send what it owes.

    def _sequence(self, turn: Turn) -> bool:
        """Complete the turn in the order of section 4; False when there is nothing to apply."""
        connections = self.connections
        if not self._stopping:
            turn.departures = [
                Departure(peer.session.ticket, peer.reason.cause) for peer in connections.departing if peer.reason
            ]
            joining = [peer for peer in self._joining if peer.reason is None]
            joining.sort(key=lambda peer: peer.order)
            turn.joins = [Join(peer.fd, peer.name, peer.address) for peer in joining]
        if self._all_read():
            turn.expired = self.room.due(turn.now)
        return bool(
            len(self._batch) or turn.departures or turn.joins or turn.queries or turn.pings or turn.expired
        )

    def _apply(self, turn: Turn) -> None:
        if not self._sequence(turn):
            return
        journal, connections, now = self._journal, self.connections, turn.now
        heard = journal.tick(now)
        outcome = self.room.apply(turn, journal.command if heard and journal.left("command") else None)
        reasons = [peer.reason.value for peer in connections.departing if peer.reason is not None]
        connections.departing.clear()
        self._batch.clear()
        self._deliver(outcome, now)
        for joined in outcome.joined:
            peer = connections.peers[joined.peer]
            assert peer is not None
            self._seat(peer, joined.ticket, joined.seq, joined.rank, now)
        for full in outcome.full:
            peer = connections.peers[full.peer]
            assert peer is not None
            connections.end(peer, CloseReason.FULL, "no seat is free", now)
        self._joining.clear()
        if heard:
            journal.joined(outcome.joined)
            journal.departed(outcome.departed, reasons)
            journal.refused(outcome.refused)

    def _deliver(self, outcome: Outcome, now: float) -> None:
        connections, deliveries = self.connections, outcome.deliveries
        tails = deliveries.tails()
        behind = flush(deliveries, outcome.tickets, outcome.peers, tails, connections.links)
        if not behind:
            return
        position = connections.outbox.share(deliveries.executes) if deliveries.executes else 0
        for rank, sent, error in behind:
            peer = connections.peers[outcome.peers[rank]]
            if peer is not None:
                pieces = deliveries.pieces(rank, tails.get(outcome.tickets[rank]))
                connections.fall_behind(peer, pieces, position, sent, error, now)

    def _seat(self, peer: Peer, ticket: int, seq: int, rank: int, now: float) -> None:
        config, links = self.config, self.connections.links
        peer.session.step(Step.SEAT)
        peer.session.ticket = links.tickets[peer.fd] = ticket
        links.modes[peer.fd] = WRITE_DIRECT
        welcome = Welcome(
            self.instance, ticket, seq, rank, rank + 1, config.seats, config.max_payload, config.ping_ms
        )
        self.connections.write(peer, welcome.encode(), now)
        if peer.reason is None:
            self._set_direct(peer, now)
            if peer.session.pending:
                self._replay.append(peer)

    # The clock, and the end.

    def _all_read(self) -> bool:
        return not self._unread or self._unread_turns >= _READ_FIRST_TURNS

    def _judge(self, now: float) -> None:
        """Deadlines, once all that had arrived has been read: who was stopped with us has not been silent."""
        self._unread_turns = self._unread_turns + 1 if self._unread else 0
        if now < self._sweep_at or not self._all_read():
            return
        if now - self._sweep_at < _GAP_S:
            self._liveness.sweep(now)
        self._sweep_at = now + self._liveness.interval()

    def _begin_stop(self, now: float) -> None:
        """No new connections, ranks frozen, ERROR SHUTDOWN to all."""
        self._stopping = True
        self._stop_by = now + self.config.shutdown_drain_s
        self._listener.close()
        connections = self.connections
        for peer in connections:
            if peer.reason is None:
                connections.end(peer, CloseReason.SHUTDOWN, "the server is going away", now)
                peer.until = self._stop_by
        connections.departing.clear()
        connections.reap(now)

    def _end_stop(self, now: float) -> None:
        connections = self.connections
        left = len(connections)
        for peer in connections:
            connections.overdue(peer)
        connections.reap(now)
        self._reactor.close()
        self.stopped = True
        log.info(
            "stopped: %d of the connections did not take all: %d bytes undelivered", left, connections.undelivered_bytes
        )


