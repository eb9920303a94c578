"""The log in NATS, by way of a courier: order, what is wrong with a log and how it is told, couriers that die."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from rankmux.courier.judging import stream_config
from rankmux.courier.settings import CourierSettings
from rankmux.server.cluster.courier import CourierLog

from ...support.log_driver import LogDriver
from ...support.nats_nodes import Node, nats_nodes

ROOMS = (f"room{number}" for number in count())


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One NATS server; each test has a room of its own there."""
    with nats_nodes(tmp_path_factory.mktemp("nats"), sync_always=False) as nodes:
        yield nodes[0]


@pytest.fixture
def room() -> str:
    return next(ROOMS)


def entries(first: int, number: int = 100) -> list[bytes]:
    return [b"entry %d" % one for one in range(first, first + number)]


def make_stream(node: Node, room: str, **changed: object) -> None:
    config = stream_config(CourierSettings((), room, replicas=1)) | changed
    with node.api() as api:
        assert "error" not in api.request(f"$JS.API.STREAM.CREATE.RM_{room}", config)


def test_what_is_appended_is_read_back_in_order_by_all(node, room):
    with LogDriver((node.url,), room) as one, LogDriver((node.url,), room) as two:
        one.until_open()
        two.until_open()
        assert one.opened[0]._replace(at_ms=0) == two.opened[0]._replace(at_ms=0)
        assert abs(one.opened[0].at_ms - time.time() * 1000) < 30_000
        assert (one.opened[0].last, one.opened[0].entry_max) == (0, 1 << 20)
        one.write(entries(0))
        two.write(entries(1000))
        one.until(lambda: two.turn(0) or (one.seq == 200 and two.seq == 200))
        assert one.entries == two.entries
        assert [entry for entry in one.entries if entry in set(entries(0))] == entries(0)
        assert (len(one.opened), one.log.restarts, one.log.dropped) == (1, 0, 0)
    with LogDriver((node.url,), room, applied=150) as late:
        late.until(lambda: late.seq == 200)
        assert late.entries == one.entries[150:]
        assert late.opened[0].last == 200


def test_an_entry_may_be_as_large_as_nats_takes_it(node, room):
    with LogDriver((node.url,), room) as one:
        one.until_open()
        entry = os.urandom(one.opened[0].entry_max)
        one.write([b"", entry])
        one.until(lambda: one.idle)
        assert one.entries == [b"", entry]
        os.kill(one.log.pid, signal.SIGKILL)
        one.until(lambda: len(one.opened) == 2)
        assert one.opened[1].latest == entry


def test_a_first_entry_is_stored_only_in_an_empty_log(node, room):
    with LogDriver((node.url,), room) as one:
        one.until_open()
        for entry in (b"first", b"second"):
            one.log.append(entry, first=True)
        one.write([b"third"])
        one.until(lambda: one.idle)
        assert one.entries == [b"first", b"third"]
        assert one.log.trouble == ""  # to be late is none


def test_a_courier_that_is_killed_is_replaced_and_nothing_is_read_twice_or_not_at_all(node, room, caplog):
    with LogDriver((node.url,), room) as one, LogDriver((node.url,), room) as two:
        one.until_open()
        one.write(entries(0, 400))
        for at in (50, 200):
            one.until(lambda at=at: one.seq > at)
            pid = one.log.pid
            os.kill(pid, signal.SIGKILL)
            one.until(lambda pid=pid: one.log.pid not in {pid, None})
        one.until(lambda: one.idle)
        assert (one.log.restarts, set(one.entries)) == (2, set(entries(0, 400)))
        assert {opened.created for opened in one.opened} == {one.opened[0].created}
        two.until(lambda: two.seq == one.seq)
        assert two.entries == one.entries
    assert [record.facts["status"] for record in caplog.records if record.event == "courier_replaced"] == [
        -9
    ] * 2


@pytest.mark.parametrize("lacking", ["descriptors", "processes", "watches"])
def test_what_the_system_refuses_is_tried_again(node, room, monkeypatch, lacking):
    """A server that lacks something when its courier must be replaced goes on without one for a while."""
    with LogDriver((node.url,), room) as one:
        one.until_open()
        refused = Refusing(2)
        if lacking == "descriptors":
            monkeypatch.setattr(socket, "socketpair", refused.instead_of(socket.socketpair))
        elif lacking == "processes":
            monkeypatch.setattr(subprocess, "Popen", refused.instead_of(subprocess.Popen))
        else:
            monkeypatch.setattr(one.log, "_watch", refused.instead_of(one.log._watch, but=0))
        descriptors = len(os.listdir("/proc/self/fd"))
        os.kill(one.log.pid, signal.SIGKILL)
        one.until(lambda: refused.left == 0)
        one.write(entries(0))
        one.until(lambda: one.idle)
        assert one.log.restarts == 3
        assert set(one.entries) == set(entries(0))
        assert len(os.listdir("/proc/self/fd")) == descriptors


class Refusing:
    """Refuses the next `left` calls, but those with `but` as their last argument."""

    def __init__(self, left: int) -> None:
        self.left = left

    def instead_of(self, call, but: object = None):
        def called(*arguments: object, **named: object) -> object:
            if self.left and not (arguments and arguments[-1] == but):
                self.left -= 1
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return call(*arguments, **named)

        return called


def test_a_courier_that_hangs_is_replaced(node, room):
    with LogDriver((node.url,), room) as one:
        one.until_open()
        pid = one.log.pid
        os.kill(pid, signal.SIGSTOP)
        now = one.reactor.clock() + 0.5
        one.log.poll(now)
        while one.log.pid == pid:
            assert now < one.reactor.clock() + 10
            now += min(0.5, one.log.patience(now))
            one.log.poll(now)
        assert one.log.restarts == 1
        one.log.close()  # it lives by a clock that was put forward


def test_a_server_that_was_stopped_does_not_blame_its_courier(node, room):
    with LogDriver((node.url,), room) as one:
        one.until_open()
        one.log.poll(one.reactor.clock() + 1000)
        assert one.log.restarts == 0


def test_signals_to_all_processes_of_a_service_leave_the_courier_to_its_server(node, room):
    with LogDriver((node.url,), room) as one:
        one.until_open()
        pid = one.log.pid
        assert os.getsid(pid) == pid
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
        one.write(entries(0, 10))
        one.until(lambda: one.idle)
        assert one.log.pid == pid


def test_the_courier_ends_with_its_server(node, room, monkeypatch):
    """Whatever ends that: here nothing but the socket says so."""
    with LogDriver((node.url,), room) as one:
        one.until_open()
        process = one.log._process
        monkeypatch.setattr(process, "kill", lambda: None)
        one.log.close()  # waits for it
        assert process.returncode == 0


def test_the_courier_is_told_nothing_that_is_not_for_it(node, room, monkeypatch):
    monkeypatch.setenv("RANKMUX_TOKEN", "hidden")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    with LogDriver((f"nats://u:hidden@127.0.0.1:{node.port}",), room) as one:
        one.until_open()
        proc = Path(f"/proc/{one.log.pid}")
        said = (proc / "environ").read_bytes() + (proc / "cmdline").read_bytes()
        assert b"PATH" in said
        assert b"hidden" not in said
        assert b"NOTIFY" not in said


def test_entries_that_the_courier_does_not_take_are_dropped(node, room):
    with LogDriver((node.url,), room) as one:
        one.until_open()
        pid = one.log.pid
        os.kill(pid, signal.SIGSTOP)
        for _ in range(64):
            one.log.append(bytes(1 << 20))
        assert 64 > one.log.dropped > 40
        os.kill(pid, signal.SIGCONT)
        one.until(lambda: one.seq)  # what it has taken is stored


@pytest.mark.slow
def test_a_server_that_reads_slowly_holds_nats_back(node, room):
    """32 MB wait in NATS, not in the courier's memory."""
    with LogDriver((node.url,), room) as one:
        one.until_open()
        one.write([os.urandom(1 << 19) for _ in range(64)])
        one.until(lambda: one.idle, 30)
    with LogDriver((node.url,), room) as late:
        late.until_open()
        base = _memory(late.log.pid)
        until = time.monotonic() + 2.5
        while time.monotonic() < until:  # longer than a silent consumer would be given
            late.reactor.poll(0.1)
            late.log._heard = late.reactor.clock()
        assert _memory(late.log.pid) - base < 16 << 20
        late.until(lambda: late.seq >= one.seq)  # more, if some were sent twice
        assert late.entries[: one.seq] == one.entries
        assert late.log.restarts == 0


def _memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


# What is wrong with a log.


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"discard": "old"}, "discard is old, expected new"),
        ({"deny_delete": False}, "deny_delete is off, expected on"),
        ({"max_age": 10**12}, "max_age is 1000000000000, expected 0"),
        ({"subjects": ["other"]}, "subjects is other, expected rmx."),
    ],
)
def test_a_stream_that_is_set_otherwise_is_refused(node, room, changed, expected):
    make_stream(node, room, **changed)
    with LogDriver((node.url,), room) as one:
        assert expected in one.until_failed()
        assert f"nats stream edit RM_{room}" in one.failed


def test_a_stream_that_is_set_otherwise_later_is_noticed(node, room):
    with LogDriver((node.url,), room) as one:
        one.until_open()
        config = stream_config(one.log._settings) | {"discard": "old"}
        with node.api() as api:
            assert "error" not in api.request(f"$JS.API.STREAM.UPDATE.RM_{room}", config)
        assert "discard is old, expected new" in one.until_failed()


def test_more_copies_than_there_are_nats_servers(node, room):
    with LogDriver((node.url,), room, replicas=3) as one:
        assert "set cluster_replicas to 1" in one.until_failed()


@pytest.mark.slow
def test_a_stream_that_was_deleted_is_noticed(node, room):
    with LogDriver((node.url,), room) as one:
        one.until_open()
        one.write(entries(0))
        one.until(lambda: one.idle)
        with node.api() as api:
            api.request(f"$JS.API.STREAM.DELETE.RM_{room}")
        assert f"the stream RM_{room} was deleted" in one.until_failed()


def test_a_stream_that_was_made_anew_has_another_name(node, room):
    with LogDriver((node.url,), room) as one:
        one.until_open()
        one.write(entries(0))
        one.until(lambda: one.idle)
        with node.api() as api:
            api.request(f"$JS.API.STREAM.DELETE.RM_{room}")
            api.request(f"$JS.API.STREAM.CREATE.RM_{room}", stream_config(one.log._settings))
        one.until(lambda: one.opened[-1].created != one.opened[0].created)
        assert one.opened[-1].last == 0


def test_a_courier_that_is_replaced_notices_it_too(node, room):
    with LogDriver((node.url,), room) as one:
        one.until_open()
        os.kill(one.log.pid, signal.SIGSTOP)
        with node.api() as api:
            api.request(f"$JS.API.STREAM.DELETE.RM_{room}")
            api.request(f"$JS.API.STREAM.CREATE.RM_{room}", stream_config(one.log._settings))
        os.kill(one.log.pid, signal.SIGKILL)
        one.until(lambda: one.opened[-1].created != one.opened[0].created)


@pytest.mark.slow
def test_a_log_that_was_rolled_back_and_written_on_is_told_as_it_is(tmp_path):
    """Behind a break, the last entry that was read is shown as it is stored now."""
    store = tmp_path / "n0" / "store"
    with nats_nodes(tmp_path, 1) as nodes, LogDriver(nodes.urls, "back") as one:
        (node,) = nodes
        one.until_open()
        assert one.opened[0].latest == b""
        for first in (0, 5):
            one.write(entries(first, 5))
            one.until(lambda: one.idle)
            if not first:
                shutil.copytree(store, tmp_path / "copy")
        os.kill(one.log.pid, signal.SIGKILL)
        one.until(lambda: len(one.opened) == 2)
        assert one.opened[1].latest == one.entries[-1]
        os.kill(one.log.pid, signal.SIGSTOP)
        node.kill()
        shutil.rmtree(store)
        shutil.copytree(tmp_path / "copy", store)
        node.start()
        nodes.await_ready()
        with node.api() as api:
            for number in range(8):
                assert "error" not in api.request("rmx.back.log", b"other %d" % number)
        os.kill(one.log.pid, signal.SIGCONT)
        one.until(lambda: len(one.opened) == 3)
        assert (one.opened[2].last, one.opened[2].latest) == (13, b"other 4")


@pytest.mark.slow
def test_a_log_that_has_lost_entries_at_its_end_is_told_as_it_is(node, room):
    with LogDriver((node.url,), room, applied=7) as one:
        one.until_open()
        assert one.opened[0].last == 0


def test_a_log_that_has_lost_an_entry_in_between_is_refused(node, room):
    make_stream(node, room, deny_delete=False)
    with node.api() as api:
        for _ in range(3):
            api.request(f"rmx.{room}.log", b"entry")
        assert api.request(f"$JS.API.STREAM.MSG.DELETE.RM_{room}", {"seq": 2})["success"]
        config = stream_config(CourierSettings((), room, replicas=1))
        assert "error" not in api.request(f"$JS.API.STREAM.UPDATE.RM_{room}", config)
    with LogDriver((node.url,), room) as one:
        assert f"the stream RM_{room} has lost entry 2 and has later ones" in one.until_failed()
        assert one.entries == [b"entry"]


def test_a_full_log_is_told_and_moves_again(node, room, caplog):
    caplog.set_level(logging.INFO, "rankmux.server")
    make_stream(node, room, max_bytes=4000)
    with LogDriver((node.url,), room) as one:
        one.until_open()
        one.write([b"%d" % number * 500 for number in range(10)])
        one.until(lambda: one.log.trouble)
        assert "maximum bytes exceeded" in one.log.trouble
        assert f"nats stream edit RM_{room} --max-bytes" in one.log.trouble
        with node.api() as api:
            api.request(f"$JS.API.STREAM.UPDATE.RM_{room}", stream_config(one.log._settings))
        one.until(lambda: one.idle and not one.log.trouble)
        assert set(one.entries) == {b"%d" % number * 500 for number in range(10)}
    assert [record.event for record in caplog.records][1:] == ["log_stuck", "log_moves"]


# Snapshots.


def test_a_snapshot_is_read_instead_of_what_it_covers(node, room):
    with LogDriver((node.url,), room) as one:
        one.until_open()
        one.write(entries(0, 100))
        one.until(lambda: one.idle)
        for seq in (30, 60, 90):
            one.log.store(seq, b"state %d" % seq * 1000)
            one.until(lambda seq=seq: one.log.stored == seq)
        with node.api() as api:
            state = api.request(f"$JS.API.STREAM.INFO.RM_{room}")["state"]
            assert (state["first_seq"], state["last_seq"]) == (61, 100)
            store = api.request(f"$JS.API.STREAM.INFO.OBJ_rmx_{room}")["state"]
            assert store["messages"] == 4  # two objects, each with a description and a part
        with LogDriver((node.url,), room) as new:
            new.until(lambda: new.seq == 100)
            assert (new.opened[0].snapshot_seq, new.opened[0].snapshot) == (90, b"state 90" * 1000)
            assert new.entries == one.entries[90:]
        with LogDriver((node.url,), room, applied=70) as behind:  # what it needs is there
            behind.until(lambda: behind.seq == 100)
            assert (behind.opened[0].snapshot_seq, behind.opened[0].snapshot) == (0, b"")
        with LogDriver((node.url,), room, applied=20) as below:
            below.until(lambda: below.seq == 100)
            assert below.opened[0].snapshot_seq == 90
            assert below.entries == one.entries[90:]


def test_a_log_that_somebody_has_purged_gets_a_snapshot(node, room, caplog):
    """Without one, no server could begin with it any more."""
    with LogDriver((node.url,), room) as one:
        one.until_open()
        one.write(entries(0, 100))
        one.until(lambda: one.idle)
        with node.api() as api:
            api.request(f"$JS.API.STREAM.PURGE.RM_{room}", {"keep": 10})
        one.until(lambda: one.log.lacking)
        assert "begins at entry 91, and no snapshot reaches it" in one.log.trouble
        one.log.store(100, b"state 100")
        one.until(lambda: one.log.stored == 100 and not one.log.trouble)
        assert not one.log.lacking
        with LogDriver((node.url,), room) as new:
            new.until_open()
            assert (new.opened[0].snapshot_seq, new.opened[0].snapshot) == (100, b"state 100")
    assert [record.event for record in caplog.records if record.event == "log_stuck"] == ["log_stuck"]


def test_an_older_snapshot_than_the_last_is_not_written(node, room):
    with LogDriver((node.url,), room) as one:
        one.until_open()
        one.write(entries(0, 50))
        one.until(lambda: one.idle)
        for seq in (40, 20):
            one.log.store(seq, b"state %d" % seq)
            one.until(lambda seq=seq: one.log.stored == seq)
        with LogDriver((node.url,), room) as new:
            new.until_open()
            assert new.opened[0].snapshot == b"state 40"


def test_a_snapshot_of_an_earlier_log_is_none(node, room):
    with LogDriver((node.url,), room) as one:
        one.until_open()
        one.write(entries(0, 10))
        one.until(lambda: one.idle)
        one.log.store(10, b"state")
        one.until(lambda: one.log.stored)
    with node.api() as api:
        api.request(f"$JS.API.STREAM.DELETE.RM_{room}")
    with LogDriver((node.url,), room) as new:
        new.until_open()
        assert (new.opened[0].last, new.opened[0].snapshot_seq) == (0, 0)


@pytest.mark.parametrize("stored", [0, 20])
def test_a_log_whose_beginning_is_lost_is_refused(node, room, stored):
    with LogDriver((node.url,), room) as one:
        one.until_open()
        one.write(entries(0, 50))
        one.until(lambda: one.idle)
        if stored:
            one.log.store(stored, b"state")
            one.until(lambda: one.log.stored)
    with node.api() as api:
        assert api.request(f"$JS.API.STREAM.PURGE.RM_{room}", {"seq": 41})["success"]
    with LogDriver((node.url,), room) as new:
        has = "the newest snapshot is of entry 20" if stored else "there is no snapshot"
        assert f"the stream RM_{room} begins at entry 41, and {has}" in new.until_failed()


def test_a_snapshot_of_an_entry_that_the_log_does_not_have_is_refused(node, room):
    """The log was restored from an older copy, and its snapshots were not."""
    with LogDriver((node.url,), room) as one:
        one.until_open()
        one.write(entries(0, 10))
        one.until(lambda: one.idle)
        one.log.store(11, b"state")
        one.until(lambda: one.log.stored)
    with LogDriver((node.url,), room) as new:
        assert "snapshot" in new.until_failed()


def test_a_server_that_falls_below_the_first_entry_gets_the_snapshot(node, room):
    """While it does not look: its consumer would go on with the first entry, and say nothing."""
    with LogDriver((node.url,), room) as one, LogDriver((node.url,), room) as two:
        one.until_open()
        two.until_open()
        two.write(entries(0, 10))
        two.until(lambda: one.turn(0) or one.seq == 10)
        os.kill(one.log.pid, signal.SIGSTOP)
        two.write(entries(10, 90))
        two.until(lambda: two.idle)
        for seq in (50, 80):
            two.log.store(seq, b"state %d" % seq)
            two.until(lambda seq=seq: two.log.stored == seq)
        os.kill(one.log.pid, signal.SIGKILL)
        one.until(lambda: one.seq == 100)
        assert (one.opened[-1].snapshot_seq, one.opened[-1].snapshot) == (80, b"state 80")
        assert one.entries == two.entries[80:]


def test_close_leaves_no_process_and_no_descriptor(node, room):
    before = set(os.listdir("/proc/self/fd"))
    with LogDriver((node.url,), room) as one:
        one.until_open()
        pid = one.log.pid
    assert set(os.listdir("/proc/self/fd")) == before
    assert not Path(f"/proc/{pid}").exists()
    assert one.log.patience(0.0) == float("inf")
    assert one.log.poll(0.0) == []


def test_a_log_that_was_not_opened_does_nothing(node, room):
    log = CourierLog(CourierSettings((node.url,), room), lambda *_: None)
    log.append(b"entry")
    assert (log.poll(0.0), log.dropped, log.pid) == ([], 1, None)
    log.close()
