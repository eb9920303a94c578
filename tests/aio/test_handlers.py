"""Handlers as coroutines: a bounded number run concurrently, until their deadlines, and end with their client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable

import pytest

import rankmux.aio
import rankmux.core.client.inbox
from rankmux.aio import Client, ReceivedCommand, Status, reject
from rankmux.errors import ArgumentError
from rankmux.wire import Execute

from ..support.drivers import PATIENCE_S
from ..support.fake_server import Connection, FakeServer
from .words import others, shout, until


def test_the_limit_of_concurrent_handlers(run, server):
    started: list[str] = []
    running: set[str] = set()
    most: list[int] = []

    async def main() -> None:
        go_on = asyncio.Event()

        async def handler(command: ReceivedCommand) -> str:
            started.append(command.text)
            running.add(command.text)
            most.append(len(running))
            await go_on.wait()
            await asyncio.sleep(0)
            running.remove(command.text)
            return command.text

        async with (
            Client(*server.address) as ada,
            Client(*server.address) as bob,
            asyncio.TaskGroup() as group,
        ):
            serving = group.create_task(bob.serve(handler, parallel=3))
            receipts = [await ada.command(str(n), results=True) for n in range(20)]
            await until(lambda: len(running) == 3)
            await bob.who()  # all commands have arrived
            assert started == ["0", "1", "2"]
            go_on.set()
            assert [(await receipt.gather(PATIENCE_S))[0].text for receipt in receipts] == [
                *map(str, range(20))
            ]
            await bob.close()
            await serving

    run(main())
    assert started == [*map(str, range(20))]
    assert max(most) == 3


@pytest.mark.parametrize("kind", ["function", "coroutine function", "function that returns a coroutine"])
def test_more_quiet_commands_than_are_received_at_once(run, server, kind, monkeypatch):
    """All of them run, in order; reading pauses and resumes meanwhile, and other tasks run."""
    monkeypatch.setattr("rankmux.aio.handlers._TURN_S", 0.0)
    ran: list[int] = []
    tasks: set[object] = set()

    def note(command: ReceivedCommand) -> None:
        ran.append(int(command.text))
        tasks.add(asyncio.current_task())

    async def awaited(command: ReceivedCommand) -> None:
        note(command)

    def returning(command: ReceivedCommand) -> Awaitable[None]:
        return awaited(command)

    handler = {"function": note, "coroutine function": awaited}.get(kind, returning)

    async def main() -> None:
        turns = 0
        async with Client(*server.address) as ada, Client(*server.address, handler=handler):
            for number in range(5000):
                await ada.command(str(number), quiet=True)
            left = 5000 - len(ran)
            while len(ran) < 5000:
                await asyncio.sleep(0)
                turns += 1
            assert turns >= left > 1000

    run(main())
    assert ran == [*range(5000)]
    assert (None in tasks) is (kind == "function")


@pytest.mark.parametrize("parallel", [1, 3, 64])
@pytest.mark.parametrize("waits", [0, 1])
def test_commands_begin_in_order_however_many_run_at_a_time(run, server, parallel, waits):
    begun: list[int] = []

    async def handler(command: ReceivedCommand) -> None:
        begun.append(int(command.text))
        for _ in range(waits * (int(command.text) % 3)):
            await asyncio.sleep(0)

    async def main() -> None:
        async with (
            Client(*server.address) as ada,
            Client(*server.address, handler=handler, parallel=parallel) as bob,
        ):
            receipts = []
            for number in range(1500):
                wants = number % 50 == 7
                receipt = await ada.command(str(number), results=wants, quiet=True)
                receipts += [receipt] if wants else []
            for receipt in receipts:
                assert (await receipt.wait(PATIENCE_S)).ok == 1
            await until(lambda: len(begun) == 1500)
            assert bob.member_count is not None

    run(main())
    assert begun == [*range(1500)]


def test_quiet_commands_and_those_with_results_run_in_order(run, server):
    ran: list[str] = []

    async def main() -> None:
        async with (
            Client(*server.address) as ada,
            Client(*server.address, handler=lambda command: ran.append(command.text)),
        ):
            receipts = []
            for number in range(200):
                wants = number % 3 == 0
                receipts.append(await ada.command(str(number), results=wants, quiet=not wants))
            for receipt in receipts[::3]:
                assert (await receipt.wait(PATIENCE_S)).ok == 1
            await until(lambda: len(ran) == 200)

    run(main())
    assert ran == [*map(str, range(200))]


def test_one_handler_at_a_time_unless_more_are_asked_for(run, server):
    overlaps: list[int] = []
    running: list[int] = []

    async def handler(command: ReceivedCommand) -> None:
        running.append(command.seq)
        await asyncio.sleep(0.001)
        overlaps.append(len(running))
        running.remove(command.seq)

    async def main() -> None:
        async with Client(*server.address) as ada, Client(*server.address, handler=handler):
            receipts = [await ada.command(str(n), results=True) for n in range(10)]
            assert [(await receipt.wait(PATIENCE_S)).ok for receipt in receipts] == [1] * 10

    run(main())
    assert overlaps == [1] * 10


def test_plain_functions_are_handlers_too(run, server):
    async def main() -> None:
        async with (
            Client(*server.address) as ada,
            Client(*server.address, handler=lambda command: command.payload[::-1]),
            Client(*server.address, handler=reject),
        ):
            results = await (await ada.command("abc", results=True)).gather(PATIENCE_S)
            assert [(result.status, result.text) for result in results] == [
                (Status.OK, "cba"),
                (Status.REJECTED, "this client executes nothing"),
            ]

    run(main())


def test_a_handler_past_its_deadline_is_cancelled_and_answers_nothing(run, caplog):
    """The handler is cancelled however it reacts; and a command that expires while it waits for its turn is not run."""
    answers: list[tuple[int, bytes]] = []
    ends: list[str] = []

    def script(connection: Connection) -> None:
        connection.welcome()
        connection.send(
            Execute(12, 0, 1, 50, b"sleeps"),
            Execute(13, 0, 1, 10, b"waits too long"),
        )
        connection.send(Execute(14, 0, 1, 300, b"does not give up"))
        connection.send(Execute(15, 0, 1, 600, b"blocks"))
        connection.send(Execute(16, 0, 1, 0, b"has time"))
        while not answers or answers[-1][0] != 16:
            body = connection.read_until(0x03)
            answers.append((int.from_bytes(body[:8]), body[9:]))
        connection.until_gone()

    async def handler(command: ReceivedCommand) -> str:
        try:
            if command.text == "blocks":
                time.sleep(command.seconds_left() + 0.01)  # noqa: ASYNC251
                await command.emit("late, too")
            elif command.text != "has time":
                await asyncio.sleep(PATIENCE_S)
        except asyncio.CancelledError:
            ends.append(command.text)
            if command.text == "does not give up":
                return "late"
            raise
        return "in time"

    async def main(fake: FakeServer) -> None:
        async with Client(fake.host, fake.port, handler=handler):
            await until(lambda: answers)

    with FakeServer(script) as fake:
        run(main(fake))
    assert answers == [(16, b"in time")]
    assert ends[:2] == ["sleeps", "does not give up"]
    assert "command 13 was not run" in caplog.text
    for seq in (12, 14, 15):
        assert f"for command {seq}, which expired" in caplog.text


def test_a_timeout_of_the_handlers_own_is_a_failure(run, server):
    async def handler(command: ReceivedCommand) -> None:
        if command.text == "cancelled":
            task = asyncio.create_task(asyncio.sleep(PATIENCE_S))
            task.cancel()
            await task
        async with asyncio.timeout(0.001):
            await asyncio.sleep(PATIENCE_S)

    async def main() -> None:
        async with Client(*server.address) as ada, Client(*server.address, handler=handler):
            for text, error in (("cancelled", "CancelledError"), ("timeout", "TimeoutError")):
                (result,) = await (await ada.command(text, results=True, timeout=PATIENCE_S)).gather(
                    PATIENCE_S
                )
                assert (result.status, result.text) == (Status.FAILED, error)

    run(main())


def test_a_cancelled_serve_cancels_its_handlers_and_reports_it(run, server):
    async def main() -> None:
        running = asyncio.Event()

        async def forever(command: ReceivedCommand) -> None:
            running.set()
            await asyncio.sleep(3 * PATIENCE_S)

        async with Client(*server.address) as ada, Client(*server.address) as bob:
            serving = asyncio.create_task(bob.serve(forever))
            first = await ada.command("first", results=True)
            await running.wait()
            second = await ada.command("second", results=True)
            serving.cancel()
            await asyncio.wait([serving])
            assert serving.cancelled()
            assert others() == set()
            (result,) = await first.gather(PATIENCE_S)
            assert (result.status, result.text) == (Status.FAILED, "the handler was cancelled")
            serving = asyncio.create_task(bob.serve(shout))  # the rest waits for the next serve()
            assert (await second.gather(PATIENCE_S))[0].text == "SECOND"
            await bob.close()
            await serving

    run(main())


@pytest.mark.parametrize("way", ["serve", "handler"])
def test_closing_ends_the_handlers_that_still_run(run, server, way):
    ends: list[str] = []

    async def main() -> None:
        running = asyncio.Event()

        async def forever(command: ReceivedCommand) -> None:
            running.set()
            try:
                await asyncio.sleep(3 * PATIENCE_S)
            finally:
                ends.append(command.text)

        async with Client(*server.address) as ada:
            bob = Client(*server.address, handler=forever if way == "handler" else None)
            await bob.connect()
            serving = asyncio.create_task(bob.serve(forever)) if way == "serve" else None
            receipt = await ada.command("x", results=True)
            await running.wait()
            await bob.close()
            if serving is not None:
                await serving
            assert ends == ["x"]
            assert (await receipt.gather(PATIENCE_S))[0].status is Status.LEFT

    run(main())


@pytest.mark.parametrize("way", ["serve", "handler", "callback"])
def test_a_client_closed_from_within(run, server, way):
    after: list[bool] = []

    async def main() -> None:
        async def close(_: object) -> None:
            await bob.close()
            after.append(bob.closed)

        options = {"handler": {"handler": close}, "callback": {"on_promoted": close}}.get(way, {})
        ada, bob = Client(*server.address), Client(*server.address, **options)
        await ada.connect()
        await bob.connect()
        if way == "callback":
            await ada.close()
        else:
            await ada.command("close", quiet=True)
        if way == "serve":
            await bob.serve(close)
        await until(lambda: after)
        await ada.close()

    run(main())
    assert after == [True]


def test_handlers_that_wait_for_their_own_commands_do_not_stop_reading(run, server, monkeypatch):
    """This holds however many commands wait behind them."""
    monkeypatch.setattr(rankmux.core.client.inbox, "_COMMANDS_SOFT", 3)

    async def main() -> None:
        async def forward(command: ReceivedCommand) -> str:
            async with asyncio.TaskGroup() as group:  # a task of the handler waits for it
                below = group.create_task(bob.command(command.payload, to="next", results=True))
            return (await below.result().gather(PATIENCE_S))[0].text

        async with (
            Client(*server.address) as ada,
            Client(*server.address, handler=forward, parallel=2) as bob,
            Client(*server.address, handler=shout),
        ):
            receipts = [
                await ada.command(f"c{n}", to="next", results=True, timeout=PATIENCE_S) for n in range(100)
            ]
            answers = [(await receipt.gather(PATIENCE_S))[0].text for receipt in receipts]
            assert answers == [f"C{n}" for n in range(100)]

    run(main())


@pytest.mark.parametrize("parallel", [0, -1, 1.5, True, None])
def test_invalid_numbers_of_handlers(parallel):
    with pytest.raises(ArgumentError, match="parallel"):
        Client(parallel=parallel)
