"""A term of leadership of an asyncio client, and the context manager that waits for it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from ..core.client.term import LedTerm
from ..core.wire.frames import Baton
from ..errors import RankmuxError
from .connection import ClientConnection
from .waiters import RANK

__all__ = ["Leading", "Term"]


class _Leader(Protocol):
    """The part of a client that a term needs."""

    @property
    def deadline(self) -> float | None:
        """The time from which on a kept seat may be gone."""

    def _term_of(self, ticket: int) -> Callable[[], bool]:
        """Tells whether the term that begins now goes on."""


class Term(LedTerm):
    """The time in which this client leads: `ticket`, `baton`, `over`, and waiting for its end."""

    def __init__(
        self, client: _Leader, connection: ClientConnection, ticket: int, baton: Baton | None
    ) -> None:
        super().__init__(ticket, baton, client._term_of(ticket))
        self._client = client
        self._connection = connection

    async def wait(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 as in the blocking client
        """Wait until the term is over; False when `timeout` seconds passed first."""
        until_s = None if timeout is None else time.monotonic() + timeout
        while not self.over:
            now_s, deadline_s = time.monotonic(), self._client.deadline
            if until_s is not None and now_s >= until_s:
                return False
            ends_s = [end_s for end_s in (until_s, deadline_s) if end_s is not None]
            wait_s = max(0.0, min(ends_s) - now_s) if ends_s else None
            try:
                await self._connection.until(RANK, lambda: self.over, wait_s, patient=True)
            except RankmuxError:
                if not self.over:
                    raise
        return True


class Leading:
    """`async with` it: waits for rank 0, and gives the term."""

    def __init__(self, begin: Callable[[], Awaitable[Term]]) -> None:
        self._begin = begin

    async def __aenter__(self) -> Term:
        return await self._begin()

    async def __aexit__(self, *_: object) -> None:
        pass
