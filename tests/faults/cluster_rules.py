"""The rules for a history of several servers beside those of one: who leads, and seats that outlive a server."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from .logs import Life, Logs

__all__ = ["ClusterRules"]

LATE_MS = 250  # between a frame's way out of a server and what its reader notes, on a busy machine


class ClusterRules:
    """`calm`: how the names of the members begin that only leave in order, and read what they get."""

    def __init__(self, logs: Logs, calm: str) -> None:
        self._logs, self._calm = logs, calm
        self.reigns = 0
        self.returns = 0

    def check(self) -> None:
        self._check_reigns()
        self._check_keeps()

    def _check_reigns(self) -> None:
        """No two members believe in rank 0 at once.

        An older connection of the same seat hears that it is taken over when its server does: later, in trouble.
        """
        longest: tuple[int, int, int, Life] | None = None
        lives = self._logs.lives.values()
        reigns = sorted(
            ((*reign, life) for life in lives for reign in life.reigns), key=lambda reign: reign[:3]
        )
        self.reigns = len(reigns)
        for begin, end, ticket, life in reigns:
            if (
                longest is not None
                and begin + LATE_MS < longest[1]
                and (until := min(end, longest[1])) - begin > LATE_MS
                and not (ticket == longest[2] and self._in_trouble(longest[3], begin, until))
            ):
                self._logs.violate(
                    f"two believed in rank 0 from {begin} to {until}: {longest[3].ident} and {life.ident}"
                )
            if longest is None or end > longest[1]:
                longest = begin, end, ticket, life

    def _in_trouble(self, life: Life, begin: int, end: int) -> bool:
        """Whether something was cut off or stood still all that time."""
        return any(since <= begin and end <= until for since, until in self._logs.troubles(life))

    def _check_keeps(self) -> None:
        """A calm member that comes back within its keep has its ticket, whatever became of its server."""
        lives: dict[int, list[Life]] = defaultdict(list)
        for life in self._logs.lives.values():
            if life.ident.startswith(self._calm) and life.hello is not None and life.stints:
                lives[life.hello.secret].append(life)
        for of_one in lives.values():
            of_one.sort(key=lambda life: life.stints[0].joined)
            for older, newer in pairwise(of_one):
                assert older.hello is not None
                back, before = newer.stints[0], older.stints[-1]
                if older.said is not None or back.ms >= older.ended_ms + older.hello.keep_ms:
                    continue
                self.returns += 1
                if older.thrown_out not in (0, 8) or (older.yields and back.ticket > before.ticket):
                    continue
                if not back.returned or back.ticket != before.ticket:
                    self._logs.violate(
                        f"{newer.ident} came back {back.ms - older.ended_ms} ms behind {older.ident}, keep "
                        f"{older.hello.keep_ms} ms, as ticket {back.ticket} and not {before.ticket}"
                    )
