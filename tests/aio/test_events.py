"""Iterators over the events of a member, and callbacks."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from rankmux.aio import Client, Ended, Promoted, Welcomed
from rankmux.errors import ConnectionLost, RankmuxError, ServerError
from rankmux.server.server import Server
from rankmux.wire import Rank

from ..support.drivers import PATIENCE_S
from ..support.fake_server import Connection, FakeServer
from .words import everything, shout, until


def test_events_are_for_everybody(run, server):
    async def main() -> None:
        async with (
            Client(*server.address) as ada,
            Client(*server.address) as bob,
            Client(*server.address) as cyd,
        ):
            streams = [cyd.events(), cyd.promotions(), cyd.events()]
            await ada.close()
            await bob.close()
            for stream in streams:
                assert [(await anext(stream)).rank, (await anext(stream)).rank] == [1, 0]
            waiting = asyncio.create_task(everything(streams[0]))
            await cyd.close()
            assert await waiting == []
            assert await everything(streams[1]) == []

    run(main())


def test_losses_and_returns_are_events(run, at_once):
    told: list[object] = []
    subscribed = threading.Event()

    async def on_lost(error: RankmuxError) -> None:
        await asyncio.sleep(0)
        told.append(type(error))

    def last(connection: Connection) -> None:
        connection.welcome(rank=5, members=6)
        connection.send(Rank(12, 4, 5, 2))
        connection.until_gone()

    async def main(fake: FakeServer) -> None:
        async with Client(
            fake.host,
            fake.port,
            reconnect=True,
            on_lost=on_lost,
            on_joined=told.append,
            on_promoted=lambda promoted: told.append(promoted.before),
        ) as client:
            events = client.events()
            subscribed.set()
            kinds = [type(await anext(events)) for _ in range(3)]
            assert kinds == [Ended, Welcomed, Promoted]
            assert client.rank == 4
            await until(lambda: len(told) == 4)

    def lose(connection: Connection) -> None:
        connection.welcome()
        assert subscribed.wait(PATIENCE_S)

    with FakeServer(lose, last) as fake:
        run(main(fake))
    assert told == [2, ConnectionLost, 5, 5]


def test_events_end_with_the_loss_for_good(run):
    with Server(port=0, seats=2) as server:
        address = server.address

    async def main() -> None:
        with Server(host=address[0], port=address[1], seats=2):
            client = Client(*address)
            await client.connect()
            events, promotions = client.events(), client.promotions()
        with pytest.raises(ServerError):
            await anext(promotions)
        assert isinstance(await anext(events), Ended)
        with pytest.raises(ServerError):
            await anext(events)
        with pytest.raises(ServerError):
            await client.serve(shout)
        await client.close()

    run(main())


def test_events_that_nobody_reads_are_bounded(run):
    def script(connection: Connection) -> None:
        connection.welcome(rank=2000, members=2001, capacity=3000)
        connection.send(*(Rank(12 + n, 1999 - n, 2000 - n, 1) for n in range(2000)))
        connection.until_gone()

    async def main(fake: FakeServer) -> None:
        client = Client(fake.host, fake.port)
        events = client.events()
        await client.connect()
        assert await client.wait_for_rank(0, PATIENCE_S)
        assert len(events._queue) == 1024
        assert (await anext(events)).rank == 1023
        del events
        gc.collect()
        assert len(client._connection.incidents._subscribers) == 0
        await client.close()

    with FakeServer(script) as fake:
        run(main(fake))
