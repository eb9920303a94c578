"""Input and output while the program awaits something else: silence, backpressure, memory."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time

import pytest

import rankmux.aio
import rankmux.core.client.inbox
from rankmux.aio import Client, Status
from rankmux.errors import StateError
from rankmux.wire import Accepted, Done, Ping, Pong, Rank, Routed

from ..support.drivers import PATIENCE_S
from ..support.fake_server import Connection, FakeServer
from .words import until


def test_a_server_that_does_not_read_holds_up_its_senders(run):
    """No command cancelled while it waited is sent; every command whose call returned is sent, once."""
    read_on = threading.Event()
    received: list[bytes] = []

    def script(connection: Connection) -> None:
        connection.welcome()
        read_on.wait(PATIENCE_S)
        while (got := connection.read())[0] != -1:
            if got[0] == 0x02:
                received.append(got[1][14:].rstrip(b"x"))

    async def main(fake: FakeServer) -> list[bytes]:
        sent: list[bytes] = []

        async def send(client: Client, number: int) -> None:
            for turn in range(1000):
                text = b"%d.%d " % (number, turn)
                await client.command(text + b"x" * 60_000, quiet=True)
                sent.append(text)

        async with Client(fake.host, fake.port, timeout=PATIENCE_S) as client:
            tasks = [asyncio.create_task(send(client, number)) for number in range(50)]
            await until(lambda: client._connection.link.write_paused)
            link = client._connection.link
            for _ in range(100):
                await asyncio.sleep(0)
            assert link.unsent_size < 256 * 1024 + 2 * 60_100
            stuck = len(sent)
            await asyncio.sleep(0.05)
            assert len(sent) == stuck
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert len(client._connection.waiters) == 0
            read_on.set()
            await until(lambda: not client._connection.link.write_paused)
            await client.command("last", quiet=True)
        return sent

    with FakeServer(script) as fake:
        sent = run(main(fake))
    assert received == [*sent, b"last"]


@pytest.mark.slow
def test_a_server_that_sends_pings_and_reads_nothing_does_not_fill_memory(run):
    gone = threading.Event()

    def script(connection: Connection) -> None:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.welcome()
        connection.send(b"".join(Ping(bytes(64)).encode() for _ in range(200_000)))
        connection.send(Rank(12, 1, 2, 1))
        gone.wait(PATIENCE_S)

    async def main(fake: FakeServer) -> None:
        client = Client(fake.host, fake.port)
        await client.connect()
        assert await client.wait_for_rank(1, PATIENCE_S)
        link = client._connection.link
        assert link.unsent_size < 1_000_000
        gone.set()
        await client.close()

    with FakeServer(script) as fake:
        run(main(fake))


@pytest.mark.slow
def test_results_that_were_dropped_make_room_again(run, monkeypatch):
    """Reading resumes once the receipt that blocked it is deleted, even without notification."""
    monkeypatch.setattr(rankmux.core.client.inbox, "_UNREAD_RESULTS_MAX_BYTES", 1_000_000)

    def script(connection: Connection) -> None:
        connection.welcome(ping_ms=1000)
        id_ = int.from_bytes(connection.read_until(0x02)[:4])
        connection.send(Accepted(id_, 12, 1, 0))
        for _ in range(300):
            connection.send(Routed(id_, 5, 3, Status.PART, bytes(60_000)))
        connection.send(Routed(id_, 5, 3, Status.OK, b""), Done(id_, 1, 0, 0, 0, 0), Rank(14, 1, 2, 1))
        connection.until_gone()

    async def main(fake: FakeServer) -> None:
        async with Client(fake.host, fake.port) as client:
            receipt = await client.command("flood", results=True)
            with pytest.raises(StateError, match="unread"):
                await receipt.wait(PATIENCE_S)
            assert client._connection.link.inbox.results_suffice
            del receipt
            gc.collect()
            await until(lambda: client.rank == 1)

    with FakeServer(script) as fake:
        run(main(fake))


def test_reading_goes_on_while_the_program_awaits_something_else(run):
    pongs: list[bytes] = []

    def script(connection: Connection) -> None:
        connection.welcome()
        for number in range(20):
            connection.send(Ping(b"%d" % number))
            pongs.append(connection.read_until(0x07))
        connection.until_gone()

    async def main(fake: FakeServer) -> None:
        async with Client(fake.host, fake.port):
            await until(lambda: len(pongs) == 20)

    with FakeServer(script) as fake:
        run(main(fake))


def test_a_silent_server_is_noticed_while_the_program_awaits_something_else(run):
    def script(connection: Connection) -> None:
        connection.welcome(ping_ms=1)
        connection.until_gone()

    lost: list[str] = []

    async def main(fake: FakeServer) -> None:
        async with Client(fake.host, fake.port, on_lost=lambda error: lost.append(str(error))):
            await until(lambda: lost)

    with FakeServer(script) as fake:
        run(main(fake))
    assert "silent" in lost[0]


@pytest.mark.slow
def test_a_blocked_loop_does_not_take_its_server_for_dead(run):
    """The answers arrived while the program kept the loop busy: they are read before silence is judged."""

    def script(connection: Connection) -> None:
        connection.welcome(ping_ms=300)
        pings = [connection.read_until(0x06) for _ in range(2)]
        time.sleep(0.3)  # by now the loop is blocked
        connection.send(*map(Pong, pings))
        connection.until_gone()

    async def main(fake: FakeServer) -> None:
        async with Client(fake.host, fake.port) as client:
            keepalive = client._connection.link._link._keepalive
            await until(lambda: keepalive._silent_pings == 2)
            time.sleep(1.5)  # noqa: ASYNC251
            await asyncio.sleep(0.1)
            assert client.rank == 2

    with FakeServer(script) as fake:
        run(main(fake))
