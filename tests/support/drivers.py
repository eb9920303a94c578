"""The drivers of a client behind the interface of the blocking one, so that one suite runs on all.

`AioClient` is `rankmux.aio.Client` in an event loop in a separate thread. A test's handlers block, so each runs in
another thread meanwhile, and its calls pass through the loop and back.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import pytest

import rankmux.aio

T = TypeVar("T")
PATIENCE_S = 20.0
UVLOOP = pytest.param("uvloop", marks=pytest.mark.slow)
"""The client on it is the one on asyncio's loop: what runs often may do without it."""
LOOPS = ["asyncio", UVLOOP]
DRIVERS = ["blocking", *LOOPS]
_MOMENT_S = 0.005


def new_loop(driver: str) -> asyncio.AbstractEventLoop:
    """A loop of "asyncio" or "uvloop"."""
    return asyncio.new_event_loop() if driver == "asyncio" else pytest.importorskip("uvloop").new_event_loop()


class Loop:
    """An event loop in a thread. At the end it must have no task left, and no warning or error reported."""

    def __init__(self, driver: str) -> None:
        self.complaints: list[dict[str, Any]] = []
        self._loop = new_loop(driver)
        self._loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop. One cancelled there, or by the end of the loop, raises ConnectionLost."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a plain function in the loop."""

        async def call() -> T:
            return function(*arguments)

        return self.run(call())

    def close(self) -> None:
        async def left() -> set[asyncio.Task[Any]]:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            return (await asyncio.wait(tasks, timeout=10))[1] if tasks else set()  # about to end

        tasks = self.run(left())
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._loop.close()
        assert tasks == set()
        assert self.complaints == []


class AioReceipt:
    def __init__(self, loop: Loop, receipt: rankmux.aio.Receipt) -> None:
        self._loop = loop
        self._receipt = receipt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._receipt, name)

    def __iter__(self) -> Iterator[rankmux.aio.RoutedResult]:
        return self.results()

    def results(self, timeout: float | None = None) -> Iterator[rankmux.aio.RoutedResult]:
        yield from _iterated(self._loop, self._receipt.results(timeout))

    def __enter__(self) -> AioReceipt:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run(self._receipt.__aexit__(None, None, None))

    def cancel(self) -> None:
        self._loop.call(self._receipt.cancel)

    def wait(self, timeout: float | None = None) -> rankmux.aio.Counts:
        return self._loop.run(self._receipt.wait(timeout))

    def gather(self, timeout: float | None = None) -> list[rankmux.aio.RoutedResult]:
        return self._loop.run(self._receipt.gather(timeout))


def _iterated(loop: Loop, iterator: Any) -> Iterator[Any]:
    async def step() -> tuple[Any, ...]:
        try:
            return (await anext(iterator),)
        except StopAsyncIteration:
            return ()

    while item := loop.run(step()):
        yield item[0]


class AioCommand:
    def __init__(self, loop: Loop, command: rankmux.aio.ReceivedCommand) -> None:
        self._loop = loop
        self._command = command

    def __getattr__(self, name: str) -> Any:
        return getattr(self._command, name)

    def emit(self, output: object) -> None:
        self._loop.run(self._command.emit(output))

    def finish(self, *result: object) -> None:
        self._loop.run(self._command.finish(*result))


class AioWatch:
    def __init__(self, loop: Loop, watch: Any) -> None:
        self._loop = loop
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._watch, name)

    def __iter__(self) -> Iterator[Any]:
        return self.changes()

    def changes(self, timeout: float | None = None) -> Iterator[Any]:
        yield from _iterated(self._loop, self._watch.changes(timeout))


class AioTerm:
    def __init__(self, loop: Loop, term: Any) -> None:
        self._loop = loop
        self._term = term

    def __getattr__(self, name: str) -> Any:
        return getattr(self._term, name)

    def wait(self, timeout: float | None = None) -> bool:
        return self._loop.run(self._term.wait(timeout))


class AioClient:
    def __init__(
        self,
        loop: Loop,
        *where: object,
        handler: Callable[..., Any] | None = None,
        **options: Any,
    ) -> None:
        self._loop = loop
        if handler is not None:
            options["handler"] = self._threaded(handler) if callable(handler) else handler
        self.aio = rankmux.aio.Client(*where, **options)
        loop.run(self.aio.connect())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.aio, name)

    def __repr__(self) -> str:
        return repr(self.aio).replace("rankmux.aio.", "rankmux.")

    def __enter__(self) -> AioClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _threaded(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        async def run(command: rankmux.aio.ReceivedCommand) -> Any:
            return await asyncio.to_thread(handler, AioCommand(self._loop, command))

        return run

    def command(self, *what: Any, **how: Any) -> AioReceipt:
        return AioReceipt(self._loop, self._loop.run(self.aio.command(*what, **how)))

    def commands(self, *what: Any, **how: Any) -> None:
        self._loop.run(self.aio.commands(*what, **how))

    def request(self, *what: Any, **how: Any) -> Any:
        return self._loop.run(self.aio.request(*what, **how))

    def who(self) -> Any:
        return self._loop.run(self.aio.who())

    def watch(self) -> AioWatch:
        return AioWatch(self._loop, self._loop.run(self.aio.watch()))

    def set_baton(self, note: Any) -> int:
        return self._loop.run(self.aio.set_baton(note))

    def step_down(self, drain_s: float = 0.0) -> int | None:
        return self._loop.run(self.aio.step_down(drain_s))

    @contextmanager
    def lead(self, timeout: float | None = None) -> Iterator[AioTerm]:
        yield AioTerm(self._loop, self._loop.run(self.aio.lead(timeout).__aenter__()))

    def serve(self, handler: Callable[..., Any] | None = None) -> None:
        self._loop.run(self.aio.serve(None if handler is None else self._threaded(handler)))

    def keep_reading(self) -> None:
        """Wait until the client is closed or lost; the loop serves it by itself."""
        self._loop.run(self.aio._connection.until(None, lambda: self.aio.closed))

    def poll(self, timeout: float = 0.0) -> None:
        """Give the loop a moment to serve by itself, and raise the error that the blocking client would raise."""
        self._loop.run(self.aio._connection.until("poll", lambda: False, max(timeout, _MOMENT_S)))

    def wait(self, done: Callable[[], bool], timeout: float | None) -> bool:
        deadline = None if timeout is None else time.monotonic() + timeout
        while not done():
            if deadline is not None and time.monotonic() > deadline:
                return False
            self.poll()
        return True

    def promotions(self) -> Iterator[rankmux.aio.Promoted]:
        return _iterated(self._loop, self.aio.promotions())

    def wait_for_rank(self, *what: Any, **how: Any) -> bool:
        return self._loop.run(self.aio.wait_for_rank(*what, **how))

    def close(self, **how: Any) -> None:
        self._loop.run(self.aio.close(**how))


@contextmanager
def driven(driver: str) -> Iterator[Callable[..., Any]]:
    """Makes connected clients of this driver."""
    if driver == "blocking":
        yield rankmux.Client
        return
    loop = Loop(driver)
    try:
        yield partial(AioClient, loop)
    finally:
        loop.close()


@contextmanager
def serving(client: Any, handler: Callable[..., object]) -> Iterator[threading.Thread]:
    """`client` serves in a separate thread."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            client.serve(handler)
        except Exception as error:  # noqa: BLE001  # shown below
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        client.close()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        assert errors == []
