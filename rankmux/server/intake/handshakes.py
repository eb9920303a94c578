"""The TLS handshakes in progress: a bounded number of steps per turn, in order of arrival.

Each step takes a millisecond or two.
"""

from __future__ import annotations

from errno import EPROTO

from ..connections.closes import CloseReason
from ..connections.connection import Connection
from ..connections.registry import Connections
from ..connections.states import HANDSHAKE, Step
from ..connections.verdicts import End, Failed

__all__ = ["Handshakes"]


class Handshakes:
    """At most `budget` steps per turn; a step that does not fit is made in the next turn.

    `waiting`: those that can make a step
    """

    def __init__(self, connections: Connections, budget: int) -> None:
        self._connections = connections
        self.budget = budget
        self.waiting: dict[Connection, None] = {}

    def ready(self, conn: Connection) -> None:
        """The readiness that the handshake of `conn` waits for is there."""
        self.waiting[conn] = None

    def clear(self) -> None:
        """All connections are gone."""
        self.waiting.clear()

    def turn(self, now: float) -> list[Connection]:
        """Make the steps of one turn; returns the connections that are secure now."""
        connections, secure = self._connections, []
        for conn in list(self.waiting)[: self.budget]:
            del self.waiting[conn]
            if conn.state is not HANDSHAKE:
                continue
            try:
                interest = conn.transport.handshake()
            except OSError as error:
                if error.errno == EPROTO:
                    connections.act(conn, End(CloseReason.TLS, error.strerror or ""), now)
                else:
                    connections.act(conn, Failed(error.errno or 0), now)
                continue
            if interest:
                connections.watching.wait_for_handshake(conn, interest)
                if conn.transport.pending():  # more records than one step opens
                    self.waiting[conn] = None
            else:
                connections.step(conn, Step.SECURE)
                connections.watching.update(conn)
                secure.append(conn)
        return secure
