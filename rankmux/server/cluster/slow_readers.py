"""The members that do not keep up, at this server and at the others: so that senders at any server wait for them."""

from __future__ import annotations

from collections.abc import Iterable

from ...core.cluster.entries import Kind
from ...core.cluster.fold import Fold, Reading
from ..connections.registry import Connections

__all__ = ["SlowReaders"]

_SILENT_S = 3.0  # every server writes once a second: nothing is sent to the members of one that does not


class SlowReaders:
    """Every turn that a server writes says which of its members are over their limit; here it is compared and kept."""

    def __init__(self, fold: Fold, connections: Connections) -> None:
        self._fold = fold
        self._connections = connections
        self._said: frozenset[int] = frozenset()
        self._elsewhere: dict[int, frozenset[int]] = {}  # by server
        self._heard: dict[int, float] = {}  # when those servers were read last

    def _here(self) -> frozenset[int]:
        over, seats = self._connections.outbox.over, self._connections.seats
        return frozenset([ticket for ticket in over if ticket in seats])

    @property
    def changed(self) -> bool:
        """Whether they are others here than was written last."""
        over = self._connections.outbox.over
        return bool(over or self._said) and self._here() != self._said

    def written(self) -> None:
        """A turn with those that are slow here is under way."""
        if self.changed:
            self._said = self._here()

    def read(self, reading: Reading, own: int, now: float) -> None:
        """An entry counts; what it says of slow members at its writer holds from now on. `own` is our incarnation."""
        incarnation, up = reading.entry.incarnation, self._fold.up
        known = self._elsewhere.get(incarnation, frozenset())
        slow = reading.slow if reading.entry.kind is Kind.TURN and incarnation != own else known
        if slow:
            self._heard[incarnation] = now
        if slow == known and self._elsewhere.keys() <= up.keys():
            return
        self._elsewhere[incarnation] = slow
        self._keep(server for server, those in self._elsewhere.items() if those and server in up)

    def forget_silent(self, now: float) -> None:
        """Senders wait no longer for members of a server that is silent: it may be dead, and takes nothing for them."""
        if self._elsewhere and any(now - self._heard[server] >= _SILENT_S for server in self._elsewhere):
            self._keep(server for server in self._elsewhere if now - self._heard[server] < _SILENT_S)

    def _keep(self, servers: Iterable[int]) -> None:
        self._elsewhere = {server: self._elsewhere[server] for server in list(servers)}
        self._heard = {server: self._heard[server] for server in self._elsewhere}
        self._connections.pacing.elsewhere = set().union(*self._elsewhere.values())
