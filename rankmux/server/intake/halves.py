"""The room of a turn in two halves: for what has just come, and for what waits since the turns before.

What has just come goes first, so that who sends little does not stand behind those who send without end. The first
frame of a half may be larger than it. For work this costs the other half nothing; for bytes, and members listed, both
halves together go over their room by no more than one frame. What waits then gets nothing of them, and nothing goes
before it in the next turn.
"""

from __future__ import annotations

from ...core.room.batch import Batch

__all__ = ["Halves"]


class Halves:
    """Divides the room of the turns of `batch`."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._rooms = (0, 0, 0, 0)  # for what waits: work, bytes, shared bytes, members listed
        self._members = 0
        self._denied = [
            False,
            False,
            False,
        ]  # what waits got none of these: bytes, shared bytes, members listed

    def begin(self, work: int, size: int, shared: int, listed: int, members: int, waits: bool) -> None:
        """Begin a turn with so much room (as of `Batch.allow`): all of it, or half if anything `waits`."""
        rooms = (work, size, shared, listed)
        if not waits:
            self._rooms, self._denied = (0, 0, 0, 0), [False, False, False]
            self._batch.allow(*rooms, members)
            return
        work, size, shared, listed = ((room + 1) // 2 for room in rooms)
        self._rooms, self._members = (work, size, shared, listed), members
        fresh = [max(0, room - half) for room, half in zip(rooms, self._rooms, strict=True)]
        size, shared, listed = (
            0 if denied else room for room, denied in zip(fresh[1:], self._denied, strict=True)
        )
        self._batch.allow(fresh[0], size, shared, listed, members)

    def turn_over(self) -> None:
        """What has just come has had its half: the rest is for what waits."""
        batch = self._batch
        work, *rooms = self._rooms
        unused = (batch.bytes_left, batch.shared_left, batch.listed_left)
        size, shared, listed = map(sum, zip(rooms, unused, strict=True))
        self._denied = [left <= 0 for left in (size, shared, listed)]
        batch.allow(work + max(0, batch.work_left), size, shared, listed, self._members)
