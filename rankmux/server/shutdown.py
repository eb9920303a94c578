"""The ordered end of a server: nobody new, ERROR SHUTDOWN to all, then what is queued goes out until a deadline.

Asked for from anywhere, carried out in the turns of the server; at last the log says how connections ended, and what
was not delivered. Knows no ranks and waits for nothing itself.
"""

from __future__ import annotations

import logging

from ..system.json_lines import tagged
from .connections.closes import CloseReason
from .connections.registry import Connections
from .sockets.listener import Listener

__all__ = ["Shutdown"]

log = logging.getLogger("rankmux.server")


class Shutdown:
    """`asked` for: there is something to do in each turn. `begun`: ranks are frozen, only what is queued goes out."""

    def __init__(self, connections: Connections, listener: Listener) -> None:
        self.asked = False
        self.begun = False
        self._connections = connections
        self._listener = listener
        self._drain_s: float | None = None
        self._until = 0.0

    def ask(self, drain_s: float) -> None:
        """What is queued may go out for `drain_s` from the next turn on. From any thread; once more only to hurry."""
        self._drain_s = drain_s
        self.asked = True

    def begin(self, now: float) -> bool:
        """Do what was asked for; whether this is the turn in which it begins."""
        if self._drain_s is None:
            return False
        drain_s, self._drain_s = self._drain_s, None
        self._until = now + drain_s if not self.begun else min(self._until, now + drain_s)
        if self.begun:
            return False
        self.begun = True
        self._listener.close()
        connections = self._connections
        connections.undelivered_bytes = connections.undelivered_to = 0
        for peer in connections:
            if not peer.alive:  # it had ended before, and keeps its own time
                peer.until = min(peer.until, self._until)
                continue
            connections.end(peer, CloseReason.SHUTDOWN, "the server is going away", now)
            peer.until = self._until
        return True

    def is_over(self, now: float) -> bool:
        """Whether everybody is gone, or the time is up."""
        return self.begun and (not len(self._connections) or now >= self._until)

    def drop_all(self, now: float) -> None:
        """Close those who are left, whatever they are owed."""
        for peer in self._connections:
            self._connections.drop(peer)
        self._connections.reap(now)

    def report(self) -> None:
        """The last lines of the log."""
        connections = self._connections
        owed, left = connections.undelivered_to, connections.undelivered_bytes
        closes = connections.closes.counts
        reasons = ", ".join(f"{reason.value} {count}" for reason, count in closes.most_common())
        facts = tagged("summary", accepted=connections.accepted, **{r.value: n for r, n in closes.items()})
        total, accepted = closes.total(), connections.accepted
        log.info("closed: %d of %d connections: %s", total, accepted, reasons or "none", extra=facts)
        level = logging.WARNING if owed else logging.INFO
        text = "stopped: %d connections were still owed %d bytes, which were not delivered"
        log.log(level, text, owed, left, extra=tagged("stopped", connections=owed, owed_bytes=left))
