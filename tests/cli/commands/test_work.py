"""rankmux-client work: programs for commands, their deadlines, hooks."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from pathlib import Path

import pytest

from rankmux import Client
from rankmux.codes import Status
from rankmux.server.server import Server
from rankmux.wire import ErrorFrame, Execute

from ...support.fake_server import Connection, FakeServer
from ...support.script import ENDING, PATIENCE_S, Script, alive, code_of, eventually, run


def test_the_program_gets_the_payload_and_its_circumstances(scene):
    client = scene.client()
    scene.work('cat; echo " $RANKMUX_RANK $RANKMUX_SENDER_RANK $RANKMUX_SEQ ${RANKMUX_DEADLINE%%.*}"')
    receipt = client.command("print", results=True, timeout=8.5)
    [result] = receipt.gather()
    assert (result.status, result.text) == (Status.OK, f"print 1 0 {receipt.seq} 8\n")


def test_without_a_limit_there_is_no_deadline(scene, tmp_path):
    client = scene.client()
    told = tmp_path / "told"
    outer = {"RANKMUX_DEADLINE": "1.5"}  # as in a program started by another `work`
    scene.work(f'echo "${{RANKMUX_DEADLINE-none}}" > {told}.new; mv {told}.new {told}', env=outer)
    client.command("print")
    eventually(told.exists)
    assert told.read_text() == "none\n"


def test_the_payload_never_goes_through_a_shell(scene, tmp_path):
    client = scene.client()
    trap = tmp_path / "trap"
    payload = (
        f"$(touch {trap}); `touch {trap}`\n; touch {trap} | touch {trap} && touch {trap} '\" > {trap}\0$IFS"
    )
    scene.joined("work", "--", sys.executable, "-c", "import sys; sys.stdout.write(sys.stdin.read())")
    scene.joined("work", "--", "cat")
    results = client.command(payload, results=True).gather()
    assert [(result.status, result.text) for result in results] == [(Status.OK, payload)] * 2
    assert not trap.exists()


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (["sh", "-c", "exit 3"], "exit code 3"),
        (["sh", "-c", "kill -9 $$"], "ended by SIGKILL"),
    ],
)
def test_failures(scene, program, words):
    client = scene.client()
    scene.joined("work", "--", *program)
    [result] = client.command("print", results=True).gather()
    assert (result.status, result.text) == (Status.FAILED, words)


def test_output_comes_while_it_runs(scene, tmp_path):
    client = scene.client()
    gate = tmp_path / "gate"
    scene.work(f"echo first; while [ ! -e {gate} ]; do sleep 0.01; done; echo second")
    results = client.command("print", results=True).results(timeout=20)
    first = next(results)
    assert (first.status, first.text) == (Status.PART, "first\n")
    gate.touch()
    assert [(result.status, result.text) for result in results] == [
        (Status.PART, "second\n"),
        (Status.OK, ""),
    ]


def test_standard_error_is_part_of_the_result_unless_local(scene):
    client = scene.client()
    scene.work("echo oops >&2")
    worker = scene.work("echo oops >&2", "--local-errors")
    assert [result.text for result in client.command("print", results=True).gather()] == ["oops\n", ""]
    worker.until("oops", "err")


def test_output_is_bounded(scene):
    client = scene.client()
    scene.work("yes | head -c 5000000; exit 3", "--max-output", "100000")
    [result] = client.command("print", results=True).gather()
    note = b"exit code 3; the output was too long and has been cut"
    assert (result.status, len(result.payload), result.payload[-len(note) :]) == (
        Status.FAILED,
        100_000 + len(note),
        note,
    )


def test_a_program_that_reads_nothing(scene):
    client = scene.client()
    scene.work("exit 0")
    scene.work("exec <&-; echo done")
    results = client.command(b"x" * 65536, results=True).gather()
    assert [(result.status, result.text) for result in results] == [(Status.OK, ""), (Status.OK, "done\n")]


def test_background_processes_do_not_delay_the_result(scene):
    client = scene.client()
    scene.work("sleep 100 & echo $!")
    [result] = client.command("print", results=True, timeout=20).gather()
    assert result.status is Status.OK
    pid = int(result.text)
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)


def test_at_the_deadline_its_process_group_is_ended(scene, tmp_path):
    client = scene.client()
    polite, stubborn = tmp_path / "polite", tmp_path / "stubborn"
    scene.work(
        f"trap 'echo bye > {polite}.bye; exit' TERM; sleep 100 & echo $$ $! > {polite}; while :; do sleep 0.01; done"
    )
    worker = scene.work(
        f"trap '' TERM; sleep 100 & echo $$ $! > {stubborn}; while :; do sleep 1; done", "--grace", "0.2"
    )
    counts = client.command("print", results=True, timeout=1).wait()
    assert counts.expired == 2
    pids = [int(pid) for file in (polite, stubborn) for pid in file.read_text().split()]
    assert len(pids) == 4
    took_s = eventually(lambda: not any(alive(pid) for pid in pids), within_s=10)
    assert took_s < 3
    assert (tmp_path / "polite.bye").exists(), "SIGTERM came first"
    worker.until("stopped at its deadline")


def test_a_worker_that_is_killed_takes_all_its_programs_along(scene):
    client = scene.client()
    worker = scene.work(
        "trap '' TERM; sleep 100 & echo $! $$; while :; do sleep 0.1; done",
        "--parallel",
        "2",
        "--grace",
        "0.3",
    )
    receipts = [client.command("print", results=True) for _ in range(2)]
    pids = [int(pid) for receipt in receipts for pid in next(receipt.results(timeout=20)).text.split()]
    worker.process.kill()
    eventually(lambda: not any(alive(pid) for pid in pids), within_s=5)
    assert len(pids) == 4


def test_a_worker_that_is_killed_leaves_alone_what_an_ended_program_left_running(scene):
    client = scene.client()
    worker = scene.work("read c; case $c in left) sleep 100 & echo $!;; *) echo $$; exec sleep 100;; esac")
    [left] = client.command("left", results=True).gather(timeout=20)
    running = next(client.command("runs", results=True).results(timeout=20))
    worker.process.kill()
    eventually(lambda: not alive(int(running.text)), within_s=5)
    assert alive(int(left.text))
    os.kill(int(left.text), signal.SIGKILL)


def test_a_late_program_makes_room_for_the_next(scene):
    client = scene.client()
    scene.work('read c; case $c in slow) exec sleep 100;; esac; echo "$c"', "--grace", "0.2")
    slow = client.command("slow\n", results=True, timeout=0.5)
    late = client.command("late\n", results=True, timeout=0.4)
    quick = client.command("quick\n", results=True, timeout=20)
    assert (slow.wait().expired, late.wait().expired) == (1, 1)
    assert [result.text for result in quick.gather()] == ["quick\n"]


MEET = "read me; : > {0}/$me; while [ $(ls {0} | wc -l) -lt 2 ]; do sleep 0.01; done; echo met"


def test_parallel(scene, tmp_path):
    """Each program waits for the other one: they can only finish concurrently."""
    client = scene.client()
    place = tmp_path / "place"
    place.mkdir()
    scene.work(MEET.format(place), "--parallel", "2")
    receipts = [client.command(f"{name}\n", results=True, timeout=20) for name in "ab"]
    assert [receipt.gather()[0].text for receipt in receipts] == ["met\n", "met\n"]


def test_one_at_a_time_and_in_order_otherwise(scene, tmp_path):
    client = scene.client()
    log = tmp_path / "log"
    scene.work(f'read c; echo "begin $c" >> {log}; sleep 0.02; echo "end $c" >> {log}')
    receipts = [client.command(f"{n}\n", results=True) for n in range(6)]
    assert all(receipt.wait().ok == 1 for receipt in receipts)
    assert log.read_text().split("\n")[:-1] == [f"{what} {n}" for n in range(6) for what in ("begin", "end")]


def test_allow(scene):
    client = scene.client()
    scene.work("cat", "--allow", "deploy *", "--allow", "status")
    answers = {}
    for command in ("deploy 3", "deploy 3\n", "deploy 3\nrm", "status", "status\n", "status now", "rm", ""):
        [result] = client.command(command, results=True).gather()
        answers[command] = result.status
    ok = {"deploy 3", "deploy 3\n", "status", "status\n"}
    assert answers == {c: Status.OK if c in ok else Status.REJECTED for c in answers}


def test_no_line_break_of_any_kind_passes_allow(scene):
    """The rest would be a second command to a program that splits lines as Python does, or stops at a NUL."""
    client = scene.client()
    scene.work("cat", "--allow", "deploy *", "--allow", "two\n*")
    found = set("".join(map(chr, range(0x110000))).splitlines(keepends=True))
    breaks = [line[-1].encode() for line in found if line.splitlines() != [line]]
    assert len(breaks) == 10
    for line_break in [*breaks, b"\r\n", b"\0", b"\x85"]:
        for command in (b"deploy x%bshutdown now", b"deploy %b", b"two\nlines%bof it"):
            [result] = client.command(command % (line_break,), results=True).gather()
            allowed = command == b"deploy %b" and line_break == b"\n"  # the newline that `echo` writes
            assert result.status is (Status.OK if allowed else Status.REJECTED), (command, line_break)
    assert client.command("two\nlines", results=True).wait().ok == 1


def test_its_programs_command_through_its_seat(scene):
    client = scene.client()
    scene.work(f"{sys.executable} -m rankmux client send --wait --to next pass", "--local-errors")
    scene.work('cat; echo " from $RANKMUX_SENDER_RANK"')
    [result] = client.command("go", to=1, results=True).gather()
    assert (result.status, result.text.strip()) == (Status.OK, "pass from 1")


def test_hooks(tmp_path):
    ranks = tmp_path / "ranks"
    hook = tmp_path / "hook"
    hook.write_text(
        f'#!/bin/sh\necho "$1 $RANKMUX_RANK ${{RANKMUX_RANK_BEFORE-none}} $RANKMUX_TICKET" >> {ranks}\n'
    )
    hook.chmod(0o700)
    lost = tmp_path / "lost"
    gone = f"sh -c 'sleep 0.2; echo \"$RANKMUX_REASON\" > {lost}'"
    with Server(port=0, seats=4, first_ticket=1) as server:
        hooks = ("--hook-promoted", f"{hook} 'the rank'", "--hook-lost", gone)
        with Client(*server.address):
            worker = Script("work", "--port", server.address[1], *hooks, "--", "cat")
            eventually(lambda: ranks.exists() and ranks.read_text() == "the rank 1 none 2\n")
        eventually(lambda: ranks.read_text() == "the rank 1 none 2\nthe rank 0 1 2\n")
        assert not lost.exists()
    with worker:
        assert worker.end() == 5, "once the hook has ended"
    assert "the server is going away" in lost.read_text()


def test_a_hook_that_runs_on_is_stopped_with_the_connection(tmp_path):
    with Server(port=0, seats=4) as server:
        worker = Script(
            "work",
            "--reconnect",
            "--port",
            server.address[1],
            "--hook-promoted",
            "sh -c 'echo service $$; exec sleep 100'",
            "--",
            "cat",
        )
        pid = int(worker.until(r"service (\d+)\n")[1])
        assert alive(pid)
    with worker:
        eventually(lambda: not alive(pid))
        assert worker.end(signal.SIGTERM) == 0


def test_no_hook_begins_any_more_once_it_is_to_end(scene):
    first, second = scene.client(), scene.client()
    worker = scene.work("cat", "--hook-promoted", "sh -c 'echo began; exec sleep 100'")
    worker.until("began")
    for client in (first, second):  # a new rank waits for the hook to end
        client.close()
    worker.until("New rank: 0 of 1")
    assert worker.end(signal.SIGTERM) == 0
    assert worker.out.count("began") == 1


@pytest.fixture
def vanishing(tmp_path) -> Path:
    """A program that is there at the start."""
    path = tmp_path / "program"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o700)
    return path


def test_a_program_that_was_deleted_after_the_start(scene, vanishing):
    client = scene.client()
    scene.joined("work", "--", vanishing)
    vanishing.unlink()
    [result] = client.command("print", results=True).gather()
    assert (result.status, result.text) == (
        Status.FAILED,
        f"cannot run {vanishing}: No such file or directory",
    )


@pytest.mark.parametrize("subcommand", ["work", "wait"])
@pytest.mark.parametrize(
    ("program", "code", "words"),
    [
        ("/no/such/program", 127, "cannot run /no/such/program: there is no such file"),
        ("no-such-program", 127, "cannot run no-such-program: there is no such program in PATH"),
        ("/etc", 126, "cannot run /etc: it is a directory"),
        ("/etc/passwd", 126, "cannot run /etc/passwd: it is not executable; chmod +x makes it so"),
        (os.fsdecode(b"/none\xff"), 127, r"cannot run /none\udcff: there is no such file"),
    ],
)
def test_a_program_that_cannot_be_run_is_reported_at_the_start(subcommand, program, code, words):
    """Before it joins: no server listens on that port."""
    assert run(subcommand, "--port", "1", "--", program) == (code, "", f"rankmux-client: {words}\n")


def test_a_hook_that_cannot_be_run_is_reported_at_the_start():
    code, _, err = run("work", "--port", "1", "--hook-lost", "/none -x", "--", "true")
    assert (code, err) == (
        2,
        "rankmux-client: --hook-lost is '/none -x': cannot run /none: there is no such file\n",
    )


def test_a_hook_that_was_deleted_after_the_start(scene, vanishing):
    """The worker reports it, and continues."""
    client = scene.client()
    worker = scene.work("cat", "--hook-promoted", vanishing)
    vanishing.unlink()
    client.close()
    worker.until("cannot run the hook")
    assert worker.process.poll() is None
    assert worker.end(signal.SIGTERM) == 0


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="a pipe's size is fixed")
def test_its_messages_need_not_be_read(scene):
    """It keeps working, keeps its seat, and reports dropped lines later; the program's errors do not matter here."""
    client = scene.client()
    worker = scene.work("cat 2>/dev/null")
    fcntl.fcntl(worker.process.stderr, fcntl.F_SETPIPE_SZ, 4096)
    receipts = [client.command(f"print {number}", results=True) for number in range(200)]
    assert [receipt.gather(PATIENCE_S)[0].text for receipt in receipts] == [
        f"print {number}" for number in range(200)
    ]
    worker.until("Command", "err")
    client.command("print", results=True).gather(PATIENCE_S)
    worker.until(r"\d\d+ lines were dropped because nobody read them\n", "err")


def test_it_ends_when_its_output_has_no_reader(scene):
    client = scene.client()
    worker = scene.work("cat")
    worker.stop_reading("err")
    receipt = client.command("print", results=True)
    assert worker.end() == 1
    assert receipt.wait(PATIENCE_S).total == 1


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_ends_the_programs_and_leaves(scene, number):
    client = scene.client()
    worker = scene.work("echo pid $$ >&2; sleep 100 & echo pid $! >&2; wait", "--local-errors")
    running = client.command("print", results=True)
    waiting = client.command("print", results=True)
    pids = [int(worker.until(rf"(?s)(?:pid \d+\n.*){{{n}}}pid (\d+)\n", "err")[1]) for n in range(2)]
    assert worker.end(number) == code_of(number)
    assert (running.wait().failed, waiting.wait().rejected) == (1, 1)
    eventually(lambda: not any(alive(pid) for pid in pids))


def test_it_reconnects_and_works_on(tmp_path):
    with Server(port=0, seats=4) as server:
        port = server.address[1]
        worker = Script("work", "--reconnect", "--port", port, "--", "cat")
        worker.until("Assigned rank: 0")
    with worker, Server(port=port, seats=4) as server, Client(*server.address) as client:
        eventually(lambda: len(client.who()) == 2)
        if client.rank == 0:
            [result] = client.command("print", results=True).gather()
            assert result.text == "print"
        assert worker.end(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--parallel", "0", "--", "cat"],
        ["--hook-lost", "'", "--", "cat"],
        ["--hook-promoted", "", "--", "cat"],
    ],
)
def test_usage(arguments):
    assert run("work", *arguments)[0] == 2


def test_texts_of_a_server_are_made_fit_for_the_environment(tmp_path):
    """NUL bytes and excessive lengths are not."""
    reason = tmp_path / "reason"

    def script(connection: Connection) -> None:
        connection.welcome()
        connection.send(Execute(12, 0, 1, 0, b"now it has joined"))
        connection.read_until(0x03)
        connection.send(ErrorFrame(1, "\x1b[2J\0" + "x" * 60_000))

    with FakeServer(script) as fake:
        hook = f"sh -c 'printf %s \"$RANKMUX_REASON\" > {reason}'"
        code, _, err = run("work", "--port", fake.port, "--hook-lost", hook, "--", "true")
    assert code == 5
    assert "Traceback" not in err, err
    said = reason.read_text()
    assert r"\x1b[2J\x00xxx" in said
    assert len(said) <= 4096
