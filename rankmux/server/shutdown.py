"""The server's clean shutdown: no new connections, ERROR SHUTDOWN to all, then queued bytes until a deadline.

Any thread may request it; the server's turns carry it out. The last log lines report how connections ended and how
much was not delivered. Knows no ranks and never blocks.
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
    """The state of the shutdown.

    `asked`: it was requested; `begin` must be called in each turn.
    `begun`: ranks are frozen and only queued bytes are sent.
    """

    def __init__(self, connections: Connections, listener: Listener) -> None:
        self.asked = False
        self.begun = False
        self._connections = connections
        self._listener = listener
        self._drain_s: float | None = None
        self._until = 0.0

    def ask(self, drain_s: float) -> None:
        """Request a shutdown that drains for `drain_s` from the next turn on. From any thread; again only to hurry."""
        self._drain_s = drain_s
        self.asked = True

    def begin(self, now: float) -> bool:
        """Carry out a request; True in the turn in which the shutdown begins."""
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
        for conn in connections:
            if not conn.alive:  # already ending, with its own deadline
                conn.until = min(conn.until, self._until)
                continue
            connections.end(conn, CloseReason.SHUTDOWN, "the server is going away", now)
            conn.until = self._until
        return True

    def is_over(self, now: float) -> bool:
        """Whether all connections have ended, or the time is up."""
        return self.begun and (not len(self._connections) or now >= self._until)

    def drop_all(self) -> None:
        """Close the connections that are left, with whatever is still queued for them."""
        for conn in self._connections:
            self._connections.drop(conn)

    def report(self) -> None:
        """Write the last lines of the log."""
        connections = self._connections
        owed, left = connections.undelivered_to, connections.undelivered_bytes
        closes = connections.closes.counts
        reasons = ", ".join(f"{reason.value} {count}" for reason, count in closes.most_common())
        facts = tagged("summary", accepted=connections.accepted, **{r.value: n for r, n in closes.items()})
        total, accepted = closes.total(), connections.accepted
        log.info("closed: %d of %d connections: %s", total, accepted, reasons or "none", extra=facts)
        facts = tagged("stopped", connections=owed, owed_bytes=left)
        if owed:
            log.warning("stopped: %d bytes for %d connections were not delivered", left, owed, extra=facts)
        else:
            log.info("stopped cleanly", extra=facts)
