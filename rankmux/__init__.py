"""rankmux: a TCP server that ranks its clients; a member executes the commands of the members before it.

`Client` and `Server` are the two ends; `aio` has the same client for asyncio, `errors` the exceptions, `wire` the
frames and `codes` the numbers of the protocol. Each name is imported on first use: a client does not load a server.
"""

# A type checker takes it for true. Importing it from `typing` would take longer than all the rest of this module.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import aio, codes, errors, wire
    from .client.callbacks import Handler
    from .client.client import Client
    from .client.leading import Term
    from .client.receipt import Receipt, ReceivedCommand
    from .client.watching import Watch
    from .core.client.events import LineChanged, Promoted
    from .core.client.received import Rejected, reject
    from .core.client.results import Counts, RoutedResult
    from .core.wire.codes import Cause, Change, ErrorCode, RefusedCode, Status
    from .core.wire.frames import Baton, MemberInfo
    from .errors import RankmuxError
    from .server.server import Server
    from .server.settings import ServerSettings

__all__ = [
    "Baton",
    "Cause",
    "Change",
    "Client",
    "Counts",
    "ErrorCode",
    "Handler",
    "LineChanged",
    "MemberInfo",
    "Promoted",
    "RankmuxError",
    "Receipt",
    "ReceivedCommand",
    "RefusedCode",
    "Rejected",
    "RoutedResult",
    "Server",
    "ServerSettings",
    "Status",
    "Term",
    "Watch",
    "__version__",
    "aio",
    "codes",
    "errors",
    "reject",
    "wire",
]

__version__ = "0.1.0"

_MODULES = {
    "Baton": "wire",
    "Cause": "codes",
    "Change": "codes",
    "Client": "client.client",
    "Counts": "core.client.results",
    "ErrorCode": "codes",
    "Handler": "client.callbacks",
    "LineChanged": "core.client.events",
    "MemberInfo": "wire",
    "Promoted": "core.client.events",
    "RankmuxError": "errors",
    "Receipt": "client.receipt",
    "ReceivedCommand": "client.receipt",
    "RefusedCode": "codes",
    "Rejected": "core.client.received",
    "RoutedResult": "core.client.results",
    "Server": "server.server",
    "ServerSettings": "server.settings",
    "Status": "codes",
    "Term": "client.leading",
    "Watch": "client.watching",
    "reject": "core.client.received",
}

if not TYPE_CHECKING:  # a type checker that saw it would take every name for a known one

    def __getattr__(name):
        from importlib import import_module

        if name in ("aio", "codes", "errors", "wire"):
            return import_module(f".{name}", __name__)
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f".{_MODULES[name]}", __name__), name)
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
