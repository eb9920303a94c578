"""The sequencer: gathered turns go in, turns whose place in the order is certain come out.

One server alone is its own order, so the same turn comes back in the same step. A server that shares its room with
others would put the entry of a turn into a replicated log here, and hand back what it reads from there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ..core.room.turn import Turn

__all__ = ["LocalSequencer", "Sequencer"]


class Sequencer(Protocol):
    """Between gathering and applying."""

    def order(self, turn: Turn) -> Iterable[Turn]:
        """Take a gathered turn; returns the turns that are to be applied now, in order."""


class LocalSequencer:
    """The order of one server alone."""

    def order(self, turn: Turn) -> Iterable[Turn]:
        """The turn itself."""
        return (turn,)
