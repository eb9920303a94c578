"""Every numeric setting at its bounds: the server starts, serves two members and stops."""

from __future__ import annotations

import pytest

from rankmux import Client
from rankmux.config import Config, Setting, settings
from rankmux.server.server import Server

# Without port 65,535, which may be taken, and without one seat, which is too few for two members.
BOUNDS = [
    (setting, bound)
    for setting in settings()
    for bound in ("low", "high")
    if setting.kind in (int, float) and (setting.name, bound) not in {("port", "high"), ("seats", "low")}
]


@pytest.mark.timeout(30)
@pytest.mark.parametrize(("setting", "bound"), BOUNDS, ids=[f"{s.name}-{bound}" for s, bound in BOUNDS])
def test_a_setting_at_its_bound(setting: Setting, bound: str) -> None:
    value = getattr(setting, bound)
    assert value is not None
    values = {"port": 0, setting.name: setting.kind(value)}
    if setting.name == "outbox_hard_bytes" and bound == "low":
        values["outbox_soft_bytes"] = 1024
    if setting.name == "outbox_soft_bytes" and bound == "high":
        values["outbox_hard_bytes"] = setting.kind(value)
    with Server(Config(**values)) as server:
        port = server.address[1]
        with Client("127.0.0.1", port) as first, Client("127.0.0.1", port) as second:
            first.command(b"x")
            assert second.rank == 1
