"""Who is still owed which bytes: one copy of what all share, and a queue of ranges into it for each who fell behind.

A peer that keeps up has no queue. Bytes for all lie once in the shared log, a queue holds (start, end) positions in it,
adjoining ranges as one; bytes for one alone lie in its queue. Sizes are bytes, times seconds. No I/O, no clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable

from .deliveries import Piece

__all__ = ["Outbox", "Queue", "SharedLog"]

_BLOCK_BYTES = 65_536  # blocks are filled up to this, so that many small turns do not make many small objects


class SharedLog:
    """The EXECUTE frames of the turns in which somebody fell behind, each turn once, at growing positions."""

    __slots__ = ("_bases", "_blocks", "end")

    def __init__(self) -> None:
        self.end = 0
        self._bases: list[int] = []
        self._blocks: list[bytearray] = []

    @property
    def start(self) -> int:
        """The first position that is still held."""
        return self._bases[0] if self._bases else self.end

    def append(self, data: bytearray) -> int:
        """Keep `data`, which must not change any more; returns its position."""
        position = self.end
        if self._blocks and len(self._blocks[-1]) + len(data) <= _BLOCK_BYTES:
            self._blocks[-1] += data
        else:
            self._bases.append(position)
            self._blocks.append(data[:] if len(data) < _BLOCK_BYTES else data)
        self.end += len(data)
        return position

    def view(self, start: int, end: int) -> memoryview:
        """The bytes from `start` on, up to `end` or less. Release it before anything is appended."""
        index = bisect_right(self._bases, start) - 1
        offset = start - self._bases[index]
        return memoryview(self._blocks[index])[offset : offset + end - start]

    def trim(self, start: int) -> None:
        """Let go of the blocks that end before `start`."""
        keep = max(bisect_right(self._bases, start) - 1, 0)
        if start >= self.end:
            keep = len(self._bases)
        del self._bases[:keep]
        del self._blocks[:keep]


class Queue:
    """What one peer is owed: `size` bytes; `moved_at`: when it last took any; `over_at`: since when over its soft limit."""

    __slots__ = ("moved_at", "over_at", "pieces", "size")

    def __init__(self, now: float) -> None:
        self.pieces: deque[Piece] = deque()
        self.size = 0
        self.moved_at = now
        self.over_at: float | None = None


class Outbox:
    """The queues of all peers by their handle. `soft` and `hard` limits in bytes per peer."""

    __slots__ = ("_log", "_trim_at", "hard", "queues", "size", "soft")

    def __init__(self, soft: int, hard: int) -> None:
        self.soft = soft
        self.hard = hard
        self.queues: dict[int, Queue] = {}
        self.size = 0  # the sum of all queues, what is shared counted for each
        self._log = SharedLog()
        self._trim_at = 0

    @property
    def held_bytes(self) -> int:
        """Bytes of the shared log that are held in memory, once for all."""
        return self._log.end - self._log.start

    def share(self, executes: bytearray) -> int:
        """Keep a turn's EXECUTE frames for those who fell behind in it; returns their position in the log."""
        if self._log.end - self._log.start > self._trim_at:
            self._trim()
        return self._log.append(executes)

    def put(self, peer: int, pieces: Iterable[Piece], position: int, skip: int, now: float) -> bool:
        """Queue `pieces` for `peer` but for their first `skip` bytes, which it has; False when it is over its hard limit.

        Ranges among the pieces count from `position` in the log. The one way into an outbox: the limits sit here.
        """
        queue = self.queues.get(peer)
        if queue is None:
            queue = self.queues[peer] = Queue(now)
        held = queue.pieces
        before = queue.size
        for piece in pieces:
            size = len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]
            if skip >= size:
                skip -= size
                continue
            queue.size += size - skip
            if isinstance(piece, bytes):
                held.append(piece[skip:])
            else:
                start, end = position + piece[0] + skip, position + piece[1]
                last = held[-1] if held else b""
                if not isinstance(last, bytes) and last[1] == start:
                    held[-1] = (last[0], end)
                else:
                    held.append((start, end))
            skip = 0
        self.size += queue.size - before
        if queue.size > self.soft and queue.over_at is None:
            queue.over_at = now
        if not queue.size:
            del self.queues[peer]
        return queue.size <= self.hard

    def views(self, peer: int, limit: int) -> list[memoryview]:
        """The next bytes for `peer`, some `limit` of them. Release all before the next `share`."""
        views = []
        for piece in self.queues[peer].pieces:
            if isinstance(piece, bytes):
                views.append(memoryview(piece))
            else:
                start, end = piece
                while start < end and limit > 0:
                    view = self._log.view(start, min(end, start + limit))
                    views.append(view)
                    start += len(view)
                    limit -= len(view)
                continue
            limit -= len(piece)
            if limit <= 0 or len(views) >= 64:
                break
        return views

    def advance(self, peer: int, sent: int, now: float) -> bool:
        """`peer` took `sent` bytes; True when that was all that it was owed."""
        queue = self.queues[peer]
        if sent:
            queue.moved_at = now
            queue.size -= sent
            self.size -= sent
        held = queue.pieces
        while sent:
            piece = held[0]
            size = len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]
            if sent < size:
                held[0] = piece[sent:] if isinstance(piece, bytes) else (piece[0] + sent, piece[1])
                break
            sent -= size
            held.popleft()
        if queue.size <= self.soft:
            queue.over_at = None
        if queue.size:
            return False
        self.drop(peer)
        return True

    def drop(self, peer: int) -> int:
        """Forget what `peer` is owed; returns how many bytes that were."""
        queue = self.queues.pop(peer, None)
        if queue is None:
            return 0
        self.size -= queue.size
        if not self.queues:
            self._trim()
        return queue.size

    def _trim(self) -> None:
        """Let go of what no queue reaches back to. Looks at every queue, so it waits until a quarter more is held."""
        oldest = self._log.end
        for queue in self.queues.values():
            for piece in queue.pieces:
                if not isinstance(piece, bytes):
                    oldest = min(oldest, piece[0])
                    break
        self._log.trim(oldest)
        self._trim_at = max((self._log.end - self._log.start) * 5 // 4, 4 * _BLOCK_BYTES)
