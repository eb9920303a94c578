"""The backlog: the shared frames that receivers are still owed, each turn's once, at positions that only grow."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right

__all__ = ["Backlog"]

_BLOCK_BYTES = 65_536  # blocks are filled up to this, so that many small turns do not make many small objects


class Backlog:
    """The shared frames of the turns in which a receiver fell behind, each turn once, at growing positions.

    `end` is the position behind the last frame, `held` the memory of all blocks.
    """

    __slots__ = ("_bases", "_blocks", "_borders", "_trim_at", "end", "held")

    def __init__(self) -> None:
        self.end = 0
        self.held = 0
        self._bases: list[int] = []
        self._blocks: list[bytearray] = []
        self._borders: dict[int, array[int]] = {}
        self._trim_at = 0

    @property
    def start(self) -> int:
        """The first position that is still kept."""
        return self._bases[0] if self._bases else self.end

    @property
    def has_grown(self) -> bool:
        """Whether it has grown by a quarter, and by some blocks, since the last `trim`."""
        return self.end - self.start > self._trim_at

    def append(self, data: bytearray) -> int:
        """Keep `data`, whole frames that must not change from now on; returns their position."""
        position = self.end
        if self._blocks and len(self._blocks[-1]) + len(data) <= _BLOCK_BYTES:
            block = self._blocks[-1]
            self.held -= block.__alloc__()
            block += data
        else:
            block = data[:] if len(data) < _BLOCK_BYTES else data
            self._bases.append(position)
            self._blocks.append(block)
        self.held += block.__alloc__()
        self.end += len(data)
        return position

    def view(self, start: int, end: int) -> memoryview:
        """The bytes from `start` on, up to `end` or fewer. Release the view before the next `append`."""
        index = bisect_right(self._bases, start) - 1
        offset = start - self._bases[index]
        return memoryview(self._blocks[index])[offset : offset + end - start]

    def border(self, position: int) -> int:
        """The end of the frame that `position` lies in; `position` itself when a frame ends there."""
        if position >= self.end:
            return position
        index = bisect_right(self._bases, position) - 1
        base, block = self._bases[index], self._blocks[index]
        borders = self._borders.get(base)
        if borders is None or borders[-1] < len(block):  # walked once for all who are cut off in this block
            borders = self._borders[base] = _borders(block)
        return base + borders[bisect_left(borders, position - base)]

    def trim(self, start: int) -> None:
        """Free the blocks that end before `start`."""
        keep = max(bisect_right(self._bases, start) - 1, 0)
        if start >= self.end:
            keep = len(self._bases)
        for base in self._bases[:keep]:
            self._borders.pop(base, None)
        self.held -= sum(block.__alloc__() for block in self._blocks[:keep])
        del self._bases[:keep]
        del self._blocks[:keep]
        self._trim_at = max((self.end - self.start) * 5 // 4, 4 * _BLOCK_BYTES)


def _borders(frames: bytearray) -> array[int]:
    """0, then the end of each frame."""
    borders, end = array("Q", [0]), 0
    while end < len(frames):
        end += 4 + int.from_bytes(frames[end : end + 4])
        borders.append(end)
    return borders
