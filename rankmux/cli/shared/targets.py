"""Targets of a command as people write them: keywords, ranks, tickets, names, patterns, lists and exclusions.

    all  next  least                    as the server has them
    2  1-5,8                            ranks
    ticket:1764000000000001             a member by its identity
    web-1  'web-*'  name:2              names, and patterns of names; `name:` where a name looks like something else
    '!db-*'  'web-*,!web-3'             all but those; those but that one

Everything but a keyword is looked up in one list of the members, and goes out by ticket: ranks move between looking and
sending, tickets do not. It knows no connection.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from ...core.wire.limits import U32_MAX
from ...errors import ArgumentError

TYPE_CHECKING = False  # as of `typing`, whose import would cost `send` five milliseconds
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...core.client.targets import Word

    Row = tuple[int, int, str]

__all__ = ["EXPECTED", "Found", "Target", "target_of"]

_KEYWORDS: dict[str, Word] = {"all": "all", "next": "next", "least": "least"}
_U64_MAX = 0xFFFF_FFFF_FFFF_FFFF
EXPECTED = (
    "expected all, next, least, ranks such as 2 or 1-5,8, ticket:N, or names such as 'web-*' or '!db-*'"
)


class _Item:
    """One item of a list: a range of ranks, a ticket, or a pattern of names."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.excludes = text.startswith("!")
        word = text.removeprefix("!")
        if not word:
            raise ValueError
        self._ranks: range | None = None
        self._ticket: int | None = None
        self._pattern = word.removeprefix("name:")
        first, dash, last = word.partition("-")
        if _is_number(first) and (not dash or _is_number(last)):
            low, high = int(first), int(last or first)
            if not low <= high <= U32_MAX:
                raise ValueError
            self._ranks = range(low, high + 1)
        elif word.startswith("ticket:"):
            number = word.removeprefix("ticket:")
            if not _is_number(number) or int(number) > _U64_MAX:
                raise ValueError
            self._ticket = int(number)
        self.several = any(sign in self._pattern for sign in "*?[") or len(self._ranks or "1") > 1

    def matches(self, rank: int, ticket: int, name: str) -> bool:
        """Whether it means this member."""
        if self._ranks is not None:
            return rank in self._ranks
        if self._ticket is not None:
            return ticket == self._ticket
        return fnmatchcase(name, self._pattern)


class Found:
    """The members that a target means, as of one list.

    `tickets` rise, as SET has them; `below` counts those of lower rank than the sender, `unknown` are the items that
    ask for one member and found none, `single` tells whether the target asks for one member and found one.
    """

    def __init__(self, tickets: tuple[int, ...], below: int, unknown: list[str], single: bool) -> None:
        self.tickets = tickets
        self.below = below
        self.unknown = unknown
        self.single = single


class Target:
    """A target: a `keyword`, or, where that is None, items to be looked up. `text` is how it was written."""

    def __init__(self, text: str, keyword: Word | None, items: list[_Item]) -> None:
        self.text = text
        self.keyword = keyword
        self._wanted = [item for item in items if not item.excludes]
        self._excluded = [item for item in items if item.excludes]

    def __repr__(self) -> str:
        return f"<Target {self.text!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Target) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    @property
    def nobody(self) -> str:
        """The reason why nothing is sent where it finds nobody below."""
        return "nobody is below you" if self.keyword else f"nobody below you is {self.text!r}"

    def below(self, members: list[Row], own_ticket: object) -> list[Row]:
        """The members below the sender that `all` or a list means."""
        own = next((rank for rank, ticket, _ in members if ticket == own_ticket), -1)
        juniors = [row for row in members if row[0] > own]
        if self.keyword is not None:
            return juniors
        tickets = self.find(members, own_ticket).tickets
        return [row for row in juniors if row[1] in tickets]

    def find(self, members: Iterable[Row], own_ticket: object) -> Found:
        """Look it up among `members`: rank, ticket and name of each. The sender is never one of them."""
        tickets, below, own_rank = [], [], -1
        seen: set[str] = set()
        for rank, ticket, name in members:
            if ticket == own_ticket:
                own_rank = rank
                continue
            matching = [item for item in self._wanted if item.matches(rank, ticket, name)]
            if (matching or not self._wanted) and not any(
                item.matches(rank, ticket, name) for item in self._excluded
            ):
                tickets.append(ticket)
                below.append(rank)
            seen.update(item.text for item in matching)
        unknown = [item.text for item in self._wanted if not item.several and item.text not in seen]
        single = len(self._wanted) == 1 == len(tickets) and not self._wanted[0].several
        juniors = sum(rank > own_rank for rank in below)
        return Found(tuple(sorted(tickets)), juniors, unknown, single)


def target_of(text: str) -> Target:
    """The target that is written as `text`. Raises ArgumentError."""
    if (keyword := _KEYWORDS.get(text)) is not None:
        return Target(text, keyword, [])
    try:
        return Target(text, None, [_Item(word.strip()) for word in text.split(",")])
    except ValueError:
        raise ArgumentError("the target", text, EXPECTED) from None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 20
