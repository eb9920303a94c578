"""The event loop runner of the asyncio-based parts of rankmux-client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Thread
from typing import Any

__all__ = ["run"]


class _DaemonThreads(ThreadPoolExecutor):
    """Runs each call, the look-up of a name, in a thread that holds up no exit: a look-up cannot be cancelled."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def call() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except Exception as error:  # noqa: BLE001 - it is raised where the result is awaited
                    future.set_exception(error)

        Thread(target=call, daemon=True).start()
        return future


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run `main` to its end; the exit code. An error in any callback or task ends it, and is raised."""
    logging.getLogger("rankmux").addHandler(
        logging.NullHandler()
    )  # what people should know is told otherwise
    with asyncio.Runner() as runner:
        runner.get_loop().set_default_executor(_DaemonThreads())
        return runner.run(_guarded(main))


async def _guarded(main: Coroutine[Any, Any, int]) -> int:
    loop = asyncio.get_running_loop()
    broken: asyncio.Future[int] = loop.create_future()

    def handle(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception") or RuntimeError(context["message"])
        if (
            not isinstance(error, OSError) and not broken.done()
        ):  # OSError: too few descriptors to accept a sender
            broken.set_exception(error)

    loop.set_exception_handler(handle)
    running = loop.create_task(main)
    try:
        await asyncio.wait({running, broken}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            running.cancel()
            await asyncio.wait({running})
            return broken.result()
        return running.result()
    finally:
        if not broken.done():
            broken.cancel()
