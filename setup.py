"""The one thing that pyproject.toml cannot say: the extension is wanted, but optional.

RANKMUX_EXTENSION: 0 builds none, auto (the default) builds it where that is possible, 1 builds it or fails.
"""

import os
from glob import glob

from setuptools import Extension, setup

MODE = os.environ.get("RANKMUX_EXTENSION") or "auto"
if MODE not in ("0", "1", "auto"):
    raise SystemExit(f"RANKMUX_EXTENSION is {MODE!r}, but 0 (never), 1 (or fail) or auto is expected")

# setuptools sees the .pyx alone; these are pasted into it.
parts = [*glob("rankmux/**/*.pxi", recursive=True), *glob("rankmux/**/*.h", recursive=True)]
extension = Extension("rankmux._framing", ["rankmux/_framing.pyx"], depends=parts, optional=MODE != "1")

setup(ext_modules=[] if MODE == "0" else [extension])
