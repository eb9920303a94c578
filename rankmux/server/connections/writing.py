"""What connections are owed goes out: at once where it can, else when the kernel takes it; who takes too little ends.

One way into an outbox, so the limits are met in one place. What ending means is the owner's business. Knows no ranks.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable
from typing import Protocol

from ...config import Config
from ...core.outbox import Outbox
from ...core.room.deliveries import Piece
from ...system.memory import available
from ..sockets.tls import TLS_WRITE_BYTES
from .connection import CloseReason, Peer
from .watching import Interest

__all__ = ["Owner", "Writing"]

_WRITE_BYTES = 256 * 1024  # offered to the kernel at once by a peer that catches up
_TRY_AGAIN = frozenset((0, errno.EAGAIN, errno.EINTR, errno.ENOBUFS, errno.ENOMEM))
_STARVED = frozenset(
    (errno.ENOBUFS, errno.ENOMEM)
)  # writable by the kernel's own word, and still not: wait a little
_EVICTIONS_PER_TURN = 32
_HEADROOM_BYTES = 16 << 20  # what a turn with the largest frames needs, and then some
_PROBE_BYTES = 1 << 20  # so much more may be held before it is asked again


class Owner(Protocol):
    """Who holds the connections, and decides what becomes of one."""

    def at(self, fd: int, /) -> Peer:
        """The connection with that descriptor."""

    def is_ending(self, peer: Peer, /) -> bool:
        """Whether it has had its last words."""

    def end(self, peer: Peer, reason: CloseReason, detail: str, now: float, /) -> None:
        """Its life is over, for that reason."""

    def broke(self, peer: Peer, error: int, now: float, detail: str = "", /) -> None:
        """It can be written to no more, because of that errno."""

    def flushed(self, peer: Peer, now: float, /) -> None:
        """All is out that it was owed, and it is ending."""

    def reset(self, peer: Peer, /) -> None:
        """To be closed, whatever it is owed; its stream ends with a reset."""


class Writing:
    """`outbox` holds what could not be sent at once.

    `bursts` counts what took memory that can be given back, `undelivered_bytes` what was owed to who was let go.
    """

    def __init__(
        self, config: Config, owner: Owner, outbox: Outbox, interest: Interest, clock: Callable[[], float]
    ) -> None:
        self.outbox = outbox
        self.bursts = 0
        self.undelivered_bytes = 0
        self._config = config
        self._owner = owner
        self._interest = interest
        self._clock = clock
        self._headroom_at = _PROBE_BYTES

    def write(self, peer: Peer, frame: bytes, now: float) -> None:
        """Send `frame` behind all that `peer` is owed."""
        if peer.broken:
            return
        sent = 0
        if peer.tls is None and peer.fd not in self.outbox.queues:
            try:
                sent = peer.sock.send(frame)
            except OSError as error:
                self.fall_behind(peer, (frame,), 0, 0, error.errno or 0, now)
                return
        if sent < len(frame):
            self._queue(peer, (frame,), 0, sent, now)

    def deliver(
        self, peer: Peer, pieces: Iterable[Piece], position: int, sent: int, error: int, now: float
    ) -> None:
        """The hot loop could send `peer` only the first `sent` bytes of what a turn owes it, or met `error`."""
        if peer.dead or peer.broken or peer.reason is CloseReason.SLOW or self._owner.is_ending(peer):
            return
        self.fall_behind(peer, pieces, position, sent, error, now)

    def fall_behind(
        self, peer: Peer, pieces: Iterable[Piece], position: int, sent: int, error: int, now: float
    ) -> None:
        """Of `pieces` only the first `sent` bytes could be sent, because of `error`."""
        if error not in _TRY_AGAIN:
            self._owner.broke(peer, error, now)
            return
        if error in _STARVED:
            self._interest.starved.add(peer.fd)
        self._queue(peer, pieces, position, sent, now)

    def resume(self, peer: Peer, now: float) -> None:
        """`peer` can take bytes again."""
        outbox, fd = self.outbox, peer.fd
        self._interest.starved.discard(fd)
        if peer.dead:
            return
        while (queue := outbox.queues.get(fd)) is not None:
            views = outbox.views(fd, queue.offered or (_WRITE_BYTES if peer.tls is None else TLS_WRITE_BYTES))
            offered = sum(map(len, views))
            try:
                sent = peer.sock.sendmsg(views)
            except OSError as error:
                code = error.errno or 0
                if code not in _TRY_AGAIN:
                    self._owner.broke(
                        peer,
                        code,
                        now,
                        error.strerror or type(error).__name__ if code == errno.EPROTO else "",
                    )
                    return
                if code in _STARVED:
                    self._interest.starved.add(fd)
                elif peer.tls is not None:
                    queue.offered = offered
                break
            finally:
                for view in views:
                    view.release()
            queue.offered = 0
            outbox.advance(fd, sent, now)
            if sent < offered:
                break
        if self._owner.is_ending(peer) and fd not in outbox.queues:
            self._owner.flushed(peer, now)
        self._interest.tune(peer)

    def limit_all(self, now: float) -> None:
        """When all outboxes together are over their limit, or memory gets short, who is owed the most goes first."""
        for _ in range(_EVICTIONS_PER_TURN):
            if not self.outbox.queues:
                return
            if self.outbox.held_bytes > self._config.outboxes_total_bytes:
                why = "all outboxes together hold more than outboxes_total_bytes"
            elif not self._has_headroom():
                why = "memory is short, and nobody is owed more"
            else:
                return
            peer = self._owner.at(self.outbox.largest())
            if peer.reason is None:
                self._owner.end(peer, CloseReason.SLOW, why, now)
            else:
                self.undelivered_bytes += self.outbox.drop(peer.fd)
                self._owner.reset(peer)
            self.outbox.trim()

    def _has_headroom(self) -> bool:
        """Whether the next turns have the memory they need; asked again whenever a good deal more is held."""
        held = self.outbox.held_bytes
        if held < self._headroom_at:
            self._headroom_at = min(self._headroom_at, held + _PROBE_BYTES)
            return True
        if not available(_HEADROOM_BYTES):
            return False
        self._headroom_at = held + _PROBE_BYTES
        return True

    def _queue(self, peer: Peer, pieces: Iterable[Piece], position: int, sent: int, now: float) -> None:
        fresh = peer.fd not in self.outbox.queues
        within = self.outbox.put(peer.fd, pieces, position, sent, now)
        self.bursts += fresh
        if not within:
            self._owner.end(peer, CloseReason.SLOW, f"is owed more than {self.outbox.hard} bytes", now)
        elif self._config.slow_consumer == "evict" and peer.fd in self.outbox.over:
            self._owner.end(peer, CloseReason.SLOW, f"is owed more than {self.outbox.soft} bytes", now)
        if fresh and peer.tls is not None and not peer.dead:
            self.resume(peer, now)
        self._interest.tune(peer)

    def make_room(self, peer: Peer) -> None:
        """Let the kernel take the rest of the frame under way and the ERROR: the stream ends whole, read or not."""
        queue = self.outbox.queues.get(peer.fd)
        size = 2 * (self._config.send_buffer_bytes + (queue.size if queue is not None else 0))
        try:
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        except OSError as error:
            self._owner.broke(peer, error.errno or 0, self._clock())
            return
        if queue is not None:
            self.resume(peer, self._clock())
