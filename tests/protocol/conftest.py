"""Fixtures: the server's twin, servers for a single test, and one shared server for short tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from .frames import WATCH
from .peer import Peer
from .process import Server, end_all, has_extension

Serve = Callable[..., Server]

TWINS = ["pure", "extension"] if has_extension() else ["pure"]


class Standing:
    """The shared server; it is replaced after a test that breaks it."""

    def __init__(self, extension: bool) -> None:
        self._extension = extension
        self._server: Server | None = None

    def take(self) -> Server:
        """The server, without members."""
        if self._server is None:
            self._server = Server(64, extension=self._extension)
        try:
            self._server.vacate()
        except BaseException:
            self.discard()
            raise
        return self._server

    def give_back(self) -> None:
        """End a test's use of it."""
        if self._server is None:
            return
        try:
            self._server.release()
            self._server.check()
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Stop it; the next test gets a new one."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()


@pytest.fixture(scope="session", params=TWINS)
def twin(request: pytest.FixtureRequest) -> str:
    """The twin of the framing that the server uses."""
    return str(request.param)


@pytest.fixture(scope="session")
def standing(twin: str) -> Iterator[Standing]:
    """The shared server."""
    keeper = Standing(twin == "extension")
    yield keeper
    keeper.discard()


@pytest.fixture
def room(standing: Standing) -> Iterator[Server]:
    """An empty server with 64 seats and the default settings; its sequence need not start at 1."""
    yield standing.take()
    standing.give_back()


@pytest.fixture
def serve(twin: str) -> Iterator[Serve]:
    """Starts fresh servers: `serve(seats, *flags)`; all are stopped and checked at the end."""
    servers: list[Server] = []

    def start(seats: int = 10, *flags: str, first_ticket: int | None = 1) -> Server:
        extension = twin == "extension"
        servers.append(Server(seats, *flags, first_ticket=first_ticket, extension=extension))
        return servers[-1]

    yield start
    end_all(servers, Server.stop)


@pytest.fixture(params=["observer", "member"])
def watcher(request: pytest.FixtureRequest, room: Server) -> Peer:
    """A watcher of either kind, the first in the room."""
    return room.watch() if request.param == "observer" else room.join("eye", flags=WATCH)
