"""Members on real sockets, in the tables that the hot loops read and write."""

from __future__ import annotations

import socket
from array import array
from types import ModuleType
from typing import Any

from rankmux.core.room.batch import UNLIMITED
from rankmux.server.sockets.descriptors import READ_DIRECT, WATCHES, WRITE_DIRECT, Descriptors

from ..core.room.test_batch import comparable
from .laid import Laid
from .sockets import wait_for_bytes


class Members:
    """Connections as the server holds them; `far[i]` is the end of the member with ticket 10 + i."""

    def __init__(
        self, framing: ModuleType, pairs: list[tuple[socket.socket, socket.socket]], ring: bool = False
    ) -> None:
        self.framing = framing
        self.ring = framing.Ring(ring, 0)
        self.links = Descriptors()
        self.near = [near for near, _ in pairs]
        self.far = [far for _, far in pairs]
        self.fds = [near.fileno() for near in self.near]
        for i, near in enumerate(self.near):
            self.links.open(near.fileno(), near, 1.0)
            self.links.tickets[near.fileno()] = 10 + i
            self.links.modes[near.fileno()] = READ_DIRECT | WRITE_DIRECT
        self.batch = framing.Batch(1000)

    def receive(
        self,
        *masks: int,
        read_budget: int = 4096,
        turn_budget: int = 1 << 20,
        now: float = 5.0,
        share: int = UNLIMITED,
    ) -> Any:
        """Events and other outcomes by member index, and the number processed; breaches are made comparable."""
        ready = list(zip(self.fds, masks, strict=False))
        events, others, dealt = self.framing.receive(
            self.batch, ready, self.links, now, read_budget, turn_budget, share
        )
        named = [(self.fds.index(fd), e if isinstance(e, int) else comparable(e)) for fd, e in events]
        return named, [(self.fds.index(fd), mask) for fd, mask in others], dealt

    def partials(self) -> dict[int, bytes]:
        """The bytes of incomplete frames, by the index of the member."""
        return {self.fds.index(fd): bytes(octets) for fd, octets in self.links.partials.items()}

    def flush(self, laid: Laid) -> list[tuple[int, int, int]]:
        handles = array("i", self.fds[: laid.members])
        for rank, fd in enumerate(handles):
            self.links.modes[fd] &= ~WATCHES
            self.links.modes[fd] |= WATCHES if rank in laid.watchers else 0
        behind: list[tuple[int, int, int]] = self.framing.flush(
            laid.deliveries(), laid.tickets, handles, self.links, self.ring
        )
        return behind

    def send(self, index: int, octets: bytes) -> None:
        """Send from the far end, and wait until the bytes have arrived."""
        self.far[index].sendall(octets)
        if octets:
            wait_for_bytes(self.near[index], len(octets))
