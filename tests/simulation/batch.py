"""Many runs from a test: in processes of their own, for the pure twin runs there, one for each core."""

from __future__ import annotations

import os
import subprocess
import sys

from ..protocol.process import ROOT

__all__ = ["check_fixed", "check_fresh"]


def check_fixed(runs: int, servers: str, seconds: float) -> None:
    """Check the runs with the seeds 0, 1, 2 ..."""
    _check(0, runs, servers, seconds)


def check_fresh(runs: int, servers: str, seconds: float) -> None:
    """Check runs with seeds that nobody has tried; a failure names its own."""
    _check(int.from_bytes(os.urandom(4)), runs, servers, seconds)


def _check(seed: int, runs: int, servers: str, seconds: float) -> None:
    print(f"seeds from {seed} on")
    cores = os.cpu_count() or 1
    processes = []
    for core in range(cores):
        command = [sys.executable, "-m", "tests.simulation", "--servers", servers, "--seconds", str(seconds)]
        command += ["--seed", str(seed + core), "--runs", str(-(-runs // cores)), "--step", str(cores)]
        processes.append(
            subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
    texts = [process.communicate()[0] for process in processes]
    print(*texts)
    assert all(process.returncode == 0 for process in processes), "\n".join(texts)
