"""`rankmux-client send --batch`: a number of members at a time, until too many have failed."""

from __future__ import annotations

import signal

import pytest

from rankmux.cli.commands.batches import Batches

from ...support.script import json_lines

MEMBERS = [(rank, 10 - rank, f"web-{rank}") for rank in range(1, 6)]


def test_rank_order_and_rising_tickets():
    batches = Batches(MEMBERS[::-1], 2, 0)
    begun = []
    while batch := batches.begin():
        begun.append(batch)
        batches.ended(len(batch))
    assert begun == [(8, 9), (6, 7), (5,)]


@pytest.mark.parametrize(("most", "tried"), [(0, 2), (1, 4), (2, 5)])
def test_too_many_failures(most, tried):
    batches = Batches(MEMBERS, 2, most)
    while batch := batches.begin():
        batches.ended(len(batch) - 1)
    assert len(batches.rest) == 5 - tried


def test_a_batch_without_any_result_has_failed():
    batches = Batches(MEMBERS, 2, 1)
    assert batches.begin()
    assert not batches.begin()


@pytest.fixture
def seat(scene, tmp_path):
    path = scene.hold("--name", "boss")
    log = tmp_path / "log"
    for name in ("web-1", "db-1", "web-2", "web-3"):
        program = f"echo begin {name} >> {log}; sleep 0.1; echo end {name} >> {log}; [ {name} != web-2 ]"
        scene.work(program, "--name", name)
    return path


def test_one_after_the_other(scene, seat, tmp_path):
    flags = ("--seat", seat, "--batch", 1, "--max-failures", 1)
    code, _, err = scene.run("send", *flags, "--to", "web-*", "restart")
    assert (code, "not tried" in err) == (1, False)
    turns = [f"{step} web-{n}" for n in (1, 2, 3) for step in ("begin", "end")]
    assert (tmp_path / "log").read_text().splitlines() == turns


def test_the_rest_is_not_tried(scene, seat, tmp_path):
    code, out, err = scene.run("send", "--seat", seat, "--batch", 1, "--to", "web-*", "--json", "restart")
    assert code == 1
    assert "not tried: rank 4 (web-3)" in err
    last = json_lines(out)[-1]
    assert (last["status"], last["rank"], last["name"]) == ("not_tried", 4, "web-3")
    assert "web-3" not in (tmp_path / "log").read_text()


def test_a_member_that_departs_fails_in_its_batch(scene, seat):
    """A member that joins meanwhile is in no batch."""
    slow = scene.work("sleep 100", "--name", "web-4", "--grace", "0.1")
    script = scene.start("send", "--seat", seat, "--batch", 3, "--max-failures", 1, "restart")
    slow.until("Command")
    scene.work("echo never", "--name", "web-5")
    assert slow.end(signal.SIGTERM) == 0
    assert script.end() in {1, 4}
    assert "never" not in script.out


def test_nobody_below(scene):
    seat = scene.hold()
    assert scene.run("send", "--seat", seat, "--batch", 1, "restart")[0] == 4


@pytest.mark.parametrize(
    "flags",
    [
        ("--batch", "0", "x"),
        ("--max-failures", "1", "x"),
        ("--batch", "1", "-"),
        ("--batch", "1", "--to", "next", "x"),
    ],
)
def test_usage(scene, flags):
    assert scene.run("send", *flags)[0] == 2
