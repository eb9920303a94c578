"""The loop that sends each member its part of a turn. `fanout.pxi` is its compiled twin.

Sockets are handed in; nothing here opens, closes or waits.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from ..._twin import twin
from ...core.room.deliveries import Deliveries
from ..sockets.descriptors import WATCHES, WRITE_DIRECT, Descriptors

__all__ = ["Ring", "flush"]

_IOV_MAX = 1024  # the most buffers that one sendmsg takes


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
    tables: Descriptors,
    ring: Ring,  # noqa: ARG001 - for the extension
) -> list[tuple[int, int, int]]:
    """Send each member what the turn owes it, from where it lies; `tickets` and `handles` as at the start of the turn.

    Returns the members that could not be sent everything, as (rank, bytes sent, errno or 0).
    """
    behind: list[tuple[int, int, int]] = []
    modes, sockets, departed = tables.modes, tables.sockets, deliveries.departed

    def send(first: int, last: int, message: memoryview) -> None:
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

    def send_own(rank: int, views: list[memoryview]) -> None:
        fd = handles[rank]
        if fd < 0:
            return
        if not modes[fd] & WRITE_DIRECT:
            behind.append((rank, 0, 0))
            return
        sent = 0
        try:
            for at in range(0, len(views), _IOV_MAX):
                portion = views[at : at + _IOV_MAX]
                taken = sockets[fd].sendmsg(portion)
                sent += taken
                if taken != sum(map(len, portion)):
                    behind.append((rank, sent, 0))
                    return
        except (BlockingIOError, InterruptedError):
            behind.append((rank, sent, 0))
        except OSError as error:
            behind.append((rank, sent, error.errno or 0))

    with_answers = {bisect_left(tickets, ticket) for kind in deliveries.answers for ticket in kind}
    baton = [deliveries.baton[0]] if deliveries.baton is not None else []
    moved = range(departed[0], len(tickets)) if departed else ()
    watching: set[int] = set()
    if deliveries.changes:
        watching = {rank for rank, fd in enumerate(handles) if fd >= 0 and modes[fd] & WATCHES}
    own = iter([*sorted({*deliveries.directed, *with_answers, *moved, *watching, *baton}), len(tickets)])
    following = next(own)
    first, end = 0, 0
    with memoryview(deliveries.executes) as executes:
        for sender, upto in [*deliveries.steps, (len(tickets) - 1, 0)]:
            with executes[:end] as prefix:  # what the ranks first ... sender share
                while following <= sender:
                    if end:
                        send(first, following, prefix)
                    pieces = deliveries.pieces(following, tickets[following], following in watching)
                    views = [executes[p[0] : p[1]] if isinstance(p, tuple) else memoryview(p) for p in pieces]
                    if len(views) == 1:  # RANK alone, most often, for many
                        send(following, following + 1, views[0])
                    elif views:
                        send_own(following, views)
                    first, following = following + 1, next(own)
                if end:
                    send(first, sender + 1, prefix)
            first, end = sender + 1, upto
    return behind
