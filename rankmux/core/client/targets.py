"""The executors of a command as a caller names them, turned into a target of the wire (PROTOCOL section 5).

Ranks move between looking and sending, tickets do not: members, and names once they are looked up in a listing, go out
as tickets (SET), so that a command never reaches another member. It knows no session.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

from ...errors import ArgumentError
from ..wire.codes import U32_MAX, Target
from ..wire.frames import MemberInfo

__all__ = ["Destination", "Names", "To", "Word", "checked_tickets", "destination_of"]

Word = Literal["all", "next", "least"]
To = Word | int | MemberInfo | Iterable[MemberInfo]
"""The executors of a command (section 5).

`"all"`, the `"next"` below, the `"least"` loaded; a rank; a member of a listing, or several. Names are given apart from
it, so that a misspelt word is an error, for a type checker as well, and not the name of nobody.
"""
Names = str | Iterable[str]
"""The names of members, or patterns of names such as `"web-*"`."""

_TICKET_MAX = 0xFFFF_FFFF_FFFF_FFFF
_EXPECTED = (
    "expected 'all', 'next', 'least', a member of who(), several, or a rank; names are given as names="
)
_WILDCARDS = re.compile(r"[*?[]")


class Destination(NamedTuple):
    """A target, its `arg` or its tickets; `names` are patterns that have to be looked up first, None otherwise.

    `broadcast` tells whether it is aimed at whoever is there, so that nobody at all is no mistake: ALL, and patterns
    that all have a wildcard.
    """

    target: Target
    arg: int = 0
    tickets: tuple[int, ...] = ()
    names: tuple[str, ...] | None = None
    broadcast: bool = False

    def looked_up(self, members: Iterable[MemberInfo], own_ticket: int | None) -> Destination:
        """The members of a listing whose names match, by ticket; this client itself is none of them."""
        patterns = self.names
        assert patterns is not None
        tickets = (
            member.ticket
            for member in members
            if member.ticket != own_ticket and any(fnmatchcase(member.name, pattern) for pattern in patterns)
        )
        return self._replace(tickets=checked_tickets(tickets), names=None)


_WORDS: dict[str, Destination] = {
    "all": Destination(Target.ALL, broadcast=True),
    "next": Destination(Target.NEXT),
    "least": Destination(Target.LEAST),
}


def destination_of(to: To, tickets: Iterable[int] | None = None, names: Names | None = None) -> Destination:
    """The destination that a caller names by `to`, by `tickets` or by `names`. Raises ArgumentError."""
    if tickets is not None or names is not None:
        if not (isinstance(to, str) and to == "all"):
            raise ArgumentError("to", to, "expected none beside tickets or names")
        if tickets is None:
            assert names is not None
            return _named(names)
        if names is not None:
            raise ArgumentError("names", names, "expected none beside tickets")
        return Destination(Target.SET, tickets=checked_tickets(tickets))
    if isinstance(to, str) and to in _WORDS:
        return _WORDS[to]
    if isinstance(to, int) and not isinstance(to, bool) and 0 <= to <= U32_MAX:
        return Destination(Target.ONE, to)
    if isinstance(to, MemberInfo):
        return Destination(Target.SET, tickets=(to.ticket,))
    if isinstance(to, Iterable) and not isinstance(to, str | bytes | bytearray):
        members = list(to)
        if all(isinstance(member, MemberInfo) for member in members):
            return Destination(Target.SET, tickets=checked_tickets(member.ticket for member in members))
    raise ArgumentError("to", to, _EXPECTED)


def _named(names: Names) -> Destination:
    patterns = (
        (names,) if isinstance(names, str) else tuple(names) if isinstance(names, Iterable) else (names,)
    )
    if not all(isinstance(pattern, str) and pattern for pattern in patterns):
        raise ArgumentError(
            "names", names, "expected the name of members, a pattern such as 'web-*', or several"
        )
    broadcast = bool(patterns) and all(_WILDCARDS.search(pattern) for pattern in patterns)
    return Destination(Target.SET, names=patterns, broadcast=broadcast)


def checked_tickets(tickets: Iterable[int]) -> tuple[int, ...]:
    """The tickets, each once and rising, as SET has them. Raises ArgumentError."""
    if not isinstance(tickets, Iterable):
        raise ArgumentError("tickets", tickets, "expected the tickets of members, in a list")
    found: Sequence[int] = list(tickets)
    for ticket in found:
        if not isinstance(ticket, int) or isinstance(ticket, bool) or not 0 <= ticket <= _TICKET_MAX:
            raise ArgumentError("tickets", ticket, "expected the tickets of members")
    return tuple(sorted(set(found)))
