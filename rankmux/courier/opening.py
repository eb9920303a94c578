"""Opening of the log: its stream is looked at, made or refused, and the entry found from which on it is read.

NATS may answer from a server that lags, after a change of leaders above all: that a log has lost entries, or is gone,
is believed once it has been said for some time.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from typing import Any, NamedTuple

from .connection import ApiError, Connection, Unreachable
from .frames import Position
from .judging import at_ms, has_quorum, stream_config, stream_faults
from .settings import CourierSettings
from .snapshots import newest_snapshot

__all__ = ["Opening", "Refused", "look", "open_log"]

_NOT_FOUND = 10059
_IN_USE = 10058
_NO_MESSAGE = 10037
_NOT_CLUSTERED = 10074
_BELIEVED_S = 5.0
_LOOK_S = 0.2


class Refused(Exception):
    """The log cannot be used; the text says what is wrong and what to do."""


class Opening(NamedTuple):
    """What the server is told, the snapshot that it needs or else the entry that it read last, and the next one."""

    position: Position
    data: bytes
    following: int


async def look(connection: Connection, settings: CourierSettings) -> dict[str, Any] | None:
    """What NATS says of the stream, None if there is none. Raises ApiError, Unreachable."""
    try:
        info = await connection.ask(f"STREAM.INFO.{settings.stream}")
    except ApiError as error:
        if error.code == _NOT_FOUND:
            return None
        raise
    if not has_quorum(info):
        raise Unreachable(
            f"most of the NATS servers that hold the stream {settings.stream} are away, or elect a leader: start them"
        )
    return info


async def open_log(
    connection: Connection, settings: CourierSettings, applied: int, created: str, *, following: int = 0
) -> Opening:
    """Find what is behind the entry `applied` of the log that was `created` then; "" for whatever is there.

    `following` is an entry that a consumer has left out. Raises Refused, ApiError, Unreachable.
    """
    info = await _settled(connection, settings, applied, created)
    faults = stream_faults(info["config"], settings, replicas=not created)
    if faults:
        raise Refused(faults)
    state, name = info["state"], str(info["created"])
    first, last = int(state["first_seq"]), int(state["last_seq"])
    position = Position(name, last, connection.entry_max, at_ms=at_ms(info))
    if created and name != created:
        return Opening(position, b"", applied + 1)
    if applied and applied + 1 >= first:
        if following and first <= following <= last:
            await _see(connection, settings, following)
        latest = await _entry(connection, settings, applied) if first <= applied <= last else None
        return Opening(position, latest or b"", applied + 1)
    seq, snapshot = await newest_snapshot(connection, settings, name)
    if seq > last:
        raise Refused(
            f"the stream {settings.stream} ends at entry {last}, its snapshot is of entry {seq}: the log was restored "
            f"from an older copy; begin a new room (`rankmux-server room reset {settings.room}`)"
        )
    if max(seq, applied) + 1 < first:
        has = f"the newest snapshot is of entry {seq}" if seq else "there is no snapshot"
        raise Refused(
            f"the stream {settings.stream} begins at entry {first}, and {has}: what lies between is lost; "
            f"begin a new room (`rankmux-server room reset {settings.room}`)"
        )
    if seq <= applied:
        return Opening(position, b"", applied + 1)
    position.snapshot_seq = seq
    return Opening(position, snapshot, seq + 1)


async def _settled(
    connection: Connection, settings: CourierSettings, applied: int, created: str
) -> dict[str, Any]:
    """What NATS says of the stream, made if nobody knew of one; once it is sure where that is bad news."""
    clock = asyncio.get_running_loop().time
    began = clock()
    while True:
        info = await look(connection, settings)
        if info is None and not created:
            info = await _make(connection, settings)
        elif info is not None and (
            (created and info["created"] != created) or info["state"]["last_seq"] >= applied
        ):
            return info
        if info is not None and not applied:
            return info
        if clock() >= began + _BELIEVED_S:
            break
        await asyncio.sleep(_LOOK_S)
    if info is None:
        raise Refused(
            f"the stream {settings.stream} was deleted while the room was open; restart the servers to begin a new room"
        )
    return info


async def _make(connection: Connection, settings: CourierSettings) -> dict[str, Any] | None:
    """Make the stream; None where another server was faster."""
    try:
        return await connection.ask(f"STREAM.CREATE.{settings.stream}", stream_config(settings))
    except ApiError as error:
        if error.code == _IN_USE:
            return None
        if error.code == _NOT_CLUSTERED:
            raise Refused(
                f"NATS cannot keep {settings.replicas} copies of the log, it is a single server: set cluster_replicas "
                "to 1, or use a cluster of NATS servers"
            ) from None
        raise


async def _see(connection: Connection, settings: CourierSettings, seq: int) -> None:
    """Have an entry shown that a consumer has left out."""
    if await _entry(connection, settings, seq) is None:
        raise Refused(
            f"the stream {settings.stream} has lost entry {seq} and has later ones; begin a new room (`rankmux-server "
            f"room reset {settings.room}`)"
        )


async def _entry(connection: Connection, settings: CourierSettings, seq: int) -> bytes | None:
    """An entry as it is stored, None if it is not there."""
    try:
        answer = await connection.ask(f"STREAM.MSG.GET.{settings.stream}", {"seq": seq})
    except ApiError as error:
        if error.code != _NO_MESSAGE:
            raise
        return None
    return b64decode(answer["message"].get("data", ""))
