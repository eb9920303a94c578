"""What a server does for who looks at it, when anybody may: the admin endpoint, or nothing at all.

Only here is it decided whether `h11` and `prometheus_client` are needed. Knows no HTTP.
"""

from __future__ import annotations

import socket
from typing import Protocol

from ...config import Config
from ...errors import ConfigError
from ...system.reactor import Reactor
from .status import View

__all__ = ["Onlookers", "open_onlookers"]


class Onlookers(Protocol):
    """What a server asks of them."""

    @property
    def busy(self) -> bool:
        """Whether a turn has left something to do that waits for nothing."""

    @property
    def where(self) -> list[str]:
        """The addresses to type."""

    def turn(self, ready: list[int], now: float) -> None:
        """A turn of the server is over; `ready` are descriptors that are no connection's. Take little time."""

    def close(self) -> None:
        """The server stops."""


class _Nobody:
    busy = False

    def __init__(self) -> None:
        self.where: list[str] = []

    def turn(self, ready: list[int], now: float) -> None:
        pass

    def close(self) -> None:
        pass


def open_onlookers(
    config: Config, view: View, reactor: Reactor, handed: socket.socket | None = None
) -> Onlookers:
    """The endpoint that `config` asks for, or that was `handed` to us. Raises ConfigError."""
    if not (config.admin or config.admin_unix or handed):
        return _Nobody()
    try:
        from .endpoint import Admin
    except ImportError as error:
        expected = (
            f"it needs {error.name}, which comes with the extra rankmux[admin]: pip install 'rankmux[admin]'"
        )
        key = "admin_unix" if config.admin_unix and not config.admin else "admin"
        raise ConfigError(key, config.admin or config.admin_unix, expected) from None
    return Admin(config, view, reactor, handed)
