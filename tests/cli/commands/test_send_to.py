"""`rankmux-client send --to`: members by rank, ticket and name, looked up in one list and addressed by ticket."""

from __future__ import annotations

import pytest

from ...support.script import Stage, json_lines

NAMES = ("web-1", "web-2", "db-1")


@pytest.fixture
def seat(scene: Stage) -> object:
    """The held seat of a boss, between a member above and three workers below; each says its name."""
    scene.joined("hold", "--name", "web-0")
    path = scene.hold("--name", "boss")
    for name in NAMES:
        scene.work(f"echo {name}", "--name", name)
    return path


def ran(out: str) -> list[str]:
    return sorted(line.split()[-1] for line in out.splitlines())


def test_the_named_members_execute_it(scene, seat):
    for to, names in {
        "2": ["web-1"],
        "2-3": ["web-1", "web-2"],
        "2,4": ["db-1", "web-1"],
        "!db-*": ["web-1", "web-2"],
        "web-*,!web-1": ["web-2"],
        "next": ["web-1"],
    }.items():
        code, out, _ = scene.run("send", "--seat", seat, "--wait", "--to", to, "print")
        assert (code, ran(out)) == (0, names)
        code, out, _ = scene.run("send", "--seat", seat, "--dry-run", "--to", to)
        assert (code, ran(out)) == (0, names)


def test_a_ticket(scene, seat):
    members = json_lines(scene.run("who", "--seat", seat, "--json")[1])[0]["members"]
    to = f"ticket:{members[3]['ticket']}"
    assert scene.run("send", "--seat", seat, "--wait", "--to", to, "print")[:2] == (0, "web-2\n")


def test_a_target_that_matches_no_junior(scene, seat):
    for to, flag in {
        "mail-*": "--wait",
        "web-0": "--wait",
        "0": "--dry-run",
        "1": "--wait",
        "!*": "--fold",
    }.items():
        code, out, err = scene.run("send", "--seat", seat, flag, "--to", to, "print")
        assert (code, out) == (4, "")
        assert f"nobody below you is {to!r}" in err


def test_a_target_that_does_not_exist_is_reported(scene, seat):
    code, out, err = scene.run("send", "--seat", seat, "--wait", "--to", "web-1,web-9", "print")
    assert (code, ran(out)) == (0, ["web-1"])
    assert "nobody is 'web-9'" in err


def test_a_dry_run_sends_nothing(scene, seat):
    worker = scene.work("cat", "--name", "mail")
    code, out, err = scene.run("send", "--seat", seat, "--dry-run", "--json", "--to", "mail", "print")
    assert (code, err) == (0, "")
    [row] = json_lines(out)
    assert (row["rank"], row["name"]) == (5, "mail")
    assert scene.run("send", "--seat", seat, "--dry-run", "--to", "least")[1].split("\t")[2] == "web-1\n"
    assert scene.run("send", "--seat", seat, "--dry-run")[1].count("\n") == 4
    assert scene.run("send", "--seat", seat, "--wait", "--to", "mail", "sent")[0] == 0
    worker.until("Command .*: sent")
    assert "print" not in worker.err


def test_a_seat_of_its_own_looks_up_as_well(scene):
    """It joins before it waits for input, so later members are below it."""
    script = scene.start("send", "--wait", "--to", "web-*", "-")
    client = scene.client()
    while len(client.who()) < 2:
        pass
    client.close()
    for name in NAMES:
        scene.work(f"echo {name}", "--name", name)
    script.process.stdin.write(b"one\n")
    script.process.stdin.flush()
    script.until("2 ok: one", "err")
    assert script.end() == 0
    assert ran(script.out) == ["web-1", "web-2"]
    code, out, err = scene.run("send", "--to", "web-*", "two")
    assert (code, out) == (4, "")
    assert "RANKMUX_SEAT" in err, "a seat joined for this run has nobody below"


def test_more_tickets_than_fit_are_not_sent(scene, seat):
    text = b"x" * (65_536 - 8) + b"\n" + b"x" * (65_536 - 16) + b"\n"
    code, _, err = scene.run("send", "--seat", seat, "--wait", "--to", "web-1,db-1", "-", text=text)
    assert code == 2
    assert "the payload and the tickets of 2 members have 65544 bytes" in err
    assert err.count("2 ok: x") == 1
