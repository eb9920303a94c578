"""rankmux-client wait: a leader lock for scripts."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from rankmux import Client
from rankmux.codes import ErrorCode
from rankmux.server.server import Server
from rankmux.wire import ErrorFrame, Rank

from ...support.fake_server import Connection, FakeServer
from ...support.script import ENDING, Running, Script, alive, code_of, eventually, run
from ...support.terminal import Terminal

SEND = f"{sys.executable} -m rankmux client send"


def test_it_returns_when_the_rank_is_reached(scene):
    code, out, err = scene.run("wait")
    assert (code, out, err) == (0, "", "Assigned rank: 0\n")


def test_it_waits_its_turn(scene):
    first = scene.client()
    script = scene.joined("wait", "--rank", "0")
    client = scene.client()
    assert [member.rank for member in client.who()] == [0, 1, 2]
    assert script.process.poll() is None
    first.close()
    assert script.end() == 0
    assert "New rank: 0 of 2, was 1" in script.err


def test_another_rank(scene):
    scene.client()
    assert scene.run("wait", "--rank", 1)[0] == 0
    assert scene.run("wait", "--rank", 7)[0] == 0, "a higher one will do"


def test_it_gives_up_in_time(scene):
    scene.client()
    code, _, err = scene.run("wait", "--timeout", "0.1")
    assert code == 3
    assert "rank 0 was not reached in time" in err


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 42", 42), ("kill -KILL $$", 137)])
def test_the_exit_code_is_the_programs(scene, script, code):
    assert scene.run("wait", "--", "sh", "-c", script)[0] == code


def test_a_program_that_cannot_be_run(scene, tmp_path):
    file = tmp_path / "file"
    file.touch(0o600)
    assert scene.run("wait", "--", tmp_path / "none")[0] == 127
    assert scene.run("wait", "--", file)[0] == 126


def test_the_program_has_our_standard_input_and_output(scene):
    code, out, _ = scene.run("wait", "--", "cat", text=b"through")
    assert (code, out) == (0, "through")


def test_the_program_gets_its_rank_in_the_environment(scene):
    script = 'echo $RANKMUX_RANK $RANKMUX_TICKET $RANKMUX_MEMBER_COUNT; [ -S "$RANKMUX_SEAT" ] && echo "$RANKMUX_SEAT"'
    code, out, _ = scene.run("wait", "--", "sh", "-c", script)
    assert code == 0
    told, seat = out.splitlines()
    rank, ticket, members = told.split()
    assert (rank, ticket.isdecimal(), members) == ("0", True, "1")
    assert not Path(seat).exists()
    assert not Path(seat).parent.exists(), "its private directory goes too"


def test_the_lock_moves_within_a_second_when_its_holder_is_killed(scene, tmp_path):
    """The program of the new holder then sends commands to the others through the held seat."""
    leads = "echo leads; exec sleep 100"
    first = scene.start("wait", "--rank", "0", "--", "sh", "-c", leads)
    first.until("leads")
    then = f"echo leads; {SEND} --wait --to next status; exec sleep 100"
    second = scene.joined("wait", "--rank", "0", "--", "sh", "-c", then)
    scene.work('echo "done for rank $RANKMUX_SENDER_RANK"')
    assert "leads" not in second.out
    killed_at = time.monotonic()
    first.process.kill()
    second.until("leads", "out")
    took_s = time.monotonic() - killed_at
    assert took_s < 1
    second.until("done for rank 0\n", "out")
    print(f"the lock moved in {took_s * 1000:.0f} ms")


@pytest.mark.parametrize("at_sigterm", ["-", ""], ids=["ends at SIGTERM", "ignores SIGTERM"])
def test_a_holder_that_is_killed_takes_its_programs_group_along(scene, at_sigterm):
    """Otherwise a child of a leader script would continue to lead beside the next leader."""
    lead = (
        f"trap {at_sigterm or repr('')} TERM; sleep 100 & echo pids $$ $!; while :; do wait; sleep 0.1; done"
    )
    holder = scene.start("wait", "--grace", "0.3", "--", "sh", "-c", lead)
    pids = [int(pid) for pid in holder.until(r"pids (\d+) (\d+)\n").groups()]
    holder.process.kill()
    eventually(lambda: not any(alive(pid) for pid in pids), within_s=5)


def test_background_processes_of_the_program_end_before_the_seat_is_left(scene):
    holder = scene.start("wait", "--", "sh", "-c", "sleep 100 & echo pid $!; exit 7")
    pid = int(holder.until(r"pid (\d+)\n")[1])
    assert holder.end() == 7
    assert not alive(pid)


def test_the_program_is_stopped_when_the_connection_is_lost(tmp_path):
    with Server(port=0, seats=4) as server:
        script = Script(
            "wait",
            "--port",
            server.address[1],
            "--",
            "sh",
            "-c",
            "trap 'echo cleaned; exit 9' TERM; echo ready; while :; do sleep 0.01; done",
        )
        script.until("ready")
    with script:
        assert script.end() == 5
        assert "cleaned" in script.out
        assert "stopping the program" in script.err


def test_a_seat_that_is_lost_as_its_turn_comes_starts_no_program():
    """The program would lead for a moment, and without a ticket."""

    def script(connection: Connection) -> None:
        connection.welcome()
        time.sleep(0.3)  # until it waits for the rank; the test holds even if it does not yet
        rank = Rank(seq=12, rank=0, members=1, cause=1)
        connection.send(rank, ErrorFrame(ErrorCode.SLOW, "took no bytes"))
        connection.until_gone()

    with FakeServer(script) as fake:
        code, out, err = run("wait", "--port", fake.port, "--", "echo", "leading")
    assert (code, out) == (5, "")
    assert "took no bytes" in err
    assert "stopping the program" not in err


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_stops_the_program_then_leaves(scene, number):
    """The seat is held until the program has ended, so that no other program begins before."""
    script = scene.start(
        "wait",
        "--",
        "sh",
        "-c",
        "trap 'sleep 0.3; echo cleaned; exit 9' TERM; echo ready; while :; do sleep 0.01; done",
    )
    script.until("ready")
    second = scene.start("wait", "--", "sh", "-c", "date +%s.%N")
    second.until("Assigned rank: 1")
    assert script.end(number) == code_of(number)
    assert "cleaned" in script.out
    assert second.end() == 0
    assert "(a member above you left)" in second.err


def test_a_program_that_ignores_sigterm_is_killed_with_its_group(scene):
    script = scene.start(
        "wait",
        "--grace",
        "0.2",
        "--",
        "sh",
        "-c",
        "trap '' TERM; sleep 100 & echo pids $$ $!; while :; do sleep 100; done",
    )
    pids = [int(pid) for pid in script.until(r"pids (\d+) (\d+)\n").groups()]
    assert script.end(signal.SIGTERM) == 0
    eventually(lambda: not any(alive(pid) for pid in pids))


def test_a_second_signal_kills_at_once(scene):
    script = scene.start(
        "wait",
        "--grace",
        "100",
        "--",
        "sh",
        "-c",
        "trap 'echo no' TERM; echo ready; while :; do sleep 0.01; done",
    )
    script.until("ready")
    script.process.send_signal(signal.SIGTERM)
    script.until("no\n", "out")
    assert script.end(signal.SIGINT) == 0


_A_SHELL = """
import os, subprocess, sys
os.setsid()
with subprocess.Popen([sys.executable, *sys.argv[1:]], process_group=0) as job:
    print("job", job.pid, flush=True)
sys.exit(job.returncode)
"""
"""A shell with job control: its child has a separate process group, which the shell can continue."""


def state_of(pid):
    """R, S, T (stopped)..., as in /proc."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="states are read from /proc")
def test_its_program_does_not_go_on_alone(scene):
    """Ctrl-Z: another member gets the rank once the server misses our PONGs, so the program must not continue."""
    wait = ["-m", "rankmux", "client", "wait", "--port", scene.port]
    with Running("-c", _A_SHELL, *wait, "--", "sh", "-c", "sleep 100 & echo pids $$ $!; wait") as shell:
        holder = int(shell.until(r"job (\d+)\n")[1])
        pids = [holder, *(int(pid) for pid in shell.until(r"pids (\d+) (\d+)\n").groups())]
        for _ in range(2):
            os.kill(holder, signal.SIGTSTP)
            eventually(lambda: [state_of(pid) for pid in pids] == ["T"] * 3)
            os.kill(holder, signal.SIGCONT)
            eventually(lambda: "T" not in [state_of(pid) for pid in pids])
        os.kill(holder, signal.SIGTERM)
        assert shell.end() == 0


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="states are read from /proc")
@pytest.mark.parametrize("subcommand", [["hold"], ["wait", "--", "sh", "-c", "echo pid $$; exec sleep 100"]])
def test_ctrl_z_where_no_shell_could_let_it_go_on(scene, subcommand):
    """As under `ssh -t` or `docker exec`: it would stay stopped forever, and not react to Ctrl-C."""
    script = scene.joined(*subcommand, start_new_session=True)
    pids = [script.process.pid]
    if len(subcommand) > 1:
        pids.append(int(script.until(r"pid (\d+)\n")[1]))
    script.process.send_signal(signal.SIGTSTP)
    assert script.end(signal.SIGINT) == 130
    eventually(lambda: not any(alive(pid) for pid in pids))


def test_its_seat_executes_nothing(scene):
    with Client(*scene.server.address) as client:
        script = scene.joined("wait")
        receipt = client.command("print", results=True)
        assert receipt.wait().rejected == 1
        assert [result.text for result in receipt] == ["this seat executes nothing"]
    assert script.end() == 0


def test_full():
    with Server(port=0, seats=1) as server, Client(*server.address):
        code, _, err = run("wait", "--port", server.address[1])
    assert code == 5
    assert "no seat is free" in err


@pytest.mark.parametrize(
    "arguments", [["--rank", "-1"], ["--rank", "x"], ["--grace", "0"], ["--timeout", "0"]]
)
def test_usage(arguments):
    assert run("wait", *arguments)[0] == 2


def test_its_program_has_a_terminal_as_standard_input_alone(stack, server):
    """The program has standard input but no controlling terminal, as --help says."""
    program = "read line; echo got $line; (: < /dev/tty) 2>&1 | tail -c 30"
    terminal = stack.enter_context(Terminal("wait", "--port", server.address[1], "--", "sh", "-c", program))
    terminal.shows("Assigned rank: 0")
    terminal.type("typed\n")
    terminal.shows("got typed")
    terminal.shows(".*No such device or address.*")
    assert terminal.finish() == 0


def test_it_waits_for_a_server_and_again_after_a_lost_connection(tmp_path):
    """PROGRAM is stopped with the connection, and started again with the rank, one at a time."""
    log = tmp_path / "log"
    program = f"trap 'echo stopped >> {log}; exit' TERM; echo started >> {log}; while :; do sleep 0.05; done"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Script("wait", "--port", port, "--reconnect", "--", "sh", "-c", program) as script:
        script.until("nobody listens.*; trying again", "err")
        with Server(port=port, seats=4):
            eventually(lambda: log.exists() and log.read_text() == "started\n")
        eventually(lambda: log.read_text() == "started\nstopped\n")
        assert script.process.poll() is None
        with Server(port=port, seats=4):
            eventually(lambda: log.read_text() == "started\nstopped\nstarted\n")
            assert script.end(signal.SIGTERM) == 0
    assert log.read_text() == "started\nstopped\n" * 2


def test_a_program_that_is_slow_to_stop_has_ended_before_its_successor_starts(tmp_path):
    log = tmp_path / "log"
    program = f"trap 'sleep 1; echo stopped >> {log}; exit' TERM; echo started >> {log}; while :; do sleep 0.05; done"
    with Server(port=0, seats=4) as server:
        port = server.address[1]
        script = Script("wait", "--port", port, "--reconnect", "--", "sh", "-c", program)
        eventually(lambda: log.exists() and log.read_text() == "started\n")
    with script, Server(port=port, seats=4):
        script.until("Assigned rank: 0(.|\n)*Assigned rank: 0", "err")
        assert log.read_text() == "started\n"
        eventually(lambda: log.read_text() == "started\nstopped\nstarted\n")
        assert script.end(signal.SIGTERM) == 0


def test_without_a_program_it_waits_for_a_server_until_its_time_is_over():
    code, _, err = run("wait", "--port", "1", "--reconnect", "--timeout", "0.5")
    assert code == 3
    assert "; trying again" in err
