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
    """The moments of one server's clock at which it was heard by itself, and at which it heard others.

    `until`: up to then it may act; -inf while nothing of its own counts.
    """

    def __init__(self, fence_s: float, down_s: float) -> None:
        self._fence_s = fence_s
        self._down_s = down_s
        self.until = float("-inf")
        self._heard: dict[int, float] = {}
        self._proposed: dict[int, float] = {}
        self._look_at = float("-inf")  # nobody is to be declared dead before

    def begin(self, now: float) -> None:
        """Reading begins anew: nobody has been silent yet, and nothing of ours counts."""
        self.until = float("-inf")
        self._heard = dict.fromkeys(self._heard, now)
        self._look_at = float("-inf")

    def counted(self, sent_at: float) -> None:
        """An entry of ours was read back and counted; it was first sent at `sent_at`."""
        self.until = max(self.until, sent_at + self._fence_s)

    def heard(self, incarnation: int, now: float) -> None:
        """An entry of that server counted."""
        self._heard[incarnation] = now

    def silent(self, up: Mapping[int, Peer], own: int, now: float) -> list[tuple[int, bool]]:
        """The servers that are to be declared dead now, each again after a while until it is: whether this is again."""
        if now < self._look_at:
            return []
        found, look_at = [], now + self._down_s
        for incarnation in up:
            silent_at = self._heard.setdefault(incarnation, now) + self._down_s
            if incarnation == own:
                continue
            at = max(silent_at, self._proposed.get(incarnation, float("-inf")) + TICK_S)
            if now >= at:
                found.append((incarnation, incarnation in self._proposed))
                self._proposed[incarnation], at = now, now + TICK_S
            look_at = min(look_at, at)
        self._look_at = look_at
        for known in [known for known in self._heard if known not in up]:
            del self._heard[known]
            self._proposed.pop(known, None)
        return found
