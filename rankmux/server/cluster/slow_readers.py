"""The members that do not keep up, at this server and at the others: so that senders at any server wait for them."""

from __future__ import annotations

from ...core.cluster.fold import Fold, Reading
from ..connections.registry import Connections

__all__ = ["SlowReaders"]


class SlowReaders:
    """Every turn that a server writes says which of its members are over their limit; here it is compared and kept."""

    def __init__(self, fold: Fold, connections: Connections) -> None:
        self._fold = fold
        self._connections = connections
        self._said: frozenset[int] = frozenset()
        self._elsewhere: dict[int, frozenset[int]] = {}  # by server

    def _here(self) -> frozenset[int]:
        connections = self._connections
        return frozenset(ticket for ticket in connections.outbox.over if ticket in connections.seats)

    @property
    def changed(self) -> bool:
        """Whether they are others here than was written last."""
        return self._here() != self._said

    def written(self) -> None:
        """A turn with those that are slow here is under way."""
        self._said = self._here()

    def read(self, reading: Reading, own: int) -> None:
        """An entry counts; what it says of slow members at its writer holds from now on. `own` is our incarnation."""
        incarnation, up = reading.entry.incarnation, self._fold.up
        slow = frozenset() if incarnation == own else reading.slow
        if slow == self._elsewhere.get(incarnation, frozenset()) and self._elsewhere.keys() <= up.keys():
            return
        self._elsewhere[incarnation] = slow
        self._elsewhere = {
            server: those for server, those in self._elsewhere.items() if those and server in up
        }
        self._connections.pacing.elsewhere = set().union(*self._elsewhere.values())
