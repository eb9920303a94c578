"""A bound on what members may ask for in one turn: a few bytes of WHO can ask for very many of MEMBERS.

Queries over the budget wait, and so does everything that came behind them on the same connection, which is not read
from meanwhile. Knows no sockets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ...core.room.batch import Event
from ...core.wire.frames import Who
from ..connections.connection import Connection

__all__ = ["QueryBudget"]

_ANSWER_BYTES = 32  # a MEMBERS frame without members, rounded up
_MEMBER_BYTES = 64  # one member in it, with a name and an address of the usual size


class QueryBudget:
    """`budget` bytes of answers for each connection and turn, by estimate."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._spent: dict[Connection, int] = {}
        self._waiting: dict[Connection, deque[Event]] = {}

    def __contains__(self, conn: Connection) -> bool:
        return conn in self._waiting

    def waits(self, over: set[int]) -> bool:
        """Whether a query waits that could be answered now: of a connection that is not in `over`."""
        return any(conn.key not in over for conn in self._waiting)

    def allows(self, conn: Connection, who: Who, members: int, most: int) -> bool:
        """Whether `conn` may ask that in this turn; counts it. An answer has at most `most` bytes."""
        found = max(0, min(who.count, members - who.first_rank))
        spent = self._spent.get(conn, 0)
        self._spent[conn] = spent + min(most, _ANSWER_BYTES + _MEMBER_BYTES * found)
        return not spent or self._spent[conn] <= self._budget

    def postpone(self, conn: Connection, event: Event) -> None:
        """Keep `event` for a later turn."""
        self._waiting.setdefault(conn, deque()).append(event)

    def turn(self, over: set[int]) -> Iterator[tuple[Connection, deque[Event]]]:
        """Begin a turn: the events that wait, of connections not in `over`. Call `done` when a deque is empty."""
        self._spent.clear()
        for conn in list(self._waiting):
            if not conn.alive:
                del self._waiting[conn]
            elif conn.key not in over:
                yield conn, self._waiting[conn]

    def clear(self) -> None:
        """All connections are gone."""
        self._waiting.clear()

    def done(self, conn: Connection) -> None:
        """Nothing of `conn` waits any more."""
        self._waiting.pop(conn, None)
