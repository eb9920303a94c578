"""A process that forks with a client in it: the connection still belongs to the parent, whatever the child does."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import socket
import ssl
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import rankmux.aio
from rankmux import Change, Client
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


def methods(kind: type) -> set[str]:
    """The names of the public methods, those of base classes included."""
    return {name for name, value in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}


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
    calls = {
        "command": lambda: client.command("from the child", quiet=True),
        "commands": lambda: client.commands(["from the child"]),
        "count": client.count,
        "keep_reading": client.keep_reading,
        "lead": lambda: client.lead().__enter__(),
        "poll": client.poll,
        "promotions": lambda: next(client.promotions()),
        "request": lambda: client.request("from the child"),
        "serve": client.serve,
        "set_baton": lambda: client.set_baton("from the child"),
        "step_down": client.step_down,
        "wait": lambda: client.wait(lambda: False, 1),
        "wait_for_rank": client.wait_for_rank,
        "watch": client.watch,
        "who": client.who,
    }
    assert methods(Client) - calls.keys() == {"close", "fileno"}
    for call in calls.values():
        with pytest.raises(StateError, match="make a new client"):
            call()


def _exit(client: Client) -> None:
    """As in a child that runs to its end: `finally` blocks, exit handlers, garbage collection."""
    process = get_context("fork").Process(target=sys.exit)
    process.start()
    process.join(PATIENCE_S)
    assert process.exitcode == 0


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")  # the server is a thread
@pytest.mark.parametrize("work", [_close, _collect, _exit, _leave_with, _use])
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
        async with (
            rankmux.aio.Client(**options, watch=True) as client,
            rankmux.aio.Client(**options, handler=lambda command: command.text),
        ):
            earlier = await client.command("from the parent", results=True)

            async def work() -> None:
                calls = {
                    "command": lambda: client.command("from the child", quiet=True),
                    "commands": lambda: client.commands(["from the child"]),
                    "connect": client.connect,
                    "count": client.count,
                    "lead": lambda: client.lead().__aenter__(),
                    "request": lambda: client.request("from the child"),
                    "serve": client.serve,
                    "set_baton": lambda: client.set_baton("from the child"),
                    "step_down": client.step_down,
                    "wait_for_rank": client.wait_for_rank,
                    "watch": client.watch,
                    "who": client.who,
                }
                assert methods(rankmux.aio.Client) - calls.keys() == {
                    "close",
                    "events",
                    "fileno",
                    "promotions",
                }
                calls |= {"events": client.events().__anext__, "results": lambda: anext(aiter(earlier))}
                del calls["connect"]  # "the client is connected"
                for call in (*calls.values(), earlier.wait, earlier.gather):
                    with pytest.raises(StateError, match="make a new client"):
                        await call()
                with pytest.raises(StateError, match="make a new client"):
                    earlier.cancel()
                await client.close()
                await client.close()

            def child() -> None:
                asyncio.run(work())
                gc.collect()

            in_child(child)
            assert [member.rank for member in await client.who()] == [0, 1]
            assert (await earlier.wait(PATIENCE_S)).ok == 1
            assert not client.closed

    asyncio.run(main())


HOLDER = """
import asyncio, os, signal, sys, time
import rankmux, rankmux.aio

options = {"port": int(sys.argv[1]), "name": "holder", "keep_s": 60, "keep_file": sys.argv[2]}

def fork():
    if (pid := os.fork()) == 0:
        time.sleep(600)
        os._exit(0)
    print(pid, flush=True)
    sys.stdin.readline()

async def main():
    client = rankmux.aio.Client(**options)
    await client.connect()
    fork()
    if sys.argv[4] == "closes":
        await client.close()

if sys.argv[3] == "asyncio":
    asyncio.run(main())
else:
    client = rankmux.Client(**options)
    fork()
    if sys.argv[4] == "closes":
        client.close()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("end", ["closes", "is killed"])
@pytest.mark.parametrize("driver", ["blocking", "asyncio"])
def test_a_child_holds_nothing_of_a_parent_that_has_ended(tmp_path, driver, end):
    """Neither the connection, until the server finds it silent, nor the file of the seat."""
    secret = tmp_path / "seat"
    with Server(port=0, seats=4) as server, Client(*server.address, watch=True) as client:
        port = server.address[1]
        command = [sys.executable, "-c", HOLDER, str(port), str(secret), driver, end]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            child = int(holder.stdout.readline())
            try:
                watch = client.watch()
                holder.stdin.write("end\n")
                holder.stdin.close()
                change = next(watch.changes(timeout=5))  # silence would take 30 s
                assert change.what is (Change.LEFT if end == "closes" else Change.ABSENT)
                holder.wait(PATIENCE_S)
                with Client(*server.address, name="holder", keep_s=60, keep_file=secret) as again:
                    assert again.rank == 1
            finally:
                os.kill(child, signal.SIGKILL)
                holder.kill()
