"""SIGHUP when a configured file is not a regular file: nothing changes, and no member waits."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..protocol.process import ROOT, environment
from ..support.patience import until
from .certificates import Certificates
from .conftest import Rigging
from .rig import Ground, Rig


def refuses_to_reload(server: Rig, times: int) -> None:
    """A member that pings throughout is not affected."""
    witness = server.join()
    server.signal(signal.SIGHUP)
    late = []
    for _ in range(50):
        began = time.monotonic()
        witness.ping(b"here")
        late.append(time.monotonic() - began)
    assert sorted(late)[-2] < 0.1, late
    until(lambda: server.log().count("reload failed") == times, 5)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def without_end(path: Path) -> None:
    path.touch(0o600)
    os.truncate(path, 1 << 40)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("what", ["token_file", "tls_cert", "tls_client_ca"])
def test_paths_that_replace_a_file(
    rig: Rigging, certificates: Certificates, tmp_path: Path, what: str
) -> None:
    path = tmp_path / "file"
    original = {"tls_cert": certificates.server, "tls_client_ca": certificates.ca}.get(what)
    if original is None:
        path.write_text("secret\n")
    else:
        shutil.copy(original, path)
    path.chmod(0o600)
    kept = tmp_path / "kept"
    path.rename(kept)
    path.symlink_to(kept)
    flags = ["--" + what.replace("_", "-"), str(path)]
    # The last occurrence of a repeated flag counts.
    server = rig(10, *flags, token=b"secret") if original is None else rig(10, *flags, ground=Ground("mtls"))
    for number, make in enumerate((pipe, without_end, device, folder), 1):
        path.unlink()
        make(path)
        refuses_to_reload(server, number)
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
            path.touch()
    path.unlink()
    path.symlink_to(kept)
    server.signal(signal.SIGHUP)
    until(lambda: "reloaded" in server.log(), 5)
    server.join()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("flag", ["--token-file", "--config", "--tls-cert"])
def test_a_named_pipe_at_the_start(tmp_path: Path, flag: str) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    done = subprocess.run(
        [sys.executable, "-m", "rankmux", "server", "--port", "0", flag, str(path)],
        cwd=ROOT,
        env=environment(False),
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 2
    assert b"cannot read the file: it is a pipe, not a regular file" in done.stderr


@pytest.mark.timeout(60)
def test_files_from_the_shell(tmp_path: Path, certificates: Certificates) -> None:
    """`<(...)` works for a file that is read once."""
    command = (
        f'exec "{sys.executable}" -m rankmux server --check-config --config <(echo seats = 5; echo port = 0)'
        f' --token-file <(sleep 0.2; echo secret) --tls-cert "{certificates.server}"'
        f' --tls-key <(cat "{certificates.server}")'
    )
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env=environment(False),
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"seats = 5  # file" in done.stdout
