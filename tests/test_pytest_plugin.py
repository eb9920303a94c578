"""The pytest plugin, in runs of pytest as its users make them: it is found, gives servers, and leaves nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from .support.script import PATIENCE_S, environment
from .test_public_names import loaded_by

OTHERS = ("benchmark", "timeout", "xdist", "xdist.looponfail", "hypothesispytest")
"""The plugins of this repository's own tests, which its users need not have."""


def pytest_run(directory: Path, text: str) -> str:
    """The output of pytest over a file with these tests, without other plugins."""
    (directory / "test_it.py").write_text(text)
    (directory / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n")
    without = [flag for name in OTHERS for flag in ("-p", f"no:{name}")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *without],
        cwd=directory,
        env=environment(RANKMUX_PORT=1, RANKMUX_SEATS=1),  # variables of programs, which mean nothing here
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.stdout


def passed(out: str) -> int:
    found = re.search(r"^(\d+) passed in", out, re.MULTILINE)
    assert found, out
    return int(found[1])


def test_it_imports_nothing_until_a_test_asks_for_a_server():
    new = loaded_by("import rankmux.pytest_plugin") - loaded_by("import pytest")
    assert new == {"rankmux", "rankmux.pytest_plugin"}


def test_a_server_and_its_addresses(tmp_path):
    text = """
import os, subprocess, sys
import rankmux

def test_a_client(rankmux_server):
    with rankmux.Client(*rankmux_server.address) as ours, rankmux_server.client(name="bob") as bob:
        assert [member.rank for member in ours.who()] == [0, 1]
        assert rankmux_server.port == rankmux_server.server.address[1] != 7117

def test_a_program(rankmux_server):
    rankmux_server.client(name="ada")
    program = [sys.executable, "-m", "rankmux", "client", "who"]
    assert "ada" in subprocess.check_output(program, text=True, env=os.environ | rankmux_server.environment)
"""
    assert passed(pytest_run(tmp_path, text)) == 2


def test_the_settings_of_markers(tmp_path):
    text = """
import pytest

pytestmark = pytest.mark.rankmux_server(seats=2, ping_ms=500)

def test_of_the_module(rankmux_server):
    assert (rankmux_server.server.config.seats, rankmux_server.server.config.ping_ms) == (2, 500)

@pytest.mark.rankmux_server(seats=3)
def test_the_closest_counts(rankmux_server):
    assert (rankmux_server.server.config.seats, rankmux_server.server.config.ping_ms) == (3, 500)
"""
    assert passed(pytest_run(tmp_path, text)) == 2


def test_settings_without_a_name_are_refused(tmp_path):
    text = """
import pytest

@pytest.mark.rankmux_server(3)
def test_it(rankmux_server):
    pass
"""
    out = pytest_run(tmp_path, text)
    assert "takes settings by name only" in out
    assert "1 error" in out


def test_several_servers_and_one_that_is_restarted(tmp_path):
    text = """
import rankmux

def test_it(rankmux_server_factory, tmp_path):
    other = rankmux_server_factory(seats=3)
    first = rankmux_server_factory(state=str(tmp_path / "state"))
    assert other.port != first.port
    back = []
    with rankmux.Client(*first.address, name="ada", keep_s=30, on_back=back.append) as ada:
        ticket = ada.ticket
        first.stop()
        rankmux_server_factory(port=first.port, state=str(tmp_path / "state"))
        assert ada.wait(lambda: back, 10)
        assert ada.ticket == ticket
    first.stop()
"""
    assert passed(pytest_run(tmp_path, text)) == 1


def test_nothing_is_left(tmp_path):
    """No thread, no descriptor and no listener, even though a test has failed and left its clients open."""
    text = """
import os, socket, threading
import pytest
import rankmux

before = left = None
clients = []

def descriptors():
    return sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                  if os.path.exists(f"/proc/self/fd/{fd}") and "/fd" not in os.readlink(f"/proc/self/fd/{fd}"))

def test_warm_up(rankmux_server):
    rankmux_server.client().who()

def test_before():
    global before
    before = descriptors(), threading.active_count()

def test_it_fails(rankmux_server):
    global left
    left = rankmux_server
    clients.append(rankmux.Client(*rankmux_server.address))
    left.client(name="its own")
    assert left is None

def test_after():
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(left.address)
    for client in clients:
        client.close()
    assert (descriptors(), threading.active_count()) == before
"""
    out = pytest_run(tmp_path, text)
    assert "1 failed, 3 passed" in out, out
    assert "FAILED test_it.py::test_it_fails" in out
