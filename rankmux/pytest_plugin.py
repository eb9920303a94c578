"""A pytest plugin: the fixtures `rankmux_server` and `rankmux_server_factory`, servers on free ports of the loopback.

pytest imports it in every run where rankmux is installed, so it imports no more of the package before a test needs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest

# A type checker takes it for true.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self, Unpack

    from .client.client import Client
    from .client.settings import ClientSettings
    from .server.server import Server
    from .server.settings import ServerSettings

__all__ = ["RunningServer", "StartServer", "pytest_configure", "rankmux_server", "rankmux_server_factory"]

_MARKER = "rankmux_server"


class RunningServer:
    """A server in a thread of the test's process; `settings` are those of `rankmux.Server`.

    It listens on a free port of 127.0.0.1, unless the settings say otherwise. `host` and `port` are its address,
    `address` is both, `environment` has them as variables for programs, and `server` is the `rankmux.Server` itself.
    """

    def __init__(self, **settings: Unpack[ServerSettings]) -> None:
        from .server.server import Server

        chosen: ServerSettings = {"port": 0, "shutdown_drain_s": 0.2, **settings}
        self.server: Server = Server(**chosen)
        self.address = self.server.address
        self.host, self.port = self.address
        self.environment = {"RANKMUX_HOST": self.host, "RANKMUX_PORT": str(self.port)}
        self._clients = ExitStack()

    def client(self, **settings: Unpack[ClientSettings]) -> Client:
        """A `rankmux.Client` of this server, which is closed before the server stops."""
        from .client.client import Client

        return self._clients.enter_context(Client(self.host, self.port, **settings))

    def stop(self) -> None:
        """Stop cleanly, as after SIGTERM, and return when the port is free; once more does nothing."""
        self._clients.close()
        self.server.__exit__()

    def __enter__(self) -> Self:
        self.server.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


class StartServer(Protocol):
    """Starts a server with `settings`, those of `rankmux.Server`."""

    def __call__(self, **settings: Unpack[ServerSettings]) -> RunningServer: ...


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", f"{_MARKER}(**settings): the settings of the server of `rankmux_server`"
    )


@pytest.fixture
def rankmux_server_factory() -> Iterator[StartServer]:
    """Call it with settings to start a server; all of them are stopped at the end of the test."""
    with ExitStack() as servers:
        yield lambda **settings: servers.enter_context(RunningServer(**settings))


@pytest.fixture
def rankmux_server(request: pytest.FixtureRequest, rankmux_server_factory: StartServer) -> RunningServer:
    """A server for this test, with the settings of its markers `rankmux_server`; the closest one counts."""
    settings: ServerSettings = {}
    for marker in request.node.iter_markers(_MARKER):
        if marker.args:
            raise pytest.UsageError(f"@pytest.mark.{_MARKER} takes settings by name only, as in seats=3")
        settings = {**marker.kwargs, **settings}
    return rankmux_server_factory(**settings)
