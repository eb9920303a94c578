"""The entries of the log that the servers of a room share.

Layout, big-endian:

    u8 format · u8 kind · u16 version · u64 incarnation · u64 n · u64 clock_ms · u64 seen · u32 chain
    the body of its kind
    u32 CRC-32 of all of that

`incarnation` names one life of a server: random bits, anew at each start and behind each fence. `n` counts what it has
written, from 1. `seen` is the last entry that the writer had applied, `chain` the checksum of all entries up to it.
`turns` has the body of a TURN.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct, error
from typing import NamedTuple
from zlib import crc32

from ...errors import LogBroken

__all__ = [
    "ENTRY_OVERHEAD",
    "FORMAT",
    "GENESIS_BYTES",
    "RESTORE",
    "Down",
    "Entry",
    "Genesis",
    "Kind",
    "Rules",
    "Up",
    "pack_version",
    "unpack",
    "unpack_version",
]

FORMAT = 1
"""The first byte of every entry, of all versions."""

_HEAD = Struct("!BBHQQQQI")
_CRC = Struct("!I")
_RULES = Struct("!IIIIQQQII64s")
_GENESIS = Struct("!QQ")
_UP = Struct("!HB")
_DOWN = Struct("!QQ")
_VERSION = Struct("!H")

RESTORE = "restore the log as it was, or begin a new room (`rankmux-server room reset`)"
"""What can be done about a log that cannot be read on."""

GENESIS_BYTES = _GENESIS.size + _RULES.size
"""Bytes of the body of GENESIS."""

ENTRY_OVERHEAD = _HEAD.size + _CRC.size
"""Bytes of an entry beside its body."""


class Kind(IntEnum):
    """What an entry says.

    GENESIS  the room begins
    UP       a server comes: its incarnation may write from now on
    TURN     what the writer's members did in one turn; often nothing at all, as a sign of life
    DOWN     a server is taken for dead
    BYE      the writer stops
    VERSION  all servers speak a newer version: from now on it is written
    """

    GENESIS = 1
    UP = 2
    TURN = 3
    DOWN = 4
    BYE = 5
    VERSION = 6


# To look up a member of an enumeration by its value costs more than in a dictionary.
_KINDS = {int(kind): kind for kind in Kind}


class Entry(NamedTuple):
    """An entry without its checksum."""

    kind: Kind
    version: int
    incarnation: int
    n: int
    clock_ms: int
    seen: int
    chain: int
    body: bytes = b""

    def pack(self) -> bytes:
        """Its bytes."""
        head = _HEAD.pack(FORMAT, *self[:-1])
        return b"".join((head, self.body, _CRC.pack(crc32(self.body, crc32(head)))))


# Rules that users set by another name, and how much one of its units is.
_SET_AS = {
    "keep_max_ms": ("keep_max_s", 1000),
    "told_max_bytes": ("outbox_soft_bytes", 1),
    "fence_ms": ("cluster_fence_s", 1000),
    "down_ms": ("cluster_down_s", 1000),
}


class Rules(NamedTuple):
    """The settings that all servers of a room must have in common; times in ms.

    `room` is its name: the log of another room, or a copy of it, is none of this one. `told_max_bytes` stands for
    `outbox_soft_bytes`, which bounds what a turn tells a sender of LEFT and EXPIRED.
    """

    seats: int
    max_payload: int
    waiting_max: int
    waiting_total_max: int
    result_ttl_ms: int
    keep_max_ms: int
    told_max_bytes: int
    fence_ms: int
    down_ms: int
    room: str

    def differences(self, other: Rules) -> list[str]:
        """The settings that differ, each with both values, as `seats is 8, and 16 in the room`; but for the name."""
        found = []
        for rule, here, there in zip(self._fields[:-1], self[:-1], other[:-1], strict=True):
            if here != there:
                name, unit = _SET_AS.get(rule, (rule, 1))
                found.append(f"{name} is {here / unit:.15g}, and {there / unit:.15g} in the room")
        return found

    def pack(self) -> bytes:
        """Their bytes."""
        return _RULES.pack(*self[:-1], self.room.encode())

    @classmethod
    def unpack(cls, body: bytes) -> Rules:
        """The rules in `body`. Raises struct.error when it is too short or too long."""
        *numbers, room = _RULES.unpack(body)
        return cls._make((*numbers, room.rstrip(b"\0").decode()))


class Genesis(NamedTuple):
    """The body of GENESIS: the room's instance, the ticket of its first member, and its rules."""

    instance: int
    first_ticket: int
    rules: Rules

    def pack(self) -> bytes:
        """The bytes of the body."""
        return _GENESIS.pack(self.instance, self.first_ticket) + self.rules.pack()

    @classmethod
    def unpack(cls, body: bytes) -> Genesis:
        """The genesis in `body`."""
        instance, first_ticket = _GENESIS.unpack(body[: _GENESIS.size])
        return cls(instance, first_ticket, Rules.unpack(body[_GENESIS.size :]))


class Up(NamedTuple):
    """The body of UP: the newest version that the server speaks, and its name."""

    spoken: int
    name: str

    def pack(self) -> bytes:
        """The bytes of the body."""
        name = self.name.encode()
        return _UP.pack(self.spoken, len(name)) + name

    @classmethod
    def unpack(cls, body: bytes) -> Up:
        """The UP in `body`."""
        spoken, size = _UP.unpack(body[: _UP.size])
        name = body[_UP.size :]
        if len(name) != size:
            raise error(f"a name of {size} bytes in {len(name)}")
        return cls(spoken, name.decode())


class Down(NamedTuple):
    """The body of DOWN: the incarnation that is taken for dead, and the last `n` that was read of it."""

    incarnation: int
    n: int

    def pack(self) -> bytes:
        """The bytes of the body."""
        return _DOWN.pack(*self)

    @classmethod
    def unpack(cls, body: bytes) -> Down:
        """The DOWN in `body`."""
        return cls(*_DOWN.unpack(body))


def pack_version(version: int) -> bytes:
    """The bytes of the body of VERSION."""
    return _VERSION.pack(version)


def unpack_version(body: bytes) -> int:
    """The version in the body of VERSION."""
    (version,) = _VERSION.unpack(body)
    return int(version)


def unpack(seq: int, data: bytes) -> Entry:
    """The entry in `data`, which has the sequence number `seq` in the log. Raises LogBroken when it is none."""
    if len(data) < ENTRY_OVERHEAD:
        raise LogBroken(f"entry {seq} of the log has {len(data)} bytes, fewer than any entry: {RESTORE}")
    if data[0] != FORMAT:
        raise LogBroken(
            f"entry {seq} of the log has the format {data[0]}, this server reads {FORMAT}: upgrade it; or, if "
            f"something else than a rankmux server wrote that, {RESTORE}"
        )
    if crc32(memoryview(data)[: -_CRC.size]) != _CRC.unpack(data[-_CRC.size :])[0]:
        raise LogBroken(f"entry {seq} of the log is damaged, its checksum is wrong: {RESTORE}")
    _, kind, version, incarnation, n, clock_ms, seen, chain = _HEAD.unpack_from(data)
    known = _KINDS.get(kind)
    if known is None:
        raise LogBroken(
            f"entry {seq} of the log is of the kind {kind} of version {version}: upgrade this server"
        )
    body = data[_HEAD.size : -_CRC.size]
    return Entry(known, version, incarnation, n, clock_ms, seen, chain, body)
