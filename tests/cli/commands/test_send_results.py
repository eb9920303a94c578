"""The results of `rankmux-client send`: names, JSON, folding, and members that were passed over."""

from __future__ import annotations

import base64
import os
import pwd
import signal

import pytest

from rankmux import Client

from ...support.script import Script, eventually, json_lines


def test_json(scene):
    seat = scene.hold()
    scene.work("printf '\\377'; exit 7", "--name", "web-1")
    code, out, _ = scene.run("send", "--seat", seat, "--wait", "--json", "print")
    assert code == 1
    part, end, done = json_lines(out)
    [member] = json_lines(scene.run("who", "--seat", seat, "--json")[1])[0]["members"][1:]
    about = {"command": "print", "id": 1, "seq": part["seq"]}
    member = {"rank": 1, "ticket": member["ticket"], "name": "web-1"}
    assert part == {**about, **member, "status": "part", "output_base64": base64.b64encode(b"\xff").decode()}
    assert end == {**about, **member, "status": "failed", "exit_code": 7, "error": "exit code 7"}
    counts = {"ok": 0, "failed": 1, "rejected": 0, "expired": 0, "left": 0, "cancelled": 0}
    assert done == {**about, "status": "done", "counts": counts, "executors": 1, "rejected": 0, "absent": 0}
    assert part["seq"] > 0


@pytest.mark.parametrize(
    ("program", "status", "code", "error"),
    [
        ("true", "ok", 0, None),
        ("kill -9 $$", "failed", 128 + signal.SIGKILL, "ended by SIGKILL"),
        ("sleep 100", "expired", None, "did not answer in time"),
    ],
)
def test_the_end_of_a_program_in_json(scene, program, status, code, error):
    seat = scene.hold()
    scene.work(program, "--grace", "0.1")
    out = scene.run("send", "--seat", seat, "--wait", "--json", "--timeout", "0.5", "print")[1]
    end = json_lines(out)[-2]
    assert (end["status"], end["exit_code"], end["error"]) == (status, code, error)


def test_json_of_a_refused_command(scene):
    seat = scene.hold()
    code, out, _ = scene.run("send", "--seat", seat, "--json", "print")
    [row] = json_lines(out)
    assert (code, row["status"], row["error"]) == (4, "refused", "nobody is below you")
    code, out, _ = scene.run("send", "--seat", seat, "--json", "--to", "web-*", "print")
    [row] = json_lines(out)
    assert (code, row["status"], row["error"]) == (4, "refused", "nobody below you is 'web-*'")


def test_json_without_waiting(scene):
    seat = scene.hold()
    scene.work("true")
    code, out, _ = scene.run("send", "--seat", seat, "--json", "print")
    [row] = json_lines(out)
    assert (code, row["status"], row["executors"], row["rejected"], row["absent"]) == (0, "sent", 1, 0, 0)


def test_lines_are_prefixed_with_names(scene):
    seat = scene.hold()
    scene.work("echo a", "--name", "web-1")
    scene.work("echo b; exit 3", "--name", "web-2")
    code, out, err = scene.run("send", "--seat", seat, "--wait", "print")
    assert (code, sorted(out.splitlines())) == (1, ["1 web-1: a", "2 web-2: b"])
    assert "rank 2 (web-2) failed: exit code 3" in err


def test_a_member_that_joined_after_the_list_has_its_name(scene):
    """The list is taken before the first command; a member that is not in it is looked up with its result."""
    seat = scene.hold()
    scene.work("cat; echo", "--name", "old")
    script = scene.start("send", "--seat", seat, "--wait", "-")
    script.process.stdin.write(b"one\n")
    script.process.stdin.flush()
    script.until("1 old: one\n", "out")
    scene.work("cat; echo", "--name", "new")
    script.process.stdin.write(b"two\n")
    script.process.stdin.flush()
    script.until("2 new: two\n", "out")
    assert script.end() == 0


@pytest.mark.slow
def test_folding(scene):
    seat = scene.hold()
    for name, text in (("a", "same"), ("b", "other"), ("c", "same"), ("d", "same")):
        scene.work(f"echo {text}; echo more", "--name", name)
    scene.work("exit 3", "--name", "e")
    code, out, err = scene.run("send", "--seat", seat, "--fold", "print")
    assert (code, err) == (1, "rankmux-client: 4 ok, 1 failed: print\n")
    assert out == "1, 3-4 (a, c, d):\n  same\n  more\n2 b:\n  other\n  more\n5 e failed: exit code 3\n"
    assert scene.run("send", "--fold", "--json", "print")[0] == 2


def test_members_above_are_reported_and_with_strict_an_error(scene):
    scene.joined("hold", "--name", "web-0")
    seat = scene.hold()
    scene.work("true", "--name", "web-1")
    for flags, code in (((), 0), (("--strict",), 4)):
        got, _, err = scene.run("send", "--seat", seat, "--wait", "--to", "web-*", *flags, "print")
        assert got == code
        assert "not for 1 member above you: print" in err
        assert "1 ok: print" in err
        got, _, err = scene.run("send", "--seat", seat, "--wait", "--to", "2,9", *flags, "print")
        assert (got, "nobody is '9'" in err) == (code, True)


def test_absent_members_are_reported_and_with_strict_an_error(scene, tmp_path):
    seat = scene.hold()
    scene.work("true", "--name", "here")
    away = Client(*scene.server.address, name="away", keep_s=60)
    away.close(leave=False)
    with scene.client(observe=True) as observer:
        eventually(lambda: observer.who()[-1].absent)
    for flags, code in (((), 0), (("--strict",), 4)):
        got, out, err = scene.run("send", "--seat", seat, "--wait", "--json", *flags, "print")
        assert got == code
        assert "passed over, absent: 1 member: print" in err
        done = json_lines(out)[-1]
        assert (done["executors"], done["absent"], done["counts"]["ok"]) == (1, 1, 1)
    assert scene.run("send", "--seat", seat, "--dry-run", "--to", "away")[0] == 4
    code, _, err = scene.run("send", "--seat", seat, "--to", "away", "print")
    assert (code, "absent" in err) == (4, True)


def test_a_member_is_called_by_its_user_and_host(scene):
    with Script("hold", "--port", scene.port) as script:
        script.until("Assigned rank")
        with scene.client(observe=True) as observer:
            [member] = observer.who()
    assert member.name == f"{pwd.getpwuid(os.getuid()).pw_name}@{os.uname().nodename}"
