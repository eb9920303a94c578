"""Opening, sharing and leaving a connection: no thread, no extra task, and a warning about connections left open."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
from typing import Any

import pytest

import rankmux.aio
import rankmux.aio.connect
import rankmux.aio.connection
from rankmux.aio import Client
from rankmux.aio.connect import connected_socket
from rankmux.errors import CommandRefused, ConnectionLost, StateError
from rankmux.server.server import Server

from ..support.drivers import LOOPS, PATIENCE_S, new_loop
from ..support.fake_server import Connection, FakeServer
from .words import everything, others, shout, until


def test_many_tasks_share_a_client(run, server):
    """Every answer belongs to its request."""

    async def work(client: Client, number: int) -> None:
        for turn in range(5):
            text = f"task {number} turn {turn} " + "x" * (number * 97)
            (result,) = await everything(await client.command(text, results=True, timeout=PATIENCE_S))
            assert result.text == text.upper()

    async def main() -> None:
        async with Client(*server.address) as ada, Client(*server.address, handler=shout, parallel=8):
            async with asyncio.TaskGroup() as group:
                for number in range(200):
                    group.create_task(work(ada, number))
            assert len(ada._connection.waiters) == 0

    run(main())


def test_connecting_once_and_again(run, server):
    async def main() -> None:
        with pytest.raises(ConnectionLost, match=r"never been made: .* await client\.connect\(\)"):
            await Client(*server.address).who()
        client = Client(*server.address)
        await client.connect()
        with pytest.raises(StateError, match="connected"):
            await client.connect()
        await asyncio.gather(client.close(), client.close())
        with pytest.raises(StateError, match="closed"):
            await client.connect()

    run(main())


def test_a_connection_that_failed_can_be_tried_again(run):
    with Server(port=0, seats=2) as server:
        address = server.address

    async def main() -> None:
        client = Client(*address, reconnect=True, on_joined=lambda _: None)
        with pytest.raises(ConnectionLost, match="is rankmux-server running there"):
            await client.connect()
        with Server(host=address[0], port=address[1], seats=2):
            async with client:
                assert client.rank == 0

    run(main())


def test_a_connection_that_is_made_and_cancelled_just_then(run, server, monkeypatch):
    socks: list[socket.socket] = []

    async def interrupted(address: Any, timeout_s: float) -> socket.socket:
        socks.append(await connected_socket(address, timeout_s))
        if len(socks) == 1:
            asyncio.current_task().cancel()
        return socks[-1]

    monkeypatch.setattr(rankmux.aio.connection, "connected_socket", interrupted)

    async def main() -> None:
        client = Client(*server.address, reconnect=True)
        with pytest.raises(asyncio.CancelledError):
            await client.connect()
        assert client.rank is None
        assert socks[0].fileno() == -1
        assert others() == set()
        await client.connect()
        assert client.rank is not None
        await client.close()

    run(main())


def test_another_loop_is_told_that_the_client_is_not_its_own(run, server):
    """Calls raise an error, instead of hanging until a timeout with frames written by two threads."""

    async def main() -> None:
        async with Client(*server.address) as ada:
            for call in (ada.who, ada.wait_for_rank, ada.serve, lambda: ada.command("x")):
                with pytest.raises(StateError, match="another loop"):
                    await asyncio.to_thread(asyncio.run, call())
            assert len(await ada.who()) == 1
        await asyncio.get_running_loop().shutdown_default_executor()

    run(main())


def test_closing_while_it_connects(run):
    def script(connection: Connection) -> None:
        connection.until_gone()

    async def main(fake: FakeServer) -> None:
        client = Client(fake.host, fake.port)
        connecting = asyncio.create_task(client.connect())
        await until(lambda: fake.accepted)
        await client.close()
        with pytest.raises(ConnectionLost, match="this client was closed"):
            await connecting

    with FakeServer(script) as fake:
        run(main(fake))


def test_a_token_that_cannot_be_had_is_tried_again(run, at_once):
    asked: list[int] = []

    def token() -> str:
        asked.append(len(asked))
        if len(asked) == 2:
            raise OSError("the file is being written")
        return "secret"

    def lose(connection: Connection) -> None:
        connection.welcome()

    def stay(connection: Connection) -> None:
        connection.welcome()
        connection.until_gone()

    async def main(fake: FakeServer) -> None:
        async with Client(fake.host, fake.port, token=token, reconnect=True) as client:
            await until(lambda: len(asked) == 3 and client.rank is not None)

    with FakeServer(lose, stay) as fake:
        run(main(fake))


def test_a_refused_command_in_a_task_group(run, server):
    async def main() -> None:
        async with Client(*server.address) as ada:

            async def together() -> None:
                async with asyncio.TaskGroup() as group:
                    group.create_task(ada.command("x", required=True))
                    group.create_task(ada.serve(shout))
                    group.create_task(everything(ada.events()))

            with pytest.raises(ExceptionGroup) as caught:
                await together()
            assert [type(error) for error in caught.value.exceptions] == [CommandRefused]
            assert len(ada._connection.waiters) == 0
            assert len(await ada.who()) == 1

    run(main())


def test_no_thread_is_started(run, server):
    before = threading.active_count()

    async def main() -> None:
        async with Client(*server.address) as ada, Client(*server.address, handler=shout, parallel=4):
            assert (await (await ada.command("x", results=True)).wait(PATIENCE_S)).ok == 1
            assert threading.active_count() == before

    run(main())


@pytest.mark.parametrize("driver", LOOPS)
def test_a_client_that_is_not_closed_is_told_of(server, driver):
    async def main() -> None:
        await Client(*server.address).connect()

    def leave_it() -> None:
        with asyncio.Runner(loop_factory=lambda: new_loop(driver)) as runner:
            runner.run(main())
        gc.collect()

    with pytest.warns(ResourceWarning, match="unclosed"):
        leave_it()


def test_commands_that_wait_for_the_connection_have_each_its_own_deadline(run, monkeypatch):
    """With any number of commands: the wait of one does not add to that of the next."""
    monkeypatch.setattr("rankmux.core.client.backoff._FIRST_BOUND_S", 1000.0)
    monkeypatch.setattr("rankmux.core.client.backoff._LAST_BOUND_S", 1000.0)

    async def main(fake: FakeServer) -> None:
        async with Client(fake.host, fake.port, reconnect=True, timeout=0.5) as client:
            await until(lambda: client.rank is None)
            began_s = time.monotonic()
            calls = [client.command(b"%d" % number, quiet=True) for number in range(10)]
            errors = await asyncio.gather(*calls, client.who(), return_exceptions=True)
            assert 0.4 < time.monotonic() - began_s < 1.0
            assert {type(error) for error in errors} == {ConnectionLost}

    with FakeServer(Connection.welcome) as fake:
        run(main(fake))


def test_commands_that_wait_for_the_connection_go_out_in_order(run, at_once):
    """Commands that are cancelled meanwhile, or time out, do not delay the others."""
    received: list[bytes] = []
    answer = threading.Event()

    def again(connection: Connection) -> None:
        answer.wait(PATIENCE_S)
        connection.welcome()
        while len(received) < 20:
            received.append(connection.read_until(0x02)[14:])
        connection.until_gone()

    async def main(fake: FakeServer) -> None:
        async with Client(fake.host, fake.port, reconnect=True, timeout=PATIENCE_S) as client:
            await until(lambda: client.rank is None)
            tasks = [asyncio.create_task(client.command(b"%d" % number, quiet=True)) for number in range(30)]
            await asyncio.sleep(0.05)
            for task in tasks[::3]:
                task.cancel()
            answer.set()
            await asyncio.wait(tasks)
            await until(lambda: len(received) == 20)

    with FakeServer(Connection.welcome, again) as fake:
        run(main(fake))
    assert received == [b"%d" % number for number in range(30) if number % 3]
