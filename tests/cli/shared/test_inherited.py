"""Inherited process state: signals blocked or ignored, closed streams, no working directory."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from rankmux import Client

from ...support.script import PATIENCE_S, Running, environment, eventually

NEEDED = (signal.SIGTERM, signal.SIGCHLD)


def ignoring() -> None:
    for number in (*NEEDED, signal.SIGPIPE, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def blocking() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())


@pytest.mark.parametrize("parent", [ignoring, blocking])
def test_the_end_of_a_program_is_noticed(scene, parent):
    assert scene.run("wait", "--", "sh", "-c", "exit 7", preexec_fn=parent)[0] == 7


@pytest.mark.parametrize("parent", [ignoring, blocking])
@pytest.mark.parametrize("subcommand", [["hold"], ["wait", "--", "sleep", "100"], ["who", "--watch"]])
def test_sigterm_ends_us(scene, parent, subcommand):
    script = scene.start(*subcommand, preexec_fn=parent)
    script.until("Assigned rank|NAME")
    assert script.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("parent", [ignoring, blocking])
def test_sigterm_ends_a_server(parent):
    with Running("-m", "rankmux", "server", "--port", "0", preexec_fn=parent) as server:
        server.until("listening")
        assert server.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("parent", [ignoring, blocking])
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_program_gets_none_of_it(scene, parent):
    code, out, _ = scene.run(
        "wait", "--", "grep", "-E", "Sig(Blk|Ign)", "/proc/self/status", preexec_fn=parent
    )
    assert code == 0
    assert [int(line.split()[1], 16) for line in out.splitlines()] == [0, 0]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_program_gets_no_descriptors_but_the_standard_ones(scene):
    code, out, _ = scene.run("wait", "--", "ls", "/proc/self/fd")
    assert code == 0
    assert out.split() == ["0", "1", "2", "3"], "3 is that of ls"


def test_sigint_ignored_stays_ignored(scene):
    """Ctrl-C is not meant for a script's background job."""
    script = scene.start("hold", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    script.until("Assigned rank")
    script.process.send_signal(signal.SIGINT)
    assert script.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", "<&-", ">&-", "2>&-"])
@pytest.mark.parametrize(
    "command",
    [
        "client hold",
        "client wait -- true",
        "client work -- true",
        "client who",
        "client send x",
        "client --plain",
    ],
)
def test_closed_streams(scene, tmp_path, closed, command):
    """No socket gets the descriptor of a closed stream."""
    subcommand, _, rest = command.removeprefix("client ").partition(" ")
    line = f"exec {sys.executable} -m rankmux client {subcommand} --port {scene.port} {rest} {closed}"
    with ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(
                ["sh", "-c", line], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        )
        stack.callback(process.kill)
        if subcommand in {"hold", "work"}:
            client = scene.client()
            eventually(lambda: len(client.who()) > 1)
            process.terminate()
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert b"Traceback" not in errors
    assert process.returncode in {0, 4, 130}


def listens(path: Path) -> bool:
    """Whether a process listens on the Unix socket, which exists a moment earlier."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", "2>&-"])
def test_a_server_with_closed_streams(closed, tmp_path):
    path = tmp_path / "socket"
    line = f"exec {sys.executable} -m rankmux server --port 0 --unix {path} {closed}"
    with ExitStack() as stack:
        process = stack.enter_context(subprocess.Popen(["sh", "-c", line], env=environment()))
        stack.callback(process.kill)
        eventually(lambda: listens(path))
        with Client(unix=str(path)):  # by then it handles signals
            pass
        if sys.platform == "linux":
            links = [os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in range(3)]
            assert not [link for link in links if link.startswith("socket:")]
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def test_a_deleted_working_directory(scene, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    line = 'cd "$1"; rmdir "$1"; shift; exec "$@"'
    start = "import sys; from rankmux.cli.client import main; sys.exit(main())"
    for rest, code in [(["wait", "--", "echo", "runs"], 0), (["wait", "--seat", "relative"], 2)]:
        command = [sys.executable, "-c", start, rest[0], "--port", str(scene.port), *rest[1:]]
        done = subprocess.run(
            ["sh", "-c", line, "-", str(gone), *command],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            env=environment(),
            check=False,
        )
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        gone.mkdir(exist_ok=True)
