"""Fast paths for newcomers that ask for a seat and nothing else, in the extension alone.

Connections that they leave over take the general path (`registry`, `admission`), which has the same outcome: in the
pure twin, all do. Sockets are handed in; nothing here closes or waits.
"""

from __future__ import annotations

from collections.abc import Callable

from ..._twin import twin
from ...core.room.turn import Joined
from ..connections.connection import Connection
from ..sockets.descriptors import Descriptors
from ..sockets.listener import Newcomer
from .fanout import Ring

__all__ = ["greet_crowd", "seat_crowd"]


@twin
def greet_crowd(
    newcomers: list[Newcomer],
    joining: list[Connection],  # noqa: ARG001 - for the extension, as most here
    found: list[Connection | None],  # noqa: ARG001
    tables: Descriptors,  # noqa: ARG001
    watch_all: Callable[[list[int]], int],  # noqa: ARG001
    made: Callable[..., Connection],  # noqa: ARG001
    serial: int,
    now: float,  # noqa: ARG001
) -> list[tuple[int, Newcomer]]:
    """Open the connections that have sent a plain HELLO and no more bytes; returns the others.

    A plain HELLO has no token, no flag and no keep. Their connections, made as `made(socket, serial, address, now)`, go
    into `joining` and, by descriptor, into `found`; `watch_all` is that of the reactor. The serials begin at `serial`;
    the others come with theirs.
    """
    return list(enumerate(newcomers, serial))


@twin
def seat_crowd(
    joined: list[Joined],
    found: list[Connection | None],  # noqa: ARG001
    seats: dict[int, Connection],  # noqa: ARG001
    tables: Descriptors,  # noqa: ARG001
    ring: Ring,  # noqa: ARG001
    welcome: bytes,  # noqa: ARG001
) -> tuple[list[Joined], list[tuple[Joined, int, int]]]:
    """Seat the newcomers that sent a plain HELLO, and send them WELCOME.

    `found` has their connections by descriptor; `welcome` is a WELCOME whose ticket, seq, rank and members are replaced
    for each. Returns the newcomers left over, and those whose WELCOME was not sent entirely, as (joined, bytes sent,
    errno or 0).
    """
    return joined, []
