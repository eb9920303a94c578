"""A command that its sender cancels: the task of its handler is cancelled, and no result is sent."""

from __future__ import annotations

import asyncio

from rankmux.aio import Client, Counts, ReceivedCommand


def test_the_task_of_the_handler_is_cancelled(run, server):
    async def main() -> None:
        host, port = server.address
        began, ended = asyncio.Event(), asyncio.Event()

        async def handler(command: ReceivedCommand) -> str:
            if command.text == "short":
                return "done"
            began.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                assert command.cancelled
                await command.emit("it is over")  # dropped, as the command has been cancelled
                ended.set()
                raise
            return ""

        async with Client(host, port) as ada, Client(host, port, handler=handler):
            async with await ada.command("long", results=True, timeout=60) as receipt:
                await began.wait()
            await ended.wait()
            assert await receipt.wait() == Counts(0, 0, 0, 0, 0, cancelled=1)
            assert [result.payload async for result in receipt] == [b""]
            assert (await (await ada.command("short", results=True)).wait()).ok == 1

    run(main())


def test_a_handler_that_returns_after_its_cancellation_answers_nothing(run, server, caplog):
    async def main() -> None:
        host, port = server.address
        began, ended = asyncio.Event(), asyncio.Event()

        async def handler(_: ReceivedCommand) -> str:
            began.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ended.set()
                return "anyway"
            return ""

        async with Client(host, port) as ada, Client(host, port, handler=handler):
            receipt = await ada.command("long", results=True, timeout=60)
            await began.wait()
            receipt.cancel()
            assert (await receipt.wait()).cancelled == 1
            assert [result.payload async for result in receipt] == [b""]
            await asyncio.wait_for(ended.wait(), 10)
            await asyncio.sleep(0)  # one more step of the loop handles its return value

    run(main())
    assert caplog.records == []
