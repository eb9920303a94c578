"""Version line of rankmux-server, which names the twin that runs."""

from __future__ import annotations

import sys

from ... import __version__
from ..._twin import TWIN

__all__ = ["server_version"]


def server_version() -> str:
    """`rankmux-server 1.2.3 (extension framing, Python 3.13.1)`."""
    python = ".".join(map(str, sys.version_info[:3]))
    return f"rankmux-server {__version__} ({TWIN} framing, Python {python})"
