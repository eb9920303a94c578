"""The check that a program can be run, before anything is done for its sake."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

__all__ = ["program_fault"]


def program_fault(program: Sequence[str]) -> tuple[int, str]:
    """The exit code that a shell would have for `program`, 126 or 127, and why it cannot be run; 0 if it can."""
    name = program[0]
    if shutil.which(name) is not None:
        return 0, ""
    if os.sep not in name:
        return 127, f"cannot run {name}: there is no such program in PATH"
    if os.path.isdir(name):
        return 126, f"cannot run {name}: it is a directory"
    if os.path.exists(name):
        return 126, f"cannot run {name}: it is not executable; chmod +x makes it so"
    return 127, f"cannot run {name}: there is no such file"
