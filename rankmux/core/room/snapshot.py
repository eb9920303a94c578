"""A room as bytes: written by `Room.dump`, read by `Room.load`.

Both twins give the same bytes for the same room, so the bytes also tell whether two rooms are equal. Layout,
big-endian:

    u8 format · u64 seq · u64 next ticket · u64 clock_ms
    u64 seq of the baton (0: there is none) · u64 ticket of its writer · u32 n, payload[n]
    u32 members, each: u64 ticket · u8 n, name[n] · u16 n, address[n] · u8 n, hash of the secret[n]
                       · u32 keep_ms · u64 until_ms + 1 (0: it has a connection) · u16 n, identity[n]
    u32 commands that wait, each: u64 seq · u64 sender · u32 id · u8 tied · u64 deadline_ms
                                  · u32 n, n times (u64 ticket · u32 rank · u8 answered)
                                  · 6 times u32 executors ended, by status
    u32 CRC-32 of all of that

Loads follow from the commands, handles belong to a process: neither is stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from ...errors import SnapshotError
from ..wire.codes import Status
from .kept import Keep

__all__ = ["FORMAT", "UNTOLD", "MemberState", "RoomState", "WaitingState", "pack", "unpack"]

FORMAT = 1
"""The first byte of a dump."""

UNTOLD = 0x80
"""In a command's `answered`: the executor ended with the status in the lower bits, its sender does not know yet."""

_HEAD = Struct("!BQQQ")
_COUNT = Struct("!I")
_TICKET = Struct("!Q")
_NAME, _ADDRESS = Struct("!B"), Struct("!H")
_KEEP = Struct("!IQ")
_BATON = Struct("!QQ")
_WAITING = Struct("!QQIBQI")
_EXECUTOR = Struct("!QIB")
_ENDED = Struct("!6I")
_MARKS = {0, 1, UNTOLD | Status.EXPIRED, UNTOLD | Status.LEFT, UNTOLD | Status.CANCELLED}


class MemberState(NamedTuple):
    """One member."""

    ticket: int
    name: str
    address: str
    keep: Keep | None


class WaitingState(NamedTuple):
    """A command that waits for results of `tickets`, which had the `ranks`.

    `answered[i]` is 0 while that executor owes its result, 1 once the sender has been sent it, and `UNTOLD | status` in
    between. `deadline_ms` is 0 when none owes one.
    """

    seq: int
    sender: int
    id: int
    tied: bool
    deadline_ms: int
    tickets: tuple[int, ...]
    ranks: tuple[int, ...]
    answered: bytes
    ended: tuple[int, ...]


class RoomState(NamedTuple):
    """All of a room that its entries have made of it."""

    seq: int
    next_ticket: int
    clock_ms: int
    members: list[MemberState]
    waiting: list[WaitingState]
    baton: tuple[int, int, bytes] | None


def pack(state: RoomState) -> bytes:
    """The bytes of `state`."""
    out = bytearray(_HEAD.pack(FORMAT, state.seq, state.next_ticket, state.clock_ms))
    seq, writer, payload = state.baton or (0, 0, b"")
    out += _BATON.pack(seq, writer) + _COUNT.pack(len(payload)) + payload
    out += _COUNT.pack(len(state.members))
    for member in state.members:
        name, address = member.name.encode(), member.address.encode()
        out += (
            _TICKET.pack(member.ticket) + _NAME.pack(len(name)) + name + _ADDRESS.pack(len(address)) + address
        )
        keep = member.keep or Keep(b"", 0, "")
        identity = keep.identity.encode()
        out += _NAME.pack(len(keep.secret)) + keep.secret
        out += _KEEP.pack(keep.keep_ms, 0 if keep.until_ms is None else keep.until_ms + 1)
        out += _ADDRESS.pack(len(identity)) + identity
    out += _COUNT.pack(len(state.waiting))
    for one in state.waiting:
        out += _WAITING.pack(one.seq, one.sender, one.id, one.tied, one.deadline_ms, len(one.tickets))
        for executor in zip(one.tickets, one.ranks, one.answered, strict=True):
            out += _EXECUTOR.pack(*executor)
        out += _ENDED.pack(*one.ended)
    return bytes(out + _COUNT.pack(crc32(out)))


def unpack(data: bytes) -> RoomState:
    """The state in `data`. Raises SnapshotError when the bytes are damaged, of another format, or no possible room."""
    if len(data) < _COUNT.size or crc32(data[: -_COUNT.size]) != _COUNT.unpack(data[-_COUNT.size :])[0]:
        raise SnapshotError("its checksum is wrong")
    reader = _Reader(data[: -_COUNT.size])
    format_, seq, next_ticket, clock_ms = reader.take(_HEAD)
    if format_ != FORMAT:
        raise SnapshotError(f"its format is {format_}, expected {FORMAT}")
    baton = reader.baton()
    members = [reader.member() for _ in reader.items()]
    waiting = [reader.waiting() for _ in reader.items()]
    reader.end()
    state = RoomState(seq, next_ticket, clock_ms, members, waiting, baton)
    _check(state)
    return state


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, layout: Struct) -> tuple[int, ...]:
        at, self._at = self._at, self._at + layout.size
        if self._at > len(self._data):
            raise SnapshotError("it ends too early")
        return layout.unpack_from(self._data, at)

    def items(self) -> Iterator[int]:
        return iter(range(*self.take(_COUNT)))

    def octets(self, length: Struct) -> bytes:
        (size,) = self.take(length)
        at, self._at = self._at, self._at + size
        if self._at > len(self._data):
            raise SnapshotError("it ends too early")
        return self._data[at : self._at]

    def text(self, length: Struct) -> str:
        try:
            return self.octets(length).decode()
        except UnicodeDecodeError:
            raise SnapshotError("a text is not UTF-8") from None

    def member(self) -> MemberState:
        (ticket,) = self.take(_TICKET)
        name, address = self.text(_NAME), self.text(_ADDRESS)
        secret = self.octets(_NAME)
        keep_ms, until = self.take(_KEEP)
        keep = Keep(secret, keep_ms, self.text(_ADDRESS), until - 1 if until else None)
        return MemberState(ticket, name, address, keep if secret else None)

    def baton(self) -> tuple[int, int, bytes] | None:
        seq, writer = self.take(_BATON)
        payload = self.octets(_COUNT)
        return (seq, writer, payload) if seq else None

    def waiting(self) -> WaitingState:
        seq, sender, id_, tied, deadline_ms, count = self.take(_WAITING)
        executors = [self.take(_EXECUTOR) for _ in range(count)]
        tickets = tuple(ticket for ticket, _, _ in executors)
        ranks = tuple(rank for _, rank, _ in executors)
        answered = bytes(flag for _, _, flag in executors)
        return WaitingState(
            seq, sender, id_, bool(tied), deadline_ms, tickets, ranks, answered, self.take(_ENDED)
        )

    def end(self) -> None:
        if self._at != len(self._data):
            raise SnapshotError("bytes follow behind its end")


def _check(state: RoomState) -> None:
    """Refuse a state that no room can be in."""
    tickets = [member.ticket for member in state.members]
    if not _rising([0, *tickets, state.next_ticket]):
        raise SnapshotError("its tickets are not rising")
    if not _rising([one.seq for one in state.waiting]) or any(one.seq > state.seq for one in state.waiting):
        raise SnapshotError("its commands are not in order")
    seated = set(tickets)
    for one in state.waiting:
        done = one.answered.count(1)
        open_ = {ticket for ticket, flag in zip(one.tickets, one.answered, strict=True) if not flag}
        if (
            one.sender not in seated
            or done == len(one.tickets)
            or not open_ <= seated
            or not _rising(one.tickets)
            or not _rising(one.ranks)
            or set(one.answered) - _MARKS
            or sum(one.ended) != done
        ):
            raise SnapshotError(f"the command {one.seq} in it is none that could wait")


def _rising(numbers: list[int] | tuple[int, ...]) -> bool:
    return all(a < b for a, b in pairwise(numbers))
