"""All connections of a server: opened, ended, closed, each in one place. Knows no ranks and no commands.

What they are owed is written by `writing.py`; what is waited for is decided by `interest.py`. A connection that ends is
marked with its one reason, gets what it is still owed and its last words, and is reaped at the end of a turn:
unregistered, then closed, so that a descriptor is never handed out again while the turn, or the room, may meet it.
"""

from __future__ import annotations

import errno
import logging
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

from ...config import Config
from ...core.outbox import Outbox
from ...core.pacing import Pacing
from ...core.server_session import State, Step
from ...core.wire.frames import ErrorFrame
from ...system.json_lines import tagged
from ...system.reactor import READABLE, Reactor
from ..sockets.descriptors import Links
from ..sockets.tls import TlsSocket
from .connection import PACED, Close, CloseReason, Closes, Peer
from .watching import Interest
from .writing import Writing

__all__ = ["Connections"]

_BURST_CLOSES = 64
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


log = logging.getLogger("rankmux.server")


class Connections:
    """`peers[fd]` is the connection with that descriptor, or None; `greeting` those without HELLO, oldest first.

    `departing` collects the members that ended since the server took them last; `ending` have had their last words.
    `closed` is told of each close.
    """

    def __init__(self, config: Config, reactor: Reactor, closed: Callable[[Close], None]) -> None:
        self.links = Links()
        self.ending: dict[int, Peer] = {}
        self.outbox = Outbox(config.outbox_soft_bytes, config.outbox_hard_bytes)
        self.interest = Interest(reactor, self.links, self.outbox, self.ending)
        self.writing = Writing(config, self, self.outbox, self.interest, reactor.clock)
        self.pacing = Pacing(self.outbox.over, self._pace, self._unpace)
        self.closes = Closes()
        self.peers: list[Peer | None] = []
        self.greeting: dict[int, Peer] = {}
        self.departing: list[Peer] = []
        self.accepted = 0
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

    def is_ending(self, peer: Peer) -> bool:
        """Whether it has had its last words, and only its queue keeps it."""
        return peer.fd in self.ending

    @property
    def undelivered_bytes(self) -> int:
        """What was still owed to those who were let go."""
        return self.writing.undelivered_bytes

    # Opened, and judged until its HELLO.

    def open(
        self, sock: socket.socket, address: str, context: ssl.SSLContext | None, now: float
    ) -> Peer | None:
        """Enter an accepted connection, with TLS if there is a `context`. None when the system or TLS refuses."""
        link: socket.socket | TlsSocket = sock
        self.accepted += 1
        fd = sock.fileno()
        try:
            if context is not None:
                link = TlsSocket(sock, context)
            peer = Peer(link, self.accepted, address, now)
            self.links.open(peer.fd, link, now)
            self.peers.extend([None] * (len(self.links.modes) - len(self.peers)))
            self._reactor.watch(peer.fd, READABLE)
        except (OSError, MemoryError) as error:
            code = error.errno or 0 if isinstance(error, OSError) else errno.ENOMEM
            reasons = {
                errno.EPROTO: CloseReason.TLS,
                errno.ECONNRESET: CloseReason.RESET,
                errno.ENOTCONN: CloseReason.RESET,
            }
            if fd < len(self.links.modes):
                self.links.close(fd)
            link.close()
            self._count(Close(now, reasons.get(code, CloseReason.RESOURCE), _describe(error), "", address, 0))
            return None
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

    # Held.

    def hold(self, peer: Peer, why: int) -> None:
        """Do not read from it for now. Who is broken was only read on, and ends at once."""
        if peer.broken:
            self.fail(peer, 0, self._reactor.clock())
        else:
            self.interest.hold(peer, why)

    def _pace(self, fd: int) -> None:
        peer = self.peers[fd]
        if peer is not None:
            self.hold(peer, PACED)

    def _unpace(self, fd: int) -> None:
        peer = self.peers[fd]
        if peer is not None:
            self.interest.release(peer, PACED)

    # Ended.

    def end(self, peer: Peer, reason: CloseReason, detail: str, now: float) -> None:
        """Its life is over, for that reason; the first one counts. What it is owed still goes out, if it can."""
        if peer.reason is not None:
            return
        if peer.session.state is State.MEMBER:
            self.departing.append(
                peer
            )  # first: it may find no memory, and a member that ended must leave the room
        if peer.broken:
            reason, detail = CloseReason.RESET, peer.broken
        peer.reason, peer.detail = reason, detail
        peer.session.step(Step.END)
        self.greeted(peer)
        self.interest.forget(peer)
        self.pacing.forget(peer.fd)
        if peer.shaking or reason in (CloseReason.RESET, CloseReason.TLS, CloseReason.SILENT):
            self.drop(peer)
            return
        if reason is CloseReason.SLOW:
            self.writing.undelivered_bytes += self.outbox.cut(peer.fd)
            self.writing.make_room(peer)
        peer.until = now + self._config.drain_s
        self._farewells.append(peer)
        self.interest.tune(peer)

    def fail(self, peer: Peer, error: int, now: float, detail: str = "") -> None:
        """The connection broke with that errno; EPROTO stands for TLS."""
        reason = CloseReason.TLS if error == errno.EPROTO and peer.tls is not None else CloseReason.RESET
        self.end(peer, reason, detail or errno.errorcode.get(error, str(error)), now)
        self.drop(peer)

    def broke(self, peer: Peer, error: int, now: float, detail: str = "") -> None:
        """It can be written to no more, because of that errno. What a member had sent before that counts all the same.

        So it is read on, a turn's budget at a time, until there is no more; but who is held is not, and ends at once.
        """
        self._end_with_reset(peer)  # a frame may have been under way
        if (
            peer.session.state is not State.MEMBER
            or peer.held
            or (error == errno.EPROTO and peer.tls is not None)
        ):
            self.fail(peer, error, now, detail)
        elif not peer.broken:
            peer.broken = detail or errno.errorcode.get(error, str(error))
            self.writing.undelivered_bytes += self.outbox.drop(peer.fd)
            self.interest.again.append(peer)
            self.interest.tune(peer)

    def blame(self, peer: Peer, error: Exception, now: float) -> None:
        """Something failed for want of memory, or by a mistake of ours: it ends this connection, and no other.

        How much of what frame it was sent may not be known any more, so nothing follows: it is reset.
        """
        if isinstance(error, MemoryError):
            self.end(peer, CloseReason.RESOURCE, "there is no memory for it", now)
        else:
            facts = tagged("mistake", where=peer.address)
            text = "a mistake in the server, the connection %s ends for it"
            log.error(text, peer.address, exc_info=error, extra=facts)
            self.end(peer, CloseReason.INTERNAL, "a mistake in the server", now)
        self.reset(peer)

    def input_ended(self, peer: Peer) -> None:
        """The peer sends nothing more."""
        peer.input_ended = True
        if peer.fd in self.ending and peer.fd not in self.outbox.queues:
            self.drop(peer)
        else:
            self.interest.tune(peer)

    def flushed(self, peer: Peer, now: float) -> None:
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
            self.interest.tune(peer)

    def drop(self, peer: Peer) -> None:
        """To be closed at the end of the turn, whatever it is owed."""
        if not peer.dead:
            peer.dead = True
            self.links.modes[peer.fd] = 0
            self._dead.append(peer)

    def reset(self, peer: Peer) -> None:
        """The same, and its stream ends with a reset: what it got may stop inside a frame."""
        self._end_with_reset(peer)
        self.drop(peer)

    def abandon(self, now: float) -> int:
        """Reset all connections at once, whatever they are owed; returns how many."""
        self._farewells.clear()
        self._dead.clear()
        self.departing.clear()
        self.greeting.clear()
        self.interest.clear()
        self._per_host.clear()
        count = 0
        for peer in self:
            if peer.reason is None:
                peer.reason, peer.detail = CloseReason.RESOURCE, "there was no memory to finish a turn"
            self._end_with_reset(peer)
            self._close(peer, now)
            count += 1
        return count

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
                self.writing.write(peer, ErrorFrame(peer.reason.code, detail).encode(), now)
            if peer.fd not in self.outbox.queues and not peer.dead:
                self.flushed(peer, now)
            if now >= peer.until:
                self.drop(peer)
        self._farewells.clear()
        if not self._dead:
            return
        seated = set(self.departing)  # the room meets these once more: until then the descriptor stays theirs
        dead, self._dead = self._dead, [peer for peer in self._dead if peer in seated]
        self.writing.bursts += len(dead) >= _BURST_CLOSES
        for peer in dead:
            if peer not in seated:
                self._close(peer, now)

    def _close(self, peer: Peer, now: float) -> None:
        assert peer.reason is not None
        close = Close(now, peer.reason, peer.detail, peer.name, peer.address, peer.session.ticket)
        left = self.outbox.drop(peer.fd)
        self.writing.undelivered_bytes += left
        self.undelivered_to += left > 0
        self.ending.pop(peer.fd, None)
        self.interest.starved.discard(peer.fd)
        self.pacing.forget(peer.fd)
        self._reactor.watch(peer.fd, 0)
        self.links.close(peer.fd)
        self.peers[peer.fd] = None
        self._open -= 1
        if left:  # a stream that stops inside a frame must not look as if it had come to its end
            self._end_with_reset(peer)
        try:
            peer.sock.close()
        except OSError:  # the descriptor is gone all the same
            self.closes.close_errors += 1
        self._count(close)

    def _end_with_reset(self, peer: Peer) -> None:
        """Have its close end the stream with a reset."""
        with suppress(OSError):  # then it is broken already
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    def _count(self, close: Close) -> None:
        self.closes.add(close)
        self._closed(close)


def _describe(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
