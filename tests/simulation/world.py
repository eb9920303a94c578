"""The simulated world: its clock, what is going to happen, and the one source of chance. Knows no sockets."""

from __future__ import annotations

import random
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

__all__ = ["World"]


class World:
    """Things happen one after the other, in the order of their times; nothing takes time but waiting.

    `now` is in seconds; everything is drawn from `random`. `tell`, if given, gets the lines of a trace.
    """

    def __init__(self, seed: object, tell: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.random = random.Random(str(seed))
        self.now = 1000.0
        self._coming: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._tell = tell

    @property
    def now_ms(self) -> int:
        """The time in whole milliseconds."""
        return int(self.now * 1000)

    def after(self, delay_s: float, do: Callable[[], None]) -> None:
        """Have `do` called in `delay_s` seconds."""
        self.at(self.now + delay_s, do)

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Have `do` called at `when`; now, if that is over."""
        heappush(self._coming, (max(when, self.now), next(self._order), do))

    def run(self, until: float) -> None:
        """Let everything happen up to `until`. May be called while something happens, which then takes that time."""
        coming = self._coming
        while coming and coming[0][0] <= until:
            when, _, do = heappop(coming)
            self.now = max(self.now, when)
            do()
        self.now = max(self.now, until)

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return self.random.random() < probability

    def trace(self, who: str, what: object) -> None:
        """A line of the trace, if somebody reads it."""
        if self._tell is not None:
            self._tell(f"{self.now - 1000:9.4f} {who:8} {what}")

    @property
    def traced(self) -> bool:
        """Whether somebody reads the trace: else its lines need not be made."""
        return self._tell is not None
