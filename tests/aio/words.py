"""A handler, a polling wait and the open sockets, for the tests of the asyncio client."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rankmux.aio import ReceivedCommand

from ..support.drivers import PATIENCE_S


async def until(condition: Callable[[], object]) -> None:
    """Poll for an effect in another thread, or in the next turns of the loop."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def open_sockets() -> set[str]:
    """The descriptors of this process; a loop may open others at any time."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the listing itself
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
    return {name for name in found if name.startswith("socket:")}


def others() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


async def shout(command: ReceivedCommand) -> str:
    return command.text.upper()


async def everything(iterator: Any) -> list[Any]:
    return [item async for item in iterator]
