"""The measured side: a program that puts one load on one client library, and reads its own clocks.

    python -m benchmarks.clients.measured LIBRARY LOAD PORT COUNT

It writes `ready` when the others may begin, waits for a line where it begins itself, and ends with a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import repeat
from pathlib import Path

__all__ = ["LIBRARIES", "SUBJECT"]

PAYLOAD = b"x" * 64
SUBJECT = "bench"
_GATHERS = 3
_WARM_IDLE = 200


class Clock:
    """The CPU time of this process from `begin` to `end`; `end` is called by the last of `count` messages."""

    def __init__(self, count: int) -> None:
        self.count = self.left = count
        self.cpu_s = self._began_s = 0.0

    def begin(self) -> None:
        self._began_s = time.process_time()

    def end(self) -> None:
        self.cpu_s = time.process_time() - self._began_s

    def note(self) -> bool:
        """Count a message; True for the last."""
        self.left -= 1
        if self.left:
            return False
        self.end()
        return True

    def each_us(self) -> dict[str, float]:
        return {"cpu_us": 1e6 * self.cpu_s / self.count}


def ready() -> None:
    print("ready", flush=True)


def await_go() -> None:
    sys.stdin.readline()


def _request_figures(clock: Clock, took_s: list[float]) -> dict[str, float]:
    return {**clock.each_us(), "p50_us": 1e6 * statistics.median(took_s)}


# rankmux, blocking


def rankmux_receive(port: int, count: int) -> dict[str, float]:
    import rankmux

    clock = Clock(count)

    def handle(command: rankmux.ReceivedCommand) -> None:
        assert len(command.payload) == len(PAYLOAD)
        if clock.note():
            client.close()

    with rankmux.Client("127.0.0.1", port) as client:
        clock.begin()
        ready()
        client.serve(handle)
    return clock.each_us()


def rankmux_request(port: int, count: int) -> dict[str, float]:
    import rankmux

    took_s, clock = [], Clock(count)
    with rankmux.Client("127.0.0.1", port) as client:
        ready()
        await_go()
        for turn in range(-count // 10, count):
            if turn == 0:
                clock.begin()
            began_s = time.perf_counter()
            result = client.request(PAYLOAD)
            if turn >= 0:
                took_s.append(time.perf_counter() - began_s)
            assert result.payload == PAYLOAD
        clock.end()
    return _request_figures(clock, took_s)


def rankmux_answer(port: int, count: int) -> dict[str, float]:
    import rankmux

    with rankmux.Client("127.0.0.1", port) as client:
        ready()
        client.serve(lambda command: command.payload)
    return {}


def rankmux_send(port: int, count: int) -> dict[str, float]:
    import rankmux

    clock = Clock(count)
    with rankmux.Client("127.0.0.1", port) as client:
        ready()
        await_go()
        clock.begin()
        client.commands(repeat(PAYLOAD, count), to=1)
        client.who()
        clock.end()
    return clock.each_us()


def rankmux_send_each(port: int, count: int) -> dict[str, float]:
    import rankmux

    clock = Clock(count)
    with rankmux.Client("127.0.0.1", port) as client:
        ready()
        await_go()
        clock.begin()
        for _ in range(count):
            client.command(PAYLOAD, to=1, quiet=True)
        client.who()
        clock.end()
    return clock.each_us()


def rankmux_gather(port: int, count: int) -> dict[str, float]:
    import rankmux

    clock = Clock(count * _GATHERS)
    with rankmux.Client("127.0.0.1", port) as client:
        ready()
        await_go()
        for turn in range(-1, _GATHERS):
            if turn == 0:
                clock.begin()
            assert len(client.command(PAYLOAD, results=True).gather()) == count
        clock.end()
    return clock.each_us()


# rankmux, asyncio


async def aio_receive(port: int, count: int) -> dict[str, float]:
    from rankmux import aio

    clock, over = Clock(count), asyncio.Event()

    def handle(command: aio.ReceivedCommand) -> None:
        assert len(command.payload) == len(PAYLOAD)
        if clock.note():
            over.set()

    async with aio.Client("127.0.0.1", port, handler=handle):
        clock.begin()
        ready()
        await over.wait()
    return clock.each_us()


async def aio_receive_async(port: int, count: int) -> dict[str, float]:
    from rankmux import aio

    clock, over = Clock(count), asyncio.Event()

    async def handle(command: aio.ReceivedCommand) -> None:
        assert len(command.payload) == len(PAYLOAD)
        if clock.note():
            over.set()

    async with aio.Client("127.0.0.1", port, handler=handle):
        clock.begin()
        ready()
        await over.wait()
    return clock.each_us()


async def aio_request(port: int, count: int) -> dict[str, float]:
    from rankmux import aio

    took_s, clock = [], Clock(count)
    async with aio.Client("127.0.0.1", port) as client:
        ready()
        await asyncio.to_thread(await_go)
        for turn in range(-count // 10, count):
            if turn == 0:
                clock.begin()
            began_s = time.perf_counter()
            result = await client.request(PAYLOAD)
            if turn >= 0:
                took_s.append(time.perf_counter() - began_s)
            assert result.payload == PAYLOAD
        clock.end()
    return _request_figures(clock, took_s)


async def aio_answer(port: int, count: int) -> dict[str, float]:
    from rankmux import aio

    async def answer(command: aio.ReceivedCommand) -> bytes:
        return command.payload

    async with aio.Client("127.0.0.1", port) as client:
        ready()
        await client.serve(answer)
    return {}


async def aio_send(port: int, count: int) -> dict[str, float]:
    from rankmux import aio

    clock = Clock(count)
    async with aio.Client("127.0.0.1", port) as client:
        ready()
        await asyncio.to_thread(await_go)
        clock.begin()
        await client.commands(repeat(PAYLOAD, count), to=1)
        await client.who()
        clock.end()
    return clock.each_us()


async def aio_send_each(port: int, count: int) -> dict[str, float]:
    from rankmux import aio

    clock = Clock(count)
    async with aio.Client("127.0.0.1", port) as client:
        ready()
        await asyncio.to_thread(await_go)
        clock.begin()
        for _ in range(count):
            await client.command(PAYLOAD, to=1, quiet=True)
        await client.who()
        clock.end()
    return clock.each_us()


async def aio_gather(port: int, count: int) -> dict[str, float]:
    from rankmux import aio

    clock = Clock(count * _GATHERS)
    async with aio.Client("127.0.0.1", port) as client:
        ready()
        await asyncio.to_thread(await_go)
        for turn in range(-1, _GATHERS):
            if turn == 0:
                clock.begin()
            assert len(await (await client.command(PAYLOAD, results=True)).gather()) == count
        clock.end()
    return clock.each_us()


async def aio_idle(port: int, count: int) -> dict[str, float]:
    from rankmux import aio

    def resident_bytes() -> int:
        for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("smaps_rollup has no Rss line")

    clients = []
    before = 0
    while len(clients) < count + _WARM_IDLE:
        if len(clients) == _WARM_IDLE:
            before = resident_bytes()
        more = [aio.Client("127.0.0.1", port) for _ in range(50)]
        await asyncio.gather(*(client.connect() for client in more))
        clients += more
    await asyncio.sleep(0.5)
    grown = resident_bytes() - before
    ready()
    return {"bytes": grown / count}


# redis-py


def redis_receive(port: int, count: int) -> dict[str, float]:
    import redis

    clock = Clock(count)
    subscription = redis.Redis(port=port).pubsub(ignore_subscribe_messages=True)
    running = True

    def handle(message: dict[str, bytes]) -> None:
        nonlocal running
        assert len(message["data"]) == len(PAYLOAD)
        running = not clock.note()

    subscription.subscribe(**{SUBJECT: handle})
    clock.begin()
    ready()
    while running:
        subscription.get_message(timeout=5.0)
    return clock.each_us()


async def redis_aio_receive(port: int, count: int) -> dict[str, float]:
    import redis.asyncio

    clock = Clock(count)
    subscription = redis.asyncio.Redis(port=port).pubsub(ignore_subscribe_messages=True)
    running = True

    def handle(message: dict[str, bytes]) -> None:
        nonlocal running
        assert len(message["data"]) == len(PAYLOAD)
        running = not clock.note()

    await subscription.subscribe(**{SUBJECT: handle})
    clock.begin()
    ready()
    while running:
        await subscription.get_message(timeout=5.0)
    return clock.each_us()


# nats-py


async def nats_receive(port: int, count: int) -> dict[str, float]:
    import nats
    from nats.aio.msg import Msg

    clock, over = Clock(count), asyncio.Event()
    connection = await nats.connect(f"nats://127.0.0.1:{port}")

    async def handle(message: Msg) -> None:
        assert len(message.data) == len(PAYLOAD)
        if clock.note():
            over.set()

    await connection.subscribe(SUBJECT, cb=handle)
    await connection.flush()
    clock.begin()
    ready()
    await over.wait()
    await connection.close()
    return clock.each_us()


async def nats_request(port: int, count: int) -> dict[str, float]:
    import nats

    took_s, clock = [], Clock(count)
    connection = await nats.connect(f"nats://127.0.0.1:{port}")
    ready()
    await asyncio.to_thread(await_go)
    for turn in range(-count // 10, count):
        if turn == 0:
            clock.begin()
        began_s = time.perf_counter()
        answer = await connection.request(SUBJECT, PAYLOAD, timeout=10)
        if turn >= 0:
            took_s.append(time.perf_counter() - began_s)
        assert answer.data == PAYLOAD
    clock.end()
    await connection.close()
    return _request_figures(clock, took_s)


async def nats_answer(port: int, count: int) -> dict[str, float]:
    import nats
    from nats.aio.msg import Msg

    connection = await nats.connect(f"nats://127.0.0.1:{port}")

    async def answer(message: Msg) -> None:
        await message.respond(message.data)

    await connection.subscribe(SUBJECT, cb=answer)
    await connection.flush()
    ready()
    await asyncio.Event().wait()
    return {}


async def nats_send(port: int, count: int) -> dict[str, float]:
    import nats

    clock = Clock(count)
    connection = await nats.connect(f"nats://127.0.0.1:{port}")
    ready()
    await asyncio.to_thread(await_go)
    clock.begin()
    for _ in range(count):
        await connection.publish(SUBJECT, PAYLOAD)
    await connection.flush()
    clock.end()
    await connection.close()
    return clock.each_us()


Load = Callable[[int, int], dict[str, float] | Awaitable[dict[str, float]]]
_BLOCKING: dict[str, Load] = {
    "receive": rankmux_receive,
    "request": rankmux_request,
    "answer": rankmux_answer,
    "send": rankmux_send,
    "send-each": rankmux_send_each,
    "gather": rankmux_gather,
}
_ASYNCIO: dict[str, Load] = {
    "receive": aio_receive,
    "receive-async": aio_receive_async,
    "request": aio_request,
    "answer": aio_answer,
    "send": aio_send,
    "send-each": aio_send_each,
    "gather": aio_gather,
    "idle": aio_idle,
}
LIBRARIES: dict[str, dict[str, Load]] = {
    "rankmux": _BLOCKING,
    "rankmux-aio": _ASYNCIO,
    "redis": {"receive": redis_receive},
    "redis-aio": {"receive": redis_aio_receive},
    "nats": {
        "receive": nats_receive,
        "receive-async": nats_receive,
        "request": nats_request,
        "answer": nats_answer,
        "send": nats_send,
        "send-each": nats_send,
    },
}


async def _awaited(figures: Awaitable[dict[str, float]]) -> dict[str, float]:
    return await figures


def main() -> None:
    """Put one load on one library, and print its figures."""
    library, load, port, count = sys.argv[1:]
    figures = LIBRARIES[library][load](int(port), int(count))
    if not isinstance(figures, dict):
        figures = asyncio.run(_awaited(figures))
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
