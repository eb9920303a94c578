"""The version line of rankmux-server, which names the twin that runs."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

from ... import __version__

__all__ = ["server_version"]


def server_version() -> str:
    """`rankmux-server 1.2.3 (extension framing, Python 3.13.1)`. Raises as the import of the server would."""
    python = ".".join(map(str, sys.version_info[:3]))
    return f"rankmux-server {__version__} ({_twin()} framing, Python {python})"


def _twin() -> str:
    """The twin that a server would run. Its own imports take longer than all the rest, so it is only looked at."""
    mode = os.environ.get("RANKMUX_EXTENSION") or "auto"
    if mode == "auto" and _can_be_loaded("rankmux._framing"):
        return "extension"
    from ..._twin import TWIN

    return TWIN


def _can_be_loaded(name: str) -> bool:
    """Whether the system loads that extension module; its code is not run."""
    spec = find_spec(name)
    if spec is None or spec.loader is None:
        return False
    try:
        return spec.loader.create_module(spec) is not None
    except ImportError:
        return False
