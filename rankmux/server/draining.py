"""The draining of a server: nobody new is admitted, members finish what they owe, and then the server stops."""

from __future__ import annotations

import logging

from ..core.room.room import Room
from ..system.json_lines import tagged
from .connections.registry import Connections

__all__ = ["Draining"]

log = logging.getLogger("rankmux.server")


class Draining:
    """`begun`: nobody new is admitted any more."""

    def __init__(self, room: Room, connections: Connections) -> None:
        self.begun = False
        self._room = room
        self._connections = connections
        self._until = 0.0

    def begin(self, until: float) -> None:
        """Admit nobody from now on, and give members time `until` then. Again only to shorten it."""
        self._until = until if not self.begun else min(self._until, until)
        if not self.begun:
            self.begun = True
            members, owed = len(self._connections.seats), self.owed()
            facts = tagged("draining", members=members, owed=owed)
            log.info("draining: %d members here, which owe %s", members, _results(owed), extra=facts)

    def is_over(self, now: float) -> bool:
        """Whether no member that is connected here owes a result, or the time is up."""
        return self.begun and (now >= self._until or not self.owed())

    def end(self) -> None:
        """Note in the log that the server stops now, and what members owe even so."""
        owed = self.owed()
        facts = tagged("drained", owed=owed)
        if owed:
            text = "drained: the time is up, and members here still owe %s"
            log.warning(text, _results(owed), extra=facts)
        else:
            log.info("drained: members here owe no results", extra=facts)

    def owed(self) -> int:
        """How many results the members that are connected here owe."""
        ranks = self._room.ranks
        return sum(load for load, handle in zip(ranks.loads, ranks.handles, strict=True) if handle >= 0)


def _results(count: int) -> str:
    return f"{count} result{'' if count == 1 else 's'}"
