"""The one thing that pyproject.toml cannot say: the extension is wanted, but optional.

RANKMUX_EXTENSION: 0 builds none, auto (the default) builds it where that is possible, 1 builds it or fails.
"""

import os
from glob import glob

from setuptools import Extension, setup

MODE = os.environ.get("RANKMUX_EXTENSION", "auto")
if MODE not in ("0", "1", "auto"):
    raise SystemExit(f"RANKMUX_EXTENSION is {MODE!r}, but 0 (never), 1 (or fail) or auto is expected")

# The modules share declarations, so a change in any of these builds all anew; rankmux/framing.py takes all or none.
shared = glob("rankmux/*.pxd") + glob("rankmux/*.h")
extensions = [
    Extension(f"rankmux.{name}", [f"rankmux/{name}.pyx"], depends=shared, optional=MODE != "1")
    for name in ("_framing", "_ledger", "_dispatch", "_flush")
]

setup(ext_modules=[] if MODE == "0" else extensions)
