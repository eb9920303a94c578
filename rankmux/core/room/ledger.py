"""The results that executors owe to commands (PROTOCOL section 6). `ledger.pxi` is its compiled twin."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Container, Sequence

from ..._twin import twin
from ..wire.codes import FrameType, Status
from ..wire.layouts import DONE_FRAME, DONE_LENGTH, ROUTED_FRAME, ROUTED_LENGTH
from .batch import Batch
from .snapshot import UNTOLD

__all__ = ["Ledger"]

_ROUTED_TYPE, _PART = int(FrameType.ROUTED), int(Status.PART)


class _Waiting:
    """A dispatched command that waits for the results of `tickets`, which had the ranks from `first` on, or `ranks`.

    `answered[i]` is 0 while the executor owes its result, 1 when the sender has been sent how it ended, and
    `UNTOLD | status` in between. `remaining` counts those that are not 1, `untold` those in between.
    """

    __slots__ = (
        "answered",
        "counts",
        "first",
        "id",
        "ranks",
        "remaining",
        "sender",
        "seq",
        "tickets",
        "tied",
        "untold",
    )

    def __init__(
        self,
        seq: int,
        sender: int,
        id_: int,
        tied: bool,
        tickets: Sequence[int],
        first: int,
        ranks: array[int] | None,
    ) -> None:
        self.seq = seq
        self.sender = sender
        self.id = id_
        self.tied = tied
        self.tickets = tickets
        self.first = first
        self.ranks = ranks
        self.answered = bytearray(len(tickets))
        self.remaining = len(tickets)
        self.untold = 0
        self.counts = [0, 0, 0, 0, 0, 0]

    def rank_of(self, at: int) -> int:
        """The rank that the executor at that place had."""
        return self.first + at if self.ranks is None else self.ranks[at]


@twin
class Ledger:
    """Who owes a result to which command (section 6): each executor ends exactly once, whatever happens.

    A command is known by its seq, an executor by its ticket. `owed` counts the results that are waited for. `loads` are
    kept in step by the methods that take them. Ends that the room decides, LEFT, EXPIRED and CANCELLED, are only noted
    at first: `tell` sends them, no more at a time than a sender can take.
    """

    __slots__ = ("_by_executor", "_by_sender", "_finished", "_shared", "_untold", "_waiting", "owed")

    def __init__(self) -> None:
        self._waiting: dict[int, _Waiting] = {}
        self._by_sender: dict[int, dict[int, int]] = {}
        self._by_executor: dict[int, dict[int, _Waiting]] = {}  # commands with one executor
        self._shared: dict[int, _Waiting] = {}  # commands with several
        self._untold: dict[int, dict[int, _Waiting]] = {}  # by sender, then by seq
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

    def owed_to(self, sender: int, id_: int) -> int:
        """How many results the command `id_` of `sender` waits for."""
        ids = self._by_sender.get(sender, {})
        return self._waiting[ids[id_]].remaining if id_ in ids else 0

    def open(
        self,
        seq: int,
        sender: int,
        id_: int,
        tied: bool,
        tickets: Sequence[int],
        first: int,
        last: int,
        ranks: Sequence[int] | None = None,
    ) -> None:
        """The command `seq` went to the ranks `first` to `last - 1` of `tickets`, or to `ranks` alone (rising).

        `tickets` may change afterwards: no more of it is kept than the executors.
        """
        executors = tickets[first:last] if ranks is None else array("Q", [tickets[rank] for rank in ranks])
        places = None if ranks is None else array("I", ranks)
        waiting = _Waiting(seq, sender, id_, tied, executors, first, places)
        self._waiting[seq] = waiting
        self._by_sender.setdefault(sender, {})[id_] = seq
        if len(executors) == 1:
            self._by_executor.setdefault(executors[0], {})[seq] = waiting
        else:
            self._shared[seq] = waiting
        self.owed += len(executors)

    def entries(
        self,
    ) -> list[tuple[int, int, int, bool, tuple[int, ...], tuple[int, ...], bytes, tuple[int, ...]]]:
        """The commands that wait, by seq: (seq, sender, id, tied, tickets, their ranks, answered, ended by status)."""
        return [
            (
                w.seq,
                w.sender,
                w.id,
                w.tied,
                tuple(w.tickets),
                tuple(w.rank_of(at) for at in range(len(w.tickets))),
                bytes(w.answered),
                tuple(w.counts),
            )
            for _, w in sorted(self._waiting.items())
        ]

    def restore(
        self,
        seq: int,
        sender: int,
        id_: int,
        tied: bool,
        tickets: Sequence[int],
        ranks: Sequence[int],
        answered: bytes,
        ended: Sequence[int],
    ) -> None:
        """Enter a command as `entries` gave it."""
        self.open(seq, sender, id_, tied, array("Q", tickets), 0, len(tickets))
        waiting = self._waiting[seq]
        waiting.ranks = array("I", ranks)
        waiting.answered[:] = answered
        waiting.counts[:] = ended
        told = answered.count(1)
        waiting.remaining -= told
        waiting.untold = len(answered) - told - answered.count(0)
        self.owed -= told
        if waiting.untold:
            self._untold.setdefault(sender, {})[seq] = waiting

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
                self._end(waiting, at, status)
        return dropped

    def leave(self, gone: Sequence[int], owing: int, behind: int = 0) -> int:
        """The members `gone` (tickets, rising) departed; up to `owing` results, which they owed in all, are LEFT.

        Only those of commands with a seq greater than `behind`. Returns how many that were. Costs what they owed, and a
        look at the commands that they shared with others.
        """
        before = owing
        for ticket in gone:
            for waiting in self._by_executor.get(ticket, {}).values():
                if waiting.seq > behind and not waiting.answered[0]:
                    self._note(waiting, 0, Status.LEFT)
                    owing -= 1
        for waiting in self._shared.values() if owing else ():
            if waiting.seq <= behind:
                continue
            first, last = bisect_left(gone, waiting.tickets[0]), bisect_right(gone, waiting.tickets[-1])
            for ticket in gone[first:last]:
                at = bisect_left(waiting.tickets, ticket)
                if waiting.tickets[at] == ticket and not waiting.answered[at]:
                    self._note(waiting, at, Status.LEFT)
                    owing -= 1
            if not owing:
                break
        return before - owing

    def expire(self, seqs: deque[int], most: int, tickets: Sequence[int], loads: array[int]) -> int:
        """The time of the commands `seqs` is over: what is owed to those that still wait is EXPIRED.

        They are taken from the left until `most` results or more have expired; returns how many. A command to which
        nothing is owed counts as one.
        """
        count = 0
        while seqs and count < most:
            waiting = self._waiting.get(seqs.popleft())
            if waiting is None:
                count += 1
                continue
            owing = _owing(waiting)
            for at in owing:
                loads[bisect_left(tickets, waiting.tickets[at])] -= 1
                self._note(waiting, at, Status.EXPIRED)
            count += len(owing) or 1
        return count

    def cancel(
        self, sender: int, id_: int, tickets: Sequence[int], loads: array[int]
    ) -> tuple[int, array[int]]:
        """`sender` wants no more of its command `id_`: what is owed to it is CANCELLED (section 6).

        Returns the command's seq and the present ranks of the executors that had not ended; seq 0 if nothing waits.
        """
        seq = self._by_sender.get(sender, {}).get(id_, 0)
        return (seq, self._cancel(self._waiting[seq], tickets, loads, told=True)) if seq else (0, array("I"))

    def _cancel(
        self, waiting: _Waiting, tickets: Sequence[int], loads: array[int], *, told: bool
    ) -> array[int]:
        stopped = array("I")
        for at in _owing(waiting):
            rank = bisect_left(tickets, waiting.tickets[at])
            loads[rank] -= 1
            stopped.append(rank)
            if told:
                self._note(waiting, at, Status.CANCELLED)
        return stopped

    def has_news(self, slow: Container[int]) -> bool:
        """Whether `tell` would tell anything to a sender that is not `slow`."""
        return any(sender not in slow for sender in self._untold)

    def tell(self, slow: Container[int], most: int, most_each: int, routed: dict[int, bytearray]) -> int:
        """Route up to `most` of the ends that are only noted, the most senior sender's first; returns how many.

        A sender gets up to `most_each` in a call, none while it is `slow`: the rest waits, so that a sender that reads
        is not thrown out by what others did.
        """
        told = 0
        for sender in sorted(sender for sender in self._untold if sender not in slow):
            left = min(most - told, most_each)
            if left <= 0:
                break
            commands = self._untold[sender]
            for seq in sorted(commands):
                waiting = commands[seq]
                for at in [at for at, mark in enumerate(waiting.answered) if mark & UNTOLD][:left]:
                    status = waiting.answered[at] & ~UNTOLD
                    self._route(waiting, at, status, b"", routed)
                    waiting.untold -= 1
                    left -= 1
                    told += 1
                    self._end(waiting, at, status)
                if waiting.untold:
                    break
                del commands[seq]
            if not commands:
                del self._untold[sender]
        return told

    def forget(self, sender: int, tickets: Sequence[int], loads: array[int]) -> list[tuple[int, array[int]]]:
        """`sender` is no longer connected: nothing waits for it any more.

        Returns what it takes with it: (seq, present ranks of those that had not ended) of its tied commands.
        """
        stopped = []
        self._untold.pop(sender, None)
        for seq in self._by_sender.pop(sender, {}).values():
            waiting = self._waiting.pop(seq)
            self._unlink(waiting)
            self.owed -= waiting.remaining
            ranks = self._cancel(waiting, tickets, loads, told=False)
            if waiting.tied and ranks:
                stopped.append((seq, ranks))
        return stopped

    def finish(self, done: dict[int, bytearray]) -> int:
        """Write DONE for what has ended since the last call, in the order of dispatch; returns for how many."""
        finished, self._finished = self._finished, []
        finished.sort(key=lambda waiting: waiting.seq)
        for waiting in finished:
            frame = DONE_FRAME.pack(DONE_LENGTH, FrameType.DONE, waiting.id, *waiting.counts)
            done.setdefault(waiting.sender, bytearray()).extend(frame)
        return len(finished)

    def _note(self, waiting: _Waiting, at: int, status: int) -> None:
        """The executor at that place ends with `status`, which its sender is still to be told."""
        waiting.answered[at] = UNTOLD | status
        waiting.untold += 1
        if waiting.untold == 1:
            self._untold.setdefault(waiting.sender, {})[waiting.seq] = waiting

    def _route(
        self, waiting: _Waiting, at: int, status: int, payload: bytes, routed: dict[int, bytearray]
    ) -> None:
        ticket, rank = waiting.tickets[at], waiting.rank_of(at)
        head = ROUTED_FRAME.pack(ROUTED_LENGTH + len(payload), _ROUTED_TYPE, waiting.id, ticket, rank, status)
        buffer = routed.get(waiting.sender)
        if buffer is None:
            buffer = routed[waiting.sender] = bytearray()
        buffer += head
        buffer += payload

    def _end(self, waiting: _Waiting, at: int, status: int) -> None:
        """The executor at that place has ended; the last one ends the command."""
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
            self._unlink(waiting)
            self._finished.append(waiting)

    def _unlink(self, waiting: _Waiting) -> None:
        """Take it out of the commands by executor."""
        if len(waiting.tickets) > 1:
            del self._shared[waiting.seq]
            return
        commands = self._by_executor[waiting.tickets[0]]
        del commands[waiting.seq]
        if not commands:
            del self._by_executor[waiting.tickets[0]]


def _owing(waiting: _Waiting) -> list[int]:
    """The places of the executors that owe their result; looks for the zeros only."""
    found = []
    at = waiting.answered.find(0)
    while at >= 0:
        found.append(at)
        at = waiting.answered.find(0, at + 1)
    return found
