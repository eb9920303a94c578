"""What happens to a member, for tasks to iterate over and for callbacks: it joined, moved up, lost its connection.

Each iterator has a queue of its own, so that several tasks see the same events. It knows nothing of commands.
"""

from __future__ import annotations

import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar
from weakref import WeakSet

from ..core.client.events import Ended, Promoted, Welcomed
from ..errors import RankmuxError
from .connection import Connection, Incident

__all__ = ["Callbacks", "Events", "Subscriptions"]

log = logging.getLogger("rankmux.client")

_EVENTS_MAX = 1024  # of one iterator; it keeps the last

_Kind = TypeVar("_Kind", bound=Incident)


class Events(Generic[_Kind]):
    """Iterates over what happens from its making on; who reads too slowly misses the oldest, beyond 1,024 of them.

    It ends when the client is closed, and raises why the connection was lost for good.
    """

    def __init__(
        self, connection: Connection, kinds: tuple[type[_Kind], ...], *, patient: bool = False
    ) -> None:
        self._connection = connection
        self._kinds = kinds
        self._patient = patient
        self._queue: deque[_Kind] = deque(maxlen=_EVENTS_MAX)

    def __aiter__(self) -> Events[_Kind]:
        return self

    async def __anext__(self) -> _Kind:
        queue, connection = self._queue, self._connection
        await connection.until(self, lambda: bool(queue) or connection.closed, patient=self._patient)
        if not queue:
            raise StopAsyncIteration
        return queue.popleft()

    def feed(self, event: Incident) -> None:
        """It happened."""
        if isinstance(event, self._kinds):
            self._queue.append(event)
            self._connection.waiters.wake(self)


class Subscriptions:
    """The iterators of one client; one that is dropped is gone from here."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._events: WeakSet[Events[Incident]] = WeakSet()
        connection.on_incident = self._tell

    def add(self, *kinds: type[_Kind], patient: bool = False) -> Events[_Kind]:
        """A new iterator over events of these kinds."""
        events = Events(self._connection, kinds, patient=patient)
        self._events.add(events)  # type: ignore[arg-type] # it takes what is of its kinds
        return events

    def _tell(self, event: Incident) -> None:
        for events in list(self._events):
            events.feed(event)


class Callbacks:
    """The functions of a client's user that are told of events, one at a time and in order; plain or coroutines."""

    def __init__(
        self,
        on_promoted: Callable[[Promoted], Awaitable[object] | object] | None,
        on_joined: Callable[[int], Awaitable[object] | object] | None,
        on_lost: Callable[[RankmuxError], Awaitable[object] | object] | None,
    ) -> None:
        self._on_promoted = on_promoted
        self._on_joined = on_joined
        self._on_lost = on_lost

    def __bool__(self) -> bool:
        return any((self._on_promoted, self._on_joined, self._on_lost))

    async def run(self, events: Events[Incident]) -> None:
        """Tell them until the client is closed or lost for good."""
        try:
            async for event in events:
                await self._tell(event)
        except RankmuxError as error:
            log.debug("no more events: %s", error)

    async def _tell(self, event: Incident) -> None:
        try:
            match event:
                case Promoted() if self._on_promoted is not None:
                    told = self._on_promoted(event)
                case Welcomed() if self._on_joined is not None:
                    told = self._on_joined(event.rank)
                case Ended() if self._on_lost is not None and event.error is not None:
                    told = self._on_lost(event.error)
                case _:
                    return
            if inspect.isawaitable(told):
                await told
        except Exception:
            log.exception("a callback failed")
