"""Guards against exceptions out of signal handlers, which may come between any two steps of the main thread.

They rest on `with lock:` for a plain lock, which CPython enters and leaves without running a signal handler in between;
a `threading.Condition` or `Event` has Python code there, and can stay locked for ever. They know nothing of clients.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from types import TracebackType

from ..errors import RankmuxError
from .limits import SLEEP_MAX_S

__all__ = ["Bell", "Guard", "Presence"]


class Guard:
    """Around steps that belong together: `torn` is left True when an exception came in the middle of them.

    A RankmuxError leaves it False: ours are raised before anything changes. Must not be nested.
    """

    __slots__ = ("torn",)

    def __init__(self) -> None:
        self.torn = False

    def __enter__(self) -> None:
        self.torn = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None or issubclass(kind, RankmuxError):
            self.torn = False


class Presence(threading.local):
    """A lock for each thread. A thread that finds its own locked is a signal handler, above a frame that holds it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Bell:
    """Wakes the threads that wait for it. `ring` takes no lock, so that a signal handler may call it."""

    def __init__(self) -> None:
        self._waiting: deque[threading.Lock] = deque()

    def join(self) -> threading.Lock:
        """From now on a `ring` counts for the `wait` with this ticket."""
        ticket = threading.Lock()
        ticket.acquire()
        self._waiting.append(ticket)
        return ticket

    def wait(self, ticket: threading.Lock, timeout_s: float | None) -> None:
        """Wait until it has rung since `join`, at most `timeout_s`."""
        try:
            ticket.acquire(timeout=-1 if timeout_s is None else min(timeout_s, SLEEP_MAX_S))
        finally:
            with suppress(ValueError):  # it has rung
                self._waiting.remove(ticket)

    def ring(self) -> None:
        """Wake every thread that waits."""
        while self._waiting:
            with suppress(IndexError):  # another call has rung for the last of them
                self._waiting.popleft().release()
