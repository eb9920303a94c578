"""Members that flood the server with small frames: PING, PONG, WHO, commands and results that no member waits for."""

from __future__ import annotations

import pytest

from ..faults.witness import figure
from .conftest import Rigging, chosen
from .innocent import Reading, judged
from .scene import FLAGS, Attack, Silent, stop_under_attack, under_attack

pytestmark = [pytest.mark.attack, pytest.mark.slow]

SEATS = 70
HANDSHAKE_S = 2.0
FLOODS = [
    ("pings", 1, True, ""),
    ("pings", 1, False, ""),
    ("pings", 16, True, "extension"),
    ("pings", 16, False, ""),
    ("pings", 63, True, ""),
    ("pings", 63, False, "pure"),
    ("pongs", 16, True, ""),
    ("who_none", 16, True, ""),
    ("who_all", 16, True, "pure"),
    ("who_all", 63, False, ""),
    ("not_lower", 16, True, "extension"),
    ("no_target", 1, True, ""),
    ("results", 16, True, "extension"),
    ("empty_commands", 16, True, "pure"),
    ("mix", 16, True, "extension pure"),
]
"""The frames, how many members send them, whether these read, and the twins that the short form tries it on."""


def _name(kind: str, members: int, reads: bool, extension: bool) -> str:
    return f"{kind}-{members}-{'reading' if reads else 'deaf'}-{'extension' if extension else 'pure'}"


SCENES = [
    pytest.param(kind, members, reads, extension, id=_name(kind, members, reads, extension))
    for kind, members, reads, short in FLOODS
    for extension in chosen(short)
]


@pytest.mark.parametrize(("kind", "members", "reads", "extension"), SCENES)
def test_a_flood_from_members(rig: Rigging, kind: str, members: int, reads: bool, extension: bool) -> None:
    def scene() -> Reading:
        server = rig(SEATS, *FLAGS, extension=extension)
        innocent = server.join("innocent")
        with Attack(server, "frames", kind=kind, members=members, reads=reads) as attack:
            reading = under_attack(server, innocent, attack, Silent(server), HANDSHAKE_S)
            stop_under_attack(server, reading, attack)
        assert attack.number("sent") > 1 << 16, "that was no flood"
        figure("attack", _name(kind, members, reads, extension), str(reading))
        return reading

    judged(scene)
