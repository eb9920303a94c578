"""Cancellation of any call at any await leaves no state behind and loses no data of other calls."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import types
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from itertools import count
from random import Random
from typing import Any

import pytest

from rankmux.aio import Client, ReceivedCommand
from rankmux.errors import ConnectionLost
from rankmux.server.server import Server

from ..client.test_stream import Relay
from ..support.drivers import PATIENCE_S
from .words import open_sockets, others, shout, until


class Interrupted:
    """Awaits an awaitable, and is cancelled at its `at`-th suspension; `over` tells whether there were as many."""

    def __init__(self, work: Coroutine[Any, Any, Any], at: int) -> None:
        self.work = work
        self.at = at
        self.over = False

    @types.coroutine
    def _steps(self) -> Generator[Any, Any, Any]:
        step: Callable[[], Any] = lambda: self.work.send(None)  # noqa: E731
        for number in count(1):
            try:
                suspended = step()
            except StopIteration as end:
                self.over = number <= self.at
                return end.value
            if number == self.at:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                yield suspended
            except BaseException as error:  # noqa: BLE001 - passed to the coroutine
                step = lambda error=error: self.work.throw(error)  # noqa: E731
            else:
                step = lambda: self.work.send(None)  # noqa: E731

    async def run(self) -> None:
        task = asyncio.create_task(self._outer())
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
        self.over = self.over or not task.cancelled()

    async def _outer(self) -> Any:
        return await self._steps()


async def at_every_suspension(
    scene: Callable[[Callable[[Coroutine[Any, Any, Any]], Awaitable[None]]], Any],
) -> int:
    """Runs `scene(interrupt)` repeatedly, interrupted one suspension later each time, until it completes."""
    for at in count(1):
        interrupted: list[Interrupted] = []

        async def interrupt(work: Coroutine[Any, Any, Any]) -> None:
            interrupted.append(Interrupted(work, at))  # noqa: B023
            await interrupted[-1].run()  # noqa: B023

        await scene(interrupt)
        if interrupted[-1].over:
            return at
        assert at < 200
    raise AssertionError


def test_connecting_cancelled_at_every_await(run, server):
    """It leaves no state behind, and can be retried."""

    async def scene(interrupt: Any) -> None:
        before = open_sockets()
        client = Client(*server.address, reconnect=True, on_joined=lambda _: None)
        await interrupt(client.connect())
        if client.rank is None:
            assert others() == set()
            assert len(client._connection.waiters) == 0
            await until(lambda: open_sockets() <= before)
            await client.connect()
        assert client.rank is not None
        await client.close()

    assert run(at_every_suspension(scene)) > 1


def test_a_handshake_cancelled_at_every_await(run, server, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    trusting = ssl.create_default_context(cafile=str(certificate[0]))

    async def scene(interrupt: Any) -> None:
        before = open_sockets()
        client = Client(*relay.address, ssl_context=trusting, timeout=PATIENCE_S)
        await interrupt(client.connect())
        assert others() == set()
        if client.rank is None:
            await until(lambda: open_sockets() <= before)
            await client.connect()
        await client.close()
        await until(lambda: open_sockets() <= before)

    with Relay(socket.create_server(("127.0.0.1", 0)), server, context) as relay:
        assert run(at_every_suspension(scene)) > 2


async def _first(iterator: Any) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(0.02):
            async for _ in iterator:
                pass


async def _serve_shortly(client: Client) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(0.02):
            await client.serve(shout, parallel=2)


async def _results(client: Client) -> None:
    async for _ in await client.command("x", results=True):
        pass


async def _gathered(client: Client) -> None:
    await (await client.command("x", results=True)).gather(PATIENCE_S)


OPERATIONS: dict[str, Callable[[Client], Coroutine[Any, Any, Any]]] = {
    "command": lambda client: client.command("x", results=True),
    "quiet": lambda client: client.command("x", quiet=True),
    "who": lambda client: client.who(),
    "rank": lambda client: client.wait_for_rank(0, timeout=0.02),
    "events": lambda client: _first(client.events()),
    "serve": _serve_shortly,
    "results": _results,
    "gather": _gathered,
}


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
def test_whatever_is_cancelled_leaves_the_client_as_it_was(run, server, operation):
    async def main() -> None:
        async with Client(*server.address) as ada, Client(*server.address, handler=shout) as bob:

            async def scene(interrupt: Any) -> None:
                client = bob if operation == "rank" else ada  # who has rank 0 does not wait for it
                await interrupt(OPERATIONS[operation](client))
                assert others() == set() or all(task.get_coro().__name__ == "_run" for task in others())
                assert [len(client._connection.waiters) for client in (ada, bob)] == [0, 0]
                assert client._connection._nested == 0
                (result,) = await (await ada.command("still here", results=True)).gather(PATIENCE_S)
                assert result.text == "STILL HERE"
                gc.collect()
                assert all(weak() is None for weak in ada._connection.link.inbox._unread.values())
                assert all(weak() is None for weak in ada._connection.link.inbox._by_id.values())
                assert all(weak() is None for weak in ada._connection.link.inbox._pages.values())

            assert await at_every_suspension(scene) >= 1
            assert len(await bob.who()) == 2

    run(main())


def test_closing_cancelled_at_every_await(run, server):
    async def scene(interrupt: Any) -> None:
        before = open_sockets()
        client = Client(*server.address, handler=shout, on_promoted=lambda _: None, reconnect=True)
        await client.connect()
        await interrupt(client.close())
        assert client.closed
        assert others() == set()
        assert len(client._connection.waiters) == 0
        await until(lambda: open_sockets() <= before)
        await client.close()
        with pytest.raises(ConnectionLost, match="this client was closed"):
            await client.who()

    assert run(at_every_suspension(scene)) > 1


@pytest.mark.slow
def test_reconnecting_ended_at_any_time(run):
    """Closing leaves no trace of an attempt in progress."""
    with Server(port=0, seats=10) as server:
        address = server.address

    async def main(delay_s: float) -> None:
        before = open_sockets()
        with Server(host=address[0], port=address[1], seats=10):
            client = Client(*address, reconnect=True)
            await client.connect()
        await until(lambda: client.rank is None)
        with Server(host=address[0], port=address[1], seats=10):
            await asyncio.sleep(delay_s)
            await client.close()
        assert others() == set()
        await until(lambda: open_sockets() <= before)

    for step in range(4):
        run(main(step * 0.02))


@pytest.mark.parametrize("seed", range(5))
def test_tasks_cancelled_at_random(run, server, seed):
    """A cancelled task loses no command of others: each command runs at most once, each answered one exactly once."""
    random = Random(seed)
    ran: Counter[str] = Counter()
    answered: list[str] = []

    async def handler(command: ReceivedCommand) -> str:
        ran[command.text] += 1
        await asyncio.sleep(random.choice([0, 0, 0.002]))
        return command.text.upper()

    async def work(client: Client, below: Client, number: int) -> None:
        for turn in range(20):
            text = f"{number}.{turn} " + "x" * random.choice([0, 0, 30_000])
            match random.randrange(5):
                case 0:
                    await client.who()
                case 1:
                    await below.wait_for_rank(0, timeout=0.001)
                case _:
                    (result,) = [
                        result async for result in await client.command(text, to="next", results=True)
                    ]
                    assert result.text == text.upper()
                    answered.append(text)

    async def main() -> None:
        async with (
            Client(*server.address) as ada,
            Client(*server.address, handler=handler, parallel=4) as bob,
        ):
            tasks = [asyncio.create_task(work(ada, bob, number)) for number in range(30)]
            while pending := [task for task in tasks if not task.done()]:
                await asyncio.sleep(random.random() * 0.01)
                random.choice(pending).cancel()
            failed = [
                task.exception() for task in tasks if not task.cancelled() and task.exception() is not None
            ]
            assert failed == []
            assert [len(client._connection.waiters) for client in (ada, bob)] == [0, 0]
            assert len(await ada.who()) == 2
            assert (await (await ada.command("last", results=True)).wait(PATIENCE_S)).ok == 1
            assert bob.rank == 1

    run(main())
    assert set(ran.values()) == {1}
    assert all(ran[text] == 1 for text in answered)
