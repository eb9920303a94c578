"""Intake: accepting, greeting and reading connections, and collecting their frames for the turn. Judges no ranks.

A turn has room for so many bytes and so much work (frames, members listed), which the connections that have something
to read share equally. Frames that were read and not taken are the backlog: they wait for the next turns, longest wait
first, and no more is read from their connections meanwhile. Half of a turn's room is theirs; what has just come gets
the other half, and comes first: who sends little does not stand behind those who send without end. Whatever goes wrong
with one connection in here ends that one, and no other.
"""

from __future__ import annotations

from ..._twin import TWIN
from ...config import Config
from ...core.greeting import HELLO_MAX_BYTES, greet
from ...core.room.batch import Batch, Event
from ...core.room.turn import Turn
from ...core.wire.codes import FRAME_OVERHEAD, HelloFlag
from ...core.wire.frames import Cancel, Hello, Leave, Ping, Who, Yield
from ...errors import ProtocolViolation
from ...system.open_files import RESERVED_FILES, open_files_max
from ...system.reactor import HUNG_UP, READABLE, WRITABLE
from ..connections.closes import CloseReason
from ..connections.connection import Connection
from ..connections.registry import Connections
from ..connections.states import BROKEN, GREETING, HANDSHAKE, JOINING, MEMBER, OBSERVER, Step
from ..connections.verdicts import End, Failed, Verdict
from ..connections.watching import WINDOW
from ..kernel.crowd import greet_crowd
from ..kernel.receive import receive, take_in
from ..sockets.listener import Listener, Newcomer
from .auth import Auth
from .halves import Halves
from .handshakes import Handshakes

__all__ = ["Intake"]

# Plain numbers: to combine members of a flag is Python code.
_NAMES_SHOWN = 200  # characters of a certificate's names in an error
_OBSERVE, _WATCH = int(HelloFlag.OBSERVE), int(HelloFlag.WATCH)
_LISTED_PER_TURN = 8192  # members, in answers to WHO
_SHARE_MIN = 16  # of the turn's work: to take a connection's frames one by one would cost more
_READ = frozenset((MEMBER, OBSERVER, BROKEN))  # their bytes go into the turn
_BEFORE_HELLO = frozenset((HANDSHAKE, GREETING))
_LISTED_BYTES = 64  # of a member in an answer, with a name and an address of the usual size


class Intake:
    """Reads for a server.

    `joining`  connections that said HELLO and wait for a seat
    `cancels`  (ticket of the sender, id of its command), to be cancelled in a turn with room for it
    `unread`   ready descriptors that the last turn had no budget for
    `paused`   members that wait for a turn that takes input again: there is no room in the log
    """

    def __init__(
        self, config: Config, listener: Listener, connections: Connections, auth: Auth, batch: Batch
    ) -> None:
        self.joining: list[Connection] = []
        self.cancels: list[tuple[int, int]] = []
        self.unread: list[tuple[int, int]] = []
        self._config = config
        self._listener = listener
        self._connections = connections
        self._watching = connections.watching
        self._descriptors = connections.descriptors
        self._outbox = connections.outbox
        self._auth = auth
        self._batch = batch
        self._halves = Halves(batch)
        self._handshakes = Handshakes(connections, config.tls_handshake_budget)
        self.take_settings()
        self._hello_max = min(HELLO_MAX_BYTES, config.max_payload + FRAME_OVERHEAD)
        self._newcomers: list[Newcomer] = []  # accepted, and not opened yet
        self.paused: list[Connection] = []
        # A server alone has a descriptor for each seat; one of a cluster may be asked for more than it has.
        self._most = open_files_max() - RESERVED_FILES if config.cluster else 0
        self._share = 1
        self._left = 0

    def take_settings(self) -> None:
        """Take the budgets of a turn from the settings, at the start and when these have changed."""
        config = self._config
        # The pure twin takes some eight times as long for a frame.
        self._work = max(1, config.turn_budget_frames // (1 if TWIN == "extension" else 8))
        self._listed = max(1, min(_LISTED_PER_TURN, config.outbox_soft_bytes // 4 // _LISTED_BYTES))
        self._handshakes.budget = config.tls_handshake_budget

    def more(self) -> bool:
        """Whether there is something to do without waiting."""
        return bool(self.waits() or self._watching.again or self._handshakes.waiting)

    def waits(self) -> bool:
        """Whether input that had arrived waits for the next turn."""
        return bool(self.unread or self._descriptors.backlog)

    def clear(self) -> None:
        """All connections are gone: nothing waits to be read or answered."""
        self.joining.clear()
        self.cancels.clear()
        self.unread.clear()
        self._handshakes.clear()
        for sock, _, _ in self._newcomers:
            if self._connections.at(sock.fileno()) is None:
                sock.close()
        self._newcomers.clear()

    def gather(
        self, ready: list[tuple[int, int]], turn: Turn, members: int, now: float, takes: bool = True
    ) -> list[int]:
        """Read the input of the `ready` (fd, mask) into `turn`; returns the descriptors that are no connection's.

        `members` is the size of the room, by which the work of queries is estimated. Unless the turn `takes` input of
        members, those that have some are paused until one does.
        """
        if not takes:
            self._pause_all(ready, now)
        elif self.paused:
            self._resume_all()
        if self.unread:
            first = dict(self.unread)
            ready = [r for r in ready if r[0] in first] + [r for r in ready if r[0] not in first]
        budget = self._config.read_budget_bytes if self._outbox.over else self._config.turn_budget_bytes
        room = 0 if self._outbox.full else budget
        waiting = list(self._descriptors.backlog)
        self._halves.begin(
            self._work, room, _shared_bytes(members), self._listed, members, waits=bool(waiting)
        )
        self._descriptors.yielding.clear()
        again, self._watching.again = dict.fromkeys(self._watching.again), []
        contenders = len(ready) + len(waiting) + len(again)
        self._share = max(_SHARE_MIN, self._work // max(1, contenders))
        events, others, dealt = receive(
            self._batch, ready, self._descriptors, now, self._config.read_budget_bytes, budget, self._share
        )
        self.unread = ready[dealt:]
        for fd, event in events:
            reader = self._connections.at(fd)
            assert reader is not None
            with self._connections.guard(reader, now):
                self._on_event(reader, event, turn, now)
        seen = set()  # one share is enough for a turn
        for conn in again:
            seen.add(conn.fd)
            self._look(conn, READABLE, turn, now)
        self._left = budget  # the hot loop has had as much
        if seen:
            others = [other for other in others if other[0] not in seen]
        foreign = self._look_at_others(others, turn, now) if others else []
        for conn in self._handshakes.turn(now) if self._handshakes.waiting else ():
            with self._connections.guard(conn, now):
                if not self._auth.admits_names(conn.transport.peer_names()):
                    names = ", ".join(sorted(conn.transport.peer_names()))[:_NAMES_SHOWN] or "none"
                    text = f"this name in the client certificate may not join: {names}"
                    self._connections.end(conn, CloseReason.AUTH, text, now)
                else:
                    self._receive(conn, turn, now)
        if waiting:
            self._halves.turn_over()
            self._take_backlog(waiting, turn, now)
        if self._descriptors.yielding:
            self._look_behind_yields(turn, now)
        if self._outbox.full and self._descriptors.backlog:
            self._brake(now)
        return foreign

    def _pause_all(self, ready: list[tuple[int, int]], now: float) -> None:
        """Pause the members that have input; they stay paused until a turn takes it."""
        fds = [fd for fd, _ in ready]
        for fd in [*fds, *self._descriptors.backlog, *(conn.fd for conn in self._watching.again)]:
            conn = self._connections.at(fd)
            if conn is None:
                continue
            with self._connections.guard(conn, now):
                if conn.state is BROKEN:  # it was only read to its end
                    self._connections.act(conn, Failed(0), now)
                elif conn.state is MEMBER and not conn.paused & WINDOW:
                    self._watching.pause(conn, WINDOW)
                    self.paused.append(conn)

    def _resume_all(self) -> None:
        paused, self.paused = self.paused, []
        for conn in paused:
            self._watching.resume(conn, WINDOW)

    def _look_behind_yields(self, turn: Turn, now: float) -> None:
        """A stream that has ended behind a YIELD ends in the same turn, and makes it void."""
        for fd in self._descriptors.yielding:
            conn = self._connections.at(fd)
            if (
                conn is not None
                and conn.alive
                and fd not in self._descriptors.partials
                and conn.transport.at_end()
            ):
                self._on_event(conn, 0, turn, now)

    def _take_backlog(self, waiting: list[int], turn: Turn, now: float) -> None:
        """Give the members in the backlog, `waiting` since the turn before, their share."""
        batch, backlog, ends = self._batch, self._descriptors.backlog, self._descriptors.ends
        for fd in waiting:
            if batch.work_left <= 0:
                return
            if fd not in backlog:
                continue
            conn = self._connections.at(fd)
            if conn is None or not conn.alive:
                del backlog[fd]
                continue
            with self._connections.guard(conn, now):
                self._feed(conn, b"", turn, now)
                if fd in ends and fd not in backlog:
                    self._on_event(conn, ends.pop(fd), turn, now)

    def _brake(self, now: float) -> None:
        """A queue is half-way to its hard limit: the members whose next frame might be for others wait."""
        pacing, tickets = self._connections.pacing, self._descriptors.tickets
        receivers = pacing.crowd(sorted(self._outbox.full))
        waiting = [tickets[fd] for fd in self._descriptors.backlog]
        self._connections.pace([ticket for ticket in waiting if pacing.wait(ticket, receivers)], now)

    def _look_at_others(self, others: list[tuple[int, int]], turn: Turn, now: float) -> list[int]:
        """Deal with the ready descriptors that are not, or not only, for the hot loop."""
        foreign = []
        for dealt, (fd, mask) in enumerate(others):
            if self._left <= 0 or self._batch.work_left <= -self._work:
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
        context, config = self._auth.context, self._config
        budget, size = config.accept_budget, config.greeting_in_bytes
        if context is not None:
            # A connection whose handshake cannot begin yet is better off in the kernel's queue. But handshakes that are
            # drawn out must not keep newcomers there: half as many as there are steps get in, as each takes two.
            steps = config.tls_handshake_budget
            budget, size = max((steps + 1) // 2, steps - len(self._handshakes.waiting)), 0
        newcomers = self._newcomers
        self._listener.accept(newcomers, budget, size, now)
        serial = self._connections.accepted + 1
        if context is None and not self._most and self._auth.admits(b""):
            others = self._connections.open_crowd(greet_crowd, newcomers, self.joining, serial, now)
        else:
            others = list(enumerate(newcomers, serial))
        for number, (sock, address, first) in others:
            conn = self._connections.open(sock, number, address, context, now)
            if conn is None:
                continue
            try:
                if self._most and len(self._connections) > self._most:
                    text = "this server has no descriptors left: use another one of its cluster"
                    self._connections.end(conn, CloseReason.RESOURCE, text, now)
                    continue
                if conn.state is HANDSHAKE:
                    self._handshakes.ready(conn)
                elif isinstance(first, int):
                    self._connections.act(conn, Failed(first), now)
                elif first:
                    self._left -= len(first)
                    self._greet(conn, first, now)
                elif first is not None:
                    self._on_event(conn, 0, turn, now)
                if conn.state in _BEFORE_HELLO:
                    self._connections.limit_greeting(conn, now)
            except Exception as error:  # noqa: BLE001 - as `guard`, at half its cost: a crowd may come
                self._connections.blame(conn, error, now)
        newcomers.clear()

    def _look(self, conn: Connection, mask: int, turn: Turn, now: float) -> None:
        """`conn` is ready and not for the hot loop, or holds bytes that no selector tells of."""
        if conn.dead:
            return
        with self._connections.guard(conn, now):
            if conn.state is HANDSHAKE:
                self._handshakes.ready(conn)
                return
            direct = conn.transport.direct
            if conn.key in self._outbox.queues and (not direct or mask & (WRITABLE | HUNG_UP)):
                self._connections.resume(conn, now)
            if conn.dead or conn.input_ended or conn.paced:
                return
            if not direct or mask & (READABLE | HUNG_UP):
                self._receive(conn, turn, now)

    def _receive(self, conn: Connection, turn: Turn, now: float) -> None:
        """Read a connection that the hot loop leaves to us."""
        left, share = self._config.read_budget_bytes, self._share
        transport, backlog = conn.transport, self._descriptors.backlog
        while left > 0 and conn.fd not in backlog and conn.fd not in self._descriptors.yielding:
            try:
                data, work = transport.read(left if conn.ticket else self._config.greeting_in_bytes, share)
            except OSError as error:
                detail = "" if transport.direct else error.strerror or ""
                self._connections.act(conn, Failed(error.errno or 0, detail), now)
                return
            if work:
                share -= work
                self._batch.spend(work)
            if data is None:
                # A broken one that has nothing more was read to its end.
                if conn.state is BROKEN and not transport.pending():
                    self._connections.act(conn, Failed(0), now)
                break
            if not data:
                self._on_event(conn, 0, turn, now)
                return
            self._descriptors.heard[conn.fd] = now
            self._feed(conn, data, turn, now)
            left -= len(data)
            self._left -= len(data)
            if transport.direct or conn.paced or conn.state not in _READ:
                break
        if not transport.direct and not conn.dead:
            self._watching.update(conn)
        self._watching.look_again(conn)

    def _feed(self, conn: Connection, data: bytes, turn: Turn, now: float) -> None:
        """Bytes of `conn` go to where its state takes them; behind the end they are dropped."""
        if conn.state in _READ:
            for event in take_in(self._batch, self._descriptors, conn.fd, data, now, self._share):
                self._on_event(conn, event, turn, now)
        elif conn.state is GREETING:
            self._greet(conn, data, now)
        elif conn.state is JOINING:
            self._descriptors.partials.setdefault(conn.fd, bytearray()).extend(data)

    def _greet(self, conn: Connection, data: bytes, now: float) -> None:
        config, partials = self._config, self._descriptors.partials
        stream = partials.pop(conn.fd, b"") + data
        taken, frame = greet(stream, self._hello_max)
        if taken < len(stream):
            partials[conn.fd] = bytearray(stream[taken:])
        if isinstance(frame, Hello):
            verdict = self._on_hello(conn, frame)
            if verdict is not None:
                self._connections.act(conn, verdict, now)
        elif frame is not None:
            self._connections.end(conn, CloseReason.of(frame.code), frame.text, now)
        elif len(stream) > config.greeting_in_bytes:
            text = f"more than {config.greeting_in_bytes} bytes came before HELLO was whole"
            self._connections.end(conn, CloseReason.TOO_BIG, text, now)

    def _on_hello(self, conn: Connection, hello: Hello) -> Verdict:
        conn.name = hello.name
        conn.keep = hello.keep
        conn.observes = bool(hello.flags & _OBSERVE)
        conn.watches = bool(hello.flags & _WATCH)
        if not self._auth.admits(hello.token):
            return End(CloseReason.AUTH, "wrong token")
        self._connections.step(conn, Step.HELLO)
        self.joining.append(conn)
        return None

    def _on_event(self, conn: Connection, event: Event, turn: Turn, now: float) -> None:
        self._connections.act(conn, self._take(conn, event, turn), now)

    def _take(self, conn: Connection, event: Event, turn: Turn) -> Verdict:
        """Enter a member's `event` into the turn."""
        match event:
            case Who():
                turn.queries.append((conn.ticket, event))
            case Ping():
                turn.pings.append((conn.ticket, event.payload))
            case Yield():
                turn.entry.yields.append((conn.ticket, event.id))
                self._descriptors.yielding.add(conn.fd)
            case Cancel():
                self.cancels.append((conn.ticket, event.id))
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


def _shared_bytes(members: int) -> int:
    """How many bytes of commands to ALL a turn takes: 32 MiB may be sent for them.

    For small commands in large rooms it is up to 128 MiB: to send them in more turns would cost more.
    """
    members = max(1, members)
    return max((32 << 20) // members, min(128 << 10, (128 << 20) // members))
