"""The sequencer: gathered turns go in, turns whose place in the order is certain come out.

One server alone is its own order, so the same turn comes back in the same step. A server that shares its room with
others puts the entry of a turn into a log that they share, and hands back what it reads from there
(`cluster.sequencer`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ..core.room.turn import Outcome, Turn

__all__ = ["LocalSequencer", "Sequencer"]


class Sequencer(Protocol):
    """Between gathering and applying.

    `shared`       whether others order turns of this room, too
    `instance`     the number that WELCOME says (PROTOCOL section 2)
    `is_up`        whether members can join here now
    `takes_input`  whether members may be read now
    """

    @property
    def shared(self) -> bool: ...

    @property
    def instance(self) -> int: ...

    @property
    def is_up(self) -> bool: ...

    @property
    def takes_input(self) -> bool: ...

    @property
    def seq(self) -> int:
        """The last entry of a shared log that was read; 0 without one."""

    def server_of(self, ticket: int) -> str:
        """The name of the server that has the connection of that member; empty if it is this one, or none."""

    def has_kicked(self, ticket: int) -> bool:
        """Whether it is certain that the member goes, as an operator wants it, though it has not gone yet."""

    def begin(self, now: float) -> None:
        """A turn begins."""

    def order(self, turn: Turn, now: float) -> Iterable[Turn]:
        """Take a gathered turn; gives those to be applied now, in order, each after `applied` of the one before."""

    def applied(self, outcome: Outcome) -> None:
        """The room has applied the turn that was given last."""

    def patience(self, now: float) -> float:
        """The seconds after which a turn is needed whatever the members do."""

    def release(self, now: float, text: str) -> None:
        """The server stops: its members are told `text`, and hold their seats no longer here."""

    def leave(self, now: float) -> bool:
        """All connections are closed; whether the others know it, or have been waited for long enough."""

    def close(self) -> None:
        """Give up all that was opened."""


class LocalSequencer:
    """The order of one server alone."""

    shared = False
    is_up = True
    takes_input = True
    seq = 0

    def __init__(self, instance: int) -> None:
        self.instance = instance

    def server_of(self, ticket: int) -> str:  # noqa: ARG002
        """There is one server."""
        return ""

    def has_kicked(self, ticket: int) -> bool:  # noqa: ARG002
        """What is certain is done."""
        return False

    def begin(self, now: float) -> None:
        """Nobody else has a say."""

    def order(self, turn: Turn, now: float) -> Iterable[Turn]:  # noqa: ARG002 - the same for all times
        """The turn itself."""
        return (turn,)

    def applied(self, outcome: Outcome) -> None:
        """Nothing to remember."""

    def patience(self, now: float) -> float:  # noqa: ARG002
        """Nothing to wait for."""
        return float("inf")

    def release(self, now: float, text: str) -> None:
        """The seats are those of the room, which goes with the server or into its state file."""

    def leave(self, now: float) -> bool:  # noqa: ARG002
        """There are no others."""
        return True

    def close(self) -> None:
        """Nothing was opened."""
