"""The moment at which the servers of a room go on to a newer version of what they write: no older one is waited for.

After that, an older server cannot read the log any more. One that is only away, as behind a failure of the network that
let the newer ones come back first, must be able to return; so must somebody who takes an upgrade back.
"""

from __future__ import annotations

from collections.abc import Mapping

from .fold import Peer

__all__ = ["SETTLED_S", "Upgrade"]

SETTLED_S = 600.0
"""So long must all servers that are up have spoken the newer version, in seconds."""


class Upgrade:
    """What one server has seen of that, by its own clock."""

    def __init__(self, settled_s: float = SETTLED_S) -> None:
        self.settled_s = settled_s
        self.begin()

    def begin(self) -> None:
        """This server has come up: who was there before is not known."""
        self._since: float | None = None

    def reached(self, up: Mapping[int, Peer], version: int, now: float) -> int:
        """The version that the room can go on to, or that it has."""
        spoken = min(peer.spoken for peer in up.values())
        if spoken <= version:
            self._since = None
            return version
        if self._since is None:
            self._since = now
        return spoken if now >= self._since + self.settled_s else version
