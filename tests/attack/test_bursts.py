"""Frames completed at the same moment: a member that reads is not evicted, and gets each of them once, in order."""

from __future__ import annotations

import pytest

from ..faults.witness import figure
from .conftest import Rigging, trials
from .innocent import Reading, judged, measured
from .scene import FLAGS, Attack, stop_under_attack

pytestmark = [pytest.mark.attack, pytest.mark.slow]

READERS = 5
PATIENCE_S = 20.0
SIZES = {"140-of-64-KiB": (140, 1 << 16, "pure"), "4-of-16-MiB": (4, 16 << 20, "extension")}


@trials("name", {name: short for name, (_, _, short) in SIZES.items()})
def test_last_bytes_that_come_together(rig: Rigging, name: str, extension: bool) -> None:
    """The sending members read too; the readers are below all of them, and receive every command."""
    members, size, _ = SIZES[name]

    def scene() -> Reading:
        flags = (*FLAGS, "--ping-ms", "60000", "--max-payload", str(size))
        server = rig(members + READERS + 2, *flags, extension=extension)
        innocent = server.join("innocent")
        with (
            Attack(server, "last_bytes", members=members, size=size) as attack,
            Attack(server, "readers", members=READERS, expected=members) as readers,
        ):
            readers.go()
            with measured(server, innocent) as watched:
                with server.one_turn():
                    attack.go()
                readers.finished(PATIENCE_S)
            reading = watched.result()
            report = readers.end()
            stop_under_attack(server, reading, attack)
        reading.wrong += _wrong(report, members, size)
        figure("attack", f"{name}-{'extension' if extension else 'pure'}", str(reading))
        return reading

    judged(scene)


def _wrong(report: dict[str, object], members: int, size: int) -> list[str]:
    """The frames missing at the readers, if any."""
    readers = report["readers"]
    assert isinstance(readers, list)
    orders = {tuple(reader["numbers"]) for reader in readers}
    got = [len(reader["numbers"]) for reader in readers]
    if errors := [reader["error"] for reader in readers if reader["error"]]:
        return [f"readers were evicted with ERROR {errors}, after {got} of {members} commands"]
    if len(orders) != 1 or sorted(next(iter(orders))) != list(range(members)):
        return [f"the readers did not all get each command once and in one order: {got} of {members}"]
    if not all(reader["in_order"] and reader["sizes"] == [size] and not reader["torn"] for reader in readers):
        return ["a command came torn, or not in the order of its seq"]
    return []
