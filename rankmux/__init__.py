"""rankmux: a TCP server that ranks its clients. Who came first commands those who came later.

`Client` and `Server` are the two ends; `errors` has every exception, `wire` every frame.
"""

from __future__ import annotations

from .client import Client
from .errors import RankmuxError
from .server import Server

__all__ = ["Client", "RankmuxError", "Server", "__version__"]

__version__ = "0.1.0"
