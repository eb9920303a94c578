"""Judgement of what NATS offers: its version, and the stream that holds the log.

A stream that drops entries, hides them or makes them up would give each server another room; so each setting that
could do that has one value, and a stream with another one is refused. Other settings are the operator's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .settings import CourierSettings

__all__ = [
    "LEAST_VERSION",
    "at_ms",
    "has_quorum",
    "is_too_old",
    "stream_config",
    "stream_faults",
    "too_old",
]

LEAST_VERSION = (2, 14)
"""Before it, `sync_interval: always` writes each entry several times, or is not there."""

_HEARD_NS = 4_000_000_000

_FIXED: dict[str, object] = {
    "retention": "limits",
    "storage": "file",
    "discard": "new",
    "max_msgs": -1,
    "max_msgs_per_subject": -1,
    "max_msg_size": -1,
    "max_consumers": -1,
    "max_age": 0,
    "deny_delete": True,
}
_OFF = (
    "allow_atomic",
    "allow_msg_counter",
    "allow_msg_schedules",
    "allow_msg_ttl",
    "allow_rollup_hdrs",
    "deny_purge",
    "discard_new_per_subject",
    "first_seq",
    "mirror",
    "no_ack",
    "persist_mode",
    "sealed",
    "sources",
    "subject_delete_marker_ttl",
    "subject_transform",
)


def at_ms(info: Mapping[str, Any]) -> int:
    """When NATS said that, in ms by its own clock; 0 if it does not tell."""
    return int(datetime.fromisoformat(info["ts"]).timestamp() * 1000) if "ts" in info else 0


def is_too_old(version: str) -> bool:
    """Whether a NATS server of that version is refused."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return not found or (int(found[1]), int(found[2])) < LEAST_VERSION


def too_old(version: str) -> str:
    """The text for such a server."""
    return f"NATS {version or 'of no version'} is too old: {'.'.join(map(str, LEAST_VERSION))} or newer is needed"


def stream_config(settings: CourierSettings) -> dict[str, object]:
    """The configuration with which the stream is made."""
    return {
        "name": settings.stream,
        "subjects": [settings.subject],
        "num_replicas": settings.replicas,
        "max_bytes": settings.max_bytes,
        "description": f"rankmux: the log of the room {settings.room}",
        **_FIXED,
    }


def stream_faults(config: Mapping[str, Any], settings: CourierSettings, *, replicas: bool) -> str:
    """What is wrong with a stream, with both values of each difference and what to do; empty if nothing is.

    Its number of copies is judged with `replicas`: not behind the start, so that an operator can change it.
    """
    wanted: dict[str, object] = {"subjects": [settings.subject], **_FIXED}
    if replicas:
        wanted["num_replicas"] = settings.replicas
    found = [
        f"{key} is {_text(config.get(key))}, expected {_text(value)}"
        for key, value in wanted.items()
        if config.get(key) != value
    ]
    found += [f"{key} is {_text(config[key])}, expected none" for key in _OFF if _is_on(config.get(key))]
    if not found:
        return ""
    if len(found) == 1 and found[0].startswith("num_replicas"):
        where = "set cluster_replicas to the same at all servers, or change it"
        return (
            f"{found[0]} by cluster_replicas: {where} (`nats stream edit {settings.stream} --replicas ...`)"
        )
    advice = (
        f"mend it (`nats stream edit {settings.stream}`), or begin a new room (`rankmux-server room reset "
        f"{settings.room}`)"
    )
    return f"the stream {settings.stream} cannot hold the log of a room: {'; '.join(found)}: {advice}"


def has_quorum(info: Mapping[str, Any]) -> bool:
    """Whether a leader says this of a stream, and has heard of enough of its followers.

    One that has lost them goes on for 20 seconds and stores nothing. What others say may be of an older state.
    """
    cluster = info.get("cluster") or {}
    followers = cluster.get("replicas") or []
    if followers and not cluster.get("leader"):
        return False
    heard = sum(
        follower.get("active", 0) < _HEARD_NS and not follower.get("offline") for follower in followers
    )
    return bool(2 * (heard + 1) > len(followers) + 1)


def _is_on(value: object) -> bool:
    return bool(value) and value != "default"  # of persist_mode


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None or value == {} else str(value)
