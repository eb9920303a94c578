"""Attacks on the TLS layer: the rest of the loop continues, whatever work a connection causes in OpenSSL."""

from __future__ import annotations

from typing import Any

import pytest

from ..faults.witness import figure
from .conftest import Rigging, trials, twins
from .innocent import Reading, judged
from .scene import FLAGS, FULL, GRACE_S, Attack, Silent, stop_under_attack, under_attack

pytestmark = [pytest.mark.attack, pytest.mark.slow]

HANDSHAKE_S = 2.0
UPDATES_HANDSHAKE_S, STOCK_S = (12.0, 3.5) if FULL else (6.0, 1.6)
"""KeyUpdates are as slow to make as to read: the stock for a flood takes its time, and the deadline comes after it."""


def _scene(
    rig: Rigging, name: str, extension: bool, kind: str, handshake_s: float = HANDSHAKE_S, **options: object
) -> Reading:
    flags = (*FLAGS, "--tls-handshake-timeout-s", str(handshake_s))
    server = rig(40, *flags, extension=extension, transport="tls")
    innocent = server.join("innocent")
    silent = Silent(server) if kind == "key_updates" else None
    with Attack(server, kind, **options) as attack:
        reading = under_attack(server, innocent, attack, silent or Silent(server), handshake_s)
        stop_under_attack(server, reading, attack)
    assert attack.number("sent") > 1 << 16, "that was no flood"
    longest_s = attack.number("longest_s")
    reading.notes["the longest connection"] = f"{longest_s:.1f} s"
    if kind in {"key_updates", "drips"} and longest_s > handshake_s + reading.grace(GRACE_S):
        reading.wrong.append(f"an attacker without HELLO was not closed within {handshake_s + GRACE_S:g} s")
    figure("attack", f"{name}-{'extension' if extension else 'pure'}", str(reading))
    return reading


@twins("pure")
def test_key_updates_without_end(rig: Rigging, extension: bool) -> None:
    """Two connections without HELLO. They too are closed in time, while they go on sending."""
    options: dict[str, Any] = {"members": 2, "stock_s": STOCK_S}
    judged(lambda: _scene(rig, "key_updates", extension, "key_updates", UPDATES_HANDSHAKE_S, **options))


HANDSHAKES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "handshakes": ("extension", "handshakes", {"addresses": 4, "one_byte_records": False}),
    "cut_handshakes": ("pure", "handshakes", {"addresses": 4, "one_byte_records": True}),
    "drips": ("extension", "drips", {"addresses": 5}),
}
"""The twin that the short form tries it on, the attack and its options."""


@trials("name", {name: short for name, (short, _, _) in HANDSHAKES.items()})
def test_handshakes_without_end(rig: Rigging, name: str, extension: bool) -> None:
    _, kind, options = HANDSHAKES[name]
    judged(lambda: _scene(rig, name, extension, kind, **options))


@trials("members", {1: "", 8: "", 16: "extension"})
def test_records_of_one_byte(rig: Rigging, members: int, extension: bool) -> None:
    """As many as a core decrypts in some seconds, from members that otherwise do nothing wrong."""
    commands = {1: 8, 8: 2, 16: 1}[members]
    judged(
        lambda: _scene(
            rig,
            f"one_byte_records-{members}",
            extension,
            "one_byte_records",
            members=members,
            commands=commands,
            size=60_000,
        )
    )
