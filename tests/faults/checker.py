"""The checks over the logs of all clients of one server: ranks (U2) and deliveries (U3). Knows no sockets.

A stint's window reaches from its WELCOME to its last frame of the sequence, or to the end of the run if it settled.
Within its window it must have received each command to all of every senior, in one order. The rules for a line that
watchers saw are in `line_replay.py`, those for seats that outlive a connection in `seat_rules.py`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict

from .line_replay import Replay
from .logs import ALL, NEXT, ONE, SET, Life, Logs, Stint, ends_of
from .seat_rules import SeatRules

__all__ = ["History"]


class History(Logs):
    """Read logs with `read`, then `check`.

    With `servers` > 1 the room is shared: between a command and its place in the order, its target may move up, a
    member that leaves may be closed before its commands have got their places, and a server may be killed in the
    middle of a frame.
    """

    def __init__(self, servers: int = 1) -> None:
        super().__init__()
        self.shared = servers > 1
        self.ends: Counter[str] = Counter()
        self.events: Counter[str] = Counter()

    def check(self) -> None:
        """Compare all logs."""
        self.ends = ends_of(self.lives.values())
        stints = [stint for life in self.lives.values() for stint in life.stints]
        end = max((stint.last for stint in stints), default=0)
        for life in self.lives.values():
            if life.settled:
                life.stints[-1].last = max(end, *self.snapshots, 0)
        joined = sorted(stints, key=lambda stint: stint.joined)
        seats: dict[int, list[Stint]] = defaultdict(list)
        for stint in joined:
            seats[stint.ticket].append(stint)
        new = [stint.ticket for stint in joined if not stint.returned]
        if new != sorted(set(new)):
            self.violate("tickets were not given once each, in the order of joining")
        if len({stint.joined for stint in joined}) != len(joined):
            self.violate("two joins or returns have one seq")
        if len(self.instances) > 1:
            self.violate(f"a restart began a new instance: {self.instances}")
        self._check_sequence(joined)
        self._check_senders(seats)
        self._check_deliveries(joined)
        self._check_single(seats)
        self._check_ranks(joined)
        for life in self.lives.values():
            self._check_answers(life)
        replay = Replay(self)
        replay.check()
        self.events = replay.counts
        SeatRules(self, seats, replay).check()

    def _check_sequence(self, joined: list[Stint]) -> None:
        """Each seq belongs to one event."""
        joins = {stint.joined for stint in joined}
        for what, one, other in (
            ("a join and a command", joins, self.commands.keys()),
            ("a join and a departure", joins, self.rank_frames.keys()),
            ("a departure and a command", self.rank_frames.keys(), self.commands.keys()),
        ):
            if both := one & other:
                self.violate(f"{what} have the same seq: {sorted(both)[:5]}")

    def _check_senders(self, seats: dict[int, list[Stint]]) -> None:
        """First in, first out for each sender, with the rank that it had at that seq."""
        last: dict[int, int] = defaultdict(lambda: -1)
        for seq in sorted(self.commands):
            sender, number, _, _, rank, _ = self.commands[seq]
            if number <= last[sender]:
                self.violate(f"command {number} of ticket {sender} came behind {last[sender]}, at {seq}")
            last[sender] = number
            for stint in seats.get(sender, ()):
                if stint.joined < seq <= stint.last and stint.rank_at(seq) != rank:
                    self.violate(
                        f"ticket {sender} commanded as rank {rank} at {seq}, and had {stint.rank_at(seq)}"
                    )
                accepted = stint.life.accepted
                if number in accepted and accepted[number][0] != seq:
                    self.violate(
                        f"command {number} of ticket {sender}: ACCEPTED says {accepted[number][0]}, not {seq}"
                    )

    def _check_deliveries(self, joined: list[Stint]) -> None:
        to_all = [seq for seq in sorted(self.commands) if self.commands[seq][2] == ALL]
        senders = [self.commands[seq][0] for seq in to_all]
        for stint in joined:
            first, last = bisect_right(to_all, stint.joined), bisect_right(to_all, stint.last)
            due = [to_all[n] for n in range(first, last) if senders[n] < stint.ticket]
            if due != stint.seqs:
                lost, extra = sorted(set(due) - set(stint.seqs)), sorted(set(stint.seqs) - set(due))
                self.violate(f"{stint} lost {lost[:5]}, got {extra[:5]} that were not for it")

    def _check_single(self, seats: dict[int, list[Stint]]) -> None:
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
            stint = next(stint for stint in reversed(seats[tickets[0]]) if stint.joined < seq)
            moved = (
                self.shared and target == ONE and wanted is not None and rank < stint.rank_at(seq) < wanted
            )
            if wanted is not None and stint.rank_at(seq) != wanted and not moved:
                self.violate(f"seq {seq} is for rank {wanted}, and reached rank {stint.rank_at(seq)}")

    def _check_ranks(self, joined: list[Stint]) -> None:
        for seq, frames in self.rank_frames.items():
            frames.sort()
            ranks = [rank for _, rank, _ in frames]
            if ranks != sorted(set(ranks)) or len({members for _, _, members in frames}) != 1:
                self.violate(f"the ranks at {seq} are {frames[:8]}")
        coming, there = iter([*joined, None]), []
        following = next(coming)
        for seq in sorted(self.snapshots):
            ranks_by_ticket = {ticket: rank for rank, ticket in enumerate(self.snapshots[seq])}
            while following is not None and following.joined <= seq:
                there.append(following)
                following = next(coming)
            there = [stint for stint in there if stint.last >= seq]
            for stint in there:
                rank = ranks_by_ticket.get(stint.ticket)
                if rank is None:
                    self.violate(f"{stint} is not among the members at {seq}")
                elif stint.rank_at(seq) != rank:
                    self.violate(f"{stint} has rank {rank} at {seq}, and was told {stint.rank_at(seq)}")
        alive = sorted(life.stints[-1].ticket for life in self.lives.values() if life.settled)
        final = self.snapshots[max(self.snapshots)] if self.snapshots else {}
        present = [ticket for ticket, state in final.items() if not state]
        if alive != present:
            self.violate(f"at the end {present} are present members, and {alive} settled")

    def _check_answers(self, life: Life) -> None:
        """Torn streams, commands without an answer, executors without exactly one final result."""
        if life.exit == "eof" and life.torn and not (self.shared and not life.thrown_out):
            self.violate(f"{life.ident}: the stream ended in order inside a frame")
        left = life.said is not None and life.exit == "eof" and not life.thrown_out and not self.shared
        if life.settled or left:
            unanswered = {
                number
                for number in life.loud - life.accepted.keys() - life.refused
                if life.said is None or number < life.said
            }
            if unanswered:
                self.violate(f"{life.ident} ({life.exit}): no answer to {sorted(unanswered)[:5]}")
        for number, counts in life.done.items():
            if number in life.accepted and life.accepted[number][1] != sum(counts):
                self.violate(
                    f"{life.ident}: command {number} had {life.accepted[number][1]} executors, {counts} ended"
                )
            ends = Counter(life.ended[number].values())
            if [ends[status] for status in range(6)] != counts:
                self.violate(f"{life.ident}: command {number}: {dict(ends)} ended, DONE counts {counts}")
        if life.settled:
            wants = {number for number, sent in life.sent.items() if sent.flags & 1}
            since = life.stints[-1].joined  # a YIELD discards its pending commands
            missing = {
                number
                for number in (wants & life.accepted.keys()) - life.done.keys()
                if life.accepted[number][0] > since
            }
            if missing:
                self.violate(f"{life.ident}: no DONE for {sorted(missing)[:5]}")
