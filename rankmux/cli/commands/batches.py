"""The plan of `send --batch`: members in rank order, so many at a time, until too many have failed.

The members are fixed at the start: those that join later are in no batch, and those that go fail in theirs. It knows no
connection.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as of `typing`, whose import would cost `send` five milliseconds
if TYPE_CHECKING:
    from ..shared.targets import Row

__all__ = ["Batches"]


class Batches:
    """`members` by `size`; no more are begun when more than `failures_max` have not succeeded."""

    def __init__(self, members: list[Row], size: int, failures_max: int) -> None:
        self._rest = sorted(members)
        self._size = size
        self._failures_left = failures_max
        self._under_way = 0

    @property
    def rest(self) -> list[Row]:
        """The members that have not been tried."""
        return self._rest

    def ended(self, ok: int) -> None:
        """The batch under way has ended; `ok` of its members succeeded."""
        self._failures_left -= self._under_way - ok
        self._under_way = 0

    def begin(self) -> tuple[int, ...]:
        """The tickets of the next batch; none at the end, and when too many have failed."""
        if self._under_way:
            self.ended(0)  # nothing was heard of it
        if self._failures_left < 0:
            return ()
        batch, self._rest = self._rest[: self._size], self._rest[self._size :]
        self._under_way = len(batch)
        return tuple(sorted(ticket for _, ticket, _ in batch))
