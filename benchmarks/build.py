"""The build of the C programs of `native/`, if missing or older than their sources."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SOURCES = HERE / "native"
BUILD = HERE / "build"
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra")


class BuildError(RuntimeError):
    """The C compiler is missing or has failed."""


def compiler() -> str | None:
    """The C compiler's path: `$CC`, else `cc`."""
    return shutil.which(os.environ.get("CC", "cc"))


def program(name: str) -> Path:
    """The path of the program built from `native/NAME.c` and `native/NAME_*.c`, compiled if needed."""
    path = BUILD / name
    parts = [SOURCES / f"{name}.c", *sorted(SOURCES.glob(f"{name}_*.c"))]
    newest = max(source.stat().st_mtime for source in [*parts, *SOURCES.glob("*.h")])
    if path.exists() and path.stat().st_mtime > newest:
        return path
    cc = compiler()
    if cc is None:
        raise BuildError(f"a C compiler is needed to build {name}; set CC or install one")
    BUILD.mkdir(exist_ok=True)
    made = path.with_suffix(f".{os.getpid()}")
    done = subprocess.run([cc, *FLAGS, "-o", made, *parts], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{name} does not compile:\n{done.stderr}")
    made.replace(path)
    return path
