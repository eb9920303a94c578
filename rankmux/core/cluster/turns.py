"""A turn as the body of an entry: what the members of one server did, in its own names for them.

A server names its members by the serial numbers of their connections. So it can speak of no other server's, and of none
of its own that is connected elsewhere by the time the entry is read. Layout, big-endian; each list begins with its u32
length:

    u8 judge
    departures  u64 serial · u8 cause
    absences    u64 serial
    kicks       u64 ticket, of any server's member
    yields      u64 serial · u32 id
    cancels     u64 serial · u32 id
    slow        u64 serial
    joins       u64 serial · u8 n, name[n] · u16 n, address[n] · u8 n, hash of the secret[n] · u32 keep_ms
                · u64 last_seq · u16 n, identity[n]
    named       u32 offset · u64 ticket: for each COMMAND to ONE, where in the frames its rank stands, and who had it
                when the server read the command (0: nobody)
    frames      runs of u64 serial · u32 size · COMMAND, RESULT and BATON frames (`core.room.encoding`)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from struct import Struct, error
from typing import Any

from ..room.batch import Batch
from ..room.turn import Join
from ..wire.layouts import HEAD

__all__ = ["EMPTY_BYTES", "RANK_AT", "TurnBody", "frames_of"]

_COUNT = Struct("!I")
_SERIAL = Struct("!Q")
_DEPARTURE = Struct("!QB")
_WITH_ID = Struct("!QI")
_NAMED = Struct("!IQ")
_RUN = Struct("!QI")
_KEEP = Struct("!IQ")
_BYTE, _SHORT = Struct("!B"), Struct("!H")
_FEW_LISTS = bytes(7 * _COUNT.size)  # all before `named` are empty, as they mostly are

RANK_AT = HEAD.size + 5
"""Where in a COMMAND frame its rank stands: behind u32 id and u8 target (PROTOCOL section 5)."""


EMPTY_BYTES = _BYTE.size + 8 * _COUNT.size
"""The bytes of a body that says nothing."""


@dataclass(slots=True)
class TurnBody:
    """What the members of one server did, by the serials of their connections; `kicks` are tickets."""

    judge: bool = False
    departures: list[tuple[int, int]] = field(default_factory=list)
    absences: list[int] = field(default_factory=list)
    kicks: list[int] = field(default_factory=list)
    yields: list[tuple[int, int]] = field(default_factory=list)
    cancels: list[tuple[int, int]] = field(default_factory=list)
    slow: list[int] = field(default_factory=list)
    joins: list[tuple[int, Join]] = field(default_factory=list)
    named: list[tuple[int, int]] = field(default_factory=list)
    frames: bytes = b""

    @property
    def is_plain(self) -> bool:
        """Whether it holds commands and results at most: nobody comes, goes or moves."""
        return not (
            self.joins or self.departures or self.absences or self.kicks or self.yields or self.cancels
        )

    def pack(self) -> bytes:
        """The bytes of the body."""
        out = bytearray(_BYTE.pack(self.judge))
        if self.is_plain and not self.slow:
            out += _FEW_LISTS
        else:
            self._put_lists(out)
        _put(out, _NAMED, self.named)
        out += self.frames
        return bytes(out)

    def _put_lists(self, out: bytearray) -> None:
        """All lists before `named`."""
        _put(out, _DEPARTURE, self.departures)
        _put(out, _SERIAL, [(serial,) for serial in self.absences])
        _put(out, _SERIAL, [(ticket,) for ticket in self.kicks])
        _put(out, _WITH_ID, self.yields)
        _put(out, _WITH_ID, self.cancels)
        _put(out, _SERIAL, [(serial,) for serial in self.slow])
        out += _COUNT.pack(len(self.joins))
        for serial, join in self.joins:
            name, address, identity = join.name.encode(), join.address.encode(), join.identity.encode()
            out += _SERIAL.pack(serial) + _BYTE.pack(len(name)) + name + _SHORT.pack(len(address)) + address
            out += _BYTE.pack(len(join.secret)) + join.secret + _KEEP.pack(join.keep_ms, join.last_seq)
            out += _SHORT.pack(len(identity)) + identity

    @classmethod
    def unpack(cls, body: bytes) -> TurnBody:
        """The turn in `body`. Raises struct.error or UnicodeDecodeError when it is none."""
        reader = _Reader(body)
        if body.startswith(_FEW_LISTS, _BYTE.size):
            reader.at = _BYTE.size + len(_FEW_LISTS)
            named = reader.items(_NAMED)
            return cls(bool(body[0]), named=named, frames=body[reader.at :])
        (judge,) = reader.take(_BYTE)
        return cls(
            bool(judge),
            reader.items(_DEPARTURE),
            [serial for (serial,) in reader.items(_SERIAL)],
            [ticket for (ticket,) in reader.items(_SERIAL)],
            reader.items(_WITH_ID),
            reader.items(_WITH_ID),
            [serial for (serial,) in reader.items(_SERIAL)],
            reader.joins(),
            reader.items(_NAMED),
            body[reader.at :],
        )


class _Reader:
    def __init__(self, body: bytes) -> None:
        self._body = body
        self.at = 0

    def take(self, layout: Struct) -> tuple[int, ...]:
        at, self.at = self.at, self.at + layout.size
        return layout.unpack_from(self._body, at)

    def items(self, layout: Struct) -> list[Any]:
        """The items of a list, as tuples."""
        (count,) = _COUNT.unpack_from(self._body, self.at)
        at = self.at + _COUNT.size
        self.at = at + count * layout.size
        if self.at > len(self._body):
            raise error(f"{count} items in {len(self._body) - at} bytes")
        return list(layout.iter_unpack(self._body[at : self.at])) if count else []

    def octets(self, length: Struct) -> bytes:
        (size,) = self.take(length)
        at, self.at = self.at, self.at + size
        return self._body[at : self.at]

    def joins(self) -> list[tuple[int, Join]]:
        (count,) = self.take(_COUNT)
        return [self._join(-2 - index) for index in range(count)]

    def _join(self, handle: int) -> tuple[int, Join]:
        (serial,) = self.take(_SERIAL)
        join = Join(handle, self.octets(_BYTE).decode(), self.octets(_SHORT).decode(), self.octets(_BYTE))
        join.keep_ms, join.last_seq = self.take(_KEEP)
        join.identity = self.octets(_SHORT).decode()
        return serial, join


def _put(out: bytearray, layout: Struct, items: Sequence[tuple[int, ...]]) -> None:
    out += _COUNT.pack(len(items))
    for item in items:
        out += layout.pack(*item)


def frames_of(
    batch: Batch, serial_of: Callable[[int], int], tickets: Sequence[int], most: int
) -> list[tuple[bytes, list[tuple[int, int]]]]:
    """The commands and results of `batch` as (frames, named) of one or more bodies, each of at most `most` bytes.

    `serial_of` gives the serial of the connection of a ticket, 0 for none here: its frames are left out. `tickets` are
    the members by rank as their senders see them now. A frame that is larger than `most` is a body of its own.
    """
    bodies: list[tuple[bytes, list[tuple[int, int]]]] = []
    out = bytearray()
    named: list[tuple[int, int]] = []
    for ticket, run in groupby(batch.frames(), key=itemgetter(0)):
        serial = serial_of(ticket)
        if not serial:
            continue
        begun = -1
        for _, octets, rank in run:
            size = _RUN.size + len(octets) + (_NAMED.size if rank >= 0 else 0)
            if out and len(out) + len(named) * _NAMED.size + size > most:
                bodies.append((bytes(out), named))
                out, named, begun = bytearray(), [], -1
            if begun < 0:
                begun = len(out)
                out += _RUN.pack(serial, 0)
            if rank >= 0:
                named.append((len(out) + RANK_AT, tickets[rank] if rank < len(tickets) else 0))
            out += octets
            _RUN.pack_into(out, begun, serial, len(out) - begun - _RUN.size)
    if out:
        bodies.append((bytes(out), named))
    return bodies
