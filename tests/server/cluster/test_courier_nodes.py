"""The log in three NATS servers: killed, stopped, led by another one; nothing is missing, nothing is read twice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from ...support.log_driver import LogDriver
from ...support.nats_nodes import Node, Nodes, nats_nodes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with nats_nodes(tmp_path_factory.mktemp("nats"), 3) as nodes:
        yield nodes


class Pair:
    """Two servers that write and read all the time."""

    def __init__(self, nodes: Nodes, room: str) -> None:
        self.drivers = [LogDriver(nodes.urls, room, replicas=3, server_name=name) for name in "ab"]

    def __enter__(self) -> list[LogDriver]:
        for driver in self.drivers:
            driver.until_open()
        return self.drivers

    def __exit__(self, *exc_info: object) -> None:
        for driver in self.drivers:
            driver.__exit__()


def run(
    drivers: list[LogDriver], written: list[list[bytes]], done: Callable[[], object], within_s: float
) -> None:
    """Both write, ten entries a turn at most, until `done`."""
    until = time.monotonic() + within_s
    while not done():
        for name, (driver, own) in enumerate(zip(drivers, written, strict=True)):
            if driver.idle:
                entries = [b"%d %d" % (name, len(own) + at) for at in range(10)]
                own.extend(entries)
                driver.write(entries)
            driver.turn(0.01)
            assert not driver.failed, driver.failed
        if time.monotonic() > until:
            raise TimeoutError([(driver.seq, driver.log.trouble) for driver in drivers])


def flows(drivers: list[LogDriver]) -> Callable[[], bool]:
    """Whether each has since got entries of its own through the log."""
    begun = [driver.seq for driver in drivers]
    return lambda: all(driver.seq > before + 60 for driver, before in zip(drivers, begun, strict=True))


def kill(node: Node) -> Callable[[], None]:
    node.kill()
    return node.start


def stop(node: Node) -> Callable[[], None]:
    node.stop()
    return node.cont


def test_all_nodes_at_once(nodes: Nodes):
    """They hold what they have acknowledged, and the log goes on when they are back."""
    with Pair(nodes, "dark") as drivers:
        written: list[list[bytes]] = [[], []]
        run(drivers, written, flows(drivers), 10)
        for node in nodes:
            node.kill()
        one = drivers[0]
        one.until(lambda: one.log.trouble)
        assert all(
            f"127.0.0.1:{node.port}: Connection re" in one.log.trouble for node in nodes
        )  # refused, or reset
        before = list(one.entries)
        for node in nodes:
            node.start()
        run(drivers, written, flows(drivers), 40)
        assert one.entries[: len(before)] == before
        run(drivers, written, lambda: all(driver.idle for driver in drivers), 25)
        for driver, own in zip(drivers, written, strict=True):
            assert set(own) <= set(driver.entries)
            assert (driver.log.restarts, len({opened.created for opened in driver.opened})) == (0, 1)


def consumer_node(nodes: Nodes, stream: str) -> Node:
    """The node that serves the newest reader."""
    with nodes[0].api() as api:
        consumers = api.request(f"$JS.API.CONSUMER.LIST.{stream}")["consumers"]
    return nodes.by_name[max(consumers, key=lambda one: one["created"])["cluster"]["leader"]]


def test_a_node_that_has_lost_the_others_is_left(nodes: Nodes):
    """Its heartbeats go on, and nothing else does."""
    with LogDriver((nodes[0].url,), "alone", replicas=3) as one:
        one.until_open()
        while consumer_node(nodes, "RM_alone") is not nodes[0]:
            opened = len(one.opened)
            os.kill(one.log.pid, signal.SIGKILL)
            one.until(lambda opened=opened: len(one.opened) > opened)
        restarts = one.log.restarts
        for node in nodes[1:]:
            node.stop()
        one.write([b"entry"])
        left = f"the log cannot be used over 127.0.0.1:{nodes[0].port}: "
        one.until(lambda: one.log.trouble.startswith(left), 20)
        for node in nodes[1:]:
            node.cont()

        def goes_on() -> bool:
            if one.idle:
                one.write([b"more"])
            return one.log.trouble == "" and b"more" in one.entries

        one.until(goes_on, 20)
        assert (one.log.restarts, one.failed) == (restarts, "")


def test_nodes_that_are_killed_and_stopped_under_appends(nodes: Nodes):
    stream = "RM_storm"
    with Pair(nodes, "storm") as drivers:
        written: list[list[bytes]] = [[], []]
        run(drivers, written, flows(drivers), 10)
        for harm in (stop, kill):
            leader = nodes.leader_of(stream)
            mend = harm(leader)
            run(drivers, written, flows(drivers), 25)
            mend()
            run(drivers, written, flows(drivers), 25)
        for _ in range(3):
            with nodes.leader_of(stream).api() as api:
                assert api.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream}").get("success")
            run(drivers, written, flows(drivers), 25)
        run(drivers, written, lambda: all(driver.idle for driver in drivers), 25)
        last = max(driver.seq for driver in drivers)
        for driver in drivers:
            driver.until(lambda driver=driver: driver.seq >= last)
        shared = drivers[0].entries[:last]
        assert shared == drivers[1].entries[:last]
        for own in written:
            assert set(own) <= set(shared)
        assert [driver.log.restarts for driver in drivers] == [0, 0]
        assert {opened.created for driver in drivers for opened in driver.opened} == {
            drivers[0].opened[0].created
        }
        with LogDriver(nodes.urls, "storm", replicas=3) as late:
            late.until(lambda: late.seq >= last)
            assert late.entries[:last] == shared
