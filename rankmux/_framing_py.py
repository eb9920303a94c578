"""The pure twin of `_framing.pyx`, and the definition of what it does: frames off the wire, into the turn.

The hot loops are what runs once per frame or once per receiver: cutting streams and reading (here), the results
(`_ledger_py`), the commands (`_dispatch_py`), one send per receiver (`_flush_py`). What runs once per turn or once per
connection is not among them. Sockets are handed in; nothing here opens, closes or waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import ENOMEM
from struct import Struct

from .core.wire.codes import CLIENT_STATUSES, FRAME_OVERHEAD, FrameType
from .core.wire.frames import Frame, Leave, Pong
from .core.wire.violations import bad_length, member_frame
from .errors import ProtocolViolation
from .server.sockets.descriptors import READ_DIRECT, Links
from .system.reactor import HUNG_UP, READABLE, WRITABLE

__all__ = ["Batch", "Event", "cut", "receive"]

# Plain numbers: to look up a member of an enumeration costs more than to compare it.
_COMMAND_TYPE, _RESULT_TYPE = int(FrameType.COMMAND), int(FrameType.RESULT)

_COMMAND = Struct("!IBIBI")
_RESULT = Struct("!QB")

Event = Frame | ProtocolViolation | bytes | int
"""What a member did beside commanding and answering: a frame, a breach, the bytes of a frame that is not whole yet, an
errno (0: end of stream)."""


def cut(
    data: bytes | bytearray, max_length: int
) -> tuple[list[tuple[int, bytes]], int, ProtocolViolation | None]:
    """Cut the whole frames off the front of `data` (section 2).

    Returns the frames as (type, body), how many bytes they took, and the breach of the frame that begins there, if
    its length breaks the rules.
    """
    frames: list[tuple[int, bytes]] = []
    cursor, end = 0, len(data)
    while end - cursor >= 4:
        length = int.from_bytes(data[cursor : cursor + 4])
        if not 0 < length <= max_length:
            return frames, cursor, bad_length(length, max_length)
        if end - cursor - 4 < length:
            break
        frames.append((data[cursor + 4], bytes(data[cursor + 5 : cursor + 4 + length])))
        cursor += 4 + length
    return frames, cursor, None


class Batch:
    """The commands and results that a turn took from its members, in the order in which they arrived."""

    __slots__ = ("_buffer", "commands", "max_payload", "results")

    def __init__(self, max_payload: int) -> None:
        self.max_payload = max_payload
        self.commands: list[tuple[int, int, int, int, int, int, bytes]] = []
        self.results: list[tuple[int, int, int, bytes]] = []
        self._buffer = memoryview(bytearray())

    def __len__(self) -> int:
        return len(self.commands) + len(self.results)

    def entries(
        self,
    ) -> tuple[list[tuple[int, int, int, int, int, int, bytes]], list[tuple[int, int, int, bytes]]]:
        """Commands: (ticket, id, target, arg, flags, ttl_ms, payload); results: (ticket, seq, status, payload)."""
        return self.commands, self.results

    def clear(self) -> None:
        """Make room for the next turn."""
        self.commands.clear()
        self.results.clear()

    def buffer(self, size: int) -> memoryview:
        """`size` bytes to read into, the same ones each time."""
        if len(self._buffer) != size:
            self._buffer = memoryview(bytearray(size))
        return self._buffer

    def feed(self, ticket: int, data: bytes | bytearray | memoryview) -> tuple[int, list[Event]]:
        """Take the whole frames off the front of `data`, which the member `ticket` sent.

        Returns how many bytes that took and what else than commands and results was there. Behind a LEAVE or a breach
        nothing counts any more: all of `data` is taken then, and nothing more may be fed for that ticket.
        """
        events: list[Event] = []
        max_length = self.max_payload + FRAME_OVERHEAD
        cursor, end = 0, len(data)
        while end - cursor >= 4:
            length = int.from_bytes(data[cursor : cursor + 4])
            if not 0 < length <= max_length:
                events.append(bad_length(length, max_length))
                return end, events
            stop = cursor + 4 + length
            if stop > end:
                break
            type_ = data[cursor + 4]
            body, cursor = cursor + 5, stop
            if type_ == _COMMAND_TYPE and length > _COMMAND.size:
                id_, target, arg, flags, ttl_ms = _COMMAND.unpack_from(data, body)
                if target <= 3 and flags <= 3 and (not arg or target == 1):
                    payload = bytes(data[body + _COMMAND.size : stop])
                    self.commands.append((ticket, id_, target, arg, flags, ttl_ms, payload))
                    continue
            elif type_ == _RESULT_TYPE and _RESULT.size < length <= self.max_payload + 1 + _RESULT.size:
                seq, status = _RESULT.unpack_from(data, body)
                if status in CLIENT_STATUSES:
                    self.results.append((ticket, seq, status, bytes(data[body + _RESULT.size : stop])))
                    continue
            try:
                frame = member_frame(type_, bytes(data[body:stop]), self.max_payload)
            except ProtocolViolation as breach:
                events.append(breach)
                return end, events
            if isinstance(frame, Pong):
                continue
            events.append(frame)
            if isinstance(frame, Leave):
                return end, events
        return cursor, events


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
