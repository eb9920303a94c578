"""The members of a room, collected from pages of WHO (PROTOCOL section 2) while the room goes on changing.

It knows no session and no clock; a driver sends each request and hands back its page.
"""

from __future__ import annotations

from ...errors import ProtocolViolation
from ..wire.codes import U32_MAX, ErrorCode
from ..wire.frames import MemberInfo
from .events import MembersPage

__all__ = ["Listing"]

_MEMBERS_MAX = 1 << 20  # far over any room, so that a hostile server cannot fill our memory
_RESTARTS_MAX = 5


class Listing:
    """All members, page by page.

    Each page begins with the last member of the one before. Where it does not, a senior has gone and the ranks have
    closed up, so the listing starts again; after five restarts it goes on, and may miss members that moved meanwhile.
    It may miss some, too, where names are long and max_payload is small, so that a page holds one member alone.
    """

    def __init__(self) -> None:
        self._members: dict[int, MemberInfo] = {}
        self._first_rank = 0
        self._expected: int | None = None  # the ticket that the next page begins with
        self._restarts = 0

    @property
    def members(self) -> list[MemberInfo]:
        """The members seen so far, in rank order."""
        return list(self._members.values())

    def request(self) -> tuple[int, int]:
        """The next request: first_rank and count."""
        return self._first_rank, U32_MAX

    def receive(self, page: MembersPage) -> bool:
        """Take a page; True if it was the last. Raises ProtocolViolation when there is no end to them."""
        rows = page.members
        moved = self._expected is not None and (not rows or rows[0].ticket != self._expected)
        if moved and self._restarts < _RESTARTS_MAX:
            self._restarts += 1
            self._members.clear()
            self._first_rank, self._expected = 0, None
            return False
        for row in rows:
            self._members[row.ticket] = row
        if len(self._members) > _MEMBERS_MAX:
            raise ProtocolViolation(ErrorCode.TOO_BIG, f"WHO lists more than {_MEMBERS_MAX} members")
        if not rows or rows[-1].rank + 1 >= page.total:
            return True
        last, alone = rows[-1], len(rows) == 1
        if last.rank < self._first_rank + (not alone):
            return True  # no progress
        self._first_rank, self._expected = (last.rank + 1, None) if alone else (last.rank, last.ticket)
        return False
