"""The incidents of a member, for tasks to iterate over and for callbacks: it joined, moved up, lost its connection.

Each iterator has its own queue, so that several tasks see the same incidents. It knows nothing of results.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from ..client.reports import report_callback_failure, report_no_more_events
from ..core.client.events import Ended, Promoted, SeatAbsent, SeatLost, SeatReturned, Welcomed
from ..errors import RankmuxError
from .connection import ClientConnection
from .incidents import Incident

__all__ = ["Callbacks", "Events"]

_EVENTS_MAX = 1024  # of one iterator; it keeps the latest

_Kind = TypeVar("_Kind", bound=Incident)


class Events(Generic[_Kind]):
    """Iterates over the events since it was made; a slow reader misses the oldest, beyond 1,024 of them.

    It ends when the client is closed, and raises the reason when the connection is lost for good.
    """

    def __init__(
        self, connection: ClientConnection, kinds: tuple[type[_Kind], ...], *, patient: bool = False
    ) -> None:
        self._connection = connection
        self._kinds = kinds
        self._patient = patient
        self._queue: deque[_Kind] = deque(maxlen=_EVENTS_MAX)
        connection.incidents.subscribe(self)

    def __aiter__(self) -> Events[_Kind]:
        return self

    async def __anext__(self) -> _Kind:
        queue, connection = self._queue, self._connection
        await connection.until(self, lambda: bool(queue) or connection.closed, patient=self._patient)
        if not queue:
            raise StopAsyncIteration
        return queue.popleft()

    def _feed(self, incident: Incident) -> None:
        """Queue `incident` if it is of the right kind."""
        if isinstance(incident, self._kinds):
            self._queue.append(incident)
            self._connection.waiters.wake(self)


class Callbacks(NamedTuple):
    """A user's functions for events, called one at a time and in order; plain functions or coroutine functions."""

    on_promoted: Callable[[Promoted], Awaitable[object] | object] | None
    on_joined: Callable[[int], Awaitable[object] | object] | None
    on_lost: Callable[[RankmuxError], Awaitable[object] | object] | None
    on_absent: Callable[[RankmuxError], Awaitable[object] | object] | None
    on_back: Callable[[int], Awaitable[object] | object] | None
    on_seat_lost: Callable[[int], Awaitable[object] | object] | None

    def __bool__(self) -> bool:
        return any(self)

    async def run(self, events: Events[Incident]) -> None:
        """Call them until the client is closed or lost for good."""
        try:
            async for event in events:
                await self._call(event)
        except RankmuxError as error:
            report_no_more_events(error)

    async def _call(self, event: Incident) -> None:
        absent, back = self.on_absent or self.on_lost, self.on_back or self.on_joined
        try:
            match event:
                case Promoted() if self.on_promoted is not None:
                    returned = self.on_promoted(event)
                case Welcomed(returned=False) if self.on_joined is not None and event.ticket:
                    returned = self.on_joined(event.rank)
                case Ended(RankmuxError() as error, kept=False) if self.on_lost is not None:
                    returned = self.on_lost(error)
                case SeatAbsent(RankmuxError() as error) if absent is not None:
                    returned = absent(error)
                case SeatReturned() if back is not None:
                    returned = back(event.rank)
                case SeatLost() if self.on_seat_lost is not None:
                    returned = self.on_seat_lost(event.ticket)
                case _:
                    return
            if inspect.isawaitable(returned):
                await returned
        except Exception as error:  # noqa: BLE001 - the callbacks are the user's
            report_callback_failure(error)
