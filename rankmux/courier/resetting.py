"""The reset of a room: its log and its snapshots are deleted, so that the next server begins a new one."""

from __future__ import annotations

import datetime as dt
from typing import Any

from .connection import ApiError, Connection, Unreachable
from .credentials import read_credentials, tls_context
from .opening import look
from .settings import CourierSettings, shown

__all__ = ["StillUp", "reset"]

_NOT_FOUND = 10059


class StillUp(Exception):
    """Servers of the room have written `age_s` seconds ago."""

    def __init__(self, age_s: float) -> None:
        super().__init__(age_s)
        self.age_s = age_s


async def reset(settings: CourierSettings, silent_s: float) -> int:
    """Delete the room's log; returns how many entries it held, 0 if there was none.

    Raises StillUp if the last entry is younger than `silent_s`; Unreachable, ApiError,
    ConfigError, OSError, ValueError.
    """
    tls = tls_context(settings)
    creds = read_credentials(settings.creds, private=True)
    errors = []
    for url in settings.urls:
        connection = Connection(settings, lambda _: None)
        try:
            await connection.dial(url, tls, creds)
            return await _reset(connection, settings, silent_s)
        except Unreachable as error:
            errors.append(f"{shown(url)}: {error}")
        finally:
            await connection.close()
    raise Unreachable("; ".join(errors))


async def _reset(connection: Connection, settings: CourierSettings, silent_s: float) -> int:
    info = await look(connection, settings)
    entries = 0
    if info is not None:
        state = info["state"]
        entries = state["last_seq"]
        age_s = _age_s(state, info.get("ts", ""))
        if entries and age_s < silent_s:
            raise StillUp(age_s)
        await connection.ask(f"STREAM.DELETE.{settings.stream}")
    try:
        await connection.ask(f"STREAM.DELETE.OBJ_{settings.bucket}")
    except ApiError as error:
        if error.code != _NOT_FOUND:
            raise
    return int(entries)


def _age_s(state: dict[str, Any], now: str) -> float:
    """How long ago the last entry was stored, by the clock of NATS."""
    try:
        return (_time(now) - _time(state["last_ts"])).total_seconds()
    except (KeyError, ValueError):
        return 0.0


def _time(text: str) -> dt.datetime:
    """A time as NATS writes it, with more digits than Python takes."""
    whole, _, rest = text.removesuffix("Z").partition(".")
    return dt.datetime.fromisoformat(f"{whole}.{rest[:6].ljust(6, '0')}+00:00")
