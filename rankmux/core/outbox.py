"""Who is still owed which bytes: one copy of what all share, and a queue of ranges into it for each who fell behind.

A peer that keeps up has no queue. Bytes for all lie once in the shared log, a queue holds (start, end) positions in it,
adjoining ranges as one; bytes for one alone lie in its queue. What stands in a queue never changes, it is only taken
off its front, so that the same bytes can be offered again. Sizes are bytes, times seconds. No I/O, no clock.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable

from .room.deliveries import Piece

__all__ = ["Outbox", "Queue", "SharedLog"]

_BLOCK_BYTES = 65_536  # blocks are filled up to this, so that many small turns do not make many small objects
_PIECE_BYTES = 96  # what Python needs to keep a piece, beside its bytes


class SharedLog:
    """The EXECUTE frames of the turns in which somebody fell behind, each turn once, at growing positions."""

    __slots__ = ("_bases", "_blocks", "_borders", "end")

    def __init__(self) -> None:
        self.end = 0
        self._bases: list[int] = []
        self._blocks: list[bytearray] = []
        self._borders: dict[int, list[int]] = {}

    @property
    def start(self) -> int:
        """The first position that is still held."""
        return self._bases[0] if self._bases else self.end

    def append(self, data: bytearray) -> int:
        """Keep `data`, whole frames that must not change any more; returns its position."""
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

    def border(self, position: int) -> int:
        """Where the frame ends that `position` lies in; `position` itself where one ends there."""
        if position >= self.end:
            return position
        index = bisect_right(self._bases, position) - 1
        base, block = self._bases[index], self._blocks[index]
        borders = self._borders.get(base, [0])
        if borders[-1] < len(block):  # walked once for all who are cut off in this block
            borders = self._borders[base] = _borders(block)
        return base + borders[bisect_left(borders, position - base)]

    def trim(self, start: int) -> None:
        """Let go of the blocks that end before `start`."""
        keep = max(bisect_right(self._bases, start) - 1, 0)
        if start >= self.end:
            keep = len(self._bases)
        for base in self._bases[:keep]:
            self._borders.pop(base, None)
        del self._bases[:keep]
        del self._blocks[:keep]


class Queue:
    """What one peer is owed: `size` bytes; `moved_at`: when it last took any; `over_at`: since when over its limit.

    The first `offset` bytes of `pieces`, which begin with a whole frame, it has got. `offered` bytes behind them must
    be the next that are sent, exactly (TLS has encrypted them already). `held` is the memory that is its own.
    """

    __slots__ = ("held", "moved_at", "offered", "offset", "over_at", "pieces", "size")

    def __init__(self, now: float) -> None:
        self.pieces: deque[Piece] = deque()
        self.size = 0
        self.offset = 0
        self.offered = 0
        self.held = 0
        self.moved_at = now
        self.over_at: float | None = None


class Outbox:
    """The queues of all peers by their handle. `soft` and `hard` limits in bytes per peer.

    Who is over its soft limit counts as over it until half of that is gone; `over` are the handles of those, `full` of
    those among them that got half-way to the hard limit.
    """

    __slots__ = ("_held", "_log", "_trim_at", "full", "hard", "over", "queues", "size", "soft")

    def __init__(self, soft: int, hard: int) -> None:
        self.soft = soft
        self.hard = hard
        self.queues: dict[int, Queue] = {}
        self.over: set[int] = set()
        self.full: set[int] = set()
        self.size = 0  # the sum of all queues, what is shared counted for each
        self._held = 0
        self._log = SharedLog()
        self._trim_at = 0

    @property
    def held_bytes(self) -> int:
        """The memory of all queues: what is shared once, and what is each one's own."""
        return self._log.end - self._log.start + self._held

    def share(self, executes: bytearray) -> int:
        """Keep a turn's EXECUTE frames for those who fell behind in it; returns their position in the log."""
        if self._log.end - self._log.start > self._trim_at:
            self._trim()
        return self._log.append(executes)

    def put(self, peer: int, pieces: Iterable[Piece], position: int, skip: int, now: float) -> bool:
        """Queue `pieces` for `peer` but for their first `skip` bytes, which it has; False when over its hard limit.

        Ranges among the pieces count from `position` in the log. The one way into an outbox: the limits sit here.
        """
        queue = self.queues.get(peer)
        if queue is None:
            queue = Queue(now)
        held = queue.pieces
        before = queue.size, queue.held
        for piece in pieces:
            size = len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]
            if skip >= size:
                skip -= size
                continue
            if skip:
                queue.offset, skip = skip, 0
                queue.size -= queue.offset
            queue.size += size
            if isinstance(piece, bytes):
                held.append(piece)
                queue.held += size + _PIECE_BYTES
                continue
            start, end = position + piece[0], position + piece[1]
            last = held[-1] if held else b""
            if not isinstance(last, bytes) and last[1] == start:
                held[-1] = (last[0], end)
            else:
                held.append((start, end))
                queue.held += _PIECE_BYTES
        if queue.size:
            self.queues[peer] = queue
        self.size += queue.size - before[0]
        self._held += queue.held - before[1]
        if queue.size > self.soft and queue.over_at is None:
            queue.over_at = now
            self.over.add(peer)
        if queue.size > (self.soft + self.hard) // 2:
            self.full.add(peer)
        return queue.size <= self.hard

    def views(self, peer: int, limit: int) -> list[memoryview]:
        """The next bytes for `peer`, `limit` of them at most. Release all before the next `share`."""
        queue = self.queues[peer]
        views: list[memoryview] = []
        offset = queue.offset
        for piece in queue.pieces:
            if isinstance(piece, bytes):
                views.append(memoryview(piece)[offset : offset + limit])
                limit -= len(views[-1])
            else:
                start, end = piece[0] + offset, piece[1]
                while start < end and limit > 0:
                    view = self._log.view(start, min(end, start + limit))
                    views.append(view)
                    start += len(view)
                    limit -= len(view)
            offset = 0
            if limit <= 0 or len(views) >= 64:
                break
        return views

    def advance(self, peer: int, sent: int, now: float) -> bool:
        """`peer` took `sent` bytes; True when that was all that it was owed."""
        queue = self.queues[peer]
        if not sent:
            return False
        queue.moved_at = now
        queue.size -= sent
        self.size -= sent
        queue.offset += sent
        held = queue.pieces
        while held:
            size = _size(held[0])
            if queue.offset < size:
                break
            queue.offset -= size
            self._let_go(queue, held.popleft())
        if queue.over_at is not None and queue.size <= self.soft // 2:
            self._relax(peer, queue)
        if queue.size:
            return False
        self.drop(peer)
        return True

    def cut(self, peer: int) -> int:
        """Keep of what `peer` is owed only the rest of the frame that is under way; returns how many bytes went."""
        queue = self.queues.get(peer)
        if queue is None:
            return 0
        begun = queue.offset + queue.offered
        kept: deque[Piece] = deque()
        left = 0
        for piece in queue.pieces:
            if begun <= left:
                break
            within = begun - left
            if within >= _size(piece):
                kept.append(piece)
            elif isinstance(piece, bytes):
                kept.append(piece[: _border(piece, within)])
            else:
                kept.append((piece[0], self._log.border(piece[0] + within)))
            left += _size(kept[-1])
        size = left - queue.offset
        gone = queue.size - size
        self._held -= queue.held
        self.size -= gone
        queue.pieces, queue.size = kept, size
        queue.held = sum(_PIECE_BYTES + (len(p) if isinstance(p, bytes) else 0) for p in kept)
        self._held += queue.held
        self._relax(peer, queue)
        if not size:
            self.drop(peer)
        return gone

    def largest(self) -> int:
        """The handle of who is owed the most."""
        return max(self.queues, key=lambda peer: self.queues[peer].size)

    def drop(self, peer: int) -> int:
        """Forget what `peer` is owed; returns how many bytes that were."""
        queue = self.queues.pop(peer, None)
        if queue is None:
            return 0
        self.size -= queue.size
        self._held -= queue.held
        self._relax(peer, queue)
        return queue.size

    def settle(self) -> None:
        """The end of a turn: when nobody is owed anything, nothing is held."""
        if not self.queues and self._log.start < self._log.end:
            self._trim()

    def trim(self) -> None:
        """Let go of what no queue reaches back to."""
        self._trim()

    def _relax(self, peer: int, queue: Queue) -> None:
        queue.over_at = None
        self.over.discard(peer)
        self.full.discard(peer)

    def _let_go(self, queue: Queue, piece: Piece) -> None:
        own = _PIECE_BYTES + (len(piece) if isinstance(piece, bytes) else 0)
        queue.held -= own
        self._held -= own

    def _trim(self) -> None:
        """Looks at every queue, so for `share` it waits until a quarter more is held."""
        oldest = self._log.end
        for queue in self.queues.values():
            offset = queue.offset
            for piece in queue.pieces:
                if not isinstance(piece, bytes):
                    oldest = min(oldest, piece[0] + offset)
                    break
                offset = 0
        self._log.trim(oldest)
        self._trim_at = max((self._log.end - self._log.start) * 5 // 4, 4 * _BLOCK_BYTES)


def _size(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]


def _border(frames: bytes | bytearray, position: int) -> int:
    """Where the frame ends that `position` lies in."""
    end = 0
    while end < position:
        end += 4 + int.from_bytes(frames[end : end + 4])
    return end


def _borders(frames: bytearray) -> list[int]:
    """Where each frame ends, and 0."""
    borders, end = [0], 0
    while end < len(frames):
        end += 4 + int.from_bytes(frames[end : end + 4])
        borders.append(end)
    return borders
