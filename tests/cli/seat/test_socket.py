"""The control socket of a held seat: if no private one can be created, the seat is held without it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

SHOW = ["--", "sh", "-c", 'echo "seat ${RANKMUX_SEAT-none}"; [ -S "$RANKMUX_SEAT" ] && echo there; true']


def test_a_long_directory_for_temporary_files(scene, tmp_path):
    long = tmp_path / ("x" * 90)
    long.mkdir()
    code, out, err = scene.run("wait", *SHOW, env={"TMPDIR": long})
    assert (code, err) == (0, "Assigned rank: 0\n")
    assert "there" in out, "a shorter one is taken"
    assert not list(long.iterdir())


@pytest.fixture
def read_only(tmp_path: Path) -> dict[str, object]:
    """An environment in which no directory can be created."""
    (tmp_path / "sitecustomize.py").write_text(
        "import errno, os\n"
        "def mkdir(*_, **__):\n"
        "    raise OSError(errno.EROFS, os.strerror(errno.EROFS))\n"
        "os.mkdir = mkdir\n"
    )
    return {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path.cwd())]),
        "RANKMUX_SEAT": "/of/another/seat",
    }


@pytest.mark.parametrize("subcommand", ["wait", "work", "hold"])
def test_nowhere_to_put_it(scene, read_only, subcommand):
    """Other processes cannot use the seat; losing the lock because of that would be worse."""
    if subcommand == "wait":
        code, out, err = scene.run("wait", *SHOW, env=read_only)
        assert (code, out) == (0, "seat none\n")
    else:
        script = scene.joined(subcommand, *(SHOW if subcommand == "work" else []), env=read_only)
        assert script.end(signal.SIGTERM) == 0
        err = script.err
    assert "no socket for `send` and `who` here: Read-only file system" in err
    assert "Traceback" not in err
