"""A term of leadership of a blocking client."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from ..core.client.term import LedTerm
from ..core.wire.frames import Baton
from ..errors import RankmuxError

__all__ = ["Term"]


class _Leading(Protocol):
    """The part of a client that a term needs."""

    @property
    def deadline(self) -> float | None:
        """The time from which on a kept seat may be gone."""

    def wait(self, done: Callable[[], bool], timeout: float | None) -> bool:
        """Run the client until `done()`; False when `timeout` passed first."""

    def _term_of(self, ticket: int) -> Callable[[], bool]:
        """Tells whether the term that begins now goes on."""


class Term(LedTerm):
    """The time in which this client leads: `ticket`, `baton`, `over`, and waiting for its end."""

    def __init__(self, client: _Leading, ticket: int, baton: Baton | None) -> None:
        super().__init__(ticket, baton, client._term_of(ticket))
        self._client = client

    def wait(self, timeout: float | None = None) -> bool:
        """Run the client until the term is over; False when `timeout` seconds passed first."""
        until_s = None if timeout is None else time.monotonic() + timeout
        while not self.over:
            now_s, deadline_s = time.monotonic(), self._client.deadline
            if until_s is not None and now_s >= until_s:
                return False
            ends_s = [end_s for end_s in (until_s, deadline_s) if end_s is not None]
            try:
                self._client.wait(lambda: self.over, max(0.0, min(ends_s) - now_s) if ends_s else None)
            except RankmuxError:
                if not self.over:
                    raise
        return True
