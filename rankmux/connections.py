"""All connections of a server: opened, written to, drained, closed, each in one place. Knows no ranks and no commands.

Write first, ask for writability only for what is left. A connection that ends is marked with its one reason, gets what
it is still owed and its last words, and is reaped at the end of a turn: unregistered, then closed, so that a descriptor
is never handed out again while the turn, or the room, may still meet it.
"""

from __future__ import annotations

import errno
import logging
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from .config import Config
from .deliveries import Piece
from .flow import Pacing
from .links import READ_DIRECT, READABLE, WRITABLE, WRITE_DIRECT, Links
from .outbox import Outbox
from .peers import PACED, Close, CloseReason, Closes, Peer
from .reactor import Reactor
from .session import State, Step
from .tls import TLS_WRITE_BYTES, TlsSocket
from .wire import ErrorFrame

__all__ = ["Connections"]

_WRITE_BYTES = 256 * 1024  # offered to the kernel at once by a peer that catches up
_TRY_AGAIN = frozenset((0, errno.EAGAIN, errno.EINTR, errno.ENOBUFS, errno.ENOMEM))
_STARVED = frozenset(
    (errno.ENOBUFS, errno.ENOMEM)
)  # writable by the kernel's own word, and still not: wait a little
_EVICTIONS_PER_TURN = 32
_BURST_CLOSES = 64
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


log = logging.getLogger("rankmux.server")


class Connections:
    """`peers[fd]` is the connection with that descriptor, or None; `greeting` those without HELLO, oldest first.

    `departing` collects the members that ended since the server took them last; `starved` are owed bytes that the
    system has no memory to send; `again` hold bytes that no selector sees; `bursts` took memory to give back.
    `closed` is told of each close.
    """

    def __init__(self, config: Config, reactor: Reactor, closed: Callable[[Close], None]) -> None:
        self.links = Links()
        self.outbox = Outbox(config.outbox_soft_bytes, config.outbox_hard_bytes)
        self.pacing = Pacing(self.outbox.over, self._pace, self._unpace)
        self.closes = Closes()
        self.peers: list[Peer | None] = []
        self.greeting: dict[int, Peer] = {}
        self.ending: dict[int, Peer] = {}
        self.partial: dict[int, float] = {}
        self.departing: list[Peer] = []
        self.starved: set[int] = set()
        self.again: list[Peer] = []
        self.accepted = 0
        self.bursts = 0
        self.undelivered_bytes = 0
        self.undelivered_to = 0
        self._config = config
        self._reactor = reactor
        self._closed = closed
        self._per_host: Counter[str] = Counter()
        self._farewells: list[Peer] = []
        self._dead: list[Peer] = []
        self._open = 0

    def __len__(self) -> int:
        return self._open

    def __iter__(self) -> Iterator[Peer]:
        return (peer for peer in self.peers if peer is not None)

    def at(self, fd: int) -> Peer:
        """The connection with that descriptor, which must be one."""
        peer = self.peers[fd]
        assert peer is not None
        return peer

    def get(self, fd: int) -> Peer | None:
        """The connection with that descriptor, if it is one."""
        return self.peers[fd] if fd < len(self.peers) else None

    # Opened, and judged until its HELLO.

    def open(
        self, sock: socket.socket, address: str, context: ssl.SSLContext | None, now: float
    ) -> Peer | None:
        """Enter an accepted connection, with TLS if there is a `context`. None when the system or TLS refuses."""
        link: socket.socket | TlsSocket = sock
        self.accepted += 1
        try:
            if context is not None:
                link = TlsSocket(sock, context)
            peer = Peer(link, self.accepted, address, now)
            self._reactor.watch(peer.fd, READABLE)
        except (OSError, MemoryError) as error:
            code = error.errno or 0 if isinstance(error, OSError) else errno.ENOMEM
            reasons = {
                errno.EPROTO: CloseReason.TLS,
                errno.ECONNRESET: CloseReason.RESET,
                errno.ENOTCONN: CloseReason.RESET,
            }
            link.close()
            self._count(Close(now, reasons.get(code, CloseReason.RESOURCE), _describe(error), "", address, 0))
            return None
        self.links.open(peer.fd, link, now)
        if peer.fd >= len(self.peers):
            self.peers.extend([None] * (len(self.links.modes) - len(self.peers)))
        self.peers[peer.fd] = peer
        self._open += 1
        return peer

    def await_hello(self, peer: Peer, now: float) -> None:
        """Its HELLO was not there at once. When too many wait for theirs, the newest is refused."""
        config, host = self._config, peer.host
        if (
            len(self.greeting) >= config.greeting_max
            or self._per_host[host] >= config.greeting_max_per_address
        ):
            self.end(peer, CloseReason.RESOURCE, "too many connections have not said HELLO", now)
            peer.until = now
            return
        self.greeting[peer.fd] = peer
        self._per_host[host] += 1

    def greeted(self, peer: Peer) -> None:
        """It has said HELLO, or ended before it did."""
        if self.greeting.pop(peer.fd, None) is not None:
            self._per_host[peer.host] -= 1
            if not self._per_host[peer.host]:
                del self._per_host[peer.host]

    # What is waited for.

    def tune(self, peer: Peer) -> None:
        """What is waited for, and what the hot loop may do, from the state of `peer`: both are decided here alone."""
        if peer.dead:
            return
        fd, queued = peer.fd, peer.fd in self.outbox.queues
        direct = 0
        if (
            peer.tls is None
            and self.links.tickets[fd]
            and peer.reason is not CloseReason.SLOW
            and fd not in self.ending
        ):
            direct = 0 if queued else WRITE_DIRECT
            if peer.reason is None and not peer.held and not peer.session.pending:
                direct |= READ_DIRECT
        self.links.modes[fd] = direct
        if peer.shaking:
            return  # its handshake says what it waits for
        interest = 0
        if not peer.input_ended and not peer.held:
            interest = peer.tls.read_on if peer.tls is not None else READABLE
        if queued and fd not in self.starved:
            interest |= peer.tls.write_on if peer.tls is not None else WRITABLE
        self._reactor.watch(fd, interest)

    def wait_for_handshake(self, peer: Peer, interest: int) -> None:
        """Wait for what the TLS handshake of `peer` needs next."""
        self._reactor.watch(peer.fd, interest)

    def keep_partial(self, peer: Peer, fresh: bool, now: float) -> None:
        """Note since when a frame of a member has been incomplete (`fresh`: since now), or that none is."""
        if not peer.session.pending:
            self.partial.pop(peer.fd, None)
        elif fresh:
            self.partial[peer.fd] = now
        else:
            self.partial.setdefault(peer.fd, now)
        self.tune(peer)

    def hold(self, peer: Peer, why: int) -> None:
        """Do not read from it for now, and do not judge it for what has not been read."""
        if peer.reason is None:
            peer.held |= why
            self.partial.pop(peer.fd, None)
            self.tune(peer)

    def release(self, peer: Peer, why: int) -> None:
        """That reason is gone; without any other it is read from again, and judged from now on."""
        if not peer.held & why:
            return
        peer.held &= ~why
        if not peer.held and peer.reason is None:
            now = self._reactor.clock()
            self.links.heard[peer.fd] = now
            peer.pings = 0
            self.keep_partial(peer, True, now)
            self.look_again(peer)

    def look_again(self, peer: Peer) -> None:
        """Have `peer` looked into in the next turn if TLS has decrypted more than was read."""
        if peer.tls is not None and peer.reason is None and not peer.shaking and peer.tls.pending():
            self.again.append(peer)

    def _pace(self, fd: int) -> None:
        peer = self.peers[fd]
        if peer is not None:
            self.hold(peer, PACED)

    def _unpace(self, fd: int) -> None:
        peer = self.peers[fd]
        if peer is not None:
            self.release(peer, PACED)

    # Ended.

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
        self.pacing.forget(peer.fd)
        peer.held = 0
        if peer.shaking or reason in (CloseReason.RESET, CloseReason.TLS, CloseReason.SILENT):
            self.drop(peer)
            return
        if reason is CloseReason.SLOW:
            self.undelivered_bytes += self.outbox.cut(peer.fd)
            self._make_room(peer)
        peer.until = now + self._config.drain_s
        self._farewells.append(peer)
        self.tune(peer)

    def fail(self, peer: Peer, error: int, now: float, detail: str = "") -> None:
        """The connection broke with that errno; EPROTO stands for TLS."""
        reason = CloseReason.TLS if error == errno.EPROTO and peer.tls is not None else CloseReason.RESET
        self.end(peer, reason, detail or errno.errorcode.get(error, str(error)), now)
        self.drop(peer)

    def blame(self, peer: Peer, error: Exception, now: float) -> None:
        """Something failed for want of memory, or by a mistake of ours: it ends this connection, and no other."""
        if peer.reason is not None:
            self.drop(peer)
        if isinstance(error, MemoryError):
            self.end(peer, CloseReason.RESOURCE, "there is no memory for it", now)
        else:
            log.error("a mistake in the server, the connection %s ends for it", peer.address, exc_info=error)
            self.end(peer, CloseReason.INTERNAL, "a mistake in the server", now)

    def input_ended(self, peer: Peer) -> None:
        """The peer sends nothing more."""
        peer.input_ended = True
        if peer.fd in self.ending and peer.fd not in self.outbox.queues:
            self.drop(peer)
        else:
            self.tune(peer)

    def drop(self, peer: Peer) -> None:
        """To be closed at the end of the turn, whatever it is owed."""
        if not peer.dead:
            peer.dead = True
            self.links.modes[peer.fd] = 0
            self._dead.append(peer)

    def reap(self, now: float) -> None:
        """The end of a turn: last words to who ended, then away with who is done."""
        for peer in self._farewells:
            assert peer.reason is not None
            if peer.dead:
                continue
            self.ending[peer.fd] = peer
            if peer.reason.code is not None:
                detail = (
                    peer.detail
                    if peer.session.ticket
                    else peer.detail[: self._config.greeting_out_bytes // 4 - 7]
                )
                self.write(peer, ErrorFrame(peer.reason.code, detail).encode(), now)
            if peer.fd not in self.outbox.queues and not peer.dead:
                self._flushed(peer, now)
            if now >= peer.until:
                self.drop(peer)
        self._farewells.clear()
        if not self._dead:
            return
        seated = set(self.departing)  # the room meets these once more: until then the descriptor stays theirs
        dead, self._dead = self._dead, [peer for peer in self._dead if peer in seated]
        self.bursts += len(dead) >= _BURST_CLOSES
        for peer in dead:
            if peer not in seated:
                self._close(peer, now)

    def _close(self, peer: Peer, now: float) -> None:
        assert peer.reason is not None
        left = self.outbox.drop(peer.fd)
        self.undelivered_bytes += left
        self.undelivered_to += left > 0
        self.ending.pop(peer.fd, None)
        self.starved.discard(peer.fd)
        self.pacing.forget(peer.fd)
        self._reactor.watch(peer.fd, 0)
        self.links.close(peer.fd)
        self.peers[peer.fd] = None
        self._open -= 1
        try:
            if left:  # a stream that stops inside a frame must not look as if it had come to its end
                peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            peer.sock.close()
        except OSError:  # the descriptor is gone all the same
            self.closes.close_errors += 1
        self._count(Close(now, peer.reason, peer.detail, peer.name, peer.address, peer.session.ticket))

    def _count(self, close: Close) -> None:
        self.closes.add(close)
        self._closed(close)

    # Written to.

    def write(self, peer: Peer, frame: bytes, now: float) -> None:
        """Send `frame` behind all that `peer` is owed."""
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
        if not peer.dead and peer.reason is not CloseReason.SLOW and peer.fd not in self.ending:
            self.fall_behind(peer, pieces, position, sent, error, now)

    def fall_behind(
        self, peer: Peer, pieces: Iterable[Piece], position: int, sent: int, error: int, now: float
    ) -> None:
        """Of `pieces` only the first `sent` bytes could be sent, because of `error`."""
        if error not in _TRY_AGAIN:
            self.fail(peer, error, now)
            return
        if error in _STARVED:
            self.starved.add(peer.fd)
        self._queue(peer, pieces, position, sent, now)

    def resume(self, peer: Peer, now: float) -> None:
        """`peer` can take bytes again."""
        outbox, fd = self.outbox, peer.fd
        self.starved.discard(fd)
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
                    self.fail(peer, code, now, _describe(error) if code == errno.EPROTO else "")
                    return
                if code in _STARVED:
                    self.starved.add(fd)
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
        if fd in self.ending and fd not in outbox.queues:
            self._flushed(peer, now)
        self.tune(peer)

    def limit_all(self, now: float) -> None:
        """When all outboxes together are over their limit, who is owed the most goes first."""
        for _ in range(_EVICTIONS_PER_TURN):
            if self.outbox.held_bytes <= self._config.outboxes_total_bytes or not self.outbox.queues:
                return
            peer = self.peers[self.outbox.largest()]
            assert peer is not None
            if peer.reason is None:
                self.end(
                    peer, CloseReason.SLOW, "all outboxes together hold more than outboxes_total_bytes", now
                )
            else:
                self.undelivered_bytes += self.outbox.drop(peer.fd)
                self.drop(peer)
            self.outbox.trim()

    def _queue(self, peer: Peer, pieces: Iterable[Piece], position: int, sent: int, now: float) -> None:
        fresh = peer.fd not in self.outbox.queues
        within = self.outbox.put(peer.fd, pieces, position, sent, now)
        self.bursts += fresh
        if not within:
            self.end(peer, CloseReason.SLOW, f"is owed more than {self.outbox.hard} bytes", now)
        elif self._config.slow_consumer == "evict" and peer.fd in self.outbox.over:
            self.end(peer, CloseReason.SLOW, f"is owed more than {self.outbox.soft} bytes", now)
        if fresh and peer.tls is not None and not peer.dead:
            self.resume(peer, now)
        self.tune(peer)

    def _make_room(self, peer: Peer) -> None:
        """Let the kernel take the rest of the frame under way and the ERROR: the stream ends whole, read or not."""
        queue = self.outbox.queues.get(peer.fd)
        size = 2 * (self._config.send_buffer_bytes + (queue.size if queue is not None else 0))
        try:
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        except OSError as error:
            self.fail(peer, error.errno or 0, self._reactor.clock())
            return
        if queue is not None:
            self.resume(peer, self._reactor.clock())

    def _flushed(self, peer: Peer, now: float) -> None:
        """All is out that an ended peer was owed: say so, and wait for its end, lest a reset overtake the bytes."""
        if peer.input_ended:
            self.drop(peer)
            return
        peer.until = min(peer.until, now + self._config.drain_s)
        try:
            peer.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.drop(peer)
        else:
            self.tune(peer)


def _describe(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
