"""`rankmux-server room reset`: with a real NATS server, and servers of the room that are up or not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rankmux.server.server import Server

from ..support.nats_nodes import Nodes, free_ports, nats_nodes

PATIENCE_STEPS = 400


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with nats_nodes(tmp_path_factory.mktemp("nats")) as nodes:
        yield nodes


def reset(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rankmux", "server", "room", "reset", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def up(nats: Nodes, room: str) -> Server:
    """A server that is up in that room."""
    server = Server(port=0, cluster=nats[0].url, room=room, server_name="s1", cluster_replicas=1)
    for _ in range(PATIENCE_STEPS):
        server.step(0.05)
        if server.ready:
            return server
    raise TimeoutError


def stop(server: Server) -> None:
    server.stop()
    server.serve_forever()


def test_a_room_begins_anew(nats: Nodes) -> None:
    server = up(nats, "one")
    first, seq = server.instance, server.log_seq
    stop(server)
    server = up(nats, "one")
    assert (server.instance, server.log_seq > seq) == (first, True)
    held = reset("one", "--cluster", nats[0].url)
    assert held.returncode == 4
    assert "servers of the room have written" in held.stderr
    stop(server)
    done = reset("one", "--cluster", nats[0].url, "--force")
    assert (done.returncode, done.stderr) == (0, "")
    assert "the room one had " in done.stdout
    server = up(nats, "one")
    assert server.instance != first
    assert server.log_seq == seq == 2  # GENESIS and UP
    stop(server)


def test_a_room_that_is_not_there(nats: Nodes) -> None:
    done = reset("nobody", "--cluster", nats[0].url)
    assert (done.returncode, done.stdout) == (0, "there was no room nobody\n")


def test_nats_is_away() -> None:
    done = reset("main", "--cluster", f"nats://127.0.0.1:{free_ports(1)[0]}")
    assert done.returncode == 5
    assert "NATS cannot be used" in done.stderr


def test_wrong_usage(tmp_path: Path) -> None:
    done = reset("main")
    assert done.returncode == 2
    assert "--cluster is ''" in done.stderr
    done = reset("main", "--cluster", "nats://127.0.0.1:1", "--cluster-creds", str(tmp_path / "none"))
    assert done.returncode == 2
    assert "cannot read the file" in done.stderr
    done = reset("a room", "--cluster", "nats://127.0.0.1:1")
    assert done.returncode == 2
    assert "room is 'a room'" in done.stderr
