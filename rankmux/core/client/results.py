"""The results of a command, and the counts of its executors, as its sender sees them (PROTOCOL section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from ..wire.codes import Status

__all__ = ["Counts", "RoutedResult", "gathered"]

_BY_RANK, _STATUS = attrgetter("rank"), attrgetter("status")


class RoutedResult(NamedTuple):
    """A result of one executor (section 6): `rank` is its rank at dispatch, `ticket` its identity (section 1)."""

    rank: int
    ticket: int
    status: Status
    payload: bytes

    @property
    def final(self) -> bool:
        """Whether the executor has ended with it; more follows a PART."""
        return self.status is not Status.PART

    @property
    def text(self) -> str:
        """The payload as UTF-8 text; bytes that are not UTF-8 show as U+FFFD."""
        return self.payload.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Counts:
    """How many executors ended in which way (section 6); they add up to the command's executors."""

    ok: int
    failed: int
    rejected: int
    expired: int
    left: int
    cancelled: int = 0

    @property
    def total(self) -> int:
        """The number of executors."""
        return self.ok + self.failed + self.rejected + self.expired + self.left + self.cancelled


def gathered(results: Sequence[RoutedResult]) -> list[RoutedResult]:
    """One result for each executor, in rank order: the payloads of its PARTs joined in front of its last."""
    if len(results) == 1 and results[0].final:
        return list(results)
    if Status.PART not in map(_STATUS, results):
        return sorted(results, key=_BY_RANK)
    parts: dict[int, list[bytes]] = {}
    ends: list[RoutedResult] = []
    for result in results:
        parts.setdefault(result.ticket, []).append(result.payload)
        if result.final:
            payload = b"".join(parts.pop(result.ticket))
            ends.append(RoutedResult(result.rank, result.ticket, result.status, payload))
    return sorted(ends, key=_BY_RANK)
