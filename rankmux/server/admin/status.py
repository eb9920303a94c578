"""A read-only view of the server as plain data: members, present or absent, closes and totals.

Text from peers is not escaped here. Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Protocol

from ... import __version__
from ...config import Config
from ...core.room.room import Room
from ..cluster.sequencer import ClusterSequencer
from ..connections.closes import CloseReason
from ..connections.registry import Connections
from ..intake.auth import Auth
from ..sockets.listener import Listener
from .listing import Listing, Row, Wish
from .stats import BOUNDS_S, RoomEvent, Stats

__all__ = ["Place", "ServerStatus"]


class Place(Protocol):
    """The place of the server in its room: the room's number, and whether members can join here."""

    @property
    def instance(self) -> int: ...

    @property
    def is_up(self) -> bool: ...


class ServerStatus:
    """The view of one server."""

    def __init__(
        self,
        config: Config,
        place: Place,
        room: Room,
        connections: Connections,
        listener: Listener,
        stats: Stats,
        clock: Callable[[], float],
        auth: Auth,
    ) -> None:
        self.config = config
        self.place = place
        self.cluster = place if isinstance(place, ClusterSequencer) else None
        self.room = room
        self.connections = connections
        self.listener = listener
        self.stats = stats
        self.clock = clock
        self.auth = auth
        self._closed = False
        self.draining = False  # nobody new is admitted
        self.started_at = clock()
        self.version = __version__

    def close_doors(self) -> None:
        """The server takes no more members."""
        self._closed = True

    @property
    def ready(self) -> bool:
        """Whether members can join."""
        return self.acts and not self.draining

    @property
    def acts(self) -> bool:
        """Whether members can be thrown out."""
        return self.place.is_up and not self._closed

    @property
    def finishing(self) -> bool:
        """Whether an operator has asked for the end: nobody new is admitted, and none will be."""
        return self.draining or self._closed

    @property
    def state(self) -> str:
        """What it does now, in words."""
        if self._closed:
            return "shutting down"
        if self.draining:
            return "draining"
        return "live" if self.cluster is None or self.place.is_up else self.cluster.stage.value

    @property
    def instance(self) -> int:
        """The number of the room (PROTOCOL section 2)."""
        return self.place.instance

    @property
    def absent(self) -> int:
        """How many members have no connection."""
        return self.room.line.kept.absent

    @property
    def takeovers(self) -> int:
        """How many connections have lost their seat to another one with its secret."""
        return self.connections.closes.counts[CloseReason.TAKEN_OVER]

    def queued_max(self) -> int:
        """The size of the longest queue of a member, in bytes."""
        return max((queue.size for queue in self.connections.outbox.queues.values()), default=0)

    def totals(self) -> Row:
        """The counters since the start, and the current state."""
        stats, connections, now = self.stats, self.connections, self.clock()
        outbox = connections.outbox
        return {
            "at": now,
            "instance": f"{self.instance:016x}",
            "state": self.state,
            "server": "" if self.cluster is None else self.config.server_name,
            "servers": [] if self.cluster is None else self.cluster.names,
            "version": self.version,
            "ready": self.ready,
            "where": self.listener.where,
            "uptime_s": now - self.started_at,
            "members": len(self.room),
            "seats": self.config.seats,
            "absent": self.absent,
            "observers": len(connections.observers),
            "watchers": len(connections.watchers),
            "connections": len(connections),
            "greeting": len(connections.greeting),
            "accepted": connections.accepted,
            "seq": self.room.seq,
            "waiting": self.room.waiting,
            "joins": stats.joins,
            "returns": stats.returns,
            "takeovers": self.takeovers,
            "yields": stats.yields,
            "promotions": stats.promotions,
            "commands": stats.commands,
            "deliveries": stats.deliveries,
            "refused": stats.refused.total(),
            "results": dict(stats.results),
            "dropped_results": stats.dropped_results,
            "queued_bytes": outbox.size,
            "queued_bytes_max": self.queued_max(),
            "held_bytes": outbox.held_bytes,
            "paced": len(connections.pacing),
            "paced_s": stats.paced_s,
            "turn_counts": stats.turns.counts,
            "turn_bounds_s": BOUNDS_S,
            "turn_s": stats.turns.sum,
            "closed": {reason.value: count for reason, count in connections.closes.counts.most_common()},
        }

    def members(self, wish: Wish) -> Listing:
        """The members that `wish` asks for, now."""
        return Listing(self.room, self.connections, self.clock(), wish)

    def closes(self, count: int) -> list[Row]:
        """The last `count` closes, latest first."""
        now = self.clock()
        return [
            {
                "ago_s": round(now - close.at, 3),
                "reason": close.reason.value,
                "detail": close.detail,
                "name": close.name,
                "address": close.address,
                "ticket": close.ticket,
            }
            for close in islice(reversed(self.connections.closes.last), count)
        ]

    def events(self, after: int) -> list[Row]:
        """The changes of the room after number `after` that are still kept."""
        now = self.clock()
        return [_event(event, now) for event in self.stats.since(after)]


def _event(event: RoomEvent, now: float) -> Row:
    row: Row = event._asdict()
    row["ago_s"] = round(now - row.pop("at"), 3)
    return row
