"""Reading members: bytes off their sockets, frames into the turn's batch; incomplete frames stay until they are whole.

`receive` reads the plain sockets that are ready; `take_in` is the one way of a member's bytes into the batch, by
whatever transport they came. Sockets are handed in; nothing here opens, closes or waits. `receive.pxi` is the compiled
twin.
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import ENOMEM

from ..._twin import twin
from ...core.room.batch import UNLIMITED, Batch, Event
from ...core.wire.codes import FRAME_OVERHEAD
from ...core.wire.frames import Leave, Yield
from ...errors import ProtocolViolation
from ...system.reactor import HUNG_UP, READABLE, WRITABLE
from ..sockets.descriptors import READ_DIRECT, Descriptors

__all__ = ["receive", "take_in"]


def _take_in(
    batch: Batch,
    tables: Descriptors,
    fd: int,
    data: bytes | bytearray | memoryview,
    now: float,
    share: int = UNLIMITED,
) -> list[Event]:
    """Take `data`, which the member behind `fd` sent: whole frames go into `batch`, the rest of it is kept.

    For input that `receive` does not read, too: TLS, bytes behind HELLO, and the backlog. No more than `share` of the
    turn's work is done: frames over it join the backlog. Returns the member's other events, as `Batch.feed` does. `b""`
    looks at the bytes that are kept already.
    """
    partial = tables.partials.get(fd)
    if partial is not None:
        partial += data
        if len(partial) >= 4:
            length = int.from_bytes(partial[:4])
            if len(partial) - 4 < length <= batch.max_payload + FRAME_OVERHEAD:
                tables.backlog.pop(fd, None)
                if fd not in tables.partial_since:
                    tables.partial_since[fd] = now
                return []  # the work on a frame in many small parts stays linear in its bytes
        data = partial
    taken, events = batch.feed(tables.tickets[fd], data, share)
    rest = len(data) - taken
    if taken:
        tables.backlog.pop(fd, None)
    if not rest:
        if partial is not None:
            del tables.partials[fd]
            tables.partial_since.pop(fd, None)
        return events
    if partial is None:
        partial = tables.partials[fd] = bytearray(data[taken:])
    else:
        del partial[:taken]
    if rest >= 4 and not rest - 4 < int.from_bytes(partial[:4]) <= batch.max_payload + FRAME_OVERHEAD:
        # A whole frame, or a breach: the turn has no room for it.
        tables.backlog[fd] = None
        tables.partial_since.pop(fd, None)
        return events
    tables.backlog.pop(fd, None)
    if taken or fd not in tables.partial_since:
        tables.partial_since[fd] = now
    return events


take_in = twin(_take_in)


@twin
def receive(
    batch: Batch,
    ready: Sequence[tuple[int, int]],
    tables: Descriptors,
    now: float,
    read_budget: int,
    turn_budget: int,
    share: int = UNLIMITED,
) -> tuple[list[tuple[int, Event]], list[tuple[int, int]], int]:
    """Read the input of the `ready` (fd, mask) into `batch`.

    Members in `tables.yielding` are not read from. At most `read_budget` bytes and `share` of the work of each, and no
    more once `turn_budget` is used up. One buffer serves all. Members in the backlog are not read from; the end of a
    stream with a backlog is kept behind it.

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
        if not mask & (READABLE | HUNG_UP) or fd in tables.backlog or fd in tables.yielding:
            continue
        room = read_budget
        while room:
            try:
                size = sockets[fd].recv_into(buffer[:room])
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                _note_end(tables, fd, error.errno or 0, events)
                break
            if not size:
                _note_end(tables, fd, 0, events)
                break
            heard[fd] = now
            left -= size
            room -= size
            try:
                found = _take_in(batch, tables, fd, buffer[:size], now, share)
            except MemoryError:  # this one ends; the others have their turn
                events.append((fd, ENOMEM))
                break
            events += [(fd, event) for event in found]
            if not mask & HUNG_UP or (found and isinstance(found[-1], (Leave, Yield, ProtocolViolation))):
                break
    return events, others, len(ready)


def _note_end(tables: Descriptors, fd: int, error: int, events: list[tuple[int, Event]]) -> None:
    """The stream of `fd` ended; frames that wait in the backlog come first."""
    if fd in tables.backlog:
        tables.ends[fd] = error
    else:
        events.append((fd, error))
