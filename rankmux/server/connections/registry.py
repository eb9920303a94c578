"""The registry of a server's connections: opened, stepped and ended here, closed by `reaper`. Knows no ranks.

Other modules find out what should happen to a connection and say so as a verdict; `act` is the one place that does it.
A connection that ends is marked with one reason and still gets the bytes that it is owed, and its ERROR; at the end of
a turn those that are done are unregistered, then closed. So no descriptor is handed out again while the turn, or the
room, may still meet the old one.
"""

from __future__ import annotations

import errno
import logging
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from ...config import Config
from ...core.outbox import Outbox
from ...core.pacing import Pacing
from ...core.room.batch import OBSERVERS
from ...core.room.deliveries import Piece
from ...system.json_lines import tagged
from ...system.reactor import READABLE, Reactor
from ..sockets.descriptors import Descriptors
from ..sockets.listener import Newcomer
from ..sockets.tls_socket import TlsSocket
from ..sockets.transport import PlainSocket, Transport
from .closes import Close, CloseReason, Closes
from .connection import Connection
from .guard import Guard
from .host_counts import HostCounts
from .states import (
    BROKEN,
    DEAD,
    ENDED,
    ENDING,
    GREETING,
    HANDSHAKE,
    LINGERING,
    MEMBER,
    OBSERVER,
    STEPS,
    Step,
)
from .verdicts import Broken, End, Failed, Verdict
from .watching import Watching
from .writing import Writing

__all__ = ["Connections"]

_WITHOUT_FAREWELL = (CloseReason.RESET, CloseReason.TLS, CloseReason.SILENT)

_GreetCrowd = Callable[..., list[tuple[int, Newcomer]]]

log = logging.getLogger("rankmux.server")


class Connections:
    """The connections, and what follows from their states.

    `descriptors`  the tables of the hot loops
    `by_fd`        the connections by descriptor, None where there is none
    `outbox`       the queues, by `Connection.key`
    `watching`     readiness, pauses, input that no selector tells of
    `pacing`       senders that wait for receivers, by ticket
    `writing`      the way of bytes to connections
    `closes`       how connections ended
    `seats`        members by ticket, until the room has given up the seat
    `observers`    connections that look on, by the numbers that name them
    `watchers`     members and observers that want CHANGED, by ticket or number
    `greeting`     connections before their HELLO, oldest first
    `ended`        connections that ended and have not got their ERROR yet
    `ending`       connections that ended and have got their ERROR
    `dead`         connections to be closed
    `departing`    members that ended and whose seat the room still holds, by ticket, before the room is told so;
    `under_way`    after that, where it is told by a log that has to be read back
    """

    def __init__(self, config: Config, reactor: Reactor) -> None:
        self.descriptors = Descriptors()
        self.outbox = Outbox(config.outbox_soft_bytes, config.outbox_hard_bytes)
        self.watching = Watching(reactor, self.descriptors, self.outbox)
        self.pacing = Pacing(self.outbox.over)
        self.closes = Closes()
        self.seats: dict[int, Connection] = {}
        self.observers: dict[int, Connection] = {}
        self.watchers: dict[int, Connection] = {}
        self.greeting: dict[int, Connection] = {}
        self.ending: dict[int, Connection] = {}
        self.departing: dict[int, Connection] = {}
        self.under_way: dict[int, Connection] = {}
        self.accepted = 0
        self.undelivered_bytes = 0
        self.undelivered_to = 0
        self.writing = Writing(config, self.outbox, self.watching)
        self._config = config
        self._reactor = reactor
        self.by_fd: list[Connection | None] = []
        self._hosts = HostCounts()  # of the greeting ones whose HELLO did not come at once
        self.ended: dict[int, Connection] = {}
        self.dead: dict[int, Connection] = {}
        self._open = 0
        self._held_in = {
            HANDSHAKE: self.greeting,
            GREETING: self.greeting,
            OBSERVER: self.observers,
            ENDED: self.ended,
            ENDING: self.ending,
            LINGERING: self.ending,
            DEAD: self.dead,
        }

    def __len__(self) -> int:
        return self._open

    def __iter__(self) -> Iterator[Connection]:
        return (conn for conn in self.by_fd if conn is not None)

    def at(self, fd: int) -> Connection | None:
        """The connection with that descriptor, if there is one."""
        return self.by_fd[fd] if 0 <= fd < len(self.by_fd) else None

    def owner(self, key: int) -> Connection | None:
        """The connection with that `key`, if its seat or its queue is still there."""
        return self.seats.get(key) or self.observers.get(key) or self.ended.get(key) or self.ending.get(key)

    # The life of a connection.

    def open_crowd(
        self,
        greet: _GreetCrowd,
        newcomers: list[Newcomer],
        joining: list[Connection],
        serial: int,
        now: float,
    ) -> list[tuple[int, Newcomer]]:
        """Enter those that `greet` (`kernel.crowd`) finds to have sent a plain HELLO; returns the others with serials.

        Serials begin at `serial`.
        """
        before = len(joining)
        watch_all, tables = self._reactor.watch_all, self.descriptors
        if newcomers:
            with suppress(MemoryError):  # `open` reports it
                self._reserve(newcomers[-1][0].fileno())
        try:
            return greet(newcomers, joining, self.by_fd, tables, watch_all, Connection, serial, now)
        finally:
            self.accepted += len(joining) - before
            self._open += len(joining) - before

    def open(
        self, sock: PlainSocket, serial: int, address: str, context: ssl.SSLContext | None, now: float
    ) -> Connection | None:
        """Enter the `serial`th accepted connection, over TLS if there is a `context`.

        None when the system or TLS refuses it.
        """
        transport: Transport = sock
        self.accepted += 1
        fd = sock.fileno()
        try:
            if context is not None:
                transport = TlsSocket(sock, context)
            conn = Connection(transport, serial, address, now)
            self._reserve(fd)
            self.descriptors.open(fd, sock, now)
            self._reactor.watch(fd, READABLE)
        except (OSError, MemoryError) as error:
            code = error.errno or 0 if isinstance(error, OSError) else errno.ENOMEM
            reasons = {
                errno.EPROTO: CloseReason.TLS,
                errno.ECONNRESET: CloseReason.RESET,
                errno.ENOTCONN: CloseReason.RESET,
            }
            if fd < len(self.descriptors.modes):
                self.descriptors.close(fd)
            transport.close()
            detail = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
            self.closes.add(Close(now, reasons.get(code, CloseReason.RESOURCE), detail, "", address, 0))
            return None
        self.by_fd[fd] = conn
        self._open += 1
        self.greeting[conn.key] = conn
        return conn

    def _reserve(self, fd: int) -> None:
        """Make the tables long enough for `fd`."""
        if fd >= len(self.by_fd):
            self.descriptors.reserve(fd)
            self.by_fd.extend([None] * (len(self.descriptors.modes) - len(self.by_fd)))

    def limit_greeting(self, conn: Connection, now: float) -> None:
        """The HELLO of `conn` did not come at once: when too many wait for theirs, it ends."""
        config = self._config
        from_host = self._hosts.add(conn.key, conn.host)
        if len(self.greeting) > config.greeting_max or from_host > config.greeting_max_per_address:
            self.end(conn, CloseReason.RESOURCE, "too many connections have not said HELLO", now)
            conn.until = now

    def seat(self, conn: Connection, ticket: int) -> None:
        """`conn` has got the seat `ticket`."""
        self.seats[ticket] = conn
        self._admit(conn, ticket, Step.SEAT)

    def observe(self, conn: Connection) -> None:
        """`conn` may look on."""
        self._admit(conn, OBSERVERS + conn.serial, Step.OBSERVE)

    def _admit(self, conn: Connection, ticket: int, step: Step) -> None:
        conn.ticket = self.descriptors.tickets[conn.fd] = ticket
        self.step(conn, step)  # as the last one: a member has a ticket
        if conn.watches:
            self.watchers[ticket] = conn
        if conn.fd in self.descriptors.partials:  # bytes behind HELLO
            self.descriptors.backlog[conn.fd] = None
        self.watching.look_again(conn)
        self.watching.update(conn)

    def detach(self, conn: Connection) -> None:
        """`conn` loses its seat, which goes on: what it is still owed goes out under another key."""
        ticket, held = conn.ticket, self._held_in.get(conn.state)
        self.seats.pop(ticket, None)
        self.departing.pop(ticket, None)
        self.under_way.pop(ticket, None)
        self.watchers.pop(ticket, None)
        self.pacing.forget(ticket)
        self.descriptors.tickets[conn.fd] = 0
        if held is not None:
            held.pop(ticket, None)
        conn.detached = True
        self.outbox.rename(ticket, conn.key)
        if held is not None:
            held[conn.key] = conn

    def rename(self, ticket: int, following: int) -> None:
        """The member `ticket` goes on as `following`."""
        conn = self.seats.pop(ticket, None)
        if conn is None:
            return  # connected elsewhere
        self.seats[following] = conn
        self.pacing.forget(ticket)
        if self.watchers.pop(ticket, None) is not None:
            self.watchers[following] = conn
        for ended in (self.departing, self.under_way):
            if ended.pop(ticket, None) is not None:
                ended[following] = conn
        held = self._held_in.get(conn.state)
        if held is not None:
            held[following] = held.pop(ticket)
        conn.ticket = self.descriptors.tickets[conn.fd] = following
        self.outbox.rename(ticket, following)
        self.watching.resume(conn)

    def unseat(self, tickets: Iterable[int]) -> dict[int, str]:
        """The room has given up these seats; returns why each of the members went, by ticket."""
        reasons = {}
        for ticket in tickets:
            self.seats.pop(ticket, None)
            conn = self.departing.pop(ticket, None) or self.under_way.pop(ticket, None)
            if conn is not None:
                reasons[ticket] = conn.why
        return reasons

    def depart(self, ticket: int) -> None:
        """The log is told that the member `ticket` goes, if it has a connection here."""
        if (conn := self.departing.pop(ticket, None)) is not None:
            self.under_way[ticket] = conn

    def step(self, conn: Connection, step: Step) -> None:
        """Take a step of the table; the collections follow from the state. Raises StateError."""
        state, held_in = conn.state, self._held_in
        legal, following = STEPS[step]
        before, after = held_in.get(state), held_in.get(following)
        if after is before or state not in legal:
            conn.step(step)
            return
        # First whatever may find no memory: nothing has changed then.
        key = conn.key
        if after is not None:
            after[key] = conn
        conn.step(step)
        if before is not None:
            before.pop(key, None)
        if before is self.greeting:
            self._hosts.discard(key)

    # Verdicts.

    def guard(self, conn: Connection, now: float) -> Guard:
        """A block of work for `conn`: an exception in it ends `conn`, and nothing else."""
        return Guard(self, conn, now)

    def act(self, conn: Connection, verdict: Verdict, now: float) -> None:
        """Do what `verdict` says."""
        match verdict:
            case None:
                pass
            case End(reason, detail, input_ended):
                self.end(conn, reason, detail, now)
                if input_ended:
                    self._input_ended(conn)
            case Broken(error, detail):
                self._break(conn, error, detail, now)
            case Failed(error, detail):
                self._fail(conn, error, detail, now)

    def send(self, conn: Connection, frame: bytes, now: float) -> None:
        """Send `frame` behind everything that `conn` is owed."""
        verdict = self.writing.write(conn, frame, now)
        if verdict is not None:
            self.act(conn, verdict, now)

    def deliver(
        self, conn: Connection, pieces: Iterable[Piece], position: int, sent: int, error: int, now: float
    ) -> None:
        """The hot loop sent `conn` only the first `sent` bytes of a turn's `pieces`, or met `error`."""
        self.act(conn, self.writing.deliver(conn, pieces, position, sent, error, now), now)

    def resume(self, conn: Connection, now: float) -> None:
        """`conn` can take bytes again."""
        if conn.state is DEAD:
            return
        self.act(conn, self.writing.resume(conn, now), now)
        if conn.state is ENDING and conn.key not in self.outbox.queues:
            self.flushed(conn, now)

    def pace(self, tickets: Iterable[int], now: float) -> None:
        """These senders wait for receivers from now on: they are not read from."""
        for ticket in tickets:
            if (conn := self.seats.get(ticket)) is not None:
                with self.guard(conn, now):
                    if conn.state is BROKEN:  # it was only read to its end
                        self._fail(conn, 0, "", now)
                    else:
                        self.watching.pause(conn)

    def release_paced(self, now: float) -> None:
        """Senders whose receivers have caught up are read from again."""
        for ticket in self.pacing.release():
            if (conn := self.seats.get(ticket)) is not None:
                with self.guard(conn, now):
                    self.watching.resume(conn)

    def end(
        self, conn: Connection, reason: CloseReason, detail: str, now: float, *, at_once: bool = False
    ) -> None:
        """End the life of `conn` for `reason`; the first reason counts. `at_once`: nothing more is sent."""
        if conn.reason is not None:
            return
        if conn.state is BROKEN:
            reason, detail = CloseReason.RESET, conn.broken
        at_once = at_once or conn.state is HANDSHAKE or reason in _WITHOUT_FAREWELL
        if conn.seated:
            self.departing[conn.ticket] = conn  # first: it may find no memory, and the room must learn of it
        self.step(conn, Step.END)
        conn.reason, conn.detail = reason, detail
        self.watching.forget(conn)
        self.watchers.pop(conn.ticket, None)
        self.pacing.forget(conn.key)
        if at_once:
            if conn.seated and reason is CloseReason.SILENT and conn.key not in self.outbox.queues:
                with suppress(OSError):  # before others learn of it: who leads must know that it does no more
                    conn.transport.shutdown(socket.SHUT_WR)
            self.drop(conn)
            return
        conn.until = now + self._config.drain_s
        if reason is CloseReason.SLOW:
            self.undelivered_bytes += self.outbox.cut(conn.key)
            self.act(conn, self.writing.make_room(conn, now), now)
        self.watching.update(conn)

    def _input_ended(self, conn: Connection) -> None:
        """The peer sends nothing more."""
        conn.input_ended = True
        if conn.state is LINGERING:
            self.drop(conn)
        else:
            self.watching.update(conn)

    def drop(self, conn: Connection) -> None:
        """Close `conn` at the end of the turn, whatever it is owed."""
        if conn.state is not DEAD:
            self.descriptors.modes[conn.fd] = 0
            self._reactor.watch(conn.fd, 0)  # in a cluster it may wait long for the room to give up its seat
            self.step(conn, Step.DROP)

    def blame(self, conn: Connection, error: Exception, now: float) -> None:
        """A failure in the work for `conn`, for want of memory or by a bug, ends this connection and no other.

        Part of a frame may have been sent, so nothing can follow it: the stream ends with a reset.
        """
        if isinstance(error, MemoryError):
            self.end(conn, CloseReason.RESOURCE, "there is no memory for it", now, at_once=True)
        else:
            facts = tagged("mistake", where=conn.address)
            text = "internal error: the connection %s ends"
            log.error(text, conn.address, exc_info=error, extra=facts)
            self.end(conn, CloseReason.INTERNAL, "internal error of the server", now, at_once=True)
        conn.transport.reset_on_close()
        self.drop(conn)

    def _break(self, conn: Connection, error: int, detail: str, now: float) -> None:
        """`conn` takes no more bytes. Frames that a member had sent before still count: it is read to the end."""
        conn.transport.reset_on_close()  # part of a frame may have been sent
        tls_fault = error == errno.EPROTO and not conn.transport.direct
        if conn.state is not MEMBER or conn.paced or tls_fault:
            self._fail(conn, error, detail, now)
            return
        conn.broken = detail or errno.errorcode.get(error, str(error))
        self.step(conn, Step.BREAK)
        self.undelivered_bytes += self.outbox.drop(conn.key)
        self.watching.again.append(conn)
        self.watching.update(conn)

    def _fail(self, conn: Connection, error: int, detail: str, now: float) -> None:
        """The stream of `conn` failed with that errno; EPROTO stands for TLS."""
        tls_fault = error == errno.EPROTO and not conn.transport.direct
        reason = CloseReason.TLS if tls_fault else CloseReason.RESET
        self.end(conn, reason, detail or errno.errorcode.get(error, str(error)), now)
        self.drop(conn)

    def flushed(self, conn: Connection, now: float) -> None:
        """Everything that `conn` was owed is sent: end our half, and wait for the peer's end, lest a reset overtake."""
        if conn.input_ended:
            self.drop(conn)
            return
        conn.until = min(conn.until, now + self._config.drain_s)
        try:
            conn.transport.shutdown(socket.SHUT_WR)
        except OSError:
            self.drop(conn)
        else:
            self.step(conn, Step.FLUSH)
            self.watching.update(conn)

    def remove(self, conn: Connection) -> None:
        """`conn` is closed: its descriptor may come back as another connection."""
        self.by_fd[conn.fd] = None
        self._open -= 1

    def forget_all(self) -> None:
        """Leave all collections; the connections stay known by their descriptors."""
        members = (self.seats, self.observers, self.watchers, self.departing, self.under_way)
        for collection in (*members, self.greeting, self.ended, self.ending, self.dead):
            collection.clear()
        self._hosts.clear()
        self.watching.clear()
