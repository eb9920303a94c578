"""One server alone in the simulated world: the rules hold whatever befalls its clients."""

from __future__ import annotations

import subprocess
import sys

from ..protocol.process import ROOT
from .batch import check_fixed


def test_fixed_seeds():
    check_fixed(40, "0", 8)


def test_a_seed_gives_the_same_run_again():
    command = [
        sys.executable,
        "-m",
        "tests.simulation",
        "--seed",
        "5",
        "--seconds",
        "5",
        "--servers",
        "3",
        "-v",
    ]
    runs = [subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False) for _ in range(2)]
    first, second = ([line for line in run.stdout.splitlines() if "CPU" not in line] for run in runs)
    assert len(first) > 200
    assert first == second
