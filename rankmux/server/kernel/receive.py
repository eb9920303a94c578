"""The loop that reads members: one `recv` for each that is ready. `receive.pxi` is its compiled twin.

Sockets are handed in; nothing here opens, closes or waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import ENOMEM

from ..._twin import twin
from ...core.room.batch import Batch, Event
from ...core.wire.frames import Leave
from ...errors import ProtocolViolation
from ...system.reactor import HUNG_UP, READABLE, WRITABLE
from ..sockets.descriptors import READ_DIRECT, Links

__all__ = ["receive"]


@twin
def receive(
    batch: Batch,
    ready: Sequence[tuple[int, int]],
    links: Links,
    now: float,
    read_budget: int,
    turn_budget: int,
) -> tuple[list[tuple[int, Event]], list[tuple[int, int]], int]:
    """Read what the `ready` (fd, mask) have sent into `batch`.

    At most `read_budget` bytes of each, and no more once `turn_budget` is used up. One buffer serves all.

    Returns what else happened as (fd, event); those (fd, mask) that are not, or not only, for this loop; and how many
    of `ready` were dealt with: behind them the turn's budget was used up.
    """
    buffer = batch.buffer(read_budget)
    modes, sockets, tickets, heard = links.modes, links.sockets, links.tickets, links.heard
    events: list[tuple[int, Event]] = []
    others: list[tuple[int, int]] = []
    left = turn_budget
    for index, (fd, mask) in enumerate(ready):
        if left <= 0:
            return events, others, index
        if fd >= len(modes) or not modes[fd] & READ_DIRECT:
            others.append((fd, mask))
            continue
        if mask & WRITABLE:
            others.append((fd, WRITABLE))
            if not mask & (READABLE | HUNG_UP):
                continue
        room = read_budget
        while room:
            try:
                size = sockets[fd].recv_into(buffer[:room])
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                events.append((fd, error.errno or 0))
                break
            if not size:
                events.append((fd, 0))
                break
            heard[fd] = now
            left -= size
            room -= size
            try:
                taken, what = batch.feed(tickets[fd], buffer[:size])
            except MemoryError:  # this one ends; the others have their turn
                events.append((fd, ENOMEM))
                break
            events += [(fd, event) for event in what]
            if taken < size:
                events.append((fd, bytes(buffer[taken:size])))
                break
            if not mask & HUNG_UP or (what and isinstance(what[-1], (Leave, ProtocolViolation))):
                break
    return events, others, len(ready)
