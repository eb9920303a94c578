"""The lease that each server has by what it writes into the log. Two rules, no votes, no other channel.

A server whose last entry that counted was sent more than `fence_s` ago acts for nobody any more. A server of which
nothing was read for `down_s` may be declared dead, with the number of its last entry, and is if that is still its last.
`down_s` is longer than `fence_s`, and runs from a later moment: when a server is declared dead, it has stopped acting.
"""

from __future__ import annotations

from collections.abc import Mapping

from .fold import Peer

__all__ = ["TICK_S", "Lease"]

TICK_S = 1.0
"""Every server writes at least so often, in seconds."""


class Lease:
    """The moments of one server's clock at which it was heard by itself, and at which it heard others."""

    def __init__(self, fence_s: float, down_s: float) -> None:
        self._fence_s = fence_s
        self._down_s = down_s
        self._counted_at: float | None = None  # when the last entry of ours that counted was sent
        self._heard: dict[int, float] = {}
        self._proposed: dict[int, float] = {}

    def begin(self, now: float) -> None:
        """Reading begins anew: nobody has been silent yet, and nothing of ours counts."""
        self._counted_at = None
        self._heard = dict.fromkeys(self._heard, now)

    def counted(self, sent_at: float) -> None:
        """An entry of ours was read back and counted; it was first sent at `sent_at`."""
        self._counted_at = sent_at if self._counted_at is None else max(self._counted_at, sent_at)

    def holds(self, now: float) -> bool:
        """Whether we may act."""
        return self._counted_at is not None and now - self._counted_at < self._fence_s

    def ends_at(self) -> float:
        """When it ends, if nothing of ours counts until then."""
        return float("inf") if self._counted_at is None else self._counted_at + self._fence_s

    def heard(self, incarnation: int, now: float) -> None:
        """An entry of that server counted."""
        self._heard[incarnation] = now

    def silent(self, up: Mapping[int, Peer], own: int, now: float) -> list[int]:
        """The servers that are to be declared dead now; each again after a while, until it is."""
        found = []
        for incarnation in up:
            since = self._heard.setdefault(incarnation, now)
            if incarnation == own or now - since < self._down_s:
                continue
            if now - self._proposed.get(incarnation, float("-inf")) >= TICK_S:
                self._proposed[incarnation] = now
                found.append(incarnation)
        for known in [known for known in self._heard if known not in up]:
            del self._heard[known]
            self._proposed.pop(known, None)
        return found
