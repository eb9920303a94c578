"""The file deploy/compose-nats.conf: three NATS nodes with it, named as in compose.yml, hold the log of a room."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ...support.log_driver import LogDriver
from ...support.nats_nodes import Node, Nodes, free_ports

DEPLOY = Path(__file__).parents[3] / "deploy"
CONFIG = (DEPLOY / "compose-nats.conf").read_text()
COMPOSE = (DEPLOY / "compose.yml").read_text()
NAMES = re.findall(r"hostname: (nats\d)", COMPOSE)


@pytest.fixture(name="nodes")
def three_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """As compose starts them: but for addresses and folders, and without containers, which give each its HOSTNAME."""
    ports = free_ports(2 * len(NAMES))
    nodes = Nodes()
    for port, route, name in zip(ports, ports[len(NAMES) :], NAMES, strict=False):
        folder = tmp_path / name
        folder.mkdir()
        changes = {
            "0.0.0.0:4222": f"127.0.0.1:{port}",
            "0.0.0.0:6222": f"127.0.0.1:{route}",
            "/data": f"{folder}/store",
            **{f"{NAMES[at]}:6222": f"127.0.0.1:{ports[len(NAMES) + at]}" for at in range(len(NAMES))},
        }
        text = CONFIG
        for old, new in changes.items():
            assert text.count(old) == 1
            text = text.replace(old, new)
        config = folder / "nats.conf"
        config.write_text(text)
        nodes.append(Node(port, config, folder))
        monkeypatch.setenv("HOSTNAME", name)
        nodes[-1].start()
    try:
        nodes.await_ready()
        yield nodes
    finally:
        for node in nodes:
            node.kill()


def test_they_hold_the_log(nodes):
    """On all three, and with entries as large as the servers' payloads may be."""
    with LogDriver(nodes.urls, "main", replicas=len(NAMES)) as one:
        one.until_open()
        assert one.opened[0].entry_max >= (1 << 20) + 4096
        one.write([b"x" * ((1 << 20) + 4096)])
        one.until(lambda: one.idle)
    with nodes[0].api() as api:
        stream = api.request("$JS.API.STREAM.INFO.RM_main")
    assert stream["config"]["num_replicas"] == 3
    cluster = stream["cluster"]
    assert sorted([cluster["leader"], *(peer["name"] for peer in cluster["replicas"])]) == NAMES


def test_compose_gives_each_the_file():
    command = re.search(r"command: \[--config, (\S+)\]", COMPOSE)
    assert command is not None
    assert len(NAMES) == 3
    assert COMPOSE.count(f"./compose-nats.conf:{command[1]}:ro") == 3
