"""rankmux-client send: exit codes, output streams, held seats and its own seat."""

from __future__ import annotations

import base64
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rankmux import Client
from rankmux.server.server import Server

from ...support.script import PATIENCE_S, Script, environment, json_lines, run


def test_all_six_exit_codes(scene):
    seat = scene.hold()
    to = ("--seat", seat, "--wait", "--to")
    scene.work("exit 0")
    scene.work("exit 7")
    scene.work("exec sleep 100", "--grace", "0.1")
    assert scene.run("send", *to, 1, "print")[0] == 0
    assert scene.run("send", *to, 2, "print")[0] == 1
    assert scene.run("send", *to, "1,,2", "print")[0] == 2
    assert scene.run("send", *to, 3, "--timeout", "0.2", "print")[0] == 3
    assert scene.run("send", *to, 0, "print")[0] == 4
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert run("send", "--port", port, "print")[0] == 5


def test_several_ends_at_once_give_the_largest(scene):
    seat = scene.hold()
    scene.work("exit 0")
    scene.work("exit 7")
    code, out, err = scene.run("send", "--seat", seat, "--wait", "print")
    assert (code, out) == (1, "")
    assert "rank 2 failed: exit code 7" in err
    assert "1 ok, 1 failed: print" in err


def test_nobody_below_a_sender_without_a_held_seat(scene):
    scene.work("exit 0")
    code, out, err = scene.run("send", "print")
    assert (code, out) == (4, "")
    assert "nobody is below you" in err
    assert "RANKMUX_SEAT" in err


def test_nobody_below_a_held_seat(scene):
    seat = scene.hold()
    code, _, err = scene.run("send", "--seat", seat, "print")
    assert code == 4
    assert "RANKMUX_SEAT" not in err


def test_rejected_by_a_member_that_executes_nothing(scene):
    seat = scene.hold()
    scene.joined("hold")
    code, out, err = scene.run("send", "--seat", seat, "--wait", "print")
    assert (code, out) == (4, "")
    assert "rank 1 rejected it: this seat executes nothing" in err


def test_a_full_room_and_a_missing_token(tmp_path):
    with Server(port=0, seats=1) as server, Client(*server.address):
        code, _, err = run("send", "--port", server.address[1], "print")
    assert code == 5
    assert "no seat is free" in err
    with Server(port=0, seats=1, tokens=(b"secret",)) as server:
        code, _, err = run("send", "--port", server.address[1], "print")
    assert code == 5
    assert "token" in err


def test_no_seat_is_held_there(scene, tmp_path):
    code, out, err = scene.run("send", "--seat", tmp_path / "none", "print")
    assert (code, out) == (5, "")
    assert "no seat is held at" in err


def test_the_environment_names_the_seat(scene):
    seat = scene.hold()
    scene.work("cat")
    assert scene.run("send", "--wait", "--to", 1, "print", env={"RANKMUX_SEAT": seat})[:2] == (0, "print")


def test_without_wait_it_returns_when_dispatched(scene):
    seat = scene.hold()
    worker = scene.work("cat; exec sleep 100", "--grace", "0.1")
    code, out, err = scene.run("send", "--seat", seat, "print", "this")
    assert (code, out) == (0, "")
    assert err == "rankmux-client: sent to 1 member: print this\n"
    worker.until("Command 3 of rank 0: print this")


def test_output_of_several_is_prefixed_with_the_rank(scene):
    seat = scene.hold()
    scene.work("printf 'a\\nb'")
    scene.work("printf 'c\\n\\n'")
    code, out, _ = scene.run("send", "--seat", seat, "--wait", "print")
    assert code == 0
    assert sorted(out.splitlines()) == ["1: a", "1: b", "2: ", "2: c"]


def test_output_of_one_is_passed_on_unchanged(scene):
    seat = scene.hold()
    scene.work("cat")
    scene.work("exit 1")
    payload = bytes(range(256)) * 100
    payload = payload.replace(b"\0", b"").replace(b"\n", b"").strip()
    code, out, err = scene.run("send", "--seat", seat, "--wait", "--to", "next", "-", text=payload)
    assert (code, err.count("1 ok: ")) == (0, 1)
    assert out.encode(errors="surrogateescape") == payload


def test_json_keeps_a_character_whole_whose_bytes_come_in_two_parts(scene):
    seat = scene.hold()
    scene.work(r"printf 'one \342\202'; sleep 0.2; printf '\254 two \303'; exit 3")
    code, out, _ = scene.run("send", "--seat", seat, "--wait", "--json", "print")
    assert code == 1
    first, second, rest, end, _ = json_lines(out)
    assert (first["output"], second["output"]) == ("one ", "\u20ac two ")
    assert base64.b64decode(rest["output_base64"]) == b"\xc3", "what stays unfinished is not lost"
    assert (end["status"], end["exit_code"], end["error"]) == ("failed", 3, "exit code 3")


def test_results_are_shown_as_they_arrive(scene, tmp_path):
    seat = scene.hold()
    gate = tmp_path / "gate"
    scene.work(f"echo first; while [ ! -e {gate} ]; do sleep 0.01; done; echo second")
    script = scene.start("send", "--seat", seat, "--wait", "--to", "next", "print")
    script.until("first", "out")
    assert "second" not in script.out
    gate.touch()
    assert script.end() == 0
    assert script.out == "first\nsecond\n"


def test_commands_from_standard_input(scene):
    seat = scene.hold()
    scene.work("cat; echo")
    lines = [f"command {n}" for n in range(20)]
    code, out, _ = scene.run(
        "send", "--seat", seat, "--wait", "--to", "least", "-", text="\n\n".join(lines).encode()
    )
    assert code == 0
    assert out.splitlines() == lines


def test_lines_after_an_overlong_one_are_sent(scene):
    seat = scene.hold()
    scene.work("cat; echo")
    text = b"a" * 70_000 + b"\n" + b"b" * 300_000 + b"\nshort\n" + b"c" * 300_000
    code, out, err = scene.run("send", "--seat", seat, "--wait", "--to", "next", "-", text=text)
    assert (code, out) == (2, "short\n")
    assert err.count("not sent: ") == 3


def test_standard_input_is_read_after_joining(scene):
    """It joins before it waits for input: later members are below it."""
    script = scene.start("send", "--wait", "-")
    client = scene.client()
    while len(client.who()) < 2:
        pass
    client.close()
    scene.work("cat; echo")
    script.process.stdin.write(b"one\ntwo\n")
    script.process.stdin.flush()
    script.until("1: two", "out")
    assert script.end() == 0


def test_the_worst_of_many_commands_counts(scene):
    seat = scene.hold()
    scene.work('read c; [ "$c" = good ]')
    code, _, err = scene.run("send", "--seat", seat, "--wait", "--to", 1, "-", text=b"good\nbad\ngood\n")
    assert code == 1
    assert err.count("1 ok: good") == 2


def test_an_oversized_command_is_not_sent(scene):
    seat = scene.hold()
    scene.work("cat >/dev/null")
    text = b"x" * 70_000 + b"\n" + b"short\n"
    code, _, err = scene.run("send", "--seat", seat, "--wait", "-", text=text)
    assert code == 2
    assert "the payload has 70000 bytes" in err
    assert "1 ok: short" in err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--to", "all"],
        ["--to", "4294967296", "x"],
        ["--to", "5-1", "x"],
        ["--to", "1,", "x"],
        ["--to", "ticket:x", "x"],
        ["--to", "", "x"],
        ["--timeout", "0", "x"],
        ["--wai", "x"],
        ["--timeout", "x", "y"],
    ],
)
def test_usage(arguments):
    code, out, err = run("send", *arguments)
    assert (code, out) == (2, "")
    assert "rankmux-client send --help explains its usage" in err


def test_help_has_examples():
    code, out, _ = run("send", "--help")
    assert code == 0
    assert "examples:" in out
    assert "exit codes:" in out


def test_a_held_seat_lost_during_a_command(scene, tmp_path):
    path = tmp_path / "seat"
    holder = scene.joined("hold", "--seat", path)
    worker = scene.work("exec sleep 100", "--grace", "0.1")
    script = scene.start("send", "--seat", path, "--wait", "print")
    worker.until("Command 3")
    holder.process.kill()
    assert script.end() == 5
    assert "the outcome is not known: print" in script.err


def test_a_reader_that_closes_its_pipe(scene):
    seat = scene.hold()
    scene.work("yes | head -c 4000000")
    script = scene.start("send", "--seat", seat, "--wait", "--to", "next", "print")
    script.until("y", "out")
    script._poller.unregister(script.process.stdout.fileno())
    script.process.stdout.close()
    script.process.stdout = None
    assert script.end() == 1
    assert "Traceback" not in script.err


def test_lines_of_commands_under_way_together_are_not_mixed(scene, tmp_path):
    seat = scene.hold()
    both_begun = f"[ -e {tmp_path}/a ] && [ -e {tmp_path}/b ]"
    script = f"read c; printf $c; : > {tmp_path}/$c; until {both_begun}; do sleep 0.01; done; echo $c"
    scene.work(script, "--parallel", "2")
    code, out, _ = scene.run("send", "--seat", seat, "--wait", "-", text=b"a\nb\n")
    assert (code, sorted(out.splitlines())) == (0, ["1: aa", "1: bb"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("flags", [(), ("--json",), ("--to", "next")])
def test_a_full_output_device_is_reported_in_one_line(scene, flags):
    seat = scene.hold()
    scene.work("echo done")
    with (
        open("/dev/full", "wb") as full,
        Script("send", "--seat", seat, "--wait", *flags, "print", stdout=full) as script,
    ):
        assert script.end() == 1
    assert script.err == "rankmux-client: cannot write to standard output: No space left on device\n"


def test_a_standard_error_without_a_reader_changes_nothing(scene):
    seat = scene.hold()
    scene.work("echo done")
    reader, writer = os.pipe()
    os.close(reader)
    with Script("send", "--seat", seat, "--wait", "print", stderr=writer) as script:
        os.close(writer)
        assert script.end() == 0
    assert script.out == "1: done\n"


def test_a_pipe_that_others_made_non_blocking_is_waited_for(scene):
    seat = scene.hold()
    scene.work("yes | head -c 1000000")
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with Script("send", "--seat", seat, "--wait", "--to", "next", "print", stdout=writer) as script:
        os.close(writer)
        with open(reader, "rb") as output:
            assert len(output.read()) == 1_000_000
        assert script.end() == 0


@pytest.mark.parametrize("closed", [0, 1, 2])
@pytest.mark.parametrize(
    "arguments",
    [("send", "--wait", "-"), ("who",), ("wait", "--", "true"), ("man",), ("completion", "bash"), ()],
)
def test_a_standard_stream_may_be_closed(scene, closed, arguments):
    command = shlex.join([sys.executable, "-m", "rankmux", "client", *arguments])
    redirected = f"exec {command} {'<' if closed == 0 else closed}{'>' * (closed > 0)}&-"
    done = subprocess.run(
        ["sh", "-c", redirected],
        input=b"",
        capture_output=True,
        env=environment(RANKMUX_PORT=scene.port),
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
