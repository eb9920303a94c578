"""Results of one command, gathered until they are shown, with equal outputs folded into one.

Of a long output the beginning and the length are kept, so memory is bounded. It knows no terminal, no clock and no
connection: its owner decides when to take the results.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import groupby

from ...core.client.results import RoutedResult
from ...core.wire.codes import Status

__all__ = ["Gathering", "Group", "ranges"]

_HEAD_BYTES = 16 * 1024
"""The part of an output that is kept; people read less of it at a prompt."""
_KEPT_BYTES = 4 * 1024 * 1024
"""The same for all outputs of a command together."""
_WORDS = {
    Status.OK: "ok",
    Status.FAILED: "failed",
    Status.REJECTED: "rejected",
    Status.EXPIRED: "expired",
    Status.LEFT: "left",
    Status.CANCELLED: "cancelled",
}


def ranges(ranks: Iterable[int]) -> str:
    """Ranks in short: `1-4, 7`."""
    runs = []
    for _, run in groupby(enumerate(sorted(set(ranks))), lambda pair: pair[1] - pair[0]):
        members = [rank for _, rank in run]
        runs.append(str(members[0]) if len(members) == 1 else f"{members[0]}-{members[-1]}")
    return ", ".join(runs)


@dataclass(frozen=True, slots=True)
class Group:
    """The same output of several `ranks`: `head` is the beginning of `size` bytes; PART while they have not ended.

    `names` are those of the members, as far as they are known and not empty, in rank order.
    """

    ranks: tuple[int, ...]
    status: Status
    head: bytes
    size: int
    names: tuple[str, ...] = ()


@dataclass(slots=True)
class _Output:
    """Output of an executor since the last showing. Two are equal when head, size and the digest of the rest are."""

    rank: int
    name: str
    head: bytearray = field(default_factory=bytearray)
    size: int = 0
    rest: blake2b | None = None

    def add(self, payload: bytes, room: int) -> int:
        kept = b"" if self.rest else payload[: max(0, min(room, _HEAD_BYTES - len(self.head)))]
        self.head += kept
        self.size += len(payload)
        if len(kept) < len(payload):
            self.rest = self.rest or blake2b()
            self.rest.update(payload[len(kept) :])
        return len(kept)


def _group(status: Status, outputs: list[_Output]) -> Group:
    outputs.sort(key=lambda output: output.rank)
    first = outputs[0]
    names = tuple(output.name for output in outputs if output.name)
    return Group(tuple(output.rank for output in outputs), status, bytes(first.head), first.size, names)


class Gathering:
    """The results of one command, whose text is `command`; `executors` is their number, once it is known."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.executors: int | None = None
        self._ends = dict.fromkeys(_WORDS, 0)
        self._running: dict[int, _Output] = {}
        self._ended: list[tuple[Status, _Output]] = []
        self._kept = 0

    def add(self, result: RoutedResult, name: str = "") -> None:
        """Take a result of the member `name`."""
        output = self._running.get(result.ticket)
        if output is None:
            output = self._running[result.ticket] = _Output(result.rank, name)
        self._kept += output.add(result.payload, _KEPT_BYTES - self._kept)
        if result.final:
            self._ends[result.status] += 1
            self._ended.append((result.status, self._running.pop(result.ticket)))

    def take(self, *, all_of_it: bool = False) -> list[Group]:
        """The results since the last time, the highest ranks first; unfinished lines only with `all_of_it`.

        Executors that succeeded without output are left out.
        """
        taken = [(status, output) for status, output in self._ended if status is not Status.OK or output.size]
        self._ended.clear()
        for ticket, output in list(self._running.items()):
            end = len(output.head) if all_of_it or output.rest else output.head.rfind(b"\n") + 1
            if output.size and end:
                rest = output.head[end:]
                del output.head[end:]
                output.size -= len(rest)
                taken.append((Status.PART, output))
                self._running[ticket] = _Output(output.rank, output.name, rest, len(rest))
            elif output.rest and not output.head:  # nothing of it could be kept
                taken.append((Status.PART, self._running.pop(ticket)))
        self._kept = sum(len(output.head) for output in self._running.values())
        alike: dict[tuple[Status, bytes, int, bytes], list[_Output]] = {}
        for status, output in taken:
            digest = output.rest.digest() if output.rest else b""
            alike.setdefault((status, bytes(output.head), output.size, digest), []).append(output)
        groups = [_group(key[0], outputs) for key, outputs in alike.items()]
        return sorted(groups, key=lambda group: group.ranks)

    def __str__(self) -> str:
        """`3 ok, 1 failed, 1 left; 2 waiting`."""
        ended = ", ".join(f"{number} {_WORDS[end]}" for end, number in self._ends.items() if number)
        if self.executors is None:
            return "sent"
        waiting = self.executors - sum(self._ends.values())
        return "; ".join(filter(None, (ended, f"{waiting} waiting" if waiting or not ended else "")))
