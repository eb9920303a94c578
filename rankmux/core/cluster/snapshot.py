"""The state of a fold as bytes: the same ones on every server that has read the same log.

Layout, big-endian:

u8 format · u64 seq · u32 chain · u16 version
the body of GENESIS (`entries`)
u32 servers that are up, each: u64 incarnation · u64 n · u16 spoken · u8 n, name[n]
                               · u32 n, n times (u64 serial · u64 ticket)
u32 n, incarnations that are dead u64[n]
u32 n, tickets that have been kicked, and are still there u64[n]
u32 n, the room (`core.room.snapshot`)
u32 CRC-32 of all of that
"""

from __future__ import annotations

import struct
from struct import Struct
from zlib import crc32

from ...errors import SnapshotError
from .entries import GENESIS_BYTES, Genesis
from .fold import Fold, Peer

__all__ = ["dump", "load"]

_FORMAT = 1
_HEAD = Struct("!BQIH")
_COUNT = Struct("!I")
_PEER = Struct("!QQHB")
_MEMBER = Struct("!QQ")
_NUMBER = Struct("!Q")


def dump(fold: Fold) -> bytes:
    """The bytes of `fold`, whose room has begun."""
    assert fold.genesis is not None
    out = bytearray(_HEAD.pack(_FORMAT, fold.seq, fold.chain, fold.version))
    out += fold.genesis.pack()
    out += _COUNT.pack(len(fold.up))
    for incarnation, peer in sorted(fold.up.items()):
        name = peer.name.encode()
        out += _PEER.pack(incarnation, peer.n, peer.spoken, len(name)) + name + _COUNT.pack(len(peer.tickets))
        for member in sorted(peer.tickets.items()):
            out += _MEMBER.pack(*member)
    out += _COUNT.pack(len(fold.dead))
    for incarnation in sorted(fold.dead):
        out += _NUMBER.pack(incarnation)
    out += _COUNT.pack(len(fold.kicked))
    for ticket in sorted(fold.kicked):
        out += _NUMBER.pack(ticket)
    room = fold.room.dump()
    out += _COUNT.pack(len(room)) + room
    return bytes(out + _COUNT.pack(crc32(out)))


def load(fold: Fold, data: bytes) -> None:
    """Make `fold`, which has read nothing, what was dumped as `data`.

    Raises SnapshotError when `data` is damaged, and LogBroken when the room has other rules.
    """
    try:
        _load(fold, data)
    except (struct.error, UnicodeDecodeError) as error:
        raise SnapshotError(str(error)) from None


def _load(fold: Fold, data: bytes) -> None:
    if len(data) < _HEAD.size or crc32(data[: -_COUNT.size]) != _COUNT.unpack(data[-_COUNT.size :])[0]:
        raise SnapshotError("its checksum is wrong")
    format_, seq, chain, version = _HEAD.unpack_from(data)
    if format_ != _FORMAT or version > fold.spoken:
        raise SnapshotError(f"it is of format {format_} and version {version}: upgrade this server")
    at = _HEAD.size + GENESIS_BYTES
    genesis = Genesis.unpack(data[_HEAD.size : at])
    fold.check(genesis.rules)

    def take(layout: Struct) -> tuple[int, ...]:
        nonlocal at
        at += layout.size
        return layout.unpack_from(data, at - layout.size)

    up: dict[int, Peer] = {}
    for _ in range(*take(_COUNT)):
        incarnation, n, spoken, size = take(_PEER)
        peer = up[incarnation] = Peer(data[at : at + size].decode(), spoken, n)
        at += size
        peer.tickets.update(take(_MEMBER) for _ in range(*take(_COUNT)))  # type: ignore[misc]
    dead = {take(_NUMBER)[0] for _ in range(*take(_COUNT))}
    kicked = {take(_NUMBER)[0] for _ in range(*take(_COUNT))}
    (size,) = take(_COUNT)
    fold.room.load(data[at : at + size])
    fold.genesis, fold.version = genesis, version
    fold.up, fold.dead, fold.kicked = up, dead, kicked
    for peer in up.values():
        for serial, ticket in peer.tickets.items():
            fold.hold(ticket, peer, serial)
    fold.resume(seq, chain)
