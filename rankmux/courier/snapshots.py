"""Snapshots in NATS's object store: two of them, written in turn, each said to be of which log and which entry.

A snapshot of a log that was deleted has the same name; only `created` tells them apart.
"""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64encode
from hashlib import sha256
from operator import attrgetter
from typing import Any, NamedTuple

import nats.errors
import nats.js.errors
from nats.js.api import ObjectMeta, ObjectStoreConfig, StorageType

from .connection import Connection, Unreachable
from .settings import CourierSettings

__all__ = ["Snapshot", "newest_snapshot", "store_snapshot"]

_NAMES = ("a", "b")
_ALL_S = 20.0


class Snapshot(NamedTuple):
    """Of the entry `seq`; how NATS calls it, and what it says of it."""

    seq: int
    name: str
    info: Any


async def newest_snapshot(
    connection: Connection, settings: CourierSettings, created: str
) -> tuple[int, bytes]:
    """The newest snapshot of the log that was `created` then: its entry and its bytes; 0 and none without one.

    One that cannot be read, perhaps as it is written anew, makes way for the older one. Raises Unreachable.
    """
    why = ""
    jetstream = connection.jetstream()
    try:
        store = await jetstream.object_store(settings.bucket)
        kept = sorted(await _kept(store, created), key=attrgetter("seq"), reverse=True)
        for one in kept:
            async with asyncio.timeout(_ALL_S):
                try:
                    return one.seq, await _read(jetstream, settings, one.info)
                except (_Damaged, nats.js.errors.NotFoundError) as error:
                    why = str(error)
    except nats.js.errors.NotFoundError:
        return 0, b""
    except (TimeoutError, OSError, nats.errors.Error) as error:
        why = _reason(error)
    if why:
        raise Unreachable(f"the snapshots cannot be read: {why}")
    return 0, b""


async def _read(jetstream: Any, settings: CourierSettings, info: Any) -> bytes:
    """The bytes of an object, one part after the other.

    nats-py's own way needs a consumer, and waits for ever should that lose a part.
    """
    subject = f"$O.{settings.bucket}.C.{info.nuid}"
    data, seq = bytearray(), 0
    for _ in range(info.chunks or 0):
        part = await jetstream.get_msg(f"OBJ_{settings.bucket}", seq=seq + 1, subject=subject, next=True)
        data += part.data or b""
        seq = part.seq
    digest = urlsafe_b64encode(sha256(data).digest()).decode()
    if info.digest != f"SHA-256={digest}":
        raise _Damaged("it is not what its digest says")
    return bytes(data)


class _Damaged(Exception):
    pass


async def store_snapshot(
    connection: Connection, settings: CourierSettings, created: str, seq: int, snapshot: bytes
) -> int:
    """Write the snapshot of the entry `seq` over the older one; the entry of the older one that is kept, or 0.

    Raises Unreachable.
    """
    try:
        async with asyncio.timeout(_ALL_S):
            store = await _open(connection, settings)
            kept = sorted(await _kept(store, created), key=attrgetter("seq"))
            if kept and kept[-1].seq >= seq:
                return 0
            free = [name for name in _NAMES if name not in {one.name for one in kept}]
            name = free[0] if free else kept[0].name
            said = json.dumps({"created": created, "seq": seq})
            await store.put(name, snapshot, ObjectMeta(name=name, description=said))
            return kept[-1].seq if kept else 0
    except (TimeoutError, OSError, nats.errors.Error) as error:
        raise Unreachable(f"the snapshot cannot be written: {_reason(error)}") from None


async def _open(connection: Connection, settings: CourierSettings) -> Any:
    """The object store, made if it is not there."""
    jetstream = connection.jetstream()
    try:
        return await jetstream.object_store(settings.bucket)
    except nats.js.errors.NotFoundError:
        config = ObjectStoreConfig(storage=StorageType.FILE, replicas=settings.replicas)
        return await jetstream.create_object_store(settings.bucket, config)


async def _kept(store: Any, created: str) -> list[Snapshot]:
    kept = []
    for name in _NAMES:
        try:
            info = await store.get_info(name)
        except nats.js.errors.NotFoundError:
            continue
        if seq := _seq_of(info, created):
            kept.append(Snapshot(seq, name, info))
    return kept


def _seq_of(info: Any, created: str) -> int:
    """The entry that an object is the snapshot of, 0 if it is of another log."""
    try:
        said = json.loads(info.description or "null")
        return int(said["seq"]) if said["created"] == created else 0
    except (KeyError, TypeError, ValueError):
        return 0


def _reason(error: Exception) -> str:
    return str(error).removeprefix("nats: ") or "NATS does not answer in time"
