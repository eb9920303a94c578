"""A cluster with real NATS nodes and real servers: each fault once, a log that is not as it was, and wrong settings."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.nats_nodes import nats_nodes
from ..support.patience import until
from . import cluster_nemesis
from .cluster_nemesis import CLUSTER_FAULTS
from .cluster_rig import STREAM, ClusterRig, SharedServer, cluster

pytestmark = pytest.mark.slow


def test_each_fault_once() -> None:
    seed = random.getrandbits(32)
    flags = ("--cluster-fence-s", "8", "--cluster-down-s", "10")
    history, run = cluster_nemesis.check(20.0, seed, *flags, plan=[*CLUSTER_FAULTS])
    assert history.violations == []
    assert len(history.commands) > 500
    ran = {run.moods[life.ident.partition(".")[0]] for life in history.lives.values() if life.ran}
    assert ran == {"blocking", "asyncio"}, "these clients of the package ran commands"
    assert all(run.befell[what] for what in CLUSTER_FAULTS)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[ClusterRig]:
    """Two servers over one NATS node."""
    with cluster(tmp_path, nodes=1, servers=2) as made:
        yield made


def ask(rig: ClusterRig, what: str, body: object = None) -> dict[str, object]:
    with rig.nodes[0].api() as api:
        answer = api.request(f"$JS.API.STREAM.{what}.{STREAM}", body)
    assert "error" not in answer, answer
    return answer


def ended(server: SharedServer, *words: str) -> None:
    """It ends with exit code 3, and says why in its last line."""
    assert server.wait() == 3, server.log[-3000:]
    line = server.log.splitlines()[-1]
    assert all(word in line for word in words), line
    assert "Traceback" not in server.log


def test_the_log_is_deleted(rig: ClusterRig) -> None:
    ask(rig, "DELETE")
    for server in rig.servers:
        ended(server, STREAM, "deleted", "restart the servers")


def test_the_log_is_deleted_and_made_anew(rig: ClusterRig) -> None:
    config = ask(rig, "INFO")["config"]
    ask(rig, "DELETE")

    def made() -> bool:
        """NATS may not be done with the files of the one before."""
        with rig.nodes[0].api() as api:
            return "error" not in api.request(f"$JS.API.STREAM.CREATE.{STREAM}", config)

    until(made, 10, "NATS does not make the stream")
    for server in rig.servers:
        ended(server, "deleted and made anew")


def test_the_log_is_rolled_back(tmp_path: Path) -> None:
    """The node's files are put back to what they were some seconds ago."""
    with cluster(tmp_path, nodes=1, servers=2) as rig:
        (node,) = rig.nodes
        store, copy = tmp_path / "nats" / "n0" / "store", tmp_path / "copy"
        node.stop()
        shutil.copytree(store, copy)
        node.cont()
        seen = {server.room()["seq"] for server in rig.servers}
        time.sleep(3.0)  # ticks: three entries of each
        node.kill()
        shutil.rmtree(store)
        shutil.copytree(copy, store)
        node.start()
        assert seen
        for server in rig.servers:
            ended(server, "restored")


def test_the_log_is_full(tmp_path: Path) -> None:
    """Nothing can be written: servers let go of their members, and take some again once there is room."""
    flags = ("--cluster-fence-s", "4", "--cluster-down-s", "6", "--ping-ms", "1000")
    with cluster(tmp_path, *flags, nodes=1, servers=2) as rig:
        config = dict(ask(rig, "INFO")["config"])  # type: ignore[call-overload]
        ask(rig, "UPDATE", {**config, "max_bytes": 2000})
        for server in rig.servers:
            until(lambda server=server: "fence" in server.log or "dropped" in server.log, 20, server.log)  # type: ignore[misc]
            assert "full" in server.log or "maximum bytes" in server.log, server.log
        ask(rig, "UPDATE", config)
        rig.await_up()
        assert rig.equal()


def test_without_a_quorum(tmp_path: Path) -> None:
    """Of three NATS nodes one is left: no member believes in a rank that others may have, and then all goes on."""
    with cluster(tmp_path, "--cluster-fence-s", "4", "--cluster-down-s", "6", "--ping-ms", "1000") as rig:
        for node in rig.nodes[1:]:
            node.kill()
        for server in rig.servers:
            until(
                lambda server=server: "all members of this server are dropped" in server.log, 20, server.log
            )  # type: ignore[misc]
            assert not server.is_up()
        for node in rig.nodes[1:]:
            node.start()
        rig.await_up()


def test_wrong_credentials(tmp_path: Path) -> None:
    """It says so in its log, and waits: an operator may be in the middle of rotating them."""
    authorization = 'authorization { user: "rankmux", password: "right" }\n'
    with nats_nodes(tmp_path, extra=authorization, login="rankmux:right") as nodes:
        rig = ClusterRig(nodes, tmp_path, servers=0)
        server = SharedServer("s1", 0, [nodes[0].url], tmp_path, "--cluster-replicas", "1")
        rig.servers.append(server)
        try:
            server.start()
            until(lambda: "Authorization Violation" in server.log, 20, lambda: server.log)
            assert server.terminate() == 0
        finally:
            rig.close()


def test_two_servers_of_one_name(rig: ClusterRig, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    double = SharedServer("s1", 0, rig.links.urls(0), other, "--cluster-replicas", "1")
    rig.servers.append(double)
    double.start()
    text = "two servers of the room are called 's1'"
    until(lambda: text in rig.servers[0].log or text in double.log, 20, lambda: double.log)


def test_an_upgrade_one_by_one(rig: ClusterRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room speaks the newer version once the last old server is gone; after that, none of these can join."""
    monkeypatch.setenv("SETTLED_S", "3")
    for server in rig.servers:
        assert server.terminate() == 0
        assert "the room speaks version" not in server.log
        server.newer = True
        server.start()
        rig.await_up()
        assert rig.equal()
    for server in rig.servers:
        until(lambda server=server: "the room speaks version 2" in server.log, 10, lambda: rig.servers[0].log)  # type: ignore[misc]
    old = SharedServer("s3", 0, rig.links.urls(0), tmp_path, "--cluster-replicas", "1")
    rig.servers.append(old)
    old.start()
    ended(old, "upgrade")
    assert all(server.is_up() for server in rig.servers[:2])


def test_other_settings(rig: ClusterRig, tmp_path: Path) -> None:
    double = SharedServer("s3", 0, rig.links.urls(0), tmp_path, "--cluster-replicas", "1", seats=300)
    rig.servers.append(double)
    double.start()
    ended(double, "seats", "200", "300")
    assert all(server.is_up() for server in rig.servers[:2])
