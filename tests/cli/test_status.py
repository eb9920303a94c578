"""`rankmux-server status`, as a process beside a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..support.operated import operate, operated


@pytest.fixture
def where(tmp_path: Path) -> str:
    return str(tmp_path / "admin")


def test_lines_for_people_and_json(where: str) -> None:
    with operated(where) as server:
        first, _ = server.line(2)
        first.command(1)
        first.settle()
        code, out, _ = operate("status", "--admin-unix", where)
        assert code == 0
        lines = out.splitlines()
        assert lines[0].startswith(f"live on {server.host}:{server.port} for ")
        assert lines[1:3] == [
            "members: 2 of 4 seats; observers: 0",
            "since the start: 2 joined, 1 commands, 1 deliveries, 0 refused",
        ]
        code, out, _ = operate("status", "--json", RANKMUX_ADMIN_UNIX=where)
        totals = json.loads(out)
        assert (code, totals["members"], totals["state"]) == (0, 2, "live")


def test_no_server(where: str) -> None:
    assert operate("status", "--admin-unix", where)[0] == 5
    code, _, said = operate("status")
    assert (code, "--admin-unix PATH" in said) == (2, True)
