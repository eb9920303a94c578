"""The guardian: real processes in separate groups, and their end after ours."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from rankmux.cli.programs.guardian import Guardian
from rankmux.cli.programs.guardian_process import group_lives

from ...support.script import ENDING, alive, eventually

GRACE_S = 0.3
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.1; done"


@pytest.fixture
def guardian() -> Iterator[Guardian]:
    with closing(Guardian(GRACE_S)) as guardian:
        yield guardian


class Program(subprocess.Popen):
    """A guarded shell script in a separate group, which has written its first line."""

    def __init__(self, guardian: Guardian, script: str) -> None:
        guardian.ensure()
        super().__init__(
            ["sh", "-c", script],
            stdout=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=guardian.add_ourselves,
            restore_signals=False,
        )
        guardian.added(self.pid)
        self.guardian = guardian
        self.line = self.stdout.readline().decode()

    def __exit__(self, *_: object) -> None:
        if group_lives(self.pid):
            os.killpg(self.pid, signal.SIGKILL)
        self.stdout.close()
        self.wait()
        self.guardian.remove(self.pid)


def test_guarded_groups_end_with_the_pipe(guardian):
    with Program(guardian, "sleep 100 & echo $!; wait") as polite, Program(guardian, STUBBORN) as stubborn:
        guardian.close()
        assert polite.wait(10) == -signal.SIGTERM
        assert stubborn.wait(10) == -signal.SIGKILL
        eventually(lambda: not alive(int(polite.line)))


def test_a_connection_is_kept_open_until_the_programs_have_ended(guardian):
    near, far = socket.socketpair()
    with far, near:
        guardian.keep_open(near.fileno())
        with Program(guardian, STUBBORN) as program:
            near.close()
            guardian.close()
            assert far.recv(1) == b""
            assert group_lives(program.pid) is False
            assert program.wait(10) == -signal.SIGKILL


def test_a_stopped_program_gets_to_clean_up(guardian):
    with Program(guardian, "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done") as program:
        os.killpg(program.pid, signal.SIGSTOP)
        guardian.close()
        assert program.wait(10) == 9


def test_removed_groups_are_left_alone(guardian):
    with Program(guardian, "echo ready; exec sleep 100") as kept, Program(guardian, STUBBORN) as ended:
        guardian.remove(kept.pid)
        pid = guardian.pid
        guardian.close()
        assert ended.wait(10) == -signal.SIGKILL
        assert os.waitpid(pid, 0)[1] == 0, "it has ended by itself, and well"
        assert kept.poll() is None


@linux
@pytest.mark.parametrize("number", [*ENDING, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP])
def test_signals_do_not_reach_it(guardian, number):
    with Program(guardian, STUBBORN) as program:
        eventually(lambda: ignores(guardian.pid, number))
        os.kill(guardian.pid, number)
        guardian.close()
        assert program.wait(10) == -signal.SIGKILL


def ignores(pid: int, number: int) -> bool:
    with open(f"/proc/{pid}/status") as file:
        [mask] = [line.split()[1] for line in file if line.startswith("SigIgn:")]
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_another_one_takes_over(guardian):
    """A killed guardian ends no program; the next one knows every guarded group."""
    with Program(guardian, STUBBORN) as program:
        first = guardian.pid
        os.kill(first, signal.SIGKILL)
        eventually(lambda: not alive(first))
        guardian.look()
        assert guardian.pid != first
        assert program.poll() is None
        guardian.close()
        assert program.wait(10) == -signal.SIGKILL


@linux
def test_it_keeps_nothing_of_ours_open(guardian):
    """Otherwise the reader in `wait | cat` would never see the end of the stream."""
    guardian.ensure()
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    with Program(guardian, "echo ready; sleep 100"):
        fds = f"/proc/{guardian.pid}/fd"
        eventually(lambda: os.path.exists(f"{fds}/0"))
        assert {os.path.basename(os.readlink(f"{fds}/{fd}")) for fd in (1, 2)} == {"null"}
        assert {int(fd) for fd in os.listdir(fds)} <= {0, 1, 2, 3}, (
            "3 is a file of the interpreter's for a moment"
        )
        assert os.readlink(f"/proc/{guardian.pid}/cwd") == "/"
        assert os.getsid(guardian.pid) == guardian.pid
    os.close(reading)
    os.close(writing)


@linux
def test_a_group_of_zombies_does_not_live():
    with subprocess.Popen([sys.executable, "-c", "pass"], start_new_session=True) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        os.killpg(process.pid, 0)
        assert not group_lives(process.pid)
