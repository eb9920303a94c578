"""Fixtures for both clients: a server, clients that are closed at the end, back-off without delays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

import rankmux.aio
import rankmux.client.client
from rankmux import Client
from rankmux.core.client.backoff import Backoff
from rankmux.server.server import Server


@pytest.fixture
def stage(connect: Callable[..., Client]) -> Iterator[ExitStack]:
    """Clients on it are closed before the driver's loop is."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def server(stage: ExitStack) -> Server:
    return stage.enter_context(Server(port=0, seats=10))


@pytest.fixture
def join(stage: ExitStack, server: Server, connect: Callable[..., Client]) -> Callable[..., Client]:
    """Makes a client of `server`, and closes it at the end."""

    def join(name: str = "", **options: object) -> Client:
        host, port = server.address
        return stage.enter_context(connect(host, port, name=name, **options))

    return join


@pytest.fixture
def at_once(monkeypatch) -> None:
    """Back-off without delays, which have separate tests."""
    for module in (rankmux.client.client, rankmux.aio.client):
        monkeypatch.setattr(module, "Backoff", lambda: Backoff(lambda low, _: low))
