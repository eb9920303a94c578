"""Waiters: futures by key, on which tasks wait for callbacks of the event loop; and how urgent their waits are.

A task that is cancelled leaves no entry behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable
from typing import Any

from ..core.client.session import ClientSession

__all__ = ["LINE", "RANK", "Urgency", "Waiters", "cancel_and_wait", "results_of"]

RANK = "rank"
"""The key of waiters for the rank."""
LINE = "line"
"""The key of waiters for a change of the line."""


def results_of(id_: int) -> int:
    """The key of waiters for each result of the command `id_`; those for its other answers have the key `id_`."""
    return -id_


class Urgency:
    """Whether the waits of a client need each frame at once, or only all results of one command."""

    __slots__ = ("_pressing", "wholes")

    def __init__(self) -> None:
        self.wholes: list[int] = []  # the commands whose results are waited for until they are complete
        self._pressing = 0  # the number of waits that may end with any frame

    def enter(self, whole: int | None, patient: bool) -> None:
        """A wait begins: for all results of the command `whole`, or else; a `patient` one is for nothing that comes."""
        if whole is not None:
            self.wholes.append(whole)
        elif not patient:
            self._pressing += 1

    def leave(self, whole: int | None, patient: bool) -> None:
        """The wait that began with these is over."""
        if whole is not None:
            self.wholes.remove(whole)
        elif not patient:
            self._pressing -= 1

    def owed_size(self, session: ClientSession) -> int:
        """The bytes that must come before any wait is over, as far as that is known; else 0."""
        return session.owed_size(self.wholes[0]) if len(self.wholes) == 1 and not self._pressing else 0


class Waiters:
    """The waiting tasks, by key."""

    def __init__(self) -> None:
        self._futures: dict[Hashable, set[asyncio.Future[bool]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._futures.values()))

    async def wait(self, key: Hashable, until_s: float | None = None) -> bool:
        """Sleep until `key` or everything is woken; the caller checks its condition again then.

        False when the loop's clock has come to `until_s` first.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        futures = self._futures.setdefault(key, set())
        futures.add(future)
        timer = None if until_s is None else loop.call_at(until_s, _give_up, future)
        try:
            return await future
        finally:
            if timer is not None:
                timer.cancel()
            futures.discard(future)
            if not futures and self._futures.get(key) is futures:
                del self._futures[key]

    def wake(self, key: Hashable) -> None:
        """Wake the tasks that wait for `key`."""
        for future in self._futures.get(key, ()):
            if not future.done():
                future.set_result(True)

    def wake_all(self) -> None:
        """Wake every task: the connection has come, gone or stopped reading, which concerns all of them."""
        for key in self._futures:
            self.wake(key)


def _give_up(future: asyncio.Future[bool]) -> None:
    if not future.done():
        future.set_result(False)


async def cancel_and_wait(
    tasks: Iterable[asyncio.Task[Any]], spared: asyncio.Task[Any] | None = None
) -> None:
    """Cancel `tasks` except `spared`, and wait for the end of all of them; the current task is left out."""
    others = {task for task in tasks if task is not asyncio.current_task()}
    for task in others - {spared}:
        task.cancel()
    if others:
        await asyncio.wait(others)
