"""Ctrl-C under `rankmux-client send --wait`: the command is cancelled, and so are the programs that run for it."""

from __future__ import annotations

import signal
import time
from contextlib import closing

import pytest

from ...protocol.frames import Execute, Stop
from ...protocol.peer import Peer
from ...support.script import ENDING, Script, alive, eventually, json_lines


def running_pid(worker: Script) -> int:
    return int(worker.until(r"pid (\d+)\n", "err")[1])


SLEEP = "echo pid $$ >&2; echo begun; sleep 100 & wait"


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("flags", [(), ("--to", "next"), ("--json",), ("--fold",)])
def test_the_first_cancels_and_shows_the_results_so_far(scene, number, flags):
    seat = scene.hold()
    worker = scene.work(SLEEP, "--local-errors")
    script = scene.start("send", "--seat", seat, "--wait", *flags, "print")
    pid = running_pid(worker)
    if "--fold" not in flags:
        script.until("begun", "out")
    begun = time.monotonic()
    assert script.end(number) == 130
    assert time.monotonic() - begun < 10
    assert "1 cancelled: print" in script.err
    assert "begun" in script.out or "--fold" in flags
    if "--json" in flags:
        assert json_lines(script.out)[-1]["counts"]["cancelled"] == 1
    worker.until(r"Command \d+, cancelled: print")
    eventually(lambda: not alive(pid))


def test_a_queued_command_never_starts(scene):
    seat = scene.hold()
    worker = scene.work(
        "read c; echo pid $$ >&2; echo $c begun >&2; [ $c = next ] || sleep 100", "--local-errors"
    )
    script = scene.start("send", "--seat", seat, "--wait", "-")
    script.process.stdin.write(b"one\ntwo\n")
    script.process.stdin.flush()
    running_pid(worker)
    script.process.send_signal(signal.SIGINT)
    assert script.end() == 130
    assert script.err.count("1 cancelled: ") == 2
    assert scene.run("send", "--seat", seat, "--wait", "next")[0] == 0
    worker.until("Cancelled, command .* two")
    worker.until("next begun", "err")
    assert "two begun" not in worker.err


def test_the_newest_is_cancelled_first(scene):
    """The end of an older one would let the next begin, at an executor that works through them one by one."""
    seat = scene.hold()
    with closing(Peer(*scene.server.address)) as executor:
        executor.hello("executor")
        script = scene.start("send", "--seat", seat, "--wait", "-")
        script.process.stdin.write(b"one\ntwo\nthree\n")
        script.process.stdin.flush()
        seqs = [executor.expect(Execute, payload=line).seq for line in (b"one", b"two", b"three")]
        script.process.send_signal(signal.SIGINT)
        for seq in reversed(seqs):
            executor.expect(Stop, seq=seq)
        assert script.end() == 130
        assert script.err.count("1 cancelled: ") == 3


def test_a_program_that_ignores_sigterm_is_killed(scene):
    seat = scene.hold()
    worker = scene.work(
        "trap '' TERM; echo pid $$ >&2; sleep 100; sleep 100", "--local-errors", "--grace", "0.2"
    )
    script = scene.start("send", "--seat", seat, "--wait", "print")
    pid = running_pid(worker)
    assert script.end(signal.SIGINT) == 130
    eventually(lambda: not alive(pid))


def test_the_second_ends_at_once(scene, tmp_path):
    """A holder that is stopped answers no CANCEL: the first waits two seconds, the second does not."""
    path = tmp_path / "seat"
    holder = scene.joined("hold", "--seat", path)
    worker = scene.work(SLEEP, "--local-errors", "--parallel", "2")
    for signals in (1, 2):
        script = scene.start("send", "--seat", path, "--wait", "print")
        worker.until(rf"(?s)(pid.*){{{signals}}}", "err")
        script.until("begun", "out")
        holder.process.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        for _ in range(signals):
            script.process.send_signal(signal.SIGINT)
            script.until("cancelling", "err")
        assert script.end() == 130
        took_s = time.monotonic() - begun
        assert (took_s >= 2.0) == (signals == 1)
        assert ("the outcome is not known: print" in script.err) == (signals == 1)
        holder.process.send_signal(signal.SIGCONT)


def test_without_wait_it_ends_at_once(scene):
    script = scene.start("send", "-")
    client = scene.client()
    while len(client.who()) < 2:
        pass
    assert script.end(signal.SIGINT) == 130


def test_a_seat_of_its_own_cancels_too(scene):
    script = scene.start("send", "--wait", "-")
    client = scene.client()
    while len(client.who()) < 2:
        pass
    client.close()
    worker = scene.work(SLEEP, "--local-errors")
    script.process.stdin.write(b"one\n")
    script.process.stdin.flush()
    pid = running_pid(worker)
    script.process.send_signal(signal.SIGINT)
    assert script.end() == 130
    assert "1 cancelled: one" in script.err
    eventually(lambda: not alive(pid))
