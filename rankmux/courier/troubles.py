"""Troubles of the courier: each is told once, again when its text changes, and its end is told once."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Troubles"]

_AGAIN_S = 10.0
_END = "ended"


class Troubles:
    """`tell(text)` is called with a trouble, `relieve(text)` when the last one is over."""

    def __init__(
        self, tell: Callable[[str], None], relieve: Callable[[str], None], clock: Callable[[], float]
    ) -> None:
        self._tell = tell
        self._relieve = relieve
        self._clock = clock
        self._told: dict[str, tuple[str, float]] = {}  # by kind: the text, and when it was told

    def has(self, kind: str, text: str) -> None:
        """There is a trouble of that kind. A text that changes to and fro is told every ten seconds at most."""
        now = self._clock()
        before, at = self._told.get(kind, (_END, 0.0))
        if before == _END or (before != text and now >= at + _AGAIN_S):
            self._told[kind] = text, now
            self._tell(text)

    def over(self, *kinds: str, text: str) -> None:
        """These kinds are over; `text` is told if nothing is left."""
        ended = [kind for kind in kinds if self._told.pop(kind, None) is not None]
        if ended and not self._told:
            self._relieve(text)
