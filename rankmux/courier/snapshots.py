"""Snapshots in NATS's object store: two of them, written in turn, each said to be of which log and which entry.

A snapshot of a log that was deleted has the same name; only `created` tells them apart.
"""

from __future__ import annotations

import asyncio
import json
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
    """Of the entry `seq`; where it lies."""

    seq: int
    name: str


async def newest_snapshot(
    connection: Connection, settings: CourierSettings, created: str
) -> tuple[int, bytes]:
    """The newest snapshot of the log that was `created` then: its entry and its bytes; 0 and none without one.

    One that cannot be read, perhaps as it is written anew, makes way for the older one. Raises Unreachable.
    """
    error: Exception | None = None
    try:
        store = await connection.jetstream().object_store(settings.bucket)
        kept = sorted(await _kept(store, created), reverse=True)
    except nats.js.errors.NotFoundError:
        return 0, b""
    except (TimeoutError, OSError, nats.errors.Error) as first:
        raise Unreachable(f"the snapshots cannot be read: {_reason(first)}") from None
    for one in kept:
        try:
            async with asyncio.timeout(_ALL_S):
                found = await store.get(one.name)
        except (TimeoutError, OSError, nats.errors.Error) as next_:
            error = next_
            continue
        if _seq_of(found.info, created) == one.seq:
            return one.seq, bytes(found.data)
    if kept:
        raise Unreachable(
            f"the snapshots cannot be read: {_reason(error) if error else 'they have just changed'}"
        )
    return 0, b""


async def store_snapshot(
    connection: Connection, settings: CourierSettings, created: str, seq: int, snapshot: bytes
) -> int:
    """Write the snapshot of the entry `seq` over the older one; the entry of the older one that is kept, or 0.

    Raises Unreachable.
    """
    try:
        async with asyncio.timeout(_ALL_S):
            store = await _open(connection, settings)
            kept = sorted(await _kept(store, created))
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
            kept.append(Snapshot(seq, name))
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
