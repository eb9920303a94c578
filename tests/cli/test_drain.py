"""`rankmux-server drain`, as a process beside a server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..protocol.frames import Code, Done, Execute, Status
from ..protocol.process import ROOT, environment
from ..support.operated import operate, operated, refused


@pytest.fixture
def where(tmp_path: Path) -> str:
    return str(tmp_path / "admin")


def test_members_finish_and_then_the_server_stops(where: str) -> None:
    with operated(where) as server:
        boss, worker = server.line(2)
        boss.command(1, results=True)
        seq = worker.expect(Execute).seq
        with subprocess.Popen(
            [sys.executable, "-m", "rankmux", "server", "drain", "--admin-unix", where],
            cwd=ROOT,
            env=environment(False),
            stdout=subprocess.PIPE,
            text=True,
        ) as drain:
            assert drain.stdout is not None
            assert drain.stdout.readline() == "draining; results that members owe: 1\n"
            refused(server, Code.SHUTDOWN)
            worker.result(seq, Status.OK, b"done")
            assert next(frame for frame in iter(boss.recv, None) if isinstance(frame, Done)).ok == 1
            boss.expect_error(Code.SHUTDOWN)
            worker.expect_error(Code.SHUTDOWN)
            assert drain.stdout.read() == "stopped\n"
        assert drain.returncode == 0
        assert server.wait() == 0
        assert server.log().splitlines()[-1].endswith(" INFO stopped cleanly")
        assert " INFO drained: members here owe no results" in server.log()


def test_the_wait_is_bounded(where: str) -> None:
    with operated(where) as server:
        boss, worker = server.line(2)
        boss.command(1, results=True)
        worker.expect(Execute)
        code, out, _ = operate("drain", "--wait", "0", "--admin-unix", where)
        end = "stopped, as the time was up; results that members owe: 1"
        assert (code, out.splitlines()[-1]) == (0, end)
        assert server.wait() == 0
        assert "WARNING drained: the time is up, and members here still owe 1 result" in server.log()


def test_no_server(where: str) -> None:
    code, out, said = operate("drain", "--admin-unix", where)
    assert (code, out) == (5, "")
    assert (
        said
        == f"rankmux-server drain: no answer from unix:{where}: there is no such socket; is the server running?\n"
    )


@pytest.mark.parametrize("wait", ["-1", "x", "1.5", "86401"])
def test_usage(where: str, wait: str) -> None:
    code, _, said = operate("drain", f"--wait={wait}", "--admin-unix", where)
    assert (code, "whole number of seconds" in said) == (2, True)
