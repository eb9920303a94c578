"""All connections of a server: opened, written to, drained, closed, each in one place. Knows no ranks and no commands.

Write first, ask for writability only for what is left. A connection that ends is marked with its one reason, gets what
it is still owed and its last words, and is reaped at the end of a turn: unregistered, then closed, so that a descriptor
is never handed out again while the turn may still meet it.
"""

from __future__ import annotations

import errno
import socket
from collections import Counter
from collections.abc import Iterable, Iterator

from .config import Config
from .deliveries import Piece
from .links import READABLE, WRITABLE, WRITE_DIRECT, Links
from .outbox import Outbox
from .peers import Close, CloseReason, Closes, Peer
from .reactor import Reactor
from .session import State, Step
from .wire import ErrorFrame

__all__ = ["Connections"]

_WRITE_BYTES = 256 * 1024  # offered to the kernel at once by a peer that catches up
_TRY_AGAIN = frozenset((0, errno.EAGAIN, errno.EINTR, errno.ENOBUFS, errno.ENOMEM))


class Connections:
    """`peers[fd]` is the connection with that descriptor, or None; `greeting` those without HELLO, oldest first.

    `departing` collects the members that ended since the server took them last.
    """

    def __init__(self, config: Config, reactor: Reactor) -> None:
        self.links = Links()
        self.outbox = Outbox(config.outbox_soft_bytes, config.outbox_hard_bytes)
        self.closes = Closes()
        self.peers: list[Peer | None] = []
        self.greeting: dict[int, Peer] = {}
        self.ending: dict[int, Peer] = {}
        self.partial: dict[int, float] = {}
        self.departing: list[Peer] = []
        self.undelivered_bytes = 0
        self.accepted = 0
        self._config = config
        self._reactor = reactor
        self._per_host: Counter[str] = Counter()
        self._farewells: list[Peer] = []
        self._dead: list[Peer] = []

    def __len__(self) -> int:
        return sum(peer is not None for peer in self.peers)

    def __iter__(self) -> Iterator[Peer]:
        return (peer for peer in self.peers if peer is not None)

    def open(self, sock: socket.socket, address: str, now: float) -> Peer | None:
        """Enter an accepted connection. None when too many have not said HELLO yet: the newest is refused then."""
        host = address.rpartition(":")[0]
        crowded = (
            len(self.greeting) >= self._config.greeting_max
            or self._per_host[host] >= self._config.greeting_max_per_address
        )
        try:
            self.accepted += 1
            peer = Peer(sock, address, self.accepted, now)
            if crowded:
                raise OSError(errno.EUSERS, "too many connections have not said HELLO")
            self._reactor.watch(peer.fd, READABLE)
        except OSError as error:
            self.closes.add(Close(now, CloseReason.RESOURCE, error.strerror or "", "", address, 0))
            sock.close()
            return None
        self.links.open(peer.fd, sock, now)
        if peer.fd >= len(self.peers):
            self.peers.extend([None] * (len(self.links.modes) - len(self.peers)))
        self.peers[peer.fd] = peer
        self.greeting[peer.fd] = peer
        self._per_host[host] += 1
        return peer

    def greeted(self, peer: Peer) -> None:
        """It has said HELLO, or ended before it did."""
        if self.greeting.pop(peer.fd, None) is not None:
            host = peer.address.rpartition(":")[0]
            self._per_host[host] -= 1
            if not self._per_host[host]:
                del self._per_host[host]

    def keep_partial(self, peer: Peer, now: float) -> None:
        """Note since when a frame of a member has been incomplete, or that none is."""
        if not peer.session.pending:
            self.partial.pop(peer.fd, None)
        else:
            self.partial.setdefault(peer.fd, now)

    def end(self, peer: Peer, reason: CloseReason, detail: str, now: float) -> None:
        """Its life is over, for that reason; the first one counts. What it is owed still goes out, if it can."""
        if peer.reason is not None:
            return
        peer.reason, peer.detail = reason, detail
        if peer.session.state is State.MEMBER:
            self.departing.append(peer)
        peer.session.step(Step.END)
        self.greeted(peer)
        self.partial.pop(peer.fd, None)
        self.links.modes[peer.fd] &= WRITE_DIRECT
        if reason in (CloseReason.RESET, CloseReason.SILENT, CloseReason.SLOW):
            self._drop(peer)
        else:
            peer.until = now + self._config.drain_s
            self._farewells.append(peer)

    def write(self, peer: Peer, frame: bytes, now: float) -> None:
        """Send `frame` behind all that `peer` is owed."""
        sent = 0
        if peer.fd not in self.outbox.queues:
            try:
                sent = peer.sock.send(frame)
            except OSError as error:
                if error.errno not in _TRY_AGAIN:
                    self.fail(peer, error.errno or 0, now)
                    return
        if sent < len(frame):
            self._queue(peer, (frame,), 0, sent, now)

    def fall_behind(self, peer: Peer, pieces: Iterable[Piece], position: int, sent: int, error: int, now: float) -> None:
        """The hot loop could send `peer` only the first `sent` bytes of `pieces`, or met `error`."""
        if peer.dead:
            return
        if error not in _TRY_AGAIN:
            self.fail(peer, error, now)
        else:
            self._queue(peer, pieces, position, sent, now)

    def resume(self, peer: Peer, now: float) -> None:
        """`peer` can take bytes again."""
        outbox = self.outbox
        while peer.fd in outbox.queues:
            views = outbox.views(peer.fd, _WRITE_BYTES)
            offered = sum(map(len, views))
            try:
                sent = peer.sock.sendmsg(views)
            except OSError as error:
                if error.errno not in _TRY_AGAIN:
                    self.fail(peer, error.errno or 0, now)
                return
            finally:
                for view in views:
                    view.release()
            outbox.advance(peer.fd, sent, now)
            if sent < offered:
                return
        if peer.reason is not None:
            self._flushed(peer)
        else:
            self.links.modes[peer.fd] |= WRITE_DIRECT
            self._reactor.watch(peer.fd, READABLE)

    def fail(self, peer: Peer, error: int, now: float) -> None:
        """The connection broke with that errno."""
        if peer.reason is None:
            self.end(peer, CloseReason.RESET, errno.errorcode.get(error, str(error)), now)
        else:
            self._drop(peer)

    def input_ended(self, peer: Peer) -> None:
        """The peer sends nothing more."""
        peer.input_ended = True
        if peer.fd in self.outbox.queues or peer.fd not in self.ending:
            self._reactor.watch(peer.fd, WRITABLE if peer.fd in self.outbox.queues else 0)
        else:
            self._drop(peer)

    def overdue(self, peer: Peer) -> None:
        """Its last bytes did not go out in time, or it did not close."""
        self._drop(peer)

    def reap(self, now: float) -> None:
        """The end of a turn: last words to who ended, then away with who is done."""
        for peer in self._farewells:
            assert peer.reason is not None
            if peer.dead:
                continue
            self.ending[peer.fd] = peer
            if peer.reason.code is not None:
                self.write(peer, ErrorFrame(peer.reason.code, peer.detail).encode(), now)
            if peer.fd not in self.outbox.queues and not peer.dead:
                self._flushed(peer)
        self._farewells.clear()
        for peer in self._dead:
            assert peer.reason is not None
            self.undelivered_bytes += self.outbox.drop(peer.fd)
            self.ending.pop(peer.fd, None)
            self._reactor.watch(peer.fd, 0)
            self.links.close(peer.fd)
            self.peers[peer.fd] = None
            peer.sock.close()
            self.closes.add(Close(now, peer.reason, peer.detail, peer.name, peer.address, peer.session.ticket))
        self._dead.clear()

    def _queue(self, peer: Peer, pieces: Iterable[Piece], position: int, sent: int, now: float) -> None:
        within = self.outbox.put(peer.fd, pieces, position, sent, now)
        if peer.fd not in self.outbox.queues:
            return
        self.links.modes[peer.fd] &= ~WRITE_DIRECT
        self._reactor.watch(peer.fd, WRITABLE if peer.reason is not None else READABLE | WRITABLE)
        if not within:
            self.end(peer, CloseReason.SLOW, "more was owed to it than outbox_hard_bytes", now)

    def _flushed(self, peer: Peer) -> None:
        """All is out that an ended peer was owed: say so, and wait for its end, so that no reset overtakes the bytes."""
        if peer.input_ended:
            self._drop(peer)
            return
        try:
            peer.sock.shutdown(socket.SHUT_WR)
            self._reactor.watch(peer.fd, READABLE)
        except OSError:
            self._drop(peer)

    def _drop(self, peer: Peer) -> None:
        """To be closed at the end of the turn, whatever it is owed."""
        if not peer.dead:
            peer.dead = True
            self.links.modes[peer.fd] = 0
            self._dead.append(peer)
