"""Output to connections: sent at once where the kernel takes it, queued and resumed otherwise.

Every byte that is not taken at once goes through one outbox, so limits are met in one place. Returns verdicts; what
they lead to is decided in `registry`. Knows no ranks.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from ...config import Config
from ...core.outbox import Outbox
from ...core.room.deliveries import Piece
from ...system.memory import available
from .closes import CloseReason
from .connection import Connection
from .states import BROKEN, ENDED, MEMBER
from .verdicts import Broken, End, Verdict
from .watching import Watching

__all__ = ["Writing"]

_TRY_AGAIN = frozenset((0, errno.EAGAIN, errno.EINTR, errno.ENOBUFS, errno.ENOMEM))
_STARVED = frozenset((errno.ENOBUFS, errno.ENOMEM))  # writable by the kernel's own word, and still refused
_HEADROOM_BYTES = 16 << 20  # enough for a turn with the largest frames
_SEND_BUFFER_MAX = 1 << 30  # the kernel doubles it, in an int
_PROBE_BYTES = 1 << 20  # the growth of all queues after which free memory is probed again


class Writing:
    """Writes to connections by way of `outbox`. `bursts` counts queues begun: memory that can be given back later."""

    def __init__(self, config: Config, outbox: Outbox, watching: Watching) -> None:
        self.bursts = 0
        self._config = config
        self._outbox = outbox
        self._watching = watching
        self._headroom_at = _PROBE_BYTES

    def write(self, conn: Connection, frame: bytes, now: float) -> Verdict:
        """Send `frame` behind everything that `conn` is owed."""
        if conn.state is BROKEN:
            return None
        sent = 0
        if conn.transport.direct and conn.key not in self._outbox.queues:
            try:
                sent = conn.transport.send(frame)
            except OSError as error:
                return self.fall_behind(conn, (frame,), 0, 0, error.errno or 0, now)
        return self._queue(conn, (frame,), 0, sent, now) if sent < len(frame) else None

    def deliver(
        self, conn: Connection, pieces: Iterable[Piece], position: int, sent: int, error: int, now: float
    ) -> Verdict:
        """The hot loop sent `conn` only the first `sent` bytes of `pieces`, or met `error`."""
        owed = conn.state is MEMBER or (conn.state is ENDED and conn.reason is not CloseReason.SLOW)
        return self.fall_behind(conn, pieces, position, sent, error, now) if owed else None

    def fall_behind(
        self, conn: Connection, pieces: Iterable[Piece], position: int, sent: int, error: int, now: float
    ) -> Verdict:
        """Only the first `sent` bytes of `pieces` could be sent, because of `error`: queue the rest."""
        if error not in _TRY_AGAIN:
            return Broken(error)
        if error in _STARVED:
            self._watching.starved.add(conn)
        return self._queue(conn, pieces, position, sent, now)

    def resume(self, conn: Connection, now: float) -> Verdict:
        """`conn` can take bytes again."""
        outbox, transport, key = self._outbox, conn.transport, conn.key
        self._watching.starved.discard(conn)
        while (queue := outbox.queues.get(key)) is not None:
            views = outbox.views(key, queue.offered or transport.offer_bytes)
            offered = sum(map(len, views))
            try:
                sent = transport.sendmsg(views)
            except OSError as error:
                code = error.errno or 0
                if code not in _TRY_AGAIN:
                    return Broken(code, (error.strerror or "") if code == errno.EPROTO else "")
                if code in _STARVED:
                    self._watching.starved.add(conn)
                elif transport.must_repeat:
                    queue.offered = offered
                break
            finally:
                for view in views:
                    view.release()
            queue.offered = 0
            outbox.advance(key, sent, now)
            if sent < offered:
                break
        self._watching.update(conn)
        return None

    def make_room(self, conn: Connection, now: float) -> Verdict:
        """Let the kernel take the rest of the frame under way and the ERROR: the stream ends whole, read or not."""
        queue = self._outbox.queues.get(conn.key)
        try:
            owed = queue.size if queue is not None else 0
            conn.transport.set_send_buffer(min(2 * (self._config.send_buffer_bytes + owed), _SEND_BUFFER_MAX))
        except OSError as error:
            return Broken(error.errno or 0)
        return self.resume(conn, now) if queue is not None else None

    def shortage(self) -> str:
        """Why the longest queue has to go: all together are over their limit, or memory runs out. "" when neither."""
        if not self._outbox.queues:
            return ""
        if self._outbox.held_bytes > self._config.outboxes_total_bytes:
            return "all outboxes together hold more than outboxes_total_bytes"
        return "" if self._has_headroom() else "memory is short, and this queue is the longest"

    def _has_headroom(self) -> bool:
        """Whether the next turns have the memory that they need; probed whenever the queues have grown a good deal."""
        held = self._outbox.held_bytes
        if held < self._headroom_at:
            self._headroom_at = min(self._headroom_at, held + _PROBE_BYTES)
            return True
        if not available(_HEADROOM_BYTES):
            return False
        self._headroom_at = held + _PROBE_BYTES
        return True

    def _queue(
        self, conn: Connection, pieces: Iterable[Piece], position: int, sent: int, now: float
    ) -> Verdict:
        outbox, key = self._outbox, conn.key
        fresh = key not in outbox.queues
        within = outbox.put(key, pieces, position, sent, now)
        self.bursts += fresh
        self._watching.update(conn)
        if not within:
            return End(CloseReason.SLOW, f"is owed more than {outbox.hard} bytes")
        if key in outbox.over and (conn.observes or self._config.slow_consumer == "evict"):
            return End(CloseReason.SLOW, f"is owed more than {outbox.soft} bytes")
        return self.resume(conn, now) if fresh and not conn.transport.direct else None
