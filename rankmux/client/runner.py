"""The thread that runs a blocking client's handlers and callbacks: one at a time.

In `serve` it is the serving thread, else any thread that waits in the client. All methods want the client's lock held.
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
        self.handler = handler
        self._default = handler
        self._running: int | None = None  # the thread that runs a handler or a callback now
        self._serving: int | None = None  # the thread in `serve`, which runs all of them
        self._nested = 0  # the number of waits in this client by the running thread itself

    @property
    def takes_commands(self) -> bool:
        """Whether a thread runs commands, or is about to, so that fewer of them wait soon."""
        busy = self._running is not None or self._serving is not None
        return busy and not self._nested and self.handler is not None

    @property
    def may_run(self) -> bool:
        """Whether this thread may run the next handler or callback."""
        return self._running is None and (self._serving is None or self._serving == threading.get_ident())

    def begin(self) -> None:
        """This thread runs one now."""
        self._running = threading.get_ident()

    def end(self) -> None:
        """It has returned."""
        self._running = None

    def enter_wait(self) -> bool:
        """This thread waits in the client; True if it does so in a handler or callback, when nothing else may run."""
        nested = self._running == threading.get_ident()
        self._nested += nested
        return nested

    def leave_wait(self, nested: bool) -> None:
        """The wait is over."""
        self._nested -= nested

    def begin_serving(self, handler: _Handler | None) -> None:
        """From now on this thread runs everything, with `handler` if there is one. Raises StateError."""
        if self._serving is not None:
            raise StateError("serving", "another call of serve runs")
        if self._running == threading.get_ident():
            raise StateError("serving", "a handler runs in this thread")
        self._serving = threading.get_ident()
        self.handler = handler or self._default

    def end_serving(self) -> None:
        """Any waiting thread runs them again, with the client's handler."""
        self._serving, self.handler = None, self._default
