"""The file deploy/nats.conf: what it lets a courier do is all that a courier does."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import nkeys
import pytest

from rankmux.courier.connection import Unreachable
from rankmux.courier.resetting import reset
from rankmux.courier.settings import CourierSettings

from ...support.log_driver import LogDriver
from ...support.nats_nodes import Node, free_ports

CONFIG = Path(__file__).parents[3] / "deploy" / "nats.conf"


def keys(path: Path) -> str:
    """A seed in a new file; its public key."""
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    path.write_bytes(seed + b"\n")
    path.chmod(0o600)
    return nkeys.from_seed(bytearray(seed)).public_key.decode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nats")


@pytest.fixture(scope="module")
def node(folder: Path) -> Iterator[Node]:
    """A server with that file: but for the addresses, the keys, and that it is one of one."""
    port = free_ports(1)[0]
    text = CONFIG.read_text()
    begin, end = text.index("\ncluster {"), text.index("\n}\n", text.index("\ncluster {"))
    text = text[:begin] + text[end + 3 :]
    changes = {
        "0.0.0.0:4222": f"127.0.0.1:{port}",
        "/var/lib/nats": f"{folder}/store",
        "U" + "A" * 55: keys(folder / "server.nk"),
        "U" + "B" * 55: keys(folder / "operator.nk"),
    }
    for old, new in changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    config = folder / "nats.conf"
    config.write_text(text)
    node = Node(port, config, folder)
    node.start()
    yield node
    node.kill()


def test_a_courier_needs_no_more(folder, node, caplog):
    """Append, read, snapshots, purge, a reader from a snapshot on: NATS logs each permission that is missing."""
    creds = str(folder / "server.nk")
    with LogDriver((node.url,), "main", creds=creds) as one:
        one.until_open()
        one.write(
            [b"x" * 1_000_000] * 8 + [b"entry %d" % number for number in range(92)]
        )  # enough for flow control
        one.until(lambda: one.idle)
        for seq in (20, 50, 80):
            one.log.store(seq, b"state" * 60_000)
            one.until(lambda seq=seq: one.log.stored == seq)
        with LogDriver((node.url,), "main", creds=creds) as new:
            new.until(lambda: new.seq == 100)
            assert (new.opened[0].snapshot_seq, new.opened[0].snapshot) == (80, b"state" * 60_000)
        with LogDriver((node.url,), "main", creds=creds) as below:
            below.until_open()
        assert one.opened[0].entry_max >= (1 << 20) + 4096
    assert "Violation" not in node.output
    assert [record.event for record in caplog.records if record.event == "log_stuck"] == []


def test_only_an_operator_may_reset(folder, node):
    def settings(key: str) -> CourierSettings:
        return CourierSettings((node.url,), "main", "reset", 1, str(folder / key))

    with LogDriver((node.url,), "main", creds=str(folder / "server.nk")) as one:
        one.until_open()
        last = one.opened[0].last
    with pytest.raises(Unreachable, match="NATS does not answer in time"):
        asyncio.run(reset(settings("server.nk"), 0))
    assert asyncio.run(reset(settings("operator.nk"), 0)) == last
    assert asyncio.run(reset(settings("operator.nk"), 0)) == 0


def test_a_seed_that_is_damaged_is_told_and_waited_for(folder, node):
    creds = folder / "damaged.creds"
    creds.write_text(
        "-----BEGIN NATS USER JWT-----\nabc\n------END NATS USER JWT------\n"
        "-----BEGIN USER NKEY SEED-----\nSUxx\n------END USER NKEY SEED------\n"
    )
    with LogDriver((node.url,), "main", creds=str(creds)) as one:
        one.until(lambda: "the nkey seed in the file of cluster_creds is damaged" in one.log.trouble)
        for _ in range(20):
            one.turn()
        assert one.log.restarts == 0


def test_a_file_that_is_away_for_a_moment_is_waited_for(folder, node):
    """A server that is up outlives it, also when its courier dies meanwhile."""
    creds, away = folder / "server.nk", folder / "away"
    with LogDriver((node.url,), "main", creds=str(creds)) as one:
        one.until_open()
        creds.rename(away)
        os.kill(one.log.pid, signal.SIGKILL)
        one.until(lambda: "cannot read the file" in one.log.trouble)
        away.rename(creds)
        one.write([b"entry"])
        one.until(lambda: one.idle)
        assert (one.failed, one.log.restarts) == ("", 1)


def test_a_courier_may_no_more(folder, node):
    with LogDriver((node.url,), "other", creds=str(folder / "server.nk")) as one:
        one.until(lambda: one.log.trouble)
        assert 'permissions violation for publish to "$js.api.stream.info.rm_other"' in one.log.trouble
