"""Programs of a held seat under difficult conditions: orphans, zombies, no permission to signal."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from ...support.script import PATIENCE_S, Running, alive, eventually

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and prctl")

_AS_A_REAPER = """
import ctypes, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans come to us, as to process 1
from rankmux.cli.client import main
sys.exit(main())
"""
_WITHOUT_THE_RIGHT = """
import os, sys
def killpg(group, number):
    raise PermissionError(1, "Operation not permitted")
os.killpg = killpg
from rankmux.cli.client import main
sys.exit(main())
"""

_CARELESS = """
import os, time
if os.fork() == 0:
    zombie = os.fork()
    if zombie:
        os.setsid()
        print("pids", os.getpid(), zombie, flush=True)
time.sleep(100)
"""


def children_of(parent: int) -> list[int]:
    """The child processes of `parent`, zombies included."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(file.parent.name))
    return found


@linux
def test_orphans_are_reaped(scene):
    """Orphans of programs that ended or were stopped: as process 1 of a container we become their parent."""
    client = scene.client()
    work = ["work", "--port", scene.port, "--", "sh", "-c", "(sleep 0.05 &) ; (setsid sleep 0.05 &)"]
    with Running("-c", _AS_A_REAPER, *work) as worker:
        worker.until("Assigned rank")
        for _ in range(10):
            client.command("print", results=True).wait(PATIENCE_S)
        eventually(lambda: len(children_of(worker.process.pid)) == 1)  # the guardian
        assert worker.end(signal.SIGTERM) == 0


@linux
def test_a_stopped_group_ends_where_its_orphans_come_to_us(scene):
    lead = "sleep 100 & sleep 100 & echo ready; exec sleep 100"
    with Running("-c", _AS_A_REAPER, "wait", "--port", scene.port, "--", "sh", "-c", lead) as holder:
        holder.until("ready")
        assert holder.end(signal.SIGTERM) == 0


@linux
def test_unreaped_zombies_do_not_delay_the_end(scene):
    """The parent of a zombie is in another group, and never waits for it."""
    holder = scene.start("wait", "--", sys.executable, "-c", _CARELESS)
    careless, zombie = (int(pid) for pid in holder.until(r"pids (\d+) (\d+)\n").groups())
    holder.process.send_signal(signal.SIGTERM)
    assert holder.process.wait(PATIENCE_S) == 0
    assert Path(f"/proc/{zombie}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    os.kill(careless, signal.SIGKILL)


def test_a_program_that_cannot_be_stopped(scene):
    """As with `wait -- sudo ...`: waiting for its end might take forever, and silence would hide that it still runs."""
    lead = ["--grace", "0.2", "--", "sh", "-c", "echo pid $$; exec >/dev/null 2>&1; exec sleep 100"]
    with Running("-c", _WITHOUT_THE_RIGHT, "wait", "--port", scene.port, *lead) as holder:
        pid = int(holder.until(r"pid (\d+)\n")[1])
        assert holder.end(signal.SIGTERM) == 1
    [line] = [line for line in holder.err.splitlines() if "runs on" in line]
    assert f"process {pid} runs on, it cannot be stopped (Operation not permitted)" in line
    assert f"kill -- -{pid}" in line
    eventually(lambda: not alive(pid))  # here the guardian has permission


def test_a_program_that_cannot_be_stopped_makes_room_for_the_next(scene, tmp_path):
    client = scene.client()
    program = 'read c; echo "$c $$"; case $c in slow) echo $$ > pid; exec sleep 100;; esac'
    work = ["work", "--port", scene.port, "--grace", "0.2", "--", "sh", "-c", program]
    with Running("-c", _WITHOUT_THE_RIGHT, *work, cwd=tmp_path) as worker:
        worker.until("Assigned rank")
        assert client.command("slow", results=True, timeout=0.5).wait(PATIENCE_S).expired == 1
        [result] = client.command("quick", results=True).gather(timeout=PATIENCE_S)
        assert result.text.startswith("quick")
        worker.until("runs on", "err")
        assert worker.end(signal.SIGTERM) == 1, "one runs on"
    eventually(lambda: not alive(int((tmp_path / "pid").read_text())))
