"""The examples of docs/cli.md run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from .script import PATIENCE_S, environment

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
BLOCKS = re.findall(r"^## (.*?)$|^```sh\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
EXAMPLES = {}
for title, block in BLOCKS:
    if title:
        section = title
    else:
        EXAMPLES[section] = block
SHOWS = {
    "At a terminal": "Refused, nobody is below you: print",
    "Held seats": "1: done: reload",
    "send": "refused, or rejected",
    "wait": r"leading with ticket \d+\n(?s:.*)leading with ticket \d+",
    "who": r"\* +0 .* me",
}


@pytest.mark.parametrize("section", EXAMPLES)
def test_examples(scene, tmp_path, section):
    for name in ("client", "server"):
        file = tmp_path / "bin" / f"rankmux-{name}"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f'#!/bin/sh\nexec {sys.executable} -m rankmux {name} "$@"\n')
        file.chmod(0o700)
    variables = environment(RANKMUX_PORT=scene.port, PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    process = subprocess.Popen(
        ["bash", "-eu", "-c", EXAMPLES[section]],
        cwd=tmp_path,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        out, _ = process.communicate(timeout=PATIENCE_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, out
    assert re.search(SHOWS.get(section, ""), out), out


def test_there_are_examples():
    assert SHOWS.keys() <= EXAMPLES.keys()
