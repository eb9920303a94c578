"""What is waited for on each connection, and what the hot loops may do with it: decided here, from its state.

Who is held is not read from, and not judged for what has not been read. Ends no connection, reads and writes none.
"""

from __future__ import annotations

from collections.abc import Container

from ...core.outbox import Outbox
from ...system.reactor import READABLE, WRITABLE, Reactor
from ..sockets.descriptors import READ_DIRECT, WRITE_DIRECT, Links
from .connection import CloseReason, Peer

__all__ = ["Interest"]


class Interest:
    """`partial`: since when a frame of a member has been incomplete; `again` hold bytes that no selector sees.

    `starved` are owed bytes that the system has no memory to send. `ending`, the owner's, have had their last words.
    """

    def __init__(self, reactor: Reactor, links: Links, outbox: Outbox, ending: Container[int]) -> None:
        self.partial: dict[int, float] = {}
        self.again: list[Peer] = []
        self.starved: set[int] = set()
        self._reactor = reactor
        self._links = links
        self._outbox = outbox
        self._ending = ending

    def tune(self, peer: Peer) -> None:
        """The state of `peer` has changed: decide anew what is waited for, and what the hot loops may do."""
        if peer.dead:
            return
        if peer.broken:  # it is in `again` until all is read that had arrived
            self._links.modes[peer.fd] = 0
            self._reactor.watch(peer.fd, 0)
            return
        fd, queued = peer.fd, peer.fd in self._outbox.queues
        direct = 0
        if (
            peer.tls is None
            and self._links.tickets[fd]
            and peer.reason is not CloseReason.SLOW
            and fd not in self._ending
        ):
            direct = 0 if queued else WRITE_DIRECT
            if peer.reason is None and not peer.held and not peer.session.pending:
                direct |= READ_DIRECT
        self._links.modes[fd] = direct
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
            self._links.heard[peer.fd] = now
            peer.pings = 0
            self.keep_partial(peer, True, now)
            self.look_again(peer)

    def look_again(self, peer: Peer) -> None:
        """Have `peer` looked into in the next turn if there may be more of it than a selector tells."""
        more = peer.broken or (peer.tls is not None and not peer.shaking and peer.tls.pending())
        if more and peer.reason is None:
            self.again.append(peer)

    def forget(self, peer: Peer) -> None:
        """It ended: it is neither held nor judged for a frame any more."""
        self.partial.pop(peer.fd, None)
        peer.held = 0

    def clear(self) -> None:
        """All connections are gone."""
        self.again.clear()
        self.partial.clear()
