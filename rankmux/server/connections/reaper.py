"""The end of connections at the end of a turn: last words, eviction of the longest queues, then unregister and close.

No descriptor is handed out again while the turn, or the room, may still meet the old one: a connection is closed only
once the room has given up its seat, and it is unregistered before it is closed.
"""

from __future__ import annotations

from ...config import Config
from ...core.wire.frames import ErrorFrame
from ...system.memory import give_back
from ...system.reactor import Reactor
from .closes import Close, CloseReason
from .connection import Connection
from .registry import Connections
from .states import ENDING, Step

__all__ = ["Reaper"]

_BURST_CLOSES = 64  # closes in one turn that free enough memory to give some back
_EVICTIONS_PER_TURN = 32


class Reaper:
    """Ends and closes `connections`."""

    def __init__(self, config: Config, reactor: Reactor, connections: Connections) -> None:
        self._config = config
        self._reactor = reactor
        self._connections = connections

    def limit_all(self, now: float) -> None:
        """While all queues together are over their limit, or memory runs out, the longest one goes."""
        connections, outbox = self._connections, self._connections.outbox
        for _ in range(_EVICTIONS_PER_TURN):
            why = connections.writing.shortage()
            if not why:
                return
            key = outbox.largest()
            conn = connections.owner(key)
            if conn is not None and conn.alive:
                with connections.guard(conn, now):
                    connections.end(conn, CloseReason.SLOW, why, now)
            else:
                connections.undelivered_bytes += outbox.drop(key)
                if conn is not None:
                    conn.transport.reset_on_close()
                    connections.drop(conn)
            outbox.trim()

    def reap(self, now: float) -> None:
        """Queue the ERROR of each connection that ended, and close those that are done."""
        connections = self._connections
        for conn in list(connections.ended.values()):
            told = conn.reason is None or conn.reason.code is not None
            if conn.ticket in connections.under_way and now < conn.until and not told:
                continue  # it is still owed what comes before its departure, and knows that it goes
            with connections.guard(conn, now):
                self._farewell(conn, now)
        if not connections.dead:
            return
        # The room meets the departing once more: until then the descriptor stays theirs.
        seats = connections.seats
        done = [conn for conn in connections.dead.values() if seats.get(conn.ticket) is not conn]
        connections.writing.bursts += len(done) >= _BURST_CLOSES
        for conn in done:
            del connections.dead[conn.key]
            self._close(conn, now)

    def abandon(self, now: float) -> int:
        """Reset all connections at once, whatever they are owed; returns their number."""
        connections = self._connections
        connections.forget_all()
        count = 0
        for conn in connections:
            if conn.reason is None:
                conn.reason, conn.detail = CloseReason.RESOURCE, "there was no memory to finish a turn"
            conn.transport.reset_on_close()
            self._close(conn, now)
            count += 1
        return count

    def give_back(self) -> None:
        """Between bursts: give the memory that they took back to the system."""
        connections = self._connections
        idle = not connections.outbox.held_bytes and not connections.descriptors.partials
        if connections.writing.bursts and idle:
            connections.writing.bursts = 0
            give_back()

    def _farewell(self, conn: Connection, now: float) -> None:
        connections = self._connections
        assert conn.reason is not None
        connections.step(conn, Step.FAREWELL)
        if conn.reason.code is not None:
            detail = conn.detail
            if not conn.ticket:
                detail = detail[: self._config.greeting_out_bytes // 4 - 7]
            connections.send(conn, ErrorFrame(conn.reason.code, detail).encode(), now)
        if conn.state is ENDING and conn.key not in connections.outbox.queues:
            connections.flushed(conn, now)
        if now >= conn.until:
            connections.drop(conn)

    def _close(self, conn: Connection, now: float) -> None:
        connections = self._connections
        assert conn.reason is not None
        close = Close(
            now, conn.reason, conn.detail, conn.name, conn.address, 0 if conn.observes else conn.ticket
        )
        left = connections.outbox.drop(conn.key)
        connections.undelivered_bytes += left
        connections.undelivered_to += left > 0
        connections.watching.starved.discard(conn)
        connections.pacing.forget(conn.key)
        self._reactor.watch(conn.fd, 0)
        connections.descriptors.close(conn.fd)
        connections.remove(conn)
        if left:  # a stream that stops inside a frame must not look as if it had come to its end
            conn.transport.reset_on_close()
        try:
            conn.transport.close()
        except OSError:  # the descriptor is gone all the same
            connections.closes.errors += 1
        connections.closes.add(close)
