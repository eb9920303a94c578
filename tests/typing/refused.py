"""Mistakes that a type checker finds.

`mypy --strict` reads this module, and nothing runs it: an ignore comment on a line without an error is itself an error.
"""

from __future__ import annotations

import rankmux.aio
from rankmux import Client, ReceivedCommand, Server, ServerSettings
from rankmux.pytest_plugin import StartServer


def commands(client: Client) -> None:
    client.command("reload", to="leest")  # type: ignore[arg-type]
    client.command("reload", "web-*")  # type: ignore[arg-type]
    client.command("reload", to=["web-1", "web-2"])  # type: ignore[list-item]
    client.command("reload", names=3)  # type: ignore[arg-type]
    client.command("reload", tickets=3)  # type: ignore[arg-type]
    client.command("reload", result=True)  # type: ignore[call-arg]
    client.command({"reload": True})  # type: ignore[arg-type]


async def commands_aio(client: rankmux.aio.Client) -> None:
    await client.command("reload", to="leest")  # type: ignore[arg-type]
    client.command("reload").cancel()  # type: ignore[attr-defined]


def clients() -> None:
    def run(command: ReceivedCommand) -> int:
        return command.seq

    async def run_aio(command: rankmux.aio.ReceivedCommand) -> str:
        return command.text

    Client(nonsense=3)  # type: ignore[call-arg]
    Client(handler=run)  # type: ignore[arg-type]
    Client(handler=run_aio)  # type: ignore[arg-type]
    rankmux.aio.Client(parallel="4")  # type: ignore[arg-type]
    rankmux.Clinet()  # type: ignore[attr-defined]


def servers(start: StartServer) -> None:
    Server(nonsense=3)  # type: ignore[call-arg]
    Server(seats="3")  # type: ignore[arg-type]
    Server(log_level="verbose")  # type: ignore[arg-type]
    Server(drain_s=None)  # type: ignore[arg-type]
    start(seat=3)  # type: ignore[call-arg]
    start(seats=3).client(nam="ada")  # type: ignore[call-arg]
    ServerSettings(nonsense=3)  # type: ignore[typeddict-unknown-key]
