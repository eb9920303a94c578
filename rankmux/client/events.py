"""The functions that a user gives a blocking client for the events of its seat."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..core.client.events import Promoted, SeatAbsent, SeatEvent, SeatLost, SeatReturned
from ..errors import RankmuxError

__all__ = ["Callbacks"]


class Callbacks(NamedTuple):
    """Each is called with the fact that it is about, or is None."""

    on_promoted: Callable[[Promoted], object] | None = None
    on_joined: Callable[[int], object] | None = None
    on_lost: Callable[[RankmuxError], object] | None = None
    on_absent: Callable[[RankmuxError], object] | None = None
    on_back: Callable[[int], object] | None = None
    on_seat_lost: Callable[[int], object] | None = None

    def call_for(self, change: int | RankmuxError | SeatEvent) -> Callable[[], object] | None:
        """The call that is due for a change: the rank at joining, the error of a loss, or an event of a kept seat."""
        match change:
            case SeatAbsent(RankmuxError() as error):
                return _call(self.on_absent or self.on_lost, error)
            case SeatReturned(rank):
                return _call(self.on_back or self.on_joined, rank)
            case SeatLost(ticket):
                return _call(self.on_seat_lost, ticket)
            case RankmuxError() as error:
                return _call(self.on_lost, error)
            case int(rank):
                return _call(self.on_joined, rank)
            case _:
                return None


def _call(function: Callable[..., object] | None, fact: object) -> Callable[[], object] | None:
    return None if function is None else lambda: function(fact)
