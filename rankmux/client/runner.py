"""The thread that runs a blocking client's handlers and callbacks: one at a time.

In `serve` it is the serving thread, else any thread that waits in the client. The methods that begin something want the
client's lock held. Each takes a token, made before by its caller: the one that ends it takes the same token and no
lock, and does nothing unless it had begun; so an exception out of a signal handler leaves nothing behind.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

from ..errors import StateError

__all__ = ["Runner"]

_Handler = TypeVar("_Handler")


class Runner(Generic[_Handler]):
    """Who runs: the handler, and the threads that run it."""

    def __init__(self, handler: _Handler | None) -> None:
        self._default = handler
        self._running: tuple[object, int] | None = None  # the thread that runs a handler or a callback now
        # The thread in `serve`, which runs all of them, and its handler.
        self._serving: tuple[object, int, _Handler | None] | None = None
        self._nested: set[object] = set()  # the waits in this client by the running thread itself

    @property
    def handler(self) -> _Handler | None:
        """The handler of commands now."""
        serving = self._serving
        return self._default if serving is None else serving[2] or self._default

    @property
    def takes_commands(self) -> bool:
        """Whether a thread runs commands, or is about to, so that fewer of them wait soon."""
        busy = self._running is not None or self._serving is not None
        return busy and not self._nested and self.handler is not None

    @property
    def may_run(self) -> bool:
        """Whether this thread may run the next handler or callback."""
        serving = self._serving
        return self._running is None and (serving is None or serving[1] == threading.get_ident())

    @property
    def idle(self) -> bool:
        """Whether no handler and no callback runs, but perhaps the one that asks."""
        return self._running is None or self._in_handler()

    def begin(self, token: object) -> None:
        """This thread runs one now."""
        self._running = token, threading.get_ident()

    def end(self, token: object) -> None:
        """It has returned."""
        running = self._running
        if running is not None and running[0] is token:
            self._running = None

    def enter_wait(self, token: object) -> None:
        """This thread waits in the client; if it does so in a handler or callback, nothing else may run."""
        if self._in_handler():
            self._nested.add(token)

    def leave_wait(self, token: object) -> None:
        """The wait is over."""
        self._nested.discard(token)

    def begin_serving(self, token: object, handler: _Handler | None) -> None:
        """From now on this thread runs everything, with `handler` if there is one. Raises StateError."""
        if self._serving is not None:
            raise StateError("serving", "another call of serve runs")
        if self._in_handler():
            raise StateError("serving", "a handler runs in this thread")
        self._serving = token, threading.get_ident(), handler

    def end_serving(self, token: object) -> None:
        """Any waiting thread runs them again, with the client's handler."""
        serving = self._serving
        if serving is not None and serving[0] is token:
            self._serving = None

    def _in_handler(self) -> bool:
        running = self._running
        return running is not None and running[1] == threading.get_ident()
