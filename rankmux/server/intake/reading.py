"""Intake: accepting, greeting and reading connections, and collecting their frames for the turn. Judges no ranks.

Whatever goes wrong with one connection in here ends that one, and no other.
"""

from __future__ import annotations

from ...config import Config
from ...core.greeting import HELLO_MAX_BYTES, greet
from ...core.room.batch import Batch, Event
from ...core.room.turn import Turn
from ...core.wire.codes import FRAME_OVERHEAD
from ...core.wire.frames import Hello, Leave, Ping, Who
from ...errors import ProtocolViolation
from ...system.reactor import HUNG_UP, READABLE, WRITABLE
from ..connections.closes import CloseReason
from ..connections.connection import Connection, Pause, State, Step
from ..connections.registry import Connections
from ..connections.verdicts import End, Failed, Hold, Verdict
from ..kernel.receive import receive, take_in
from ..sockets.listener import Listener
from .auth import Auth
from .handshakes import Handshakes
from .query_budget import QueryBudget

__all__ = ["Intake"]


class Intake:
    """Reads for a server.

    `joining`  connections that said HELLO and wait for a seat
    `unread`   ready descriptors that the last turn had no budget for
    """

    def __init__(
        self, config: Config, listener: Listener, connections: Connections, auth: Auth, batch: Batch
    ) -> None:
        self.joining: list[Connection] = []
        self.unread: list[tuple[int, int]] = []
        self._config = config
        self._listener = listener
        self._connections = connections
        self._watching = connections.watching
        self._descriptors = connections.descriptors
        self._outbox = connections.outbox
        self._auth = auth
        self._batch = batch
        self._handshakes = Handshakes(connections, config.tls_handshake_budget)
        self._queries = QueryBudget(config.outbox_soft_bytes // 4)
        self._members = 0
        self._left = 0

    def more(self) -> bool:
        """Whether there is something to do without waiting."""
        return bool(
            self.unread or self._watching.again or self._handshakes or self._queries.waits(self._outbox.over)
        )

    def clear(self) -> None:
        """All connections are gone: nothing waits to be read or answered."""
        self.joining.clear()
        self.unread.clear()
        self._handshakes.clear()
        self._queries.clear()

    def gather(self, ready: list[tuple[int, int]], turn: Turn, members: int, now: float) -> list[int]:
        """Read the input of the `ready` (fd, mask) into `turn`; returns the descriptors that are no connection's.

        `members` is the size of the room, by which the cost of queries is estimated.
        """
        self._members = members
        if self.unread:
            first = dict(self.unread)
            ready = [r for r in ready if r[0] in first] + [r for r in ready if r[0] not in first]
        if self._outbox.full:
            ready = self._brake(ready, now)
        self._resume_queries(turn, now)
        again, self._watching.again = self._watching.again, []
        for conn in again:  # before anything newer of the same connection
            self._feed_unseen(conn, turn, now)
        budget = self._config.read_budget_bytes if self._outbox.over else self._config.turn_budget_bytes
        events, others, dealt = receive(
            self._batch, ready, self._descriptors, now, self._config.read_budget_bytes, budget
        )
        self.unread = ready[dealt:]
        for fd, event in events:
            reader = self._connections.at(fd)
            assert reader is not None
            with self._connections.guard(reader, now):
                self._on_event(reader, event, turn, now)
        for conn in again:
            self._look(conn, READABLE, turn, now)
        self._left = budget  # the hot loop has had as much
        foreign = self._look_at_others(others, turn, now)
        for conn in self._handshakes.turn(now):
            with self._connections.guard(conn, now):
                if not self._auth.admits_names(conn.transport.peer_names()):
                    text = "the name in the certificate may not join"
                    self._connections.end(conn, CloseReason.AUTH, text, now)
                else:
                    self._receive(conn, turn, now)
        return foreign

    def _brake(self, ready: list[tuple[int, int]], now: float) -> list[tuple[int, int]]:
        """A queue is half-way to its hard limit: every member that could fill it further waits."""
        pacing, full, tickets = self._connections.pacing, self._outbox.full, self._descriptors.tickets
        receivers = pacing.crowd(sorted(full))
        left, began = [], []
        for fd, mask in ready:
            ticket = tickets[fd]
            if not ticket or not mask & READABLE or ticket in full:
                left.append((fd, mask))
                continue
            if pacing.wait(ticket, receivers):
                began.append(ticket)
            if mask & ~READABLE:
                left.append((fd, mask & ~READABLE))
        self._connections.pace(began, now)
        return left

    def _look_at_others(self, others: list[tuple[int, int]], turn: Turn, now: float) -> list[int]:
        """Deal with the ready descriptors that are not, or not only, for the hot loop."""
        foreign = []
        for dealt, (fd, mask) in enumerate(others):
            if self._left <= 0:
                self.unread += others[dealt:]
                break
            conn = self._connections.at(fd)
            if conn is not None:
                self._look(conn, mask, turn, now)
            elif fd in self._listener.fds:
                self._accept(turn, now)
            else:
                foreign.append(fd)
        return foreign

    def _accept(self, turn: Turn, now: float) -> None:
        context, budget = self._auth.context, self._config.accept_budget
        if (
            context is not None
        ):  # a connection whose handshake cannot begin yet is better off in the kernel's queue
            budget = self._config.tls_handshake_budget - len(self._handshakes)
        for sock, address in self._listener.accept(budget, now):
            conn = self._connections.open(sock, address, context, now)
            if conn is None:
                continue
            with self._connections.guard(conn, now):
                if conn.state is State.HANDSHAKE:
                    self._handshakes.ready(conn)
                else:
                    self._receive(conn, turn, now)
                if conn.state in (State.HANDSHAKE, State.GREETING):
                    self._connections.limit_greeting(conn, now)

    def _look(self, conn: Connection, mask: int, turn: Turn, now: float) -> None:
        """`conn` is ready and not for the hot loop, or holds bytes that no selector tells of."""
        if conn.dead:
            return
        with self._connections.guard(conn, now):
            if conn.state is State.HANDSHAKE:
                self._handshakes.ready(conn)
                return
            direct = conn.transport.direct
            if conn.key in self._outbox.queues and (not direct or mask & (WRITABLE | HUNG_UP)):
                self._connections.resume(conn, now)
            if conn.dead or conn.input_ended or conn.paused_for:
                return
            if not direct or mask & (READABLE | HUNG_UP):
                self._receive(conn, turn, now)

    def _feed_unseen(self, conn: Connection, turn: Turn, now: float) -> None:
        """Bytes that came behind HELLO count once there is a seat."""
        unseen = conn.fd in self._descriptors.partials and conn.fd not in self._descriptors.partial_since
        if unseen and conn.state is State.MEMBER:
            with self._connections.guard(conn, now):
                self._feed(conn, b"", turn, now)

    def _receive(self, conn: Connection, turn: Turn, now: float) -> None:
        """Read a connection that the hot loop leaves to us."""
        left = self._config.read_budget_bytes
        transport = conn.transport
        while left > 0:
            size = max(left, transport.read_bytes)
            try:
                data = transport.recv(size if conn.ticket else self._config.greeting_in_bytes)
            except (BlockingIOError, InterruptedError):
                if conn.state is State.BROKEN:  # everything that had arrived was read
                    self._connections.act(conn, Failed(0), now)
                break
            except OSError as error:
                detail = "" if transport.direct else error.strerror or ""
                self._connections.act(conn, Failed(error.errno or 0, detail), now)
                return
            if not data:
                self._on_event(conn, 0, turn, now)
                return
            self._descriptors.heard[conn.fd] = now
            self._feed(conn, data, turn, now)
            left -= len(data)
            self._left -= len(data)
            if transport.direct or conn.paused_for or conn.state not in (State.MEMBER, State.BROKEN):
                break
        if not conn.dead:
            if not transport.direct:
                self._watching.update(conn)
            self._watching.look_again(conn)

    def _feed(self, conn: Connection, data: bytes, turn: Turn, now: float) -> None:
        """Bytes of `conn` go to where its state takes them; behind the end they are dropped."""
        if conn.state in (State.MEMBER, State.BROKEN):
            for event in take_in(self._batch, self._descriptors, conn.fd, data, now):
                self._on_event(conn, event, turn, now)
        elif conn.state is State.GREETING:
            self._greet(conn, data, now)
        elif conn.state is State.JOINING:
            self._descriptors.partials.setdefault(conn.fd, bytearray()).extend(data)

    def _greet(self, conn: Connection, data: bytes, now: float) -> None:
        config, partials = self._config, self._descriptors.partials
        stream = partials.pop(conn.fd, b"") + data
        taken, frame = greet(stream, min(HELLO_MAX_BYTES, config.max_payload + FRAME_OVERHEAD))
        if taken < len(stream):
            partials[conn.fd] = bytearray(stream[taken:])
        if isinstance(frame, Hello):
            self._connections.act(conn, self._on_hello(conn, frame), now)
        elif frame is not None:
            self._connections.end(conn, CloseReason.of(frame.code), frame.text, now)
        elif len(stream) > config.greeting_in_bytes:
            text = f"more than {config.greeting_in_bytes} bytes came before HELLO was whole"
            self._connections.end(conn, CloseReason.TOO_BIG, text, now)

    def _on_hello(self, conn: Connection, hello: Hello) -> Verdict:
        conn.name = hello.name
        if not self._auth.admits(hello.token):
            return End(CloseReason.AUTH, "wrong token")
        self._connections.step(conn, Step.HELLO)
        self.joining.append(conn)
        return None

    def _resume_queries(self, turn: Turn, now: float) -> None:
        for conn, events in self._queries.turn(self._outbox.over):
            with self._connections.guard(conn, now):
                while events and conn.alive:
                    verdict = self._take(conn, events[0], turn)
                    if isinstance(verdict, Hold):
                        break
                    events.popleft()
                    self._connections.act(conn, verdict, now)
            if not events:
                self._queries.done(conn)
                self._watching.resume(conn, Pause.QUERIES)

    def _on_event(self, conn: Connection, event: Event, turn: Turn, now: float) -> None:
        verdict: Verdict = Hold(Pause.QUERIES) if conn in self._queries else self._take(conn, event, turn)
        if isinstance(verdict, Hold):
            self._queries.postpone(conn, event)
        self._connections.act(conn, verdict, now)

    def _take(self, conn: Connection, event: Event, turn: Turn) -> Verdict:
        """Enter a member's `event` into the turn; Hold when it has to wait."""
        match event:
            case Who():
                most = self._config.max_payload + FRAME_OVERHEAD + 4
                if not self._queries.allows(conn, event, self._members, most):
                    return Hold(Pause.QUERIES)
                turn.queries.append((conn.ticket, event))
            case Ping():
                turn.pings.append((conn.ticket, event.payload))
            case Leave():
                return End(CloseReason.LEFT)
            case ProtocolViolation():
                return End(CloseReason.of(event.code), event.text)
            case 0:
                cut = conn.fd in self._descriptors.partials and conn.alive and conn.ticket
                reason = CloseReason.CUT if cut else CloseReason.END_OF_STREAM
                return End(reason, input_ended=True)
            case int():
                return Failed(event)
        return None
