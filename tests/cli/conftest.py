"""Fixtures for the tests of the command line."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rankmux import Client
from rankmux.server.server import Server

from ..support.script import PATIENCE_S, Stage, staged
from ..support.terminal import SIGN, Terminal


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Stage]:
    """A server with 8 seats, and the processes and clients that join it."""
    with staged(tmp_path) as stage:
        yield stage


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def server(stack: ExitStack) -> Server:
    """A server with rare PINGs: a client in the test's thread answers none while the test draws a long screen."""
    return stack.enter_context(Server(port=0, seats=16, ping_ms=120_000))


@pytest.fixture
def senior(stack: ExitStack, server: Server) -> Client:
    """A client that joined before the prompt."""
    return stack.enter_context(Client(*server.address, name="senior"))


@pytest.fixture
def at(stack: ExitStack, server: Server) -> Callable[..., Terminal]:
    """Starts a prompt that has joined."""

    def start(*flags: object, **options: object) -> Terminal:
        terminal = stack.enter_context(Terminal("--port", server.address[1], *flags, **options))
        terminal.at(rf"^(rank )?\d+( of |/)\d+ {SIGN}")
        return terminal

    return start


@pytest.fixture
def below(stack: ExitStack, server: Server) -> Callable[..., Client]:
    """Joins a client that answers each command with the result of `handle`."""

    def join(handle: Callable[[object], object], name: str = "") -> Client:
        client = stack.enter_context(Client(*server.address, name=name))
        thread = threading.Thread(target=client.serve, args=(handle,))
        thread.start()
        stack.callback(thread.join, PATIENCE_S)
        stack.callback(client.close)
        return client

    return join
