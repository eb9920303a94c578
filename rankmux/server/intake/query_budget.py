"""What a member asks for beside commands, so much a turn: few bytes of WHO can ask for very many of MEMBERS.

What is over a turn's budget waits, and so does all that came behind it from the same connection, which is not read from
meanwhile. Knows no sockets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ...core.room.batch import Event
from ...core.wire.frames import Who
from ..connections.connection import Peer

__all__ = ["Asking"]

_ANSWER_BYTES = 32  # of a MEMBERS frame without members, and then some
_MEMBER_BYTES = 64  # of one member in it, with a name and an address of the usual size


class Asking:
    """`budget` bytes of answers for each connection and turn, by estimate."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._spent: dict[Peer, int] = {}
        self._waiting: dict[Peer, deque[Event]] = {}

    def __contains__(self, peer: Peer) -> bool:
        return peer in self._waiting

    def waits(self, over: set[int]) -> bool:
        """Whether something waits that could be answered now: for who is not in `over`."""
        return any(peer.fd not in over for peer in self._waiting)

    def allows(self, peer: Peer, who: Who, members: int, most: int) -> bool:
        """Whether `peer` may ask that in this turn; counts it. An answer has at most `most` bytes."""
        found = max(0, min(who.count, members - who.first_rank))
        spent = self._spent.get(peer, 0)
        self._spent[peer] = spent + min(most, _ANSWER_BYTES + _MEMBER_BYTES * found)
        return not spent or self._spent[peer] <= self._budget

    def postpone(self, peer: Peer, event: Event) -> None:
        """Keep `event` for a later turn."""
        self._waiting.setdefault(peer, deque()).append(event)

    def turn(self, over: set[int]) -> Iterator[tuple[Peer, deque[Event]]]:
        """A turn begins: what waits, of those whose outbox takes more. Say `done` when its deque is empty."""
        self._spent.clear()
        for peer in list(self._waiting):
            if peer.reason is not None:
                del self._waiting[peer]
            elif peer.fd not in over:
                yield peer, self._waiting[peer]

    def forget(self) -> None:
        """All connections are gone."""
        self._waiting.clear()

    def done(self, peer: Peer) -> None:
        """Nothing of `peer` waits any more."""
        self._waiting.pop(peer, None)
