"""The pure twin of the hot loops, and the definition of what they do; `_framing.pyx` does the same, faster.

What runs once per frame or once per receiver lives here: cutting streams, the commands and results of a turn, the
EXECUTE frames into the shared buffer, results to their senders, one send per receiver. What runs once per turn or once
per connection does not. Sockets are handed in; nothing here opens, closes or waits.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from errno import ENOMEM
from operator import itemgetter
from struct import Struct

from ._ledger_py import Ledger
from .codes import CLIENT_STATUSES, FRAME_OVERHEAD, FrameType, RefusedCode, Target
from .deliveries import Deliveries
from .errors import ProtocolViolation
from .links import HUNG_UP, READ_DIRECT, READABLE, WRITABLE, WRITE_DIRECT, Links
from .verdicts import bad_length, member_frame, overload, refusal
from .wire import Frame, Leave, Pong

__all__ = [
    "Batch",
    "Event",
    "Ledger",
    "Observe",
    "Ring",
    "cut",
    "dispatch",
    "flush",
    "rank_frames",
    "receive",
]

# Plain numbers: to look up a member of an enumeration costs more than to compare it.
_COMMAND_TYPE, _RESULT_TYPE, _EXECUTE_TYPE = (
    int(FrameType.COMMAND),
    int(FrameType.RESULT),
    int(FrameType.EXECUTE),
)
_RANK_TYPE, _ACCEPTED_TYPE = int(FrameType.RANK), int(FrameType.ACCEPTED)
_ALL, _ONE, _NEXT, _LEAST = int(Target.ALL), int(Target.ONE), int(Target.NEXT), int(Target.LEAST)

_COMMAND = Struct("!IBIBI")
_RESULT = Struct("!QB")
_EXECUTE = Struct("!IBQIBI")
_RANK = Struct("!IBQIIB")
_ACCEPTED = Struct("!IBIQII")

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


Observe = Callable[[int, int, int, int, int, int, bytes], None]
"""Told of each dispatched command: (sender's rank, target, arg, seq, executors, rejected, payload)."""


def dispatch(
    batch: Batch,
    tickets: array[int],
    snapshot: Sequence[int],
    loads: array[int],
    ledger: Ledger,
    deliveries: Deliveries,
    seq: int,
    waiting_max: int,
    waiting_total_max: int,
    result_ttl_ms: int,
    observe: Observe | None,
) -> tuple[int, list[tuple[int, int]], list[tuple[int, int]]]:
    """Dispatch the commands of `batch`, the most senior sender's first (sections 4 and 5).

    `tickets` and `loads` are the columns of the ranks; `snapshot` are the same tickets in an array that stays as it is.
    Returns the last seq used, (seq, ttl_ms) of each command that waits for results, (ticket, code) of each refused.
    """
    executes, steps, directed = deliveries.executes, deliveries.steps, deliveries.directed
    accepted, max_payload, members = deliveries.accepted, batch.max_payload, len(tickets)
    opened: list[tuple[int, int]] = []
    refused: list[tuple[int, int]] = []
    for ticket, id_, target, arg, flags, asked_ttl_ms, payload in sorted(batch.commands, key=itemgetter(0)):
        rank = bisect_left(tickets, ticket)
        first, last = rank + 1, members
        code = 0
        if len(payload) > max_payload:
            code = RefusedCode.TOO_BIG
        elif target == _ONE:
            first, last = arg, arg + 1
            if arg >= members:
                code = RefusedCode.NO_SUCH_RANK
            elif arg <= rank:
                code = RefusedCode.NOT_LOWER
        elif first == members:
            code = RefusedCode.NO_TARGET
        elif target == _NEXT:
            last = first + 1
        elif target == _LEAST:
            first = _least(loads, first)
            last = first + 1
        if not code:
            if ledger.waits(ticket, id_):
                code = RefusedCode.DUPLICATE
            elif flags & 1 and ledger.count(ticket) >= waiting_max:
                code = RefusedCode.BUSY
        frame = b""
        if code:
            limit = waiting_max if code == RefusedCode.BUSY else max_payload
            frame = refusal(id_, code, arg, members, len(payload), limit)
        elif flags & 1 and ledger.owed + last - first > waiting_total_max:
            code = RefusedCode.BUSY
            frame = overload(id_, waiting_total_max)
        if code:
            deliveries.answer(deliveries.refused, ticket, frame)
            refused.append((ticket, code))
            continue
        seq += 1
        ttl_ms = asked_ttl_ms
        if flags & 1:
            ttl_ms = ttl_ms or result_ttl_ms
            ledger.open(seq, ticket, id_, snapshot, first, last)
            opened.append((seq, ttl_ms))
            for executor in range(first, last):
                loads[executor] += 1
        head = _EXECUTE.pack(18 + len(payload), _EXECUTE_TYPE, seq, rank, flags & 1, ttl_ms)
        if target == _ALL:
            executes += head
            executes += payload
            if steps and steps[-1][0] == rank:
                steps[-1] = (rank, len(executes))
            else:
                steps.append((rank, len(executes)))
        else:
            directed.setdefault(first, []).append((len(executes), head + payload))
        deliveries.executions += last - first
        rejected = rank if target == _ALL else 0
        if not flags & 2:
            frame = _ACCEPTED.pack(21, _ACCEPTED_TYPE, id_, seq, last - first, rejected)
            deliveries.answer(accepted, ticket, frame)
        if observe is not None:
            observe(rank, target, arg, seq, last - first, rejected, payload)
    return seq, opened, refused


def _least(loads: array[int], first: int) -> int:
    """The rank with the smallest load from `first` on; of equals the most senior."""
    smallest = min(loads[first:])
    return loads.index(smallest, first)


def rank_frames(departed: Sequence[int], causes: Sequence[int], survivors: int, seq: int) -> bytearray:
    """The RANK frames of all who move up when the ranks `departed` (rising) fall vacant (section 4).

    One for each survivor behind the first departed, in rank order: its new rank, the number of `survivors`, `seq` of
    the turn's last departure, and the cause of the last departure before it.
    """
    frames = bytearray()
    if not departed:
        return frames
    stops = [*departed[1:], survivors + len(departed)]
    for before, (vacant, stop, cause) in enumerate(zip(departed, stops, causes, strict=True), 1):
        for rank in range(vacant + 1, stop):
            frames += _RANK.pack(18, _RANK_TYPE, seq, rank - before, survivors, cause)
    return frames


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
        """Give it up; from now on each send is a call of its own."""


def flush(
    deliveries: Deliveries,
    tickets: Sequence[int],
    peers: Sequence[int],
    tails: dict[int, bytes | bytearray],
    links: Links,
    ring: Ring,  # noqa: ARG001 - for the extension
) -> list[tuple[int, int, int]]:
    """Send each member what the turn owes it, each in one piece; `tickets` and `peers` as at the start of the turn.

    Returns who could not be sent everything at once, or anything, as (rank, bytes sent, errno or 0).
    """
    behind: list[tuple[int, int, int]] = []
    modes, sockets, departed = links.modes, links.sockets, deliveries.departed

    def send(first: int, last: int, message: bytes | memoryview) -> None:
        size = len(message)
        for rank in range(first, last):
            fd = peers[rank]
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
