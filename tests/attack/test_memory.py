"""The peak of memory under attack, against the formula of docs/reliability.md for the settings of the server."""

from __future__ import annotations

import time

import pytest

from rankmux.config import Config

from ..faults.rig import Rig
from ..faults.witness import figure
from ..support.memory_bound import most_bytes
from .conftest import Rigging, twins
from .innocent import Innocent, Reading
from .scene import FLAGS, FULL, Attack, stop_under_attack

pytestmark = [pytest.mark.attack, pytest.mark.slow]

SECONDS = 10.0 if FULL else 2.0
MEMBERS = 200
BIG_MEMBERS = 8


def _flags(seats: int, **settings: int) -> tuple[Config, list[str]]:
    """Settings, small except for those under attack, which so dominate the formula; and their flags."""
    chosen: dict[str, int] = {"waiting_max": 4, "waiting_total_max": 1000, "ping_ms": 60_000, **settings}
    config = Config(seats=seats, **chosen)  # type: ignore[arg-type]
    flags = [word for name, value in chosen.items() for word in ("--" + name.replace("_", "-"), str(value))]
    return config, flags


def _peak(
    rig: Rigging, extension: bool, config: Config, flags: list[str], kind: str, **options: object
) -> int:
    """The growth of the peak while an attack arrives in one turn, and for some seconds after it."""
    server: Rig = rig(config.seats, *FLAGS, *flags, extension=extension)
    innocent = server.join("innocent")
    with Attack(server, kind, **options) as attack:
        server.check()
        before = server.rss()
        with Innocent(server, innocent) as watched:
            with server.one_turn():
                attack.go()
            time.sleep(SECONDS)
        reading: Reading = watched.result()
        peak = server.peak() - before
        stop_under_attack(server, reading, attack)
    twin = "extension" if extension else "pure"
    held = f"{peak / 2**20:.0f} MiB of {most_bytes(config, 0) / 2**20:.0f} MiB"
    figure("attack", f"memory-{kind}-{options}-{twin}", f"{held}; {reading}")
    assert not reading.wrong, str(reading)
    return peak


@twins()
def test_last_bytes_together(rig: Rigging, extension: bool) -> None:
    """200 commands to all are completed at one moment; the bytes that the members sent earlier are already counted."""
    config, flags = _flags(MEMBERS + 5)
    peak = _peak(rig, extension, config, flags, "last_bytes", members=MEMBERS, size=1 << 16)
    partials = MEMBERS * (config.max_payload + 64)
    assert peak <= most_bytes(config, 0) - partials, "more than the formula says"


@twins("pure")
def test_last_bytes_of_big_payloads_together(rig: Rigging, extension: bool) -> None:
    config, flags = _flags(BIG_MEMBERS + 2, max_payload=16 << 20)
    peak = _peak(rig, extension, config, flags, "last_bytes", members=BIG_MEMBERS, size=16 << 20)
    partials = BIG_MEMBERS * (config.max_payload + 64)
    assert peak <= most_bytes(config, 0) - partials, "more than the formula says"


@twins()
def test_queries_for_all_members_together(rig: Rigging, extension: bool) -> None:
    """Every member asks for the list of all members, twenty times; and reads the answers."""
    config, flags = _flags(MEMBERS + 5)
    peak = _peak(rig, extension, config, flags, "queries", members=MEMBERS, asked=20, behind=0)
    assert peak <= most_bytes(config, 0), "more than the formula says"


@twins()
def test_frames_after_queries(rig: Rigging, extension: bool) -> None:
    """A query that waits for a turn delays the 64 KiB of small frames after it."""
    config, flags = _flags(MEMBERS + 5)
    peak = _peak(rig, extension, config, flags, "queries", members=MEMBERS, asked=30, behind=65_000)
    assert peak <= most_bytes(config, 0), "more than the formula says"
