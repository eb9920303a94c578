"""The results that executors owe to commands (PROTOCOL section 6). `ledger.pxi` is its compiled twin."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from ..._twin import twin
from ..wire.codes import FrameType, Status
from ..wire.layouts import DONE_FRAME, DONE_LENGTH, ROUTED_FRAME, ROUTED_LENGTH
from .batch import Batch

__all__ = ["Ledger"]

_ROUTED_TYPE, _PART = int(FrameType.ROUTED), int(Status.PART)


class _Waiting:
    """A dispatched command that waits for the results of `tickets`, which had the ranks from `first` on."""

    __slots__ = ("answered", "counts", "first", "id", "remaining", "sender", "seq", "tickets")

    def __init__(
        self, seq: int, sender: int, id_: int, tickets: Sequence[int], first: int, last: int
    ) -> None:
        self.seq = seq
        self.sender = sender
        self.id = id_
        self.tickets = tickets[first:last]  # no more: all of a large room is much to keep for one executor
        self.first = first
        self.answered = bytearray(last - first)
        self.remaining = last - first
        self.counts = [0, 0, 0, 0, 0]


@twin
class Ledger:
    """Who owes a result to which command (section 6): each executor ends exactly once, whatever happens.

    A command is known by its seq, an executor by its ticket. `owed` counts the results that are waited for. `loads` are
    kept in step by the methods that take them.
    """

    __slots__ = ("_by_sender", "_finished", "_waiting", "owed")

    def __init__(self) -> None:
        self._waiting: dict[int, _Waiting] = {}
        self._by_sender: dict[int, dict[int, int]] = {}
        self._finished: list[_Waiting] = []
        self.owed = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, seq: int) -> bool:
        return seq in self._waiting

    def waits(self, sender: int, id_: int) -> bool:
        """Whether the command `id_` of `sender` waits for results."""
        ids = self._by_sender.get(sender)
        return ids is not None and id_ in ids

    def count(self, sender: int) -> int:
        """How many commands of `sender` wait for results."""
        ids = self._by_sender.get(sender)
        return 0 if ids is None else len(ids)

    def open(self, seq: int, sender: int, id_: int, tickets: Sequence[int], first: int, last: int) -> None:
        """The command `seq` went to the ranks `first` to `last - 1` of `tickets`, which may change afterwards."""
        self._waiting[seq] = _Waiting(seq, sender, id_, tickets, first, last)
        self._by_sender.setdefault(sender, {})[id_] = seq
        self.owed += last - first

    def entries(self) -> list[tuple[int, int, int, int, tuple[int, ...], bytes, tuple[int, ...]]]:
        """The commands that wait, by seq: (seq, sender, id, first rank, tickets, answered, ended by status)."""
        return [
            (w.seq, w.sender, w.id, w.first, tuple(w.tickets), bytes(w.answered), tuple(w.counts))
            for _, w in sorted(self._waiting.items())
        ]

    def restore(
        self,
        seq: int,
        sender: int,
        id_: int,
        first: int,
        tickets: Sequence[int],
        answered: bytes,
        ended: Sequence[int],
    ) -> None:
        """Enter a command as `entries` gave it."""
        self.open(seq, sender, id_, array("Q", tickets), 0, len(tickets))
        waiting = self._waiting[seq]
        waiting.first = first
        waiting.answered[:] = answered
        waiting.counts[:] = ended
        waiting.remaining -= answered.count(1)
        self.owed -= answered.count(1)

    def settle(
        self, batch: Batch, tickets: Sequence[int], loads: array[int], routed: dict[int, bytearray]
    ) -> int:
        """Route the results of `batch` to the senders that wait; returns how many nobody waits for."""
        dropped = 0
        for ticket, seq, status, payload in batch.results:
            waiting = self._waiting.get(seq)
            if waiting is None:
                dropped += 1
                continue
            at = bisect_left(waiting.tickets, ticket)
            if at == len(waiting.tickets) or waiting.tickets[at] != ticket or waiting.answered[at]:
                dropped += 1
                continue
            self._route(waiting, at, status, payload, routed)
            if status != _PART:
                loads[bisect_left(tickets, ticket)] -= 1
        return dropped

    def leave(self, gone: Sequence[int], routed: dict[int, bytearray]) -> None:
        """The members `gone` (tickets, rising) departed: what they owed is LEFT."""
        for waiting in list(self._waiting.values()):
            first, last = bisect_left(gone, waiting.tickets[0]), bisect_right(gone, waiting.tickets[-1])
            for ticket in gone[first:last]:
                at = bisect_left(waiting.tickets, ticket)
                if waiting.tickets[at] == ticket and not waiting.answered[at]:
                    self._route(waiting, at, Status.LEFT, b"", routed)

    def expire(
        self, seq: int, tickets: Sequence[int], loads: array[int], routed: dict[int, bytearray]
    ) -> None:
        """The time of the command `seq` is over, if it still waits: what is owed to it is EXPIRED."""
        waiting = self._waiting.get(seq)
        if waiting is not None:
            for at in _unanswered(waiting):
                loads[bisect_left(tickets, waiting.tickets[at])] -= 1
                self._route(waiting, at, Status.EXPIRED, b"", routed)

    def forget(self, sender: int, tickets: Sequence[int], loads: array[int]) -> None:
        """`sender` departed: nothing waits for it any more."""
        for seq in self._by_sender.pop(sender, {}).values():
            waiting = self._waiting.pop(seq)
            self.owed -= waiting.remaining
            for at in _unanswered(waiting):
                loads[bisect_left(tickets, waiting.tickets[at])] -= 1

    def finish(self, done: dict[int, bytearray]) -> int:
        """Write DONE for what has ended since the last call, in the order of dispatch; returns for how many."""
        finished, self._finished = self._finished, []
        finished.sort(key=lambda waiting: waiting.seq)
        for waiting in finished:
            frame = DONE_FRAME.pack(DONE_LENGTH, FrameType.DONE, waiting.id, *waiting.counts)
            done.setdefault(waiting.sender, bytearray()).extend(frame)
        return len(finished)

    def _route(
        self, waiting: _Waiting, at: int, status: int, payload: bytes, routed: dict[int, bytearray]
    ) -> None:
        ticket, rank = waiting.tickets[at], waiting.first + at
        head = ROUTED_FRAME.pack(ROUTED_LENGTH + len(payload), _ROUTED_TYPE, waiting.id, ticket, rank, status)
        buffer = routed.get(waiting.sender)
        if buffer is None:
            buffer = routed[waiting.sender] = bytearray()
        buffer += head
        buffer += payload
        if status == _PART:
            return
        waiting.answered[at] = 1
        waiting.counts[status] += 1
        waiting.remaining -= 1
        self.owed -= 1
        if not waiting.remaining:
            del self._waiting[waiting.seq]
            ids = self._by_sender[waiting.sender]
            del ids[waiting.id]
            if not ids:
                del self._by_sender[waiting.sender]
            self._finished.append(waiting)


def _unanswered(waiting: _Waiting) -> list[int]:
    return [at for at, answered in enumerate(waiting.answered) if not answered]
