"""What arrives: connections are accepted, greeted and read, and what they send goes into the turn. Judges no ranks.

Whatever goes wrong with one connection in here ends that one, and no other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ...config import Config
from ...core.room.batch import Batch, Event
from ...core.room.room import Room, Turn
from ...core.server_session import State, Step
from ...core.wire.codes import FRAME_OVERHEAD
from ...core.wire.frames import Hello, Leave, Ping, Who
from ...errors import ProtocolViolation
from ...system.reactor import HUNG_UP, READABLE, WRITABLE, Reactor
from ..connections.connection import ASKING, CloseReason, Peer
from ..connections.registry import Connections
from ..kernel.receive import receive
from ..sockets.listener import Listener
from ..sockets.tls import TLS_READ_BYTES
from .auth import Access
from .handshakes import Handshakes
from .query_budget import Asking

__all__ = ["Intake"]

log = logging.getLogger("rankmux.server")


class Intake:
    """Reads for a server. `joining` said HELLO and wait for a seat; for `unread` the last turn had no budget."""

    def __init__(
        self,
        config: Config,
        reactor: Reactor,
        listener: Listener,
        connections: Connections,
        access: Access,
        room: Room,
        batch: Batch,
    ) -> None:
        self.joining: list[Peer] = []
        self.unread: list[tuple[int, int]] = []
        self.guest: Callable[[int], object] = id  # told of a ready descriptor that is no connection's
        self._config = config
        self._reactor = reactor
        self._listener = listener
        self._connections = connections
        self._interest = connections.interest
        self._access = access
        self._room = room
        self._batch = batch
        self._handshakes = Handshakes(connections, config.tls_handshake_budget)
        self._left = 0
        self._asking = Asking(config.outbox_soft_bytes // 4)

    def more(self) -> bool:
        """Whether there is something to do without waiting."""
        over = self._connections.outbox.over
        return bool(self.unread or self._interest.again or self._handshakes or self._asking.waits(over))

    def forget(self) -> None:
        """All connections are gone: nothing waits to be read or answered."""
        self.joining.clear()
        self.unread.clear()
        self._handshakes.forget()
        self._asking.forget()

    def read(self, ready: list[tuple[int, int]], turn: Turn) -> None:
        """Read what has arrived into `turn`."""
        if self.unread:
            first = dict(self.unread)
            ready = [r for r in ready if r[0] in first] + [r for r in ready if r[0] not in first]
        config, connections = self._config, self._connections
        if connections.outbox.full:
            ready = self._brake(ready)
        self._resume_asking(turn)
        budget = config.read_budget_bytes if connections.outbox.over else config.turn_budget_bytes
        events, others, dealt = receive(
            self._batch, ready, connections.links, turn.now, config.read_budget_bytes, budget
        )
        self.unread = ready[dealt:]
        for fd, event in events:
            peer = connections.at(fd)
            try:
                self._on_event(peer, event, turn)
            except Exception as error:  # noqa: BLE001 - told there
                connections.blame(peer, error, turn.now)
        again, self._interest.again = self._interest.again, []
        for peer in again:
            self._look(peer, READABLE, turn)
        self._left = budget  # the hot loop has had as much
        for dealt, (fd, mask) in enumerate(others):
            if self._left <= 0:
                self.unread += others[dealt:]
                break
            ready_peer = connections.get(fd)
            if ready_peer is not None:
                self._look(ready_peer, mask, turn)
            elif fd == self._listener.fd:
                self._accept(turn)
            elif not self._reactor.woken(fd):
                self.guest(fd)
        for peer in self._handshakes.turn(turn.now):
            try:
                self._on_handshake(peer, turn)
            except Exception as error:  # noqa: BLE001 - told there
                connections.blame(peer, error, turn.now)

    def _brake(self, ready: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Somebody is half-way to its hard limit: whoever could fill it further waits, known for that or not."""
        connections = self._connections
        full, tickets, left = connections.outbox.full, connections.links.tickets, []
        receivers = connections.pacing.crowd(sorted(full))
        for fd, mask in ready:
            if tickets[fd] and mask & READABLE and fd not in full:
                connections.pacing.wait(fd, receivers)
                if mask & ~READABLE:
                    left.append((fd, mask & ~READABLE))
            else:
                left.append((fd, mask))
        return left

    def _accept(self, turn: Turn) -> None:
        budget = self._config.accept_budget
        if (
            self._access.context is not None
        ):  # who has no turn for a handshake yet is better off in the kernel's queue
            budget = self._config.tls_handshake_budget - len(self._handshakes)
        for sock, address in self._listener.accept(budget, turn.now):
            peer = self._connections.open(sock, address, self._access.context, turn.now)
            if peer is None:
                continue
            try:
                if peer.shaking:
                    self._handshakes.ready(peer)
                else:
                    self._receive(peer, turn)
                if peer.session.state is State.GREETING:
                    self._connections.await_hello(peer, turn.now)
            except Exception as error:  # noqa: BLE001 - told there
                self._connections.blame(peer, error, turn.now)

    def _look(self, peer: Peer, mask: int, turn: Turn) -> None:
        """A connection that the hot loop leaves to us is ready, or holds bytes that no selector sees."""
        connections = self._connections
        if peer.dead:
            return
        try:
            if peer.shaking:
                self._handshakes.ready(peer)
                return
            if peer.fd in connections.outbox.queues and (peer.tls is not None or mask & (WRITABLE | HUNG_UP)):
                connections.writing.resume(peer, turn.now)
            if peer.dead or peer.input_ended or peer.held:
                return
            if (
                peer.session.pending
                and peer.session.state is State.MEMBER
                and peer.fd not in self._interest.partial
            ):
                self._feed(peer, b"", turn)
            if peer.tls is not None or mask & (READABLE | HUNG_UP):
                self._receive(peer, turn)
        except Exception as error:  # noqa: BLE001 - told there
            connections.blame(peer, error, turn.now)

    def _on_handshake(self, peer: Peer, turn: Turn) -> None:
        assert peer.tls is not None
        if not self._access.admits_names(peer.tls.peer_names()):
            self._connections.end(
                peer, CloseReason.AUTH, "the name in the certificate may not join", turn.now
            )
        else:
            self._receive(peer, turn)

    def _receive(self, peer: Peer, turn: Turn) -> None:
        """Read a connection that the hot loop leaves to us."""
        config = self._config
        left = config.read_budget_bytes
        while left > 0:
            size = left if peer.tls is None else TLS_READ_BYTES
            try:
                data = peer.sock.recv(size if peer.session.ticket else config.greeting_in_bytes)
            except (BlockingIOError, InterruptedError):
                if peer.broken:  # that was all
                    self._connections.fail(peer, 0, turn.now)
                break
            except OSError as error:
                self._connections.fail(
                    peer, error.errno or 0, turn.now, "" if peer.tls is None else error.strerror or ""
                )
                return
            if not data:
                self._on_event(peer, 0, turn)
                return
            self._connections.links.heard[peer.fd] = turn.now
            self._feed(peer, data, turn)
            left -= len(data)
            self._left -= len(data)
            if peer.tls is None or peer.dead or peer.held or peer.session.state is not State.MEMBER:
                break
        if not peer.dead:
            if peer.tls is not None:
                self._interest.tune(peer)
            self._interest.look_again(peer)

    def _feed(self, peer: Peer, data: bytes, turn: Turn) -> None:
        session = peer.session
        before = len(session.pending or b"")
        for event in session.receive_data(data, self._batch):
            self._on_event(peer, event, turn)
        held = len(session.pending or b"")
        if session.state is State.MEMBER:
            self._interest.keep_partial(peer, held < before + len(data), turn.now)
        elif session.state is State.GREETING and held > self._config.greeting_in_bytes:
            text = f"more than {self._config.greeting_in_bytes} bytes came before HELLO was whole"
            self._connections.end(peer, CloseReason.TOO_BIG, text, turn.now)

    def _resume_asking(self, turn: Turn) -> None:
        for peer, events in self._asking.turn(self._connections.outbox.over):
            try:
                while events and peer.reason is None and self._take(peer, events[0], turn):
                    events.popleft()
            except Exception as error:  # noqa: BLE001 - told there
                self._connections.blame(peer, error, turn.now)
            if not events:
                self._asking.done(peer)
                self._interest.release(peer, ASKING)

    def _on_event(self, peer: Peer, event: Event, turn: Turn) -> None:
        if isinstance(event, bytes):
            peer.session.pending = bytearray(event)
            self._interest.keep_partial(peer, True, turn.now)
        elif peer in self._asking or not self._take(peer, event, turn):
            self._asking.postpone(peer, event)
            self._connections.hold(peer, ASKING)

    def _take(self, peer: Peer, event: Event, turn: Turn) -> bool:
        """False when the event has to wait."""
        connections, now = self._connections, turn.now
        if isinstance(event, int):
            if event:
                connections.fail(peer, event, now)
            else:
                cut = peer.session.pending and peer.session.state is State.MEMBER
                connections.end(peer, CloseReason.CUT if cut else CloseReason.END_OF_STREAM, "", now)
                connections.input_ended(peer)
        elif isinstance(event, ProtocolViolation):
            connections.end(peer, CloseReason.of(event.code), event.text, now)
        elif isinstance(event, Hello):
            self._on_hello(peer, event, now)
        elif isinstance(event, Who):
            most = self._config.max_payload + FRAME_OVERHEAD + 4
            if not self._asking.allows(peer, event, len(self._room), most):
                return False
            turn.queries.append((peer.session.ticket, event))
        elif isinstance(event, Ping):
            turn.pings.append((peer.session.ticket, event.payload))
        elif isinstance(event, Leave):
            connections.end(peer, CloseReason.LEFT, "", now)
        return True

    def _on_hello(self, peer: Peer, hello: Hello, now: float) -> None:
        peer.name = hello.name
        if not self._access.admits(hello.token):
            self._connections.end(peer, CloseReason.AUTH, "the token is not the right one", now)
            return
        peer.session.step(Step.HELLO)
        self._connections.greeted(peer)
        self.joining.append(peer)
