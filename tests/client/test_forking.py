"""A process that forks with a client in it: the connection still belongs to the parent, whatever the child does."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import ssl
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import rankmux.aio
from rankmux import Client
from rankmux.errors import StateError
from rankmux.server.server import Server

from ..support.drivers import PATIENCE_S
from .test_stream import Relay


def in_child(work: Callable[[], object]) -> None:
    """Fork; the child does `work` and exits without the final steps of pytest."""
    if (pid := os.fork()) == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.fixture(params=["plain", "tls"])
def options(request, certificate: tuple[Path, Path]) -> Iterator[dict[str, Any]]:
    """The options of a client, with the server in the same process."""
    with ExitStack() as stack:
        server = stack.enter_context(Server(port=0, seats=4))
        host, port = server.address
        options: dict[str, Any] = {}
        if request.param == "tls":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            relay = stack.enter_context(Relay(socket.create_server(("127.0.0.1", 0)), server, context))
            host, port = relay.address
            options["ssl_context"] = ssl.create_default_context(cafile=str(certificate[0]))
            options["server_hostname"] = "localhost"
        yield {"host": host, "port": port, **options}


def _close(client: Client) -> None:
    client.close()
    client.close()
    assert client.fileno() == -1


def _collect(client: Client) -> None:
    for name in list(vars(client)):
        delattr(client, name)
    gc.collect()


def _leave_with(client: Client) -> None:
    with pytest.raises(StateError, match="make a new client"), client:
        client.command("from the child")


def _use(client: Client) -> None:
    for call in (
        client.who,
        client.serve,
        client.poll,
        client.keep_reading,
        client.wait_for_rank,
        lambda: client.command("from the child", quiet=True),
        lambda: next(client.promotions()),
    ):
        with pytest.raises(StateError, match="make a new client"):
            call()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("work", [_close, _collect, _leave_with, _use])
def test_a_child_gives_up_nothing_of_its_parents(options, work):
    ran: list[str] = []
    with (
        Client(**options) as client,
        Client(**options, handler=lambda command: ran.append(command.text)) as executor,
    ):
        in_child(lambda: work(client))
        receipt = client.command("from the parent", results=True)
        assert executor.wait(lambda: bool(ran), PATIENCE_S)
        assert receipt.wait(PATIENCE_S).ok == 1
        assert ran == ["from the parent"]
        assert client.rank == 0
        assert len(client.who()) == 2


def test_a_child_makes_a_client_of_its_own(options):
    def work() -> None:
        with Client(**options) as mine:
            assert mine.rank == 1
            client.close()
            assert len(mine.who()) == 2

    with Client(**options) as client:
        in_child(work)
        assert client.rank == 0
        assert not client.closed


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_child_of_the_asyncio_client(options):
    async def main() -> None:
        async with rankmux.aio.Client(**options) as client:

            async def work() -> None:
                with pytest.raises(StateError):
                    await client.command("from the child")
                await client.close()
                await client.close()

            def child() -> None:
                asyncio.run(work())
                gc.collect()

            in_child(child)
            assert [member.rank for member in await client.who()] == [0]
            assert not client.closed

    asyncio.run(main())
