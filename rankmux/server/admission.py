"""Admission: connections get, change and lose their places as the room has decided, and are welcomed (section 4).

Everything that a turn sends to connections beside the fan-out to its members: WELCOME, what observers asked for, and
the ERROR of those that get no place.
"""

from __future__ import annotations

from ..config import Config
from ..core.room.deliveries import Deliveries
from ..core.room.room import Room
from ..core.room.turn import Joined, Outcome, Turn
from ..core.wire.codes import NO_RANK
from ..core.wire.frames import Welcome
from .connections.closes import CloseReason
from .connections.connection import Connection
from .connections.registry import Connections
from .connections.states import JOINING
from .kernel.crowd import seat_crowd
from .kernel.fanout import Ring
from .sequencer import Sequencer

__all__ = ["Admission"]


class Admission:
    """Carries out on `connections` what the outcomes of `room` say of places."""

    def __init__(
        self, config: Config, sequencer: Sequencer, room: Room, connections: Connections, ring: Ring
    ) -> None:
        self._config = config
        self._ring = ring
        self._sequencer = sequencer
        self._room = room
        self._connections = connections

    def settle(self, turn: Turn, outcome: Outcome, now: float) -> tuple[dict[int, str], dict[int, str]]:
        """The members have been sent their part of the turn: now newcomers get their seats, departed ones lose theirs.

        Returns why each of these went, by ticket, and the address that a returned connection took its seat from, by its
        handle.
        """
        connections, deliveries = self._connections, outcome.deliveries
        if not (outcome.moves() or turn.observers or connections.observers or deliveries.observed):
            return {}, {}
        if connections.observers or deliveries.observed:
            self._tell_observers(deliveries, now)
        for ticket, place in outcome.yielded:
            connections.rename(ticket, place.ticket)
        reasons: dict[int, str] = {}
        taken: dict[int, str] = {}
        for ticket in outcome.absent:
            if (lost := connections.seats.get(ticket)) is not None:
                reasons[ticket] = lost.why
                connections.detach(lost)
            elif server := self._sequencer.server_of(ticket):
                reasons[ticket] = f"lost at server {server}"
        for joined in self._seat_crowd(outcome.joined, now):
            if joined.returned and (old := connections.seats.get(joined.ticket)) is not None:
                taken[joined.handle] = old.address
                self._take_over(old, now)
            self._seat(joined, deliveries, now)
        for barred in outcome.barred:
            if (conn := connections.at(barred.handle)) is not None:
                text = "the name in the client certificate is not the one that took this seat"
                connections.end(conn, CloseReason.AUTH, text, now)
        for full in outcome.full:
            if (conn := connections.at(full.handle)) is not None:
                seats = self._config.seats
                text = f"no seat is free, the room is full ({seats} of {seats})"
                connections.end(conn, CloseReason.FULL, text, now)
        for fd in turn.observers:
            self._observe(fd, now)
        for gone in outcome.departed:
            if (conn := connections.seats.get(gone.ticket)) is not None and conn.alive:
                connections.end(conn, CloseReason.KICKED, "the operator has thrown you out", now)
            elif server := self._sequencer.server_of(gone.ticket):
                reasons[gone.ticket] = f"{gone.cause.name.lower()} at server {server}"
        return reasons | connections.unseat([gone.ticket for gone in outcome.departed]), taken

    def _take_over(self, conn: Connection, now: float) -> None:
        """Another connection has returned to the seat of `conn`, which ends."""
        connections = self._connections
        with connections.guard(conn, now):
            connections.detach(conn)
            text = "another connection has returned to your seat"
            connections.end(conn, CloseReason.TAKEN_OVER, text, now)

    def _seat_crowd(self, joined: list[Joined], now: float) -> list[Joined]:
        """Seat and welcome the newcomers that the fast path takes; returns the others."""
        if not joined:
            return joined
        connections = self._connections
        welcome = self._welcome(0, 0, 0, 0).encode()
        others, behind = seat_crowd(
            joined, connections.by_fd, connections.seats, connections.descriptors, self._ring, welcome
        )
        for one, sent, error in behind:
            conn = connections.seats[one.ticket]
            with connections.guard(conn, now):
                welcome = self._welcome(one.ticket, one.seq, one.rank, one.members).encode()
                connections.deliver(conn, (welcome,), 0, sent, error, now)
        return others

    def _seat(self, joined: Joined, deliveries: Deliveries, now: float) -> None:
        connections = self._connections
        conn = connections.at(joined.handle)
        if conn is None:
            return  # connected elsewhere
        try:
            connections.seat(conn, joined.ticket)
            welcome = self._welcome(joined.ticket, joined.seq, joined.rank, joined.members)
            if conn.keep is not None:
                welcome = welcome._replace(returned=joined.returned, keep_ms=joined.keep_ms)
            frames = welcome.encode() + joined.baton
            if conn.watches:
                frames += deliveries.executes[slice(*deliveries.changes_after(joined.seq))]
            connections.send(conn, frames, now)
        except Exception as error:
            if conn.state is JOINING:
                raise  # the room has a seat for it that nobody would ever give up
            connections.blame(conn, error, now)

    def _welcome(self, ticket: int, seq: int, rank: int, members: int) -> Welcome:
        config = self._config
        return Welcome(
            self._sequencer.instance,
            ticket,
            seq,
            rank,
            members,
            config.seats,
            config.max_payload,
            config.ping_ms,
        )

    def _observe(self, fd: int, now: float) -> None:
        connections, most = self._connections, self._config.observers_max
        conn = connections.at(fd)
        if conn is None or conn.state is not JOINING:
            return
        if len(connections.observers) >= most:
            connections.end(conn, CloseReason.FULL, f"{most} observers look on already", now)
            return
        with connections.guard(conn, now):
            connections.observe(conn)
            welcome = self._welcome(0, self._room.seq, NO_RANK, len(self._room))
            connections.send(conn, welcome.encode(), now)

    def _tell_observers(self, deliveries: Deliveries, now: float) -> None:
        connections = self._connections
        changes = bytes(deliveries.executes[slice(*deliveries.changes_after(0))])
        for conn in list(connections.observers.values()) if changes else ():
            if conn.watches:
                with connections.guard(conn, now):
                    connections.send(conn, changes, now)
        for key, frames in deliveries.observed.items():
            if (asker := connections.owner(key)) is not None:  # one that has just ended gets its answers too
                with connections.guard(asker, now):
                    connections.send(asker, bytes(frames), now)
