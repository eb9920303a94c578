"""The one thing that pyproject.toml cannot say: the extension is wanted, but optional.

RANKMUX_EXTENSION: 0 builds none, auto (the default) builds it where that is possible, 1 builds it or fails.
"""

import os
from glob import glob

from setuptools import Extension, setup

MODE = os.environ.get("RANKMUX_EXTENSION", "auto")
if MODE not in ("0", "1", "auto"):
    raise SystemExit(f"RANKMUX_EXTENSION is {MODE!r}, but 0 (never), 1 (or fail) or auto is expected")

extension = Extension(
    "rankmux._framing",
    ["rankmux/_framing.pyx"],
    depends=[*glob("rankmux/**/*.pxi", recursive=True), "rankmux/server/kernel/uring.h"],
    optional=MODE != "1",
)

setup(ext_modules=[] if MODE == "0" else [extension])
