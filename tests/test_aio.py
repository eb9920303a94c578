"""What only the asyncio client has: cancellation, handlers side by side, events; and that nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import types
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import suppress
from itertools import count
from random import Random
from typing import Any

import pytest

import rankmux.aio
import rankmux.aio_connection
import rankmux.client_inbox
from rankmux.aio import Client, Ended, Promoted, ReceivedCommand, Status, Welcomed, reject
from rankmux.aio_link import Link
from rankmux.aio_stream import open_transport
from rankmux.client_reconnect import Backoff
from rankmux.errors import (
    ArgumentError,
    CommandRefused,
    ConnectionLost,
    RankmuxError,
    ServerError,
    StateError,
)
from rankmux.server import Server
from rankmux.wire import Accepted, Done, Execute, Ping, Pong, Rank, Routed

from .drivers import PATIENCE_S, new_loop
from .fake_server import Connection, FakeServer
from .test_client_stream import Relay

Run = Callable[[Coroutine[Any, Any, Any]], Any]


async def until(condition: Callable[[], object]) -> None:
    """For what happens in another thread, or in the next turns of the loop."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def open_sockets() -> set[str]:
    """Those of this process; a loop may open other descriptors when it likes."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the listing's own
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
    return {name for name in found if name.startswith("socket:")}


def others() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on each loop in turn. It may leave no task, no waiting entry, no complaint and no descriptor."""

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
    """Back-off without the waiting; its delays have tests of their own."""
    monkeypatch.setattr(rankmux.aio, "Backoff", lambda: Backoff(lambda low, _: low))


async def shout(command: ReceivedCommand) -> str:
    return command.text.upper()


# Cancellation


class Interrupted:
    """Awaits something, and is cancelled at its `at`-th suspension; `over` tells whether it came to that many."""

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
            except BaseException as error:  # noqa: BLE001 - it goes where it belongs
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
    """Plays `scene(interrupt)` again and again, each time interrupted one suspension later, until it gets through."""
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
    """Nothing is left of it, and it can be tried again."""

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
    "rank": lambda client: (
        client.wait_for_rank(0, timeout=0.02) if client.rank else client.wait_for_rank(-1, timeout=0.02)
    ),
    "events": lambda client: _first(client.events()),
    "serve": _serve_shortly,
    "results": _results,
    "gather": _gathered,
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_whatever_is_cancelled_leaves_the_client_as_it_was(run, server, operation):
    async def main() -> None:
        async with Client(*server.address) as ada, Client(*server.address, handler=shout) as bob:

            async def scene(interrupt: Any) -> None:
                await interrupt(OPERATIONS[operation](ada))
                assert others() == set() or all(task.get_coro().__name__ == "_run" for task in others())
                assert len(ada._connection.waiters) == 0
                assert ada._connection.link.inbox.pages == {}
                assert ada._connection._nested == 0
                (result,) = await (await ada.command("still here", results=True)).gather(PATIENCE_S)
                assert result.text == "STILL HERE"
                gc.collect()
                assert list(ada._connection.link.inbox._alive) == []

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


def test_reconnecting_ended_at_any_time(run):
    """Closing leaves nothing of an attempt that is under way."""
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
    """Whoever is cancelled takes nothing from the others: each command runs at most once, each answered one exactly."""
    random = Random(seed)
    ran: Counter[str] = Counter()
    answered: list[str] = []

    async def handler(command: ReceivedCommand) -> str:
        ran[command.text] += 1
        await asyncio.sleep(random.choice([0, 0, 0.002]))
        return command.text.upper()

    async def work(client: Client, number: int) -> None:
        for turn in range(20):
            text = f"{number}.{turn} " + "x" * random.choice([0, 0, 30_000])
            match random.randrange(5):
                case 0:
                    await client.who()
                case 1:
                    await client.wait_for_rank(-1, timeout=0.001)
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
            tasks = [asyncio.create_task(work(ada, number)) for number in range(30)]
            while pending := [task for task in tasks if not task.done()]:
                await asyncio.sleep(random.random() * 0.01)
                random.choice(pending).cancel()
            failed = [
                task.exception() for task in tasks if not task.cancelled() and task.exception() is not None
            ]
            assert failed == []
            assert len(ada._connection.waiters) == 0
            assert len(await ada.who()) == 2
            assert (await (await ada.command("last", results=True)).wait(PATIENCE_S)).ok == 1
            assert bob.rank == 1

    run(main())
    assert set(ran.values()) == {1}
    assert all(ran[text] == 1 for text in answered)


# Handlers


def test_so_many_handlers_run_at_a_time(run, server):
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
            await bob.who()  # all have come
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
    """Whatever it does about it; and a command that expires while it waits for its turn is not run."""
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


def test_who_stops_serving_cancels_its_handlers_and_says_so(run, server):
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
            serving = asyncio.create_task(bob.serve(shout))  # what had not begun waits for the next
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
    """However many commands wait behind them."""
    monkeypatch.setattr(rankmux.client_inbox, "_COMMANDS_SOFT", 3)

    async def main() -> None:
        async def forward(command: ReceivedCommand) -> str:
            async with asyncio.TaskGroup() as group:  # a task of the handler waits on its behalf
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
def test_numbers_of_handlers_that_are_none(parallel):
    with pytest.raises(ArgumentError, match="parallel"):
        Client(parallel=parallel)


# Events


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
            waiting = asyncio.create_task(_all(streams[0]))
            await cyd.close()
            assert await waiting == []
            assert await _all(streams[1]) == []

    run(main())


async def _all(iterator: Any) -> list[Any]:
    return [item async for item in iterator]


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
        assert len(client._subscriptions._events) == 0
        await client.close()

    with FakeServer(script) as fake:
        run(main(fake))


# The connection


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


def test_a_loop_that_was_held_up_does_not_take_its_server_for_dead(run):
    """The answers came while the program kept the loop busy: they are heard before the silence is judged."""

    def script(connection: Connection) -> None:
        connection.welcome(ping_ms=1)
        pings = [connection.read_until(0x06) for _ in range(2)]
        time.sleep(0.3)  # the loop is held up by now
        connection.send(*map(Pong, pings))
        connection.until_gone()

    async def main(fake: FakeServer) -> None:
        async with Client(fake.host, fake.port) as client:
            liveness = client._connection.link._liveness
            await until(lambda: liveness._silent_pings == 2)
            time.sleep(1.5)  # noqa: ASYNC251
            await asyncio.sleep(0.1)
            assert client.rank == 2

    with FakeServer(script) as fake:
        run(main(fake))


def test_many_tasks_share_a_client(run, server):
    """Every answer belongs to its question."""

    async def work(client: Client, number: int) -> None:
        for turn in range(5):
            text = f"task {number} turn {turn} " + "x" * (number * 97)
            (result,) = await _all(await client.command(text, results=True, timeout=PATIENCE_S))
            assert result.text == text.upper()

    async def main() -> None:
        async with Client(*server.address) as ada, Client(*server.address, handler=shout, parallel=8):
            async with asyncio.TaskGroup() as group:
                for number in range(200):
                    group.create_task(work(ada, number))
            assert len(ada._connection.waiters) == 0

    run(main())


def test_a_server_that_does_not_read_holds_up_its_senders(run):
    """Nothing of what was cancelled while it waited goes out; all that returned does, once."""
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
            transport = client._connection.link._transport
            for _ in range(100):
                await asyncio.sleep(0)
            assert transport.get_write_buffer_size() < 256 * 1024 + 2 * 60_100
            assert client._session.output_size == 0
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
        assert link._transport.get_write_buffer_size() + link.session.output_size < 1_000_000
        gone.set()
        await client.close()

    with FakeServer(script) as fake:
        run(main(fake))


def test_results_that_were_dropped_make_room_again(run, monkeypatch):
    """Reading goes on when the receipt that held it up is gone, even if nobody says so."""
    monkeypatch.setattr(rankmux.client_inbox, "_UNREAD_RESULTS_MAX_BYTES", 1_000_000)

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
            assert client._connection.link.inbox.many_results
            del receipt
            gc.collect()
            await until(lambda: client.rank == 1)

    with FakeServer(script) as fake:
        run(main(fake))


def test_connecting_once_and_again(run, server):
    async def main() -> None:
        with pytest.raises(ConnectionLost, match="never been made"):
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


def test_a_welcome_that_comes_before_the_loop_hands_over_the_connection(run, server, monkeypatch):
    """And then the loop does not hand it over: it was cancelled just then."""
    attempts: list[Link] = []

    async def interrupted(address: Any, link: Link, timeout_s: float) -> None:
        attempts.append(link)
        await open_transport(address, link, timeout_s)
        if len(attempts) == 1:
            await until(lambda: link.session.rank is not None)
            raise asyncio.CancelledError

    monkeypatch.setattr(rankmux.aio_connection, "open_transport", interrupted)

    async def main() -> None:
        client = Client(*server.address, reconnect=True)
        with pytest.raises(asyncio.CancelledError):
            await client.connect()
        assert client.rank is None
        assert others() == set()
        await client.connect()
        assert client.rank is not None
        await client.close()

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
                    group.create_task(ada.command("x"))
                    group.create_task(ada.serve(shout))
                    group.create_task(_all(ada.events()))

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


@pytest.mark.parametrize("driver", ["asyncio", "uvloop"])
def test_a_client_that_is_not_closed_is_told_of(server, driver):
    async def main() -> None:
        await Client(*server.address).connect()

    def leave_it() -> None:
        with asyncio.Runner(loop_factory=lambda: new_loop(driver)) as runner:
            runner.run(main())
        gc.collect()

    with pytest.warns(ResourceWarning, match="unclosed"):
        leave_it()


def test_asyncio_is_imported_when_it_is_asked_for():
    code = (
        "import sys, rankmux; rankmux.Client; assert 'asyncio' not in sys.modules;"
        "rankmux.aio.Client; assert 'asyncio' in sys.modules; from rankmux import aio"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
