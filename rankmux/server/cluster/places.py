"""The connections of one server whose places are under way: decided by an entry that has not been read back yet."""

from __future__ import annotations

from collections.abc import Iterable

from ...core.cluster.fold import Fold, Reading
from ...core.room.turn import Turn
from ..connections.closes import CloseReason
from ..connections.connection import Connection
from ..connections.registry import Connections
from ..connections.states import JOINING
from ..connections.watching import YIELDS

__all__ = ["Places"]


class Places:
    """`orphans`: serials of connections that ended before they got the seats that they have by now."""

    def __init__(self, fold: Fold, connections: Connections) -> None:
        self.orphans: list[int] = []
        self._fold = fold
        self._connections = connections
        self._joining: dict[int, Connection] = {}  # by serial
        self._yielding: dict[int, Connection] = {}

    def written(self, turn: Turn) -> None:
        """The entry of `turn` is under way: until it is read back, nothing more is read behind a YIELD."""
        entry, connections = turn.entry, self._connections
        self.orphans.clear()
        for ticket, _ in entry.yields:
            if (yields := connections.seats.get(ticket)) is not None:
                self._yielding[yields.serial] = yields
                connections.watching.pause(yields, YIELDS)
        for join in entry.joins:
            if (conn := connections.at(join.handle)) is not None:
                self._joining[conn.serial] = conn
        for gone in entry.departures:
            connections.depart(gone.ticket)
        for ticket in entry.absences:
            connections.depart(ticket)

    def connect(self, turn: Turn, reading: Reading, now: float) -> None:
        """An own entry is to be applied: its newcomers are the connections that wait for it, if they still do."""
        connections = self._connections
        for serial in reading.barred:
            conn = self._joining.pop(serial, None)
            if conn is not None and conn.state is JOINING:
                text = "the operator has thrown out the member whose seat this is"
                connections.end(conn, CloseReason.KICKED, text, now)
        for join, serial in zip(turn.entry.joins, reading.joins, strict=True):
            conn = self._joining.pop(serial, None)
            if conn is not None and conn.state is JOINING:
                self._fold.connect(join.handle, conn.fd)
                join.handle = conn.fd
            else:
                self.orphans.append(serial)

    def go_on(self, reading: Reading) -> None:
        """An own entry was applied: members that yielded, or could not, are read from again."""
        for serial in reading.yields:
            if (conn := self._yielding.pop(serial, None)) is not None:
                self._connections.watching.resume(conn, YIELDS)

    def watch(self, turn: Turn) -> Turn:
        """Whether anybody here wants CHANGED of `turn`."""
        connections = self._connections
        turn.watched = bool(connections.watchers)
        for join in turn.entry.joins:
            conn = connections.at(join.handle)
            turn.watched = turn.watched or (conn is not None and conn.watches)
        return turn

    def kick(self, tickets: Iterable[int], now: float) -> None:
        """Another server's operator has thrown out these; those that are connected here go."""
        connections = self._connections
        for ticket in tickets:
            if (conn := connections.seats.get(ticket)) is not None:
                with connections.guard(conn, now):
                    connections.end(conn, CloseReason.KICKED, "the operator has thrown you out", now)

    def release(self, now: float, text: str) -> None:
        """All connections are told that the server goes, and hold no seats here any more."""
        connections, ranks = self._connections, self._fold.room.ranks
        for ticket, conn in list(connections.seats.items()):
            ranks.unplug(ticket)
            with connections.guard(conn, now):
                connections.detach(conn)
        for conn in connections:
            if conn.alive:
                with connections.guard(conn, now):
                    connections.end(conn, CloseReason.SHUTDOWN, text, now)
        connections.departing.clear()
        connections.under_way.clear()
        self._joining.clear()
        self._yielding.clear()
        self.orphans.clear()
