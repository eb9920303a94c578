"""RANKMUX_ variables as they occur: set, empty, misspelt, or set by Kubernetes for a Service called rankmux.

Knows no setting.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as of `typing`, whose import would cost `send` five milliseconds
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["doubtful", "value_of"]

_PREFIX = "RANKMUX_"
_OTHERS = frozenset(
    _PREFIX + name
    for name in ("CONFIG", "TOKEN", "EXTENSION", "SELECTOR", "SEAT", "HISTORY", "ADMIN_URL", "TLS_CA")
)
"""Variables that are no setting of the server."""
_OF_CLIENTS = {_PREFIX + name: f"{_PREFIX}LISTEN_{name}" for name in ("HOST", "PORT", "UNIX")}
"""Variables that clients read, and those for the same of the server."""
_SIMILAR = 0.9  # RANKMUX_SERVICE_PORT, which Kubernetes sets too, is no misspelt RANKMUX_PORT


def value_of(environ: Mapping[str, str], name: str) -> str | None:
    """The value of the variable `name`; None if it is not set, empty, or a service link of Kubernetes."""
    value = environ.get(name)
    return None if not value or _is_service_link(value) else value


def doubtful(environ: Mapping[str, str], known: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The variables in `environ` that have no effect but look as if they should, each with a sentence about it.

    `known`: the variables that have one.
    """
    names = set(known)
    for name, value in environ.items():
        if not name.startswith(_PREFIX) or name in _OTHERS or not value:
            continue
        if name in names:
            if _is_service_link(value):
                text = f"ignoring {name}={value}, which Kubernetes sets for a Service called rankmux"
                yield name, f"{text}; enableServiceLinks: false in the pod turns that off"
            continue
        if name in _OF_CLIENTS:
            if not (_is_service_link(value) or environ.get(_OF_CLIENTS[name])):
                yield name, f"{name} is for clients, the server's is {_OF_CLIENTS[name]}"
            continue
        from difflib import get_close_matches

        if similar := get_close_matches(name, names, 1, _SIMILAR):
            yield name, f"unknown variable {name}; did you mean {similar[0]}?"


def _is_service_link(value: str) -> bool:
    return value.startswith(("tcp://", "udp://", "sctp://"))
