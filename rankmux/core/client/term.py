"""A term of leadership: the time from rank 0 to its end, for the user of a client.

Shared by both drivers, which add the waiting. It knows no connection; a function tells whether the client still leads.
"""

from __future__ import annotations

from collections.abc import Callable

from ..wire.frames import Baton

__all__ = ["LedTerm"]


class LedTerm:
    """The time in which this client leads.

    `ticket` identifies it: it grows from term to term, so it serves as a fencing token. `baton` is the note that the
    leader before has left, None where there is none: `payload`, the `ticket` of the writer, and `seq`, its version.
    """

    def __init__(self, ticket: int, baton: Baton | None, leads: Callable[[], bool]) -> None:
        self.ticket = ticket
        self.baton = baton
        self._leads = leads
        self._over = False

    def __repr__(self) -> str:
        return f"<Term of ticket {self.ticket}{': over' if self.over else ''}>"

    @property
    def over(self) -> bool:
        """Whether this client leads no more; it never turns false again.

        With a keep, a lost connection does not end the term, but the deadline does (section 13).
        """
        self._over = self._over or not self._leads()
        return self._over
