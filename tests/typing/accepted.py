"""Calls that a type checker accepts; `mypy --strict` reads this module, and nothing runs it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Unpack

import rankmux
import rankmux.aio
from rankmux import Client, Counts, MemberInfo, ReceivedCommand, Server, ServerSettings
from rankmux.pytest_plugin import RunningServer, StartServer


def commands(client: Client, members: list[MemberInfo]) -> None:
    client.command("reload")
    client.command(b"reload", to="next", results=True, timeout=5)
    client.command("reload", to="least")
    client.command("reload", 2)
    client.command("reload", to=members[0])
    client.command("reload", to=members)
    client.command("reload", to=(member for member in members if not member.absent))
    client.command("reload", names="web-*")
    client.command("reload", names=["web-1", "db-*"])
    client.command("reload", tickets={member.ticket for member in members})


def results(client: Client) -> Counts | None:
    receipt = client.command("work", results=True)
    texts: Iterator[str] = (result.text for result in receipt)
    receipt.cancel()
    return receipt.counts if list(texts) else receipt.wait()


async def results_aio(client: rankmux.aio.Client, names: list[str]) -> Counts:
    async with await client.command("work", names=names, results=True) as receipt:
        async for result in receipt:
            print(result.rank, result.status is rankmux.Status.OK)
    async for promoted in client.promotions():
        print(promoted.rank, promoted.cause.name)
    return await receipt.wait()


def handlers() -> None:
    def run(command: ReceivedCommand) -> str | None:
        return command.text if command.wants_result else None

    async def run_aio(command: rankmux.aio.ReceivedCommand) -> bytes:
        await command.emit("soon")
        return command.payload

    Client(handler=run, on_promoted=print)
    Client(handler=rankmux.reject)
    rankmux.aio.Client(handler=run_aio, parallel=4)
    rankmux.aio.Client(handler=rankmux.aio.reject)


def servers(start: StartServer, **settings: Unpack[ServerSettings]) -> list[Server | RunningServer]:
    return [
        Server(port=0, seats=8, drain_s=1, slow_consumer="evict", tokens=(b"secret",)),
        Server(**settings),
        start(seats=2, log_level="debug"),
    ]


def a_client(server: RunningServer) -> Client:
    return server.client(name="ada", handler=lambda command: command.payload, keep_s=5.0)
