"""The choice between the admin endpoint and none.

`h11` and `prometheus_client` are imported only if the endpoint is configured. Knows no HTTP.
"""

from __future__ import annotations

import socket
from typing import Protocol

from ...config import Config
from ...errors import AddressInUse, ConfigError
from ...system.extras import how_to_get
from ...system.reactor import Reactor
from .control import Operator
from .status import ServerStatus

__all__ = ["Endpoint", "open_endpoint"]


class Endpoint(Protocol):
    """The admin endpoint as the server uses it."""

    @property
    def busy(self) -> bool:
        """Whether the last turn left work that need not wait for a descriptor."""

    @property
    def where(self) -> list[str]:
        """The addresses listened on."""

    def turn(self, ready: list[int], now: float) -> None:
        """A turn of the server is over; `ready` are descriptors that are no connection's. Take little time."""

    def close(self) -> None:
        """Close all sockets."""


class _NoEndpoint:
    busy = False

    def __init__(self) -> None:
        self.where: list[str] = []

    def turn(self, ready: list[int], now: float) -> None:
        pass

    def close(self) -> None:
        pass


def open_endpoint(
    config: Config,
    status: ServerStatus,
    operator: Operator,
    reactor: Reactor,
    port: int,
    handed: socket.socket | None = None,
) -> Endpoint:
    """The endpoint configured by `config` or passed as `handed`, or one that does nothing. Raises ConfigError.

    Requests that act do so on `operator`. Members connect to `port`.
    """
    if not (config.admin or config.admin_unix or config.metrics or handed):
        return _NoEndpoint()
    try:
        from .endpoint import Admin
    except ImportError as error:
        expected = f"requires {error.name}: {how_to_get('admin')}"
        key = next((key for key in ("admin", "admin_unix", "metrics") if getattr(config, key)), "admin")
        raise ConfigError(key, getattr(config, key), expected) from None
    try:
        return Admin(config, status, operator, reactor, handed)
    except AddressInUse as error:
        raise _explained(error, {"port": str(port), "admin": config.admin.rpartition(":")[2]}) from None


def _explained(error: AddressInUse, ports: dict[str, str]) -> ConfigError:
    """The same error, or another one if this server itself has opened the address: `ports` by setting."""
    taken = str(error.value).rpartition(":")[2]
    for key, port in ports.items():
        if port == taken and key != error.key:
            return ConfigError(
                error.key, error.value, f"expected another port than {port}, which is that of {key}"
            )
    return error
