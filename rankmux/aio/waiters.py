"""How tasks wait for something that happens in a callback of the loop: each has a future of its own, under a key.

It knows nothing of what is waited for. Whoever is cancelled leaves no entry behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable
from typing import Any

__all__ = ["Waiters", "ended"]


class Waiters:
    """The tasks that wait, by what they wait for."""

    def __init__(self) -> None:
        self._futures: dict[Hashable, set[asyncio.Future[None]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._futures.values()))

    async def wait(self, key: Hashable) -> None:
        """Sleep until somebody wakes `key`, or all. What it was about must be looked at again then."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        futures = self._futures.setdefault(key, set())
        futures.add(future)
        try:
            await future
        finally:
            futures.discard(future)
            if not futures and self._futures.get(key) is futures:
                del self._futures[key]

    def wake(self, key: Hashable) -> None:
        """Wake who waits for `key`."""
        for future in self._futures.get(key, ()):
            if not future.done():
                future.set_result(None)

    def wake_all(self) -> None:
        """Wake everybody: the connection has come, gone or stopped reading, which concerns all."""
        for key in self._futures:
            self.wake(key)


async def ended(tasks: Iterable[asyncio.Task[Any]], spared: asyncio.Task[Any] | None = None) -> None:
    """Cancel `tasks`, but not the one `spared`, and wait for the end of all; of all but the one that runs this."""
    others = {task for task in tasks if task is not asyncio.current_task()}
    for task in others - {spared}:
        task.cancel()
    if others:
        await asyncio.wait(others)
