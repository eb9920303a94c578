"""The loop that sends each member its part of a turn. `fanout.pxi` is its compiled twin.

Sockets are handed in; nothing here opens, closes or waits.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from ..._twin import twin
from ...core.room.deliveries import Deliveries
from ..sockets.descriptors import WRITE_DIRECT, Descriptors

__all__ = ["Ring", "flush"]


@twin
class Ring:
    """Hands the sends of a turn to the kernel in one call, where that can be done: by the extension, on Linux.

    `wanted` is whether it may; with less than `members_min` members it saves nothing. Who has one closes it in the end.
    """

    __slots__ = ()

    def __init__(self, wanted: bool = True, members_min: int = 32) -> None:
        pass

    @property
    def open(self) -> bool:
        """Whether it is in use. It is opened by the first turn of a room that is large enough."""
        return False

    def close(self) -> None:
        """Close it; from now on each send is a separate call."""


@twin
def flush(
    deliveries: Deliveries,
    tickets: Sequence[int],
    handles: Sequence[int],
    tails: dict[int, bytes | bytearray],
    tables: Descriptors,
    ring: Ring,  # noqa: ARG001 - for the extension
) -> list[tuple[int, int, int]]:
    """Send each member what the turn owes it, each in one piece; `tickets` and `handles` as at the start of the turn.

    Returns the members that could not be sent everything, as (rank, bytes sent, errno or 0).
    """
    behind: list[tuple[int, int, int]] = []
    modes, sockets, departed = tables.modes, tables.sockets, deliveries.departed

    def send(first: int, last: int, message: bytes | memoryview) -> None:
        size = len(message)
        for rank in range(first, last):
            fd = handles[rank]
            if fd < 0:  # connected elsewhere
                continue
            if not modes[fd] & WRITE_DIRECT:
                behind.append((rank, 0, 0))
                continue
            try:
                sent = sockets[fd].send(message)
            except (BlockingIOError, InterruptedError):
                behind.append((rank, 0, 0))
            except OSError as error:
                behind.append((rank, 0, error.errno or 0))
            else:
                if sent != size:
                    behind.append((rank, sent, 0))

    tail_of = {bisect_left(tickets, ticket): tail for ticket, tail in tails.items()}
    with_own = {*deliveries.directed, *tail_of, *(range(departed[0], len(tickets)) if departed else ())}
    own = iter([*sorted(with_own), len(tickets)])
    following = next(own)
    first, end = 0, 0
    with memoryview(deliveries.executes) as executes:
        for sender, upto in [*deliveries.steps, (len(tickets) - 1, 0)]:
            with executes[:end] as prefix:  # what the ranks first ... sender share
                while following <= sender:
                    if end:
                        send(first, following, prefix)
                    pieces = deliveries.pieces(following, tail_of.get(following))
                    if pieces:
                        message = b"".join(
                            [p if isinstance(p, bytes) else executes[p[0] : p[1]] for p in pieces]
                        )
                        send(following, following + 1, message)
                    first, following = following + 1, next(own)
                if end:
                    send(first, sender + 1, prefix)
            first, end = sender + 1, upto
    return behind
