"""A block of work for one connection, whose failure ends that one and no other."""

from __future__ import annotations

from typing import Protocol

from .connection import Connection

__all__ = ["Guard"]


class _Blames(Protocol):
    """The registry."""

    def blame(self, conn: Connection, error: Exception, now: float) -> None:
        """An `error` in the work for `conn` ends it."""


class Guard:
    """See `Connections.guard`."""

    __slots__ = ("_conn", "_connections", "_now")

    def __init__(self, connections: _Blames, conn: Connection, now: float) -> None:
        self._connections = connections
        self._conn = conn
        self._now = now

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if not isinstance(error, Exception):
            return False
        self._connections.blame(self._conn, error, self._now)
        return True
