"""./do: its messages during an installation, when it installs again, and the output of a failed pip.

A script stands in for pip, in an environment that is only a folder.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .support.script import PATIENCE_S, environment

ROOT = Path(__file__).parents[1]
FILES = ("do", "pyproject.toml", "setup.py", "rankmux/_framing.pyx", "rankmux/__init__.py")
PIP = r"""#!/bin/sh
case "$*" in
*"pip install"*)
    echo "  Installing build dependencies: started"
    echo "  Preparing editable metadata (pyproject.toml): started"
    echo "Collecting rich"
    [ ! -e "$VIRTUAL_ENV/broken" ] || { echo "ERROR: no such package" >&2; exit 1; }
    echo "  Building editable for rankmux (pyproject.toml): started"
    echo "Installing collected packages: rich, rankmux"
    echo rankmux > "$VIRTUAL_ENV/lib/python3/site-packages/__editable__.rankmux-0.1.0.pth"
    ;;
*pip* | *_twin*) echo extension ;;
*) exec PYTHON "$@" ;;
esac
"""


class Clone:
    """A clone of the repository, as far as ./do looks at it, and an active environment."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "clone"
        for name in FILES:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)
        self.env = directory / "env"
        (self.env / "lib/python3/site-packages").mkdir(parents=True)
        (self.env / "bin").mkdir()
        python = self.env / "bin" / "python"
        python.write_text(PIP.replace("PYTHON", sys.executable))
        python.chmod(0o700)

    def do(self, *arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [self.root / "do", *arguments],
            env=environment(VIRTUAL_ENV=self.env, RANKMUX_EXTENSION="auto"),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_each_step_of_an_installation_is_reported(clone):
    code, out, err = clone.do("install")
    assert (code, out) == (0, "")
    assert re.findall(r"^\./do: (\d)/4", err, re.MULTILINE) == ["1", "2", "3", "4"]
    assert err.index("fetching the packages") < err.index("compiling") < err.index("ready: rankmux-server")
    assert "Collecting" not in err  # but not each line of pip


def test_it_installs_once(clone):
    clone.do("install")
    assert clone.do("python", "-c", "print(1)") != (0, "1\n", "")  # other extras
    assert clone.do("python", "-c", "print(1)") == (0, "1\n", "")


def test_it_notices_that_something_else_has_been_installed_over_it(clone):
    clone.do("install")
    [path] = clone.env.glob("lib/python3/site-packages/__editable__*")
    path.unlink()  # as `pip install .` does
    assert "1/4" in clone.do("install")[2]
    assert "1/4" not in clone.do("install")[2]


def test_the_output_of_a_pip_that_failed_is_shown(clone):
    (clone.env / "broken").touch()
    code, _, err = clone.do("serve")
    assert code == 1
    assert "Collecting rich\nERROR: no such package\n" in err
    assert err.endswith("pip has failed: see above\n")
    assert "1/4" in clone.do("serve")[2]  # it tries again
