"""Fixtures for the asyncio client: both loops, each of which must be empty after a test, and a server."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

import rankmux.aio
from rankmux.core.client.backoff import Backoff
from rankmux.server.server import Server

from ..support.drivers import LOOPS, PATIENCE_S, new_loop
from .words import open_sockets, others, until

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on each loop in turn. It must leave no task, pending entry, reported error or descriptor."""

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        complaints: list[dict[str, Any]] = []

        async def whole() -> Any:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
            descriptors = open_sockets()
            async with asyncio.timeout(3 * PATIENCE_S):
                result = await main
            assert others() == set()
            await until(lambda: open_sockets() <= descriptors)
            return result

        with asyncio.Runner(loop_factory=lambda: new_loop(request.param)) as runner:
            result = runner.run(whole())
        gc.collect()
        assert complaints == []
        return result

    return run


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(port=0, seats=10) as server:
        yield server


@pytest.fixture
def at_once(monkeypatch) -> None:
    """Back-off without delays, which have separate tests."""
    monkeypatch.setattr(rankmux.aio.client, "Backoff", lambda: Backoff(lambda low, _: low))
