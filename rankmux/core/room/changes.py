"""The events of the line in one turn, and the CHANGED frames that tell of them (PROTOCOL section 8)."""

from __future__ import annotations

from typing import NamedTuple

from ..wire.codes import Cause, Change
from ..wire.frames import Changed
from .deliveries import Deliveries

__all__ = ["CHANGE_OF", "LineEvent", "tell_changes"]

CHANGE_OF = {
    Cause.LEFT: Change.LEFT,
    Cause.LOST: Change.LOST,
    Cause.EVICTED: Change.EVICTED,
    Cause.YIELDED: Change.YIELDED,
}
"""What CHANGED says of a departure with that cause."""


class LineEvent(NamedTuple):
    """`rank` is that before any departure of the turn, a newcomer's is its own."""

    seq: int
    what: Change
    ticket: int
    rank: int
    name: str


def tell_changes(events: list[LineEvent], members: int, deliveries: Deliveries) -> None:
    """Lay CHANGED for each of the `events`, seqs rising; `members` is their number after all departures."""
    for event in events:
        members += event.what is Change.JOINED
        seq, what, ticket, rank, name = event
        deliveries.change(seq, Changed(seq, what, ticket, rank, members, name).encode())
