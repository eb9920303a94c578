"""The incidents of a member, and their subscribers: it joined, moved up, lost its connection or its seat.

It knows no connection and no iterator.
"""

from __future__ import annotations

from typing import Protocol
from weakref import WeakSet

from ..core.client.events import Ended, ExecuteRejected, Promoted, SeatEvent, Welcomed

__all__ = ["Incident", "Incidents", "Subscriber"]

Incident = Welcomed | Promoted | ExecuteRejected | Ended | SeatEvent
"""An event in a member's life: it joined, moved up, rejected a command, or lost its connection or its seat."""


class Subscriber(Protocol):
    """Takes the incidents of a connection."""

    def _feed(self, incident: Incident) -> None:
        """It has happened. Must not wait."""


class Incidents:
    """The subscribers of one client, each for as long as it is referenced elsewhere."""

    __slots__ = ("_subscribers",)

    def __init__(self) -> None:
        self._subscribers: WeakSet[Subscriber] = WeakSet()

    def subscribe(self, subscriber: Subscriber) -> None:
        """Feed `subscriber` with the incidents from now on."""
        self._subscribers.add(subscriber)

    def publish(self, incident: Incident) -> None:
        """Feed all of them."""
        for subscriber in list(self._subscribers):
            subscriber._feed(incident)
