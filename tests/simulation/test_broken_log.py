"""A log that is not the one that it was is noticed, and nothing is made up."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ..protocol.process import ROOT


def _ends(kind: str, seed: int) -> list[str]:
    command = [sys.executable, "-m", "tests.simulation.broken_log", kind, str(seed)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return run.stdout.splitlines()


@pytest.mark.parametrize("seed", range(3))
def test_a_log_that_was_made_anew_ends_all_servers(seed):
    ends = _ends("delete", seed)
    assert len(ends) == 3
    assert all("deleted and made anew" in end for end in ends), ends


@pytest.mark.parametrize("seed", range(3))
def test_a_log_that_was_rolled_back_ends_all_servers(seed):
    ends = _ends("roll back", seed)
    assert len(ends) == 3
    assert all(end for end in ends), ends


@pytest.mark.parametrize("seed", range(3))
def test_a_log_that_was_forked_ends_a_server(seed):
    assert any("forked" in end for end in _ends("fork", seed))


def test_a_log_that_goes_on_ends_none():
    assert _ends("nothing", 0) == ["", "", ""]
