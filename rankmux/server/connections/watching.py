"""The readiness that each connection is watched for, and what the hot loops may do with it: decided from its state.

A paced connection is not read from, and not judged for what has not been read. Ends no connection, moves no bytes.
"""

from __future__ import annotations

from ...core.outbox import Outbox
from ...system.reactor import Reactor
from ..sockets.descriptors import READ_DIRECT, WATCHES, WRITE_DIRECT, Descriptors
from .closes import CloseReason
from .connection import Connection
from .states import BROKEN, DEAD, ENDED, MEMBER, OBSERVER

__all__ = ["PACED", "WINDOW", "YIELDS", "Watching"]

PACED = 1
"""Why a connection is paused: it sends to members that do not keep up."""
YIELDS = 2
"""Why a connection is paused: its YIELD is under way, and what follows comes from another place in the line."""
WINDOW = 4
"""Why a connection is paused: too much that was read is still under way."""


class Watching:
    """`again`: connections with input that no selector tells of. `starved`: connections whose bytes the kernel refused
    for lack of memory.
    """

    def __init__(self, reactor: Reactor, descriptors: Descriptors, outbox: Outbox) -> None:
        self.again: list[Connection] = []
        self.starved: set[Connection] = set()
        self._reactor = reactor
        self._descriptors = descriptors
        self._outbox = outbox

    def update(self, conn: Connection) -> None:
        """The state of `conn` has changed: set its readiness and its mode anew."""
        state, fd, transport = conn.state, conn.fd, conn.transport
        if state is DEAD:
            return
        if state is BROKEN:  # it stays in `again` until everything that had arrived is read
            self._descriptors.modes[fd] = 0
            self._reactor.watch(fd, 0)
            return
        queued = conn.key in self._outbox.queues
        mode = 0
        if transport.direct:
            owed = state is MEMBER or (state is ENDED and conn.ticket and conn.reason is not CloseReason.SLOW)
            if owed and not queued:
                mode = WRITE_DIRECT
            if (state is MEMBER or state is OBSERVER) and not conn.paced:
                mode |= READ_DIRECT
        if conn.watches and state is MEMBER:
            mode |= WATCHES
        self._descriptors.modes[fd] = mode
        if transport.handshaking:
            return  # the handshake says what it waits for
        interest = 0
        if not conn.input_ended and not conn.paced:
            interest = transport.read_on
        if queued and conn not in self.starved:
            interest |= transport.write_on
        self._reactor.watch(fd, interest)

    def wait_for_handshake(self, conn: Connection, interest: int) -> None:
        """Watch for the readiness that the TLS handshake of `conn` needs next."""
        self._reactor.watch(conn.fd, interest)

    def pause(self, conn: Connection, why: int = PACED) -> None:
        """Take nothing from `conn` for now, for one reason more."""
        if conn.alive:
            conn.paused |= why
            self._descriptors.partial_since.pop(conn.fd, None)
            self._descriptors.backlog.pop(conn.fd, None)
            self.update(conn)

    def resume(self, conn: Connection, why: int = PACED) -> None:
        """That reason is gone; behind the last one `conn` is read from again, and judged from now on."""
        if not conn.paused & why:
            return
        conn.paused &= ~why
        if not conn.paused and conn.alive:
            self._descriptors.heard[conn.fd] = self._reactor.clock()
            conn.pings = 0
            if conn.fd in self._descriptors.partials:
                self._descriptors.backlog[conn.fd] = None  # the next turn looks whether a frame is whole
            self.update(conn)
            self.look_again(conn)

    def look_again(self, conn: Connection) -> None:
        """Read from `conn` in the next turn if there may be more input than a selector tells of."""
        broken = conn.state is BROKEN
        if broken or (not conn.transport.direct and conn.alive and conn.transport.pending()):
            self.again.append(conn)

    def forget(self, conn: Connection) -> None:
        """`conn` ended: it is neither paused nor judged for a frame any more."""
        self._descriptors.drop_partial(conn.fd)
        conn.paused = 0

    def clear(self) -> None:
        """All connections are gone."""
        self.again.clear()
        self.starved.clear()
