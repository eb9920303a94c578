"""Exceptions from signal handlers at each point of the asyncio client, which propagate through its loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from rankmux.aio import Client
from rankmux.errors import ConnectionLost

from ..support.drivers import LOOPS, new_loop
from ..support.fake_server import FakeServer
from ..support.interrupts import Interrupter, Recorder, ctrl_c

PROMPT_S = 2.0


async def _command(client: Client) -> None:
    await client.command(b"interrupted")


async def _quiet(client: Client) -> None:
    await client.command(b"interrupted", quiet=True)


async def _results(client: Client) -> None:
    receipt = await client.command(b"interrupted", results=True)
    assert [result.payload async for result in receipt] == [b"done"]


async def _serve(client: Client) -> None:
    ended = asyncio.Event()

    async def handler(command: object) -> str | None:
        if command.text == "stop":
            ended.set()
            return None
        return "ran"

    serving = asyncio.create_task(client.serve(handler))
    waiting = asyncio.create_task(ended.wait())
    await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
    for task in (serving, waiting):
        task.cancel()
    await asyncio.gather(serving, waiting, return_exceptions=True)


async def _close(client: Client) -> None:
    await client.command(b"interrupted", quiet=True)
    await client.close()


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    """Cleanup as in `asyncio.run` after an exception has left the loop."""
    if tasks := asyncio.all_tasks(loop):
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks))


@pytest.mark.slow
@pytest.mark.parametrize("scene", [_command, _quiet, _results, _serve, _close])
@pytest.mark.parametrize("driver", LOOPS)
def test_nothing_is_sent_twice_or_torn_wherever_an_exception_comes(scene, driver):
    at, done = 0, False
    while not done:
        recorder = Recorder()
        loop = new_loop(driver)
        loop.set_exception_handler(lambda *_: None)
        with FakeServer(recorder.serve) as fake:
            client = Client(fake.host, fake.port, timeout=PROMPT_S)
            loop.run_until_complete(client.connect())
            interrupter = Interrupter(at, ctrl_c)
            began_s = time.monotonic()
            task = loop.create_task(scene(client))
            with interrupter(), suppress(ConnectionLost):
                loop.run_until_complete(task)
            failed = _use(loop, client)
            _cancel_all(loop)
            loop.run_until_complete(client.close())
            loop.run_until_complete(client.close())
            took_s = time.monotonic() - began_s
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
        place = interrupter.place
        assert took_s < PROMPT_S, place
        assert client._connection.link is None, place
        assert recorder.commands.count(b"interrupted") <= 1, place
        assert recorder.commands.count(b"again") == (failed is None), place
        assert set(recorder.commands) <= {b"interrupted", b"again"}, place
        assert len(recorder.results) <= 1, place
        assert set(recorder.others) <= {0x06, 0x07, 0x08}, place
        assert recorder.others[0x08] <= 1, place
        if failed is not None:
            assert failed == "this client was closed" or "interrupted" in failed, place
        at, done = at + 1, not place
    assert at > 20


def _use(loop: asyncio.AbstractEventLoop, client: Client) -> str | None:
    with suppress(RuntimeError):  # an interrupted run may still stop the loop, some turns later
        loop.run_until_complete(asyncio.sleep(0.01))
    try:
        loop.run_until_complete(client.command(b"again"))
    except ConnectionLost as error:
        return error.reason
    return None


@pytest.mark.parametrize("wait", [lambda: asyncio.sleep(0), lambda: asyncio.sleep(0.001)])
def test_a_task_that_is_cancelled_while_it_sends(wait: Callable[[], object]):
    """Each command that was begun is on the wire at most once, and those after it are complete."""

    async def main(fake: FakeServer) -> None:
        async with Client(fake.host, fake.port, timeout=PROMPT_S) as client:
            for number in range(100):
                task = asyncio.create_task(client.command(b"%d" % number + bytes(50_000)))
                await wait()
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await client.command(b"last")

    recorder = Recorder()
    with FakeServer(recorder.serve) as fake:
        asyncio.run(main(fake))
    sent = [int(command.rstrip(bytes(1))) for command in recorder.commands[:-1]]
    assert sent == sorted(set(sent))
    assert recorder.commands[-1] == b"last"
