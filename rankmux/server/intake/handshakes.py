"""The TLS handshakes under way, so many steps a turn, first come first served: each costs a millisecond or two."""

from __future__ import annotations

from errno import EPROTO

from ..connections.connection import CloseReason, Peer
from ..connections.registry import Connections

__all__ = ["Handshakes"]


class Handshakes:
    """At most `budget` steps a turn; a step that can't be made in this turn is made in the next."""

    def __init__(self, connections: Connections, budget: int) -> None:
        self._connections = connections
        self._budget = budget
        self._ready: dict[int, Peer] = {}

    def __len__(self) -> int:
        return len(self._ready)

    def ready(self, peer: Peer) -> None:
        """What the handshake of `peer` waits for is there."""
        self._ready[peer.fd] = peer

    def forget(self) -> None:
        """All connections are gone."""
        self._ready.clear()

    def turn(self, now: float) -> list[Peer]:
        """Make the steps of one turn; returns those whose handshake is done."""
        done = []
        for fd in list(self._ready)[: self._budget]:
            peer = self._ready.pop(fd)
            if peer.dead or peer.tls is None:
                continue
            try:
                interest = peer.tls.do_handshake()
            except OSError as error:
                if error.errno == EPROTO:
                    self._connections.end(peer, CloseReason.TLS, error.strerror or "", now)
                else:
                    self._connections.fail(peer, error.errno or 0, now)
                continue
            if interest:
                self._connections.interest.wait_for_handshake(peer, interest)
            else:
                peer.shaking = False
                self._connections.interest.tune(peer)
                done.append(peer)
        return done
