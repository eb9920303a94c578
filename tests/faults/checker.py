"""The checks over the logs of all clients of one server: ranks (U2) and deliveries (U3). Knows no sockets.

A member's window reaches from its WELCOME to its last frame of the sequence, or to the end of the run if it settled.
Within its window it must have received each command to all of every senior, in one order.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

ALL, ONE, NEXT, SET = 0, 1, 2, 4


@dataclass
class Life:
    """One member, read from its lines."""

    ident: str
    ticket: int = 0
    joined: int = 0
    sent: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    accepted: dict[int, tuple[int, int]] = field(default_factory=dict)
    wants: set[int] = field(default_factory=set)
    loud: set[int] = field(default_factory=set)
    ended: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    done: dict[int, int] = field(default_factory=dict)
    seqs: list[int] = field(default_factory=list)
    rank_seqs: list[int] = field(default_factory=list)
    ranks: list[int] = field(default_factory=list)
    last: int = 0
    said: int | None = None  # the number of commands it had sent when it left cleanly
    exit: str = ""
    torn: int = 0
    thrown_out: bool = False
    settled: bool = False

    def rank_at(self, seq: int) -> int:
        """Its rank at `seq`."""
        return self.ranks[bisect_right(self.rank_seqs, seq) - 1]


class History:
    """Read logs with `read`, then `check`. `violations` are sentences; `deliveries` counts the EXECUTE frames."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.deliveries = 0
        self.lives: dict[str, Life] = {}
        self.commands: dict[
            int, tuple[int, int, int, int, int, int]
        ] = {}  # seq: sender, number, target, arg, rank, crc
        self.seen_by: dict[int, list[int]] = defaultdict(list)  # commands to one member: their receivers
        self.rank_frames: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        self.snapshots: dict[int, tuple[int, ...]] = {}
        self.ends: Counter[str] = Counter()
        self._by_number: dict[tuple[int, int], int] = {}

    def violate(self, text: str) -> None:
        self.violations.append(text)

    def read(self, lines: Iterable[str]) -> None:
        """Read the lines of one process. The last line of a killed process may be truncated."""
        for line in lines:
            if not line.endswith("\n"):
                continue
            ident, kind, *values = line.split()
            life = self.lives.get(ident)
            if life is None:
                life = self.lives[ident] = Life(ident)
            if kind == "V":
                self.violate(f"{ident}: {' '.join(values)}")
            elif kind == "X":
                life.exit, life.torn = " ".join(values[:-1]), int(values[-1])
            else:
                self._take(life, kind, list(map(int, values)))

    def _take(self, life: Life, kind: str, values: list[int]) -> None:
        match kind:
            case "E":
                self._execute(life, *values)
            case "J":
                life.ticket, life.joined, rank, members = values
                life.last = life.joined
                life.rank_seqs, life.ranks = [life.joined], [rank]
                if members != rank + 1:
                    self.violate(f"{life.ident} joined with rank {rank} of {members}")
            case "R":
                seq, rank, members, _ = values
                self._in_order(life, seq)
                if rank >= life.ranks[-1]:
                    self.violate(f"{life.ident} went from rank {life.ranks[-1]} to {rank} at {seq}")
                life.rank_seqs.append(seq)
                life.ranks.append(rank)
                self.rank_frames[seq].append((life.ticket, rank, members))
            case "S":
                number, _, flags = values
                life.sent.add(number)
                if flags & 1:
                    life.wants.add(number)
                if not flags & 2:
                    life.loud.add(number)
            case "A":
                number, seq, executors, _ = values
                if number in life.accepted or number in life.refused:
                    self.violate(f"{life.ident}: command {number} was accepted twice")
                life.accepted[number] = (seq, executors)
            case "F":
                life.refused.add(values[0])
            case "O":
                number, ticket, _ = values
                if ticket in life.ended[number]:
                    self.violate(f"{life.ident}: executor {ticket} ended twice for command {number}")
                life.ended[number].add(ticket)
            case "D":
                life.done[values[0]] = sum(values[1:])
            case "M":
                self._snapshot(values[0], values[1], tuple(values[2:]))
            case "C":
                life.thrown_out = True
            case "L":
                life.said = values[0]
            case "Z":
                life.settled = True
                if values[1] != life.ranks[-1]:
                    self.violate(f"{life.ident} settled with rank {values[1]}")

    def _in_order(self, life: Life, seq: int) -> None:
        if seq <= life.last:
            self.violate(f"{life.ident} saw {seq} behind {life.last}")
        life.last = max(life.last, seq)

    def _execute(
        self,
        life: Life,
        seq: int,
        sender_rank: int,
        rank: int,
        sender: int,
        number: int,
        target: int,
        arg: int,
        crc: int,
    ) -> None:
        self.deliveries += 1
        self._in_order(life, seq)
        entry = (sender, number, target, arg, sender_rank, crc)
        known = self.commands.setdefault(seq, entry)
        if known != entry:
            self.violate(f"seq {seq} was {known} for others and {entry} for {life.ident}")
        if self._by_number.setdefault((sender, number), seq) != seq:
            self.violate(f"command {number} of ticket {sender} was dispatched twice, at {seq} too")
        if sender_rank >= rank:
            self.violate(f"{life.ident}, rank {rank}, was commanded by rank {sender_rank} at {seq}")
        if target == ALL:
            life.seqs.append(seq)
        else:
            self.seen_by[seq].append(life.ticket)

    def _snapshot(self, seq: int, total: int, tickets: tuple[int, ...]) -> None:
        if len(tickets) != total:
            return  # one page of several
        if self.snapshots.setdefault(seq, tickets) != tickets:
            self.violate(f"two lists of the members at {seq}")

    # When all has been read.

    def check(self) -> None:
        """Compare all logs."""
        joined = sorted((life for life in self.lives.values() if life.ticket), key=lambda life: life.ticket)
        end = max((life.last for life in joined), default=0)
        for life in joined:
            if life.settled:
                life.last = max(end, *self.snapshots, 0)
            self.ends[life.exit or ("settled" if life.settled else "killed")] += 1
        if [life.joined for life in joined] != sorted({life.joined for life in joined}):
            self.violate("tickets were not given in the order of joining")
        if len({life.ticket for life in joined}) != len(joined):
            self.violate("a ticket was given twice")
        by_ticket = {life.ticket: life for life in joined}
        self._check_sequence(joined)
        self._check_senders(by_ticket)
        self._check_deliveries(joined)
        self._check_single(by_ticket)
        self._check_ranks(joined)
        for life in joined:
            self._check_answers(life)

    def _check_sequence(self, joined: list[Life]) -> None:
        """Each seq stands for one event."""
        joins = {life.joined for life in joined}
        for what, one, other in (
            ("a join and a command", joins, self.commands.keys()),
            ("a join and a departure", joins, self.rank_frames.keys()),
            ("a departure and a command", self.rank_frames.keys(), self.commands.keys()),
        ):
            if both := one & other:
                self.violate(f"{what} have the same seq: {sorted(both)[:5]}")

    def _check_senders(self, by_ticket: dict[int, Life]) -> None:
        """First in, first out for each sender, with the rank that it had at that seq."""
        last: dict[int, int] = defaultdict(lambda: -1)
        for seq in sorted(self.commands):
            sender, number, _, _, rank, _ = self.commands[seq]
            if number <= last[sender]:
                self.violate(f"command {number} of ticket {sender} came behind {last[sender]}, at {seq}")
            last[sender] = number
            life = by_ticket.get(sender)
            if life is not None and life.joined < seq <= life.last and life.rank_at(seq) != rank:
                self.violate(
                    f"ticket {sender} commanded as rank {rank} at {seq}, and had {life.rank_at(seq)}"
                )
            if life is not None and number in life.accepted and life.accepted[number][0] != seq:
                self.violate(
                    f"command {number} of ticket {sender}: ACCEPTED says {life.accepted[number][0]}, not {seq}"
                )

    def _check_deliveries(self, joined: list[Life]) -> None:
        to_all = [seq for seq in sorted(self.commands) if self.commands[seq][2] == ALL]
        senders = [self.commands[seq][0] for seq in to_all]
        for life in joined:
            first, last = bisect_right(to_all, life.joined), bisect_right(to_all, life.last)
            due = [to_all[n] for n in range(first, last) if senders[n] < life.ticket]
            if due != life.seqs:
                lost, extra = sorted(set(due) - set(life.seqs)), sorted(set(life.seqs) - set(due))
                self.violate(
                    f"{life.ident} ({life.exit or 'alive'}) lost {lost[:5]}, got {extra[:5]} that were not for it"
                )

    def _check_single(self, by_ticket: dict[int, Life]) -> None:
        """A command to one member reaches exactly one member, the right one if that is known; to SET, each once."""
        for seq, tickets in self.seen_by.items():
            sender, _, target, arg, rank, _ = self.commands[seq]
            if target == SET:
                if len(set(tickets)) < len(tickets) or len(tickets) > arg or min(tickets) <= sender:
                    self.violate(
                        f"seq {seq}, which is for {arg} juniors of ticket {sender}, reached {tickets}"
                    )
                continue
            if len(tickets) > 1:
                self.violate(f"seq {seq}, which is for one, reached {tickets}")
            wanted = {ONE: arg, NEXT: rank + 1}.get(target)
            life = by_ticket[tickets[0]]
            if wanted is not None and life.rank_at(seq) != wanted:
                self.violate(f"seq {seq} is for rank {wanted}, and reached rank {life.rank_at(seq)}")

    def _check_ranks(self, joined: list[Life]) -> None:
        for seq, frames in self.rank_frames.items():
            frames.sort()
            ranks = [rank for _, rank, _ in frames]
            if ranks != sorted(set(ranks)) or len({members for _, _, members in frames}) != 1:
                self.violate(f"the ranks at {seq} are {frames[:8]}")
        coming, there = iter([*joined, None]), []
        following = next(coming)
        for seq in sorted(self.snapshots):
            tickets = self.snapshots[seq]
            while following is not None and following.joined <= seq:
                there.append(following)
                following = next(coming)
            there = [life for life in there if life.last >= seq]
            for life in there:
                rank = bisect_left(tickets, life.ticket)
                if tickets[rank : rank + 1] != (life.ticket,):
                    self.violate(f"{life.ident} is not among the members at {seq}")
                elif life.rank_at(seq) != rank:
                    self.violate(f"{life.ident} has rank {rank} at {seq}, and was told {life.rank_at(seq)}")
        alive = [life for life in joined if life.settled]
        final = self.snapshots[max(self.snapshots)] if self.snapshots else ()
        if [life.ticket for life in alive] != list(final):
            self.violate(f"at the end {final} are members, and {[life.ticket for life in alive]} settled")

    def _check_answers(self, life: Life) -> None:
        """Torn streams, commands without an answer, executors without exactly one final result."""
        if life.exit == "eof" and life.torn:
            self.violate(f"{life.ident}: the stream ended in order inside a frame")
        left = life.said is not None and life.exit == "eof" and not life.thrown_out
        if life.settled or left:
            unanswered = {
                number
                for number in life.loud - life.accepted.keys() - life.refused
                if life.said is None or number < life.said
            }
            if unanswered:
                self.violate(f"{life.ident} ({life.exit}): no answer to {sorted(unanswered)[:5]}")
        for number, count in life.done.items():
            if number in life.accepted and life.accepted[number][1] != count:
                self.violate(
                    f"{life.ident}: command {number} had {life.accepted[number][1]} executors, {count} ended"
                )
            if len(life.ended[number]) != count:
                self.violate(
                    f"{life.ident}: command {number}: {len(life.ended[number])} ends, DONE counts {count}"
                )
        if life.settled:
            missing = (life.wants & life.accepted.keys()) - life.done.keys()
            if missing:
                self.violate(f"{life.ident}: no DONE for {sorted(missing)[:5]}")
