"""The executors of a command as a caller names them, turned into a target of the wire (PROTOCOL section 5).

Ranks move between looking and sending, tickets do not: members, and names once they are looked up in a listing, go out
as tickets (SET), so that a command never reaches another member. It knows no session.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from ...errors import ArgumentError
from ..wire.codes import U32_MAX, Target
from ..wire.frames import MemberInfo

__all__ = ["Destination", "To", "checked_tickets", "destination_of"]

To = str | int | MemberInfo | Iterable[MemberInfo]
"""The executors of a command (section 5).

`"all"`, the `"next"` below, the `"least"` loaded; a rank; a member of a listing, or several; any other text is the name
of members, or a pattern of names such as `"web-*"`.
"""

_NAMED = {"all": Target.ALL, "next": Target.NEXT, "least": Target.LEAST}
_TICKET_MAX = 0xFFFF_FFFF_FFFF_FFFF
_EXPECTED = (
    "expected 'all', 'next', 'least', a name or a pattern of names, a member of who(), several, or a rank"
)


class Destination(NamedTuple):
    """A target, its `arg` or its tickets; `names` is a pattern that has to be looked up first, None otherwise.

    `broadcast` tells whether it is aimed at whoever is there, so that nobody at all is no mistake: ALL, and patterns
    with a wildcard.
    """

    target: Target
    arg: int = 0
    tickets: tuple[int, ...] = ()
    names: str | None = None
    broadcast: bool = False

    def looked_up(self, members: Iterable[MemberInfo], own_ticket: int | None) -> Destination:
        """The members of a listing whose names match, by ticket; this client itself is none of them."""
        assert self.names is not None
        tickets = (
            member.ticket
            for member in members
            if member.ticket != own_ticket and fnmatchcase(member.name, self.names)
        )
        return self._replace(tickets=checked_tickets(tickets), names=None)


def destination_of(to: To, tickets: Iterable[int] | None = None) -> Destination:
    """The destination that a caller names by `to`, or by `tickets`. Raises ArgumentError."""
    if tickets is not None:
        if not (isinstance(to, str) and to == "all"):
            raise ArgumentError("to", to, "expected none beside tickets")
        return Destination(Target.SET, tickets=checked_tickets(tickets))
    if isinstance(to, MemberInfo):
        return Destination(Target.SET, tickets=(to.ticket,))
    if isinstance(to, str) and to:
        if to in _NAMED:
            return Destination(_NAMED[to], broadcast=to == "all")
        return Destination(Target.SET, names=to, broadcast=any(sign in to for sign in "*?["))
    if isinstance(to, int) and not isinstance(to, bool) and 0 <= to <= U32_MAX:
        return Destination(Target.ONE, to)
    if isinstance(to, Iterable) and not isinstance(to, str | bytes | bytearray):
        members = list(to)
        if all(isinstance(member, MemberInfo) for member in members):
            return Destination(Target.SET, tickets=checked_tickets(member.ticket for member in members))
    raise ArgumentError("to", to, _EXPECTED)


def checked_tickets(tickets: Iterable[int]) -> tuple[int, ...]:
    """The tickets, each once and rising, as SET has them. Raises ArgumentError."""
    found: Sequence[int] = list(tickets)
    for ticket in found:
        if not isinstance(ticket, int) or isinstance(ticket, bool) or not 0 <= ticket <= _TICKET_MAX:
            raise ArgumentError("tickets", ticket, "expected the tickets of members")
    return tuple(sorted(set(found)))
