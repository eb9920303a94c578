"""anyio on asyncio with the asyncio client, and trio with the blocking one in threads, as docs/python.md says."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import pytest
import trio

import rankmux.aio
from rankmux import Client, ReceivedCommand, Server
from rankmux.aio import Counts

from ..support.drivers import PATIENCE_S


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    with Server(port=0, seats=4) as server:
        yield server.address


async def slowly(command: rankmux.aio.ReceivedCommand) -> str:
    await anyio.sleep(float(command.text))
    return command.text


def test_task_groups_and_cancel_scopes(address):
    async def main() -> None:
        worker = rankmux.aio.Client(*address, handler=slowly, parallel=4)
        async with rankmux.aio.Client(*address) as boss, worker:
            texts = []

            async def send(text: str) -> None:
                receipt = await boss.command(text, results=True)
                texts.append((await receipt.gather())[0].text)

            async with anyio.create_task_group() as group:
                group.start_soon(send, "0.01")
                group.start_soon(send, "0.02")
            assert sorted(texts) == ["0.01", "0.02"]

            with anyio.move_on_after(0.05) as scope:
                async with await boss.command("600", results=True) as receipt:
                    await receipt.wait()
            assert scope.cancelled_caught
            assert await receipt.wait(PATIENCE_S) == Counts(0, 0, 0, 0, 0, cancelled=1)

            with pytest.raises(TimeoutError), anyio.fail_after(0.05):
                await worker.wait_for_rank(0)
            async with anyio.create_task_group() as group:
                group.start_soon(worker.serve)
                await send("0")
                group.cancel_scope.cancel()
            await send("0")  # by the client's own handler again

    anyio.run(main, backend="asyncio")


def test_a_cancelled_scope_around_a_client_gives_its_seat_back(address):
    async def main() -> None:
        async with rankmux.aio.Client(*address, observe=True, watch=True) as onlooker:
            changes = (await onlooker.watch()).changes(PATIENCE_S)
            with anyio.CancelScope() as scope:
                async with rankmux.aio.Client(*address) as client:
                    assert client.rank == 0
                    scope.cancel()
                    await anyio.sleep_forever()
            assert client.closed
            assert [(await anext(changes)).what.name for _ in range(2)] == ["JOINED", "LEFT"]

    anyio.run(main, backend="asyncio")


def test_the_asyncio_client_does_not_run_on_trio(address):
    async def main() -> None:
        with pytest.raises(RuntimeError, match="no running event loop"):
            await rankmux.aio.Client(*address).connect()

    trio.run(main)


def test_the_blocking_client_in_threads_of_trio(address):
    async def handle(text: str) -> str:
        await trio.sleep(0.01)
        return text.upper()

    def run(command: ReceivedCommand) -> str:
        return trio.from_thread.run(handle, command.text)

    async def main() -> None:
        in_thread = trio.to_thread.run_sync
        boss = await in_thread(lambda: Client(*address))
        worker = await in_thread(lambda: Client(*address))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_thread, worker.serve, run)
            receipt = await in_thread(lambda: boss.command("x", results=True))
            assert [result.text for result in await in_thread(receipt.gather, PATIENCE_S)] == ["X"]
            with trio.move_on_after(0.05) as scope:  # the call continues in its thread
                await in_thread(worker.wait_for_rank, 0, PATIENCE_S, abandon_on_cancel=True)
            assert scope.cancelled_caught
            receipt = await in_thread(lambda: boss.command("y", results=True))
            assert (await in_thread(receipt.wait, PATIENCE_S)).ok == 1
            await in_thread(worker.close)  # ends `serve`, and the abandoned wait
        await in_thread(boss.close)

    trio.run(main)
