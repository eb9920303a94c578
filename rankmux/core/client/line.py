"""The line of members, exact at every moment: one listing, and then each change of it (PROTOCOL section 8).

It knows no session and no clock; a driver sends each request and hands back its page, and feeds the changes as they
come.
"""

from __future__ import annotations

from collections import deque

from ...errors import ProtocolViolation, RankmuxError, StateError
from ..wire.codes import U32_MAX, Change, ErrorCode
from ..wire.frames import MemberInfo
from .events import LineChanged, MembersPage

__all__ = ["Line"]

_MEMBERS_MAX = 1 << 20  # far over any room, so that a hostile server cannot fill our memory
_CHANGES_MAX = 16_384
_FRUITLESS_MAX = 100  # requests in a row that bring nobody new
_GONE = (Change.LEFT, Change.LOST, Change.EVICTED, Change.YIELDED)


class Line:
    """The members in rank order, as of the last change that was taken.

    The listing grows from rank 0 on. What is known of it stays exact while it grows, as the changes up to each page are
    applied to it; if somebody in it has gone meanwhile, the page leaves a gap and is asked for again. At most 16,384
    changes wait: one more ends it, with `error`.
    """

    def __init__(self) -> None:
        self.error: RankmuxError | None = None
        self._members: dict[int, MemberInfo] = {}
        self._whole = False
        self._changes: deque[LineChanged] = deque()
        self._fruitless = 0

    @property
    def members(self) -> list[MemberInfo]:
        """The members, in rank order; each `load` is that of the listing."""
        return [member._replace(rank=rank) for rank, member in enumerate(self._members.values())]

    @property
    def ready(self) -> bool:
        """Whether `take` has something to give, or to raise."""
        return bool(self._changes) or self.error is not None

    def request(self) -> tuple[int, int]:
        """The next request: first_rank and count."""
        return len(self._members), U32_MAX

    def receive(self, page: MembersPage) -> bool:
        """Take a page; True if the line is whole. Raises ProtocolViolation for pages that make no line."""
        while self._changes and self._changes[0].seq <= page.seq:
            self._apply(self._changes.popleft())
        before = len(self._members)
        for row in page.members:
            if row.rank == len(self._members):
                self._members[row.ticket] = row
        if len(self._members) > min(page.total, _MEMBERS_MAX):
            raise ProtocolViolation(
                ErrorCode.PROTOCOL, f"WHO lists {len(self._members)} members, {page.total} in all"
            )
        self._whole = len(self._members) == page.total
        self._fruitless = 0 if len(self._members) > before else self._fruitless + 1
        if not self._whole and self._fruitless > _FRUITLESS_MAX:
            raise ProtocolViolation(ErrorCode.PROTOCOL, "the pages of WHO do not make up a line")
        return self._whole

    def feed(self, change: LineChanged) -> None:
        """A change has come."""
        if self.error is not None:
            return
        if len(self._changes) >= _CHANGES_MAX:
            self._changes.clear()
            self.error = StateError(
                "watching", f"{_CHANGES_MAX} changes wait unread: take them, or watch anew"
            )
            return
        self._changes.append(change)

    def lose(self, error: RankmuxError) -> None:
        """The connection has ended; the changes that wait can still be taken."""
        self.error = self.error or error

    def take(self) -> LineChanged | None:
        """The next change, which `members` shows from now on; None if there is none. Raises `error` at the end."""
        if self._changes:
            change = self._changes.popleft()
            self._apply(change)
            return change
        if self.error is not None:
            raise self.error
        return None

    def _apply(self, change: LineChanged) -> None:
        ticket = change.ticket
        if change.what is Change.JOINED:
            if self._whole and len(self._members) < _MEMBERS_MAX:
                self._members[ticket] = MemberInfo(len(self._members), ticket, 0, change.name, "")
        elif change.what in _GONE:
            self._members.pop(ticket, None)
        elif (member := self._members.get(ticket)) is not None:
            absent = change.what is Change.ABSENT
            self._members[ticket] = member._replace(absent=absent, name=change.name)
