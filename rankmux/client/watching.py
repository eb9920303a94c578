"""The line of members as a watching client sees it, for its user: an exact list, and each change of it as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from ..core.client.events import LineChanged
from ..core.client.line import Line
from ..core.wire.frames import MemberInfo
from .failures import no_change

__all__ = ["Watch"]


class _Waiting(Protocol):
    """The part of a client that a watch needs."""

    def wait(self, done: Callable[[], bool], timeout_s: float | None) -> bool:
        """Run the client until `done()`; False when `timeout_s` passed first."""


class Watch:
    """Iterate over it for the changes (`LineChanged`), each as it comes; `members` is the line as of the last of them.

    The iteration raises ConnectionLost when the connection goes, and StateError when 16,384 changes wait unread: watch
    anew then. It ends when the client is closed.
    """

    def __init__(self, client: _Waiting, line: Line, closed: Callable[[], bool]) -> None:
        self._client = client
        self._line = line
        self._closed = closed

    @property
    def members(self) -> list[MemberInfo]:
        """All members in rank order; `load` is that of the beginning, and a newcomer has no `address`."""
        return self._line.members

    def __iter__(self) -> Iterator[LineChanged]:
        """The changes, each as it comes."""
        return self.changes()

    def changes(self, timeout: float | None = None) -> Iterator[LineChanged]:
        """The changes as they come; raises TimeoutError when none has come for `timeout` seconds."""
        line = self._line
        while True:
            if not self._client.wait(lambda: line.ready or self._closed(), timeout):
                raise no_change(timeout)
            if self._closed():
                return
            change = line.take()
            if change is not None:
                yield change
