"""The demo, and `python -m rankmux`."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

PATIENCE_S = 60.0


def rankmux(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rankmux", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={**os.environ, **environment},
    )


def test_the_demo_shows_everything_and_always_the_same():
    # The user's settings must not affect the demo's server and clients.
    runs = [rankmux("demo"), rankmux("demo", RANKMUX_TOKEN_FILE="/no/such/file", RANKMUX_SEATS="1")]
    assert [(run.returncode, run.stderr) for run in runs] == [(0, "")] * 2
    first, second = (re.sub(r"(127\.0\.0\.1):\d+", r"\1:PORT", run.stdout) for run in runs)
    assert first == second
    for told in (
        "server | listening on 127.0.0.1:PORT for 3 clients",
        "ada | Assigned rank: 0",
        "cyd | Assigned rank: 2",
        "no seat is free",
        "bob | Executed: print",
        "cyd | Executed: print",
        "bob | Rejected for 1 member above you: report",
        "cyd | Refused, nobody below you is '0': reboot",
        "cyd | Executed: debug",
        "cyd | Executed: reload",
        "bob | Executed: build",
        "ada | Refused, nobody below you is 'everyone': hello",
        "bob | New rank: 0 of 2",
        "cyd | New rank: 1 of 2",
        "ranking: 0 bob, 1 cyd",
        "eve | Assigned rank: 2",
        "eve | rankmux-client: the server closed the connection",
    ):
        assert told in first
    assert first.count("Executed: reboot") == 0


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["demo", "--nonsense"]])
def test_usage(arguments):
    done = rankmux(*arguments)
    assert done.returncode == 2
    assert "usage: python -m rankmux" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["--help"], ["demo", "--help"], ["client", "--help"], ["server", "--help"]]
)
def test_help(arguments):
    done = rankmux(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: " in done.stdout
