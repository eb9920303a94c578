"""rankmux: a TCP server that ranks its clients. Who came first commands those who came later.

`Client` and `Server` are the two ends, `aio.Client` is the former for asyncio; `errors` has every exception, `wire`
every frame. Each is imported when it is first asked for, so that a client in a script does not pay for a server.
"""

from __future__ import annotations

from .errors import RankmuxError

TYPE_CHECKING = False  # as of `typing`, which takes a while to import
if TYPE_CHECKING:
    from typing import Any

    from . import aio
    from .client.client import Client
    from .server.server import Server

__all__ = ["Client", "RankmuxError", "Server", "__version__", "aio"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "Client":
        from .client.client import Client

        return Client
    if name == "Server":
        from .server.server import Server

        return Server
    if name == "aio":
        from importlib import import_module

        return import_module(".aio", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
