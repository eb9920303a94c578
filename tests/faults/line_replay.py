"""The line as reported to watchers, replayed seq by seq, and all logs compared with it.

Only commands, joins, departures, absences, returns and batons take seqs, in the order in which a turn applies them: so
the line at a seq is the one by which the command with that seq was judged.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from .logs import (
    ABSENT,
    ALL,
    BACK,
    JOINED,
    LEFT,
    LOST,
    SET,
    THROWN_OUT,
    YIELDED,
    Event,
    Life,
    Logs,
)

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = {
    JOINED: "joined",
    LEFT: "left",
    LOST: "lost",
    THROWN_OUT: "thrown out",
    ABSENT: "absent",
    BACK: "back",
    YIELDED: "yielded",
}


class Replay:
    """`events` by seq, and `spans`: the stretches of the sequence that an observer saw from a list on."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self.events: dict[int, Event] = {}
        self.spans: list[tuple[int, int]] = []
        self.counts: Counter[str] = Counter()
        self._line: list[int] = []
        self._absent: set[int] = set()

    def check(self) -> None:
        """Compare the watchers with each other, then replay."""
        watchers = [life for life in self._logs.lives.values() if life.watches]
        for life in watchers:
            for seq, event in life.events.items():
                if self.events.setdefault(seq, event) != event:
                    self._logs.violate(f"seq {seq} was {self.events[seq]}, and {event} for {life.ident}")
        self.counts.update(NAMES[event.what] for event in self.events.values())
        seqs = sorted(self.events)
        for life in watchers:
            self._check_watcher(life, seqs)
        self.spans = sorted(
            (life.lists[0], max(life.lists[-1], *life.events, 0))
            for life in watchers
            if life.observed_from and life.lists
        )
        steps = self._steps()
        for first, last in self.spans:
            self._replay(first, last, steps)

    def covers(self, first: int, last: int) -> bool:
        """Whether every event of this stretch is known."""
        return any(begin <= first and last <= end for begin, end in self.spans)

    def departure(self, ticket: int) -> tuple[int, int]:
        """The seq and kind of the end of a seat; 0, 0 if no watcher received one."""
        return self._departures.get(ticket, (0, 0))

    def _check_watcher(self, life: Life, seqs: list[int]) -> None:
        """It received every event after its WELCOME, except its own join and return."""
        first = life.observed_from or (life.stints[0].joined if life.stints else 0)
        told = sorted(life.events)
        lists = life.lists if life.said is None else []  # it receives nothing in the turn of its departure
        last = max([first, *told, *lists])
        due = seqs[bisect_right(seqs, first) : bisect_right(seqs, last)]
        if due != told:
            self._logs.violate(
                f"{life.ident} watched from {first} to {last}, and was not told of "
                f"{sorted(set(due) - set(told))[:5]}, but of {sorted(set(told) - set(due))[:5]}"
            )

    def _steps(self) -> dict[int, list[Callable[[int], None]]]:
        """The steps at each seq: first the event, then the checks that depend on it."""
        steps: dict[int, list[Callable[[int], None]]] = defaultdict(list)
        self._departures = {
            event.ticket: (seq, event.what)
            for seq, event in self.events.items()
            if event.what in (LEFT, LOST, THROWN_OUT, YIELDED)
        }
        for seq, event in self.events.items():
            steps[seq].append(lambda seq, event=event: self._apply(seq, event))  # type: ignore[misc]
        for life in self._logs.lives.values():
            for stint in life.stints:
                steps[stint.joined].append(
                    lambda seq, stint=stint: self._came(  # type: ignore[misc]
                        seq, stint.ticket, stint.ranks[0], stint.returned, stint.life.ident
                    )
                )
                for got in stint.got:
                    steps[got].append(lambda seq, ticket=stint.ticket: self._executes(seq, ticket))  # type: ignore[misc]
            for number, counts in life.accepted.items():
                steps[counts[0]].append(
                    lambda _seq, life=life, number=number: self._accepted(life, number)  # type: ignore[misc]
                )
        for seq, frames in self._logs.rank_frames.items():
            for frame in frames:
                steps[seq].append(lambda seq, frame=frame: self._ranked(seq, *frame))  # type: ignore[misc]
        return steps

    def _replay(self, first: int, last: int, steps: dict[int, list[Callable[[int], None]]]) -> None:
        self._line = list(self._logs.snapshots[first])
        self._absent = {ticket for ticket, state in self._logs.snapshots[first].items() if state}
        snapshots = self._logs.snapshots
        for seq in sorted({*steps, *snapshots}):
            if not first < seq <= last:
                continue
            for step in steps.get(seq, ()):
                step(seq)
            if seq in snapshots:
                built = {ticket: int(ticket in self._absent) for ticket in self._line}
                if built != snapshots[seq]:
                    self._logs.violate(f"the list at {seq} is {snapshots[seq]}, and the changes give {built}")
                    return

    def _apply(self, seq: int, event: Event) -> None:
        what, ticket = event.what, event.ticket
        known = ticket in self._line
        fits = {
            JOINED: not known and (not self._line or ticket > self._line[-1]),
            ABSENT: known and ticket not in self._absent,
        }.get(what, known)
        if not fits:
            self._logs.violate(f"{NAMES[what]} at {seq}: ticket {ticket}, in a line of {self._line}")
            return
        if what == JOINED:
            self._line.append(ticket)
            if (event.rank, event.members) != (len(self._line) - 1, len(self._line)):
                self._logs.violate(f"{event} at {seq}, in a line of {len(self._line)}")
        elif what == ABSENT:
            self._absent.add(ticket)
        elif what == BACK:
            self._absent.discard(ticket)
        else:
            self._line.remove(ticket)
            self._absent.discard(ticket)
        if what in (ABSENT, BACK) and event.members != len(self._line):
            self._logs.violate(f"{event} at {seq}, in a line of {len(self._line)}")

    def _came(self, seq: int, ticket: int, rank: int, returned: bool, ident: str) -> None:
        """A WELCOME or YIELDED: watchers received the same event with the same place."""
        event = self.events.get(seq)
        wanted = BACK if returned else JOINED
        if event is None or (event.what, event.ticket) != (wanted, ticket):
            self._logs.violate(f"{ident} {NAMES[wanted]} at {seq} as ticket {ticket}, watchers saw {event}")
        elif self._rank(ticket) != rank:
            self._logs.violate(f"{ident} {NAMES[wanted]} at {seq} as rank {rank} in {self._line}")

    def _ranked(self, seq: int, ticket: int, rank: int, members: int) -> None:
        event = self.events.get(seq)
        if event is None or event.what not in (LEFT, LOST, THROWN_OUT, YIELDED):
            self._logs.violate(f"ranks changed at {seq}, which was {event}")
        elif (self._rank(ticket), len(self._line)) != (rank, members):
            self._logs.violate(f"ticket {ticket} was told rank {rank} of {members} at {seq} in {self._line}")

    def _executes(self, seq: int, ticket: int) -> None:
        sender = self._logs.commands[seq][0]
        if self._rank(ticket) is None or ticket in self._absent or ticket <= sender:
            self._logs.violate(f"ticket {ticket} executed {seq} of {sender}, absent {self._absent}")

    def _accepted(self, life: Life, number: int) -> None:
        """The sender's counts add up to the line at that seq."""
        seq, *counts = life.accepted[number]
        stint = life.stint_at(seq)
        rank = stint and self._rank(stint.ticket)
        if seq in self.events or stint is None or rank is None:
            self._logs.violate(f"{life.ident}: command {number} was accepted at {seq}, without a seat")
            return
        if number in life.batons:
            if rank or counts != [0, 0, 0]:
                self._logs.violate(f"{life.ident}, rank {rank}, wrote the baton at {seq}: {counts}")
            return
        sent = life.sent[number]
        juniors = self._line[rank + 1 :]
        absent = sum(ticket in self._absent for ticket in juniors)
        if sent.target == ALL:
            right = counts == [len(juniors) - absent, rank, absent]
        elif sent.target == SET:
            right = sum(counts) == sent.arg and 0 < counts[0] <= len(juniors) - absent
        else:
            right = counts == [1, 0, 0] and len(juniors) > absent
        if not right:
            self._logs.violate(
                f"{life.ident}: command {number} to {sent.target} at {seq} counts {counts}; it has rank {rank} of "
                f"{len(self._line)}, {absent} below are absent"
            )

    def _rank(self, ticket: int) -> int | None:
        rank = bisect_left(self._line, ticket)
        return rank if self._line[rank : rank + 1] == [ticket] else None
