"""The line of members as a watching asyncio client sees it: an exact list, and each change of it as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ..client.failures import no_change
from ..core.client.events import LineChanged
from ..core.client.line import Line
from ..core.wire.frames import MemberInfo
from .connection import ClientConnection
from .waiters import LINE

__all__ = ["Watch"]


class Watch:
    """`async for` over it gives the changes (`LineChanged`); `members` is the line as of the last of them.

    The iteration raises ConnectionLost when the connection goes, and StateError when 16,384 changes wait unread: watch
    anew then. It ends when the client is closed.
    """

    def __init__(self, connection: ClientConnection, line: Line) -> None:
        self._connection = connection
        self._line = line

    @property
    def members(self) -> list[MemberInfo]:
        """All members in rank order; `load` is that of the beginning, and a newcomer has no `address`."""
        return self._line.members

    def __aiter__(self) -> AsyncIterator[LineChanged]:
        """The changes, each as it comes."""
        return self.changes()

    def changes(self, timeout: float | None = None) -> AsyncIterator[LineChanged]:
        """The changes as they come; raises TimeoutError when none has come for `timeout` seconds."""
        return _Changes(self._connection, self._line, timeout)


class _Changes:
    """An iterator, not an async generator: one that is left half-way needs no task to end it."""

    def __init__(self, connection: ClientConnection, line: Line, timeout_s: float | None) -> None:
        self._connection = connection
        self._line = line
        self._timeout_s = timeout_s

    def __aiter__(self) -> _Changes:
        return self

    async def __anext__(self) -> LineChanged:
        connection, line = self._connection, self._line
        if not await connection.until(LINE, lambda: line.ready or connection.closed, self._timeout_s):
            raise no_change(self._timeout_s)
        change = None if connection.closed else line.take()
        if change is None:
            raise StopAsyncIteration
        return change
