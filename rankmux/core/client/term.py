"""A term of leadership: the time from rank 0 to its end, for the user of a client.

Shared by both drivers, which add the waiting. It knows no connection; a function tells whether the client still leads.
"""

from __future__ import annotations

from collections.abc import Callable

from ..wire.frames import Baton

__all__ = ["LedTerm"]


class LedTerm:
    """The time in which this client leads."""

    def __init__(self, ticket: int, baton: Baton | None, leads: Callable[[], bool]) -> None:
        self._ticket = ticket
        self._baton = baton
        self._leads = leads
        self._over = False

    def __repr__(self) -> str:
        return f"<Term of ticket {self.ticket}{': over' if self.over else ''}>"

    @property
    def ticket(self) -> int:
        """The identity of the term. It grows from term to term, so it serves as a fencing token."""
        return self._ticket

    @property
    def baton(self) -> Baton | None:
        """The note that the leader before has left; None where there is none."""
        return self._baton

    @property
    def over(self) -> bool:
        """Whether this client leads no more; it never turns false again.

        With a keep, a lost connection does not end the term, but the deadline does (section 13).
        """
        self._over = self._over or not self._leads()
        return self._over
