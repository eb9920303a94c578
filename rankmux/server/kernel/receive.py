"""Reading members: bytes off their sockets, frames into the turn's batch; incomplete frames stay until they are whole.

`receive` reads the plain sockets that are ready; `take_in` is the one way of a member's bytes into the batch, by
whatever transport they came. Sockets are handed in; nothing here opens, closes or waits. `receive.pxi` is the compiled
twin.
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import ENOMEM

from ..._twin import twin
from ...core.room.batch import Batch, Event
from ...core.wire.codes import FRAME_OVERHEAD
from ...core.wire.frames import Leave
from ...errors import ProtocolViolation
from ...system.reactor import HUNG_UP, READABLE, WRITABLE
from ..sockets.descriptors import READ_DIRECT, Descriptors

__all__ = ["receive", "take_in"]


def _take_in(
    batch: Batch, tables: Descriptors, fd: int, data: bytes | bytearray | memoryview, now: float
) -> list[Event]:
    """Take `data`, which the member behind `fd` sent: whole frames go into `batch`, the rest of it is kept.

    Returns the member's other events, as `Batch.feed` does. `b""` looks at the bytes that are kept already.
    """
    partial = tables.partials.get(fd)
    if partial is not None:
        partial += data
        if len(partial) >= 4:
            length = int.from_bytes(partial[:4])
            if len(partial) - 4 < length <= batch.max_payload + FRAME_OVERHEAD:
                if fd not in tables.partial_since:
                    tables.partial_since[fd] = now
                return []  # a long frame that drips in costs no more than its bytes
        data = partial
    taken, events = batch.feed(tables.tickets[fd], data)
    if taken == len(data):
        if partial is not None:
            tables.drop_partial(fd)
        return events
    tables.partials[fd] = bytearray(data[taken:])
    if taken or fd not in tables.partial_since:
        tables.partial_since[fd] = now
    return events


@twin
def take_in(
    batch: Batch, tables: Descriptors, fd: int, data: bytes | bytearray | memoryview, now: float
) -> list[Event]:
    """As `_take_in`, for input that `receive` does not read: TLS, and bytes behind HELLO."""
    return _take_in(batch, tables, fd, data, now)


@twin
def receive(
    batch: Batch,
    ready: Sequence[tuple[int, int]],
    tables: Descriptors,
    now: float,
    read_budget: int,
    turn_budget: int,
) -> tuple[list[tuple[int, Event]], list[tuple[int, int]], int]:
    """Read the input of the `ready` (fd, mask) into `batch`.

    At most `read_budget` bytes of each, and no more once `turn_budget` is used up. One buffer serves all.

    Returns other events as (fd, event), where an int is an errno, 0 for the end of the stream; the (fd, mask) that are
    not, or not only, for this loop; and the number of `ready` that were dealt with before the turn's budget was used
    up.
    """
    buffer = batch.buffer(read_budget)
    modes, sockets, heard = tables.modes, tables.sockets, tables.heard
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
                found = _take_in(batch, tables, fd, buffer[:size], now)
            except MemoryError:  # this one ends; the others have their turn
                events.append((fd, ENOMEM))
                break
            events += [(fd, event) for event in found]
            if not mask & HUNG_UP or (found and isinstance(found[-1], (Leave, ProtocolViolation))):
                break
    return events, others, len(ready)
