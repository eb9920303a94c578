"""What both kinds of members note of themselves: lines in their crew's log, and when they believe in rank 0."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .crew import Crew

__all__ = ["RESYNC_S", "Believer", "clock_ms"]

RESYNC_S = 0.3  # to catch up after a time in which it did not read


def clock_ms() -> int:
    """A time that all processes of a run share."""
    return int(time.monotonic() * 1000)


class Believer(ABC):
    """A member of `crew`. While it is deaf or is only trickled, it does not know what it is."""

    ticket: int

    def __init__(self, crew: Crew[Any], ident: str) -> None:
        self.crew, self.ident = crew, ident
        self.deaf_until = self.trickle_until = 0.0
        self.settled = self._believes = False
        self.heard = self._behind_since = self._behind_until = crew.now

    @property
    @abstractmethod
    def seated(self) -> bool:
        """Whether it has a seat and does not leave it."""

    @property
    @abstractmethod
    def leads(self) -> bool:
        """Whether it holds rank 0, as far as it knows."""

    @abstractmethod
    def settle(self) -> None:
        """Log its rank once all answers to what it has sent have come."""

    def log(self, kind: str, *values: object) -> None:
        self.crew.lines.append(f"{self.ident} {kind} {' '.join(map(str, values))}\n")

    def believe(self) -> None:
        """Log the times in which it believes that it has rank 0; a time in which it does not read does not count."""
        now = self.crew.now
        hears = now > max(self.crew.awake_since, self.deaf_until, self.trickle_until) + RESYNC_S
        if self.leads and hears:
            if not self._believes:
                self._believes = True
                self.log("K", 1, clock_ms(), self.ticket)
        else:
            self.stop_believing(now)

    def stop_believing(self, since: float) -> None:
        if self._believes:
            self._believes = False
            self.log("K", 0, int(since * 1000))

    def fall_behind(self, since: float, until: float) -> None:
        """It reads late between these times: an end meanwhile comes before it can know of it."""
        if self.crew.now >= self._behind_until:
            self._behind_since = since
        self._behind_until = max(self._behind_until, until + RESYNC_S)

    @property
    def ended_ms(self) -> int:
        """When a connection of it ended that ends now, as far as it knows."""
        late = self.crew.now < self._behind_until
        return int(1000 * (self._behind_since if late else self.crew.now))
