"""The outbox: bytes not sent yet, shared ones kept once, with a queue of ranges per receiver.

A receiver that keeps up has no queue. Bytes for several receivers lie once in the backlog; a queue holds (start, end)
positions in it, adjoining ranges merged. Bytes for one receiver are in its queue, not copied either. The contents of a
queue never change, they are only taken off its front, so that the same bytes can be offered again. Receivers are named
by a key, an int that this module never interprets. Sizes are bytes, times seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from .backlog import Backlog
from .room.deliveries import Piece

__all__ = ["Outbox", "Queue"]

_PIECE_BYTES = 96  # what Python needs to keep a piece, beside its bytes


class Queue:
    """The bytes owed to one receiver.

    `pieces`    begin with a whole frame
    `offset`    bytes of `pieces` that were sent
    `offered`   bytes behind them that must be sent next, exactly: TLS has encrypted them already
    `size`      bytes left to send
    `held`      memory of this queue alone, in bytes
    `moved_at`  when the receiver last took bytes
    `over_at`   since when the queue has been over the soft limit, or None
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
    """The queues of all receivers by key, with a `soft` and a `hard` limit in bytes for each.

    `over`  keys over the soft limit; a key stays in it until its queue is down to half of that limit
    `full`  keys in `over` that got half-way from the soft to the hard limit
    `size`  the sum of all queues, shared bytes counted for each
    """

    __slots__ = ("_backlog", "_held", "full", "hard", "over", "queues", "size", "soft")

    def __init__(self, soft: int, hard: int) -> None:
        self.soft = soft
        self.hard = hard
        self.queues: dict[int, Queue] = {}
        self.over: set[int] = set()
        self.full: set[int] = set()
        self.size = 0
        self._held = 0
        self._backlog = Backlog()

    @property
    def held_bytes(self) -> int:
        """The memory of all queues: shared bytes count once."""
        return self._backlog.held + self._held

    def share(self, executes: bytearray) -> int:
        """Keep the shared frames of a turn in which a receiver fell behind; returns their position in the backlog."""
        if self._backlog.has_grown:
            self.trim()
        return self._backlog.append(executes)

    def put(self, key: int, pieces: Iterable[Piece], position: int, skip: int, now: float) -> bool:
        """Queue `pieces` for `key` without their first `skip` bytes, which were sent; False when over the hard limit.

        Ranges among the pieces count from `position` in the backlog; the others are kept as they are and must not
        change from now on. This is the only way into a queue, so the limits are checked here.
        """
        queue = self.queues.get(key)
        if queue is None:
            queue = Queue(now)
        held = queue.pieces
        before = queue.size, queue.held
        for piece in pieces:
            size = _size(piece)
            if skip >= size:
                skip -= size
                continue
            if skip:
                queue.offset, skip = skip, 0
                queue.size -= queue.offset
            queue.size += size
            if not isinstance(piece, tuple):
                held.append(piece)
                queue.held += _held(piece)
                continue
            start, end = position + piece[0], position + piece[1]
            last = held[-1] if held else b""
            if isinstance(last, tuple) and last[1] == start:
                held[-1] = (last[0], end)
            else:
                held.append((start, end))
                queue.held += _PIECE_BYTES
        if queue.size:
            self.queues[key] = queue
        self.size += queue.size - before[0]
        self._held += queue.held - before[1]
        if queue.size > self.soft and queue.over_at is None:
            queue.over_at = now
            self.over.add(key)
        if queue.size > (self.soft + self.hard) // 2:
            self.full.add(key)
        return queue.size <= self.hard

    def views(self, key: int, limit: int) -> list[memoryview]:
        """The next bytes for `key`, at most `limit` of them. Release all views before the next `share`."""
        queue = self.queues[key]
        views: list[memoryview] = []
        offset = queue.offset
        for piece in queue.pieces:
            if not isinstance(piece, tuple):
                views.append(memoryview(piece)[offset : offset + limit])
                limit -= len(views[-1])
            else:
                start, end = piece[0] + offset, piece[1]
                while start < end and limit > 0:
                    view = self._backlog.view(start, min(end, start + limit))
                    views.append(view)
                    start += len(view)
                    limit -= len(view)
            offset = 0
            if limit <= 0 or len(views) >= 64:
                break
        return views

    def advance(self, key: int, sent: int, now: float) -> bool:
        """`key` took `sent` bytes; True when its queue is empty."""
        queue = self.queues[key]
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
            self._relax(key, queue)
        if queue.size:
            return False
        self.drop(key)
        return True

    def cut(self, key: int) -> int:
        """Shorten the queue of `key` to the rest of the frame that is partly sent; returns the bytes dropped."""
        queue = self.queues.get(key)
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
            elif isinstance(piece, tuple):
                kept.append((piece[0], self._backlog.border(piece[0] + within)))
            else:
                end = _border(piece, within)
                kept.append(piece[:end] if end < len(piece) else piece)
            left += _size(kept[-1])
        size = left - queue.offset
        gone = queue.size - size
        self._held -= queue.held
        self.size -= gone
        queue.pieces, queue.size = kept, size
        queue.held = sum(map(_held, kept))
        self._held += queue.held
        self._relax(key, queue)
        if not size:
            self.drop(key)
        return gone

    def rename(self, key: int, following: int) -> None:
        """The queue of `key` is that of `following` from now on."""
        queue = self.queues.pop(key, None)
        if queue is None:
            return
        self.queues[following] = queue
        for keys in (self.over, self.full):
            if key in keys:
                keys.remove(key)
                keys.add(following)

    def largest(self) -> int:
        """The key with the longest queue."""
        return max(self.queues, key=lambda key: self.queues[key].size)

    def drop(self, key: int) -> int:
        """Drop the queue of `key`; returns the number of bytes dropped."""
        queue = self.queues.pop(key, None)
        if queue is None:
            return 0
        self.size -= queue.size
        self._held -= queue.held
        self._relax(key, queue)
        return queue.size

    def settle(self) -> None:
        """End of a turn: free the backlog once no queue is left."""
        if self._backlog.held and not self.queues:
            self.trim()

    def _relax(self, key: int, queue: Queue) -> None:
        queue.over_at = None
        self.over.discard(key)
        self.full.discard(key)

    def _let_go(self, queue: Queue, piece: Piece) -> None:
        queue.held -= _held(piece)
        self._held -= _held(piece)

    def trim(self) -> None:
        """Free the part of the backlog that no queue reaches back to.

        This looks at every queue, so `share` does it only when the backlog has grown.
        """
        oldest = self._backlog.end
        for queue in self.queues.values():
            offset = queue.offset
            for piece in queue.pieces:
                if isinstance(piece, tuple):
                    oldest = min(oldest, piece[0] + offset)
                    break
                offset = 0
        self._backlog.trim(oldest)


def _size(piece: Piece) -> int:
    return piece[1] - piece[0] if isinstance(piece, tuple) else len(piece)


def _held(piece: Piece) -> int:
    """The memory that a queue alone takes for `piece`: a bytearray has more than its length."""
    if isinstance(piece, tuple):
        return _PIECE_BYTES
    return _PIECE_BYTES + (len(piece) if isinstance(piece, bytes) else piece.__alloc__())


def _border(frames: bytes | bytearray, position: int) -> int:
    """The end of the frame that `position` lies in."""
    end = 0
    while end < position:
        end += 4 + int.from_bytes(frames[end : end + 4])
    return end
