"""A naive model of the room after the protocol's sections 4 to 6: a plain list of members, without any index.

The frames that a turn brings each member are computed for each member alone, one frame after another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field

from rankmux.codes import FRAME_OVERHEAD, Cause, CommandFlag, RefusedCode, Status, Target
from rankmux.core.room.turn import Join
from rankmux.wire import (
    Accepted,
    Command,
    Done,
    Execute,
    Frame,
    MemberInfo,
    Members,
    Pong,
    Rank,
    Refused,
    Result,
    Routed,
    Who,
)

ORDER = (
    Execute,
    Rank,
    Accepted,
    Refused,
    Routed,
    Done,
    Members,
    Pong,
)  # the kinds of frames that a member receives in a turn


@dataclass
class Member:
    """Its rank is its place in the list."""

    ticket: int
    handle: int
    name: str
    address: str


@dataclass
class Waiting:
    """A command that waits for results: `ranks` are those at its dispatch, by ticket.

    `untold` are final results that the sender has not received yet.
    """

    seq: int
    sender: int
    id: int
    deadline_ms: int
    ranks: dict[int, int]
    ended: dict[int, Status] = field(default_factory=dict)
    untold: dict[int, Status] = field(default_factory=dict)
    expired: bool = False

    def owes(self, ticket: int) -> bool:
        return ticket in self.ranks and ticket not in self.ended and ticket not in self.untold


@dataclass
class ModelTurn:
    """The input of a turn; members are identified by their tickets."""

    now: float = 0.0
    commands: list[tuple[int, Command]] = field(default_factory=list)
    results: list[tuple[int, Result]] = field(default_factory=list)
    departures: dict[int, Cause] = field(default_factory=dict)
    joins: list[Join] = field(default_factory=list)
    queries: list[tuple[int, Who]] = field(default_factory=list)
    pings: list[tuple[int, bytes]] = field(default_factory=list)
    judge: bool = True  # whether due commands expire
    slow: Container[int] = ()  # senders that receive LEFT and EXPIRED later


class RoomModel:
    """`owed` is the output of the last turn for each member present when it began, by ticket."""

    def __init__(
        self,
        seats: int,
        max_payload: int,
        waiting_max: int,
        result_ttl_ms: int,
        waiting_total_max: int = 1 << 40,
        told_max_bytes: int = 1 << 20,
    ) -> None:
        self.seats = seats
        self.max_payload = max_payload
        self.waiting_max = waiting_max
        self.result_ttl_ms = result_ttl_ms
        self.waiting_total_max = waiting_total_max
        self.told_max = max(1, told_max_bytes // len(Routed(0, 0, 0, 0, b"").encode()))
        self.members: list[Member] = []
        self.waiting: list[Waiting] = []
        self.finished: list[Waiting] = []
        self.seq = 0
        self.last_ticket = 0
        self.owed: dict[int, list[Frame]] = {}
        self.departed: list[Member] = []
        self.joined: list[Member] = []
        self.full: list[Join] = []
        self.refused: list[tuple[int, int]] = []
        self.dropped = 0

    def load(self, ticket: int) -> int:
        """The number of commands that still await its final result (section 5)."""
        return sum(waiting.owes(ticket) for waiting in self.waiting)

    def deadline_ms(self) -> int | None:
        """When the next command expires."""
        return min((waiting.deadline_ms for waiting in self.waiting if not waiting.expired), default=None)

    def due(self, now: float) -> list[int]:
        """The seqs that expire by `now`."""
        clock_ms = round(now * 1000)
        deadlines = sorted((w.deadline_ms, w.seq) for w in self.waiting if not w.expired)
        return [seq for due, seq in deadlines if due <= clock_ms]

    def has_news(self, slow: Container[int]) -> bool:
        """Whether there is a final result to report."""
        return any(waiting.untold and waiting.sender not in slow for waiting in self.waiting)

    def apply(self, turn: ModelTurn) -> None:
        """Results, expiries, commands, departures, joins, answers."""
        self.owed = {member.ticket: [] for member in self.members}
        self.finished, self.refused, self.dropped = [], [], 0
        for ticket, result in turn.results:
            self._result(ticket, result)
        for waiting in [self._find(seq) for seq in (self.due(turn.now) if turn.judge else ())]:
            waiting.expired = True
            for ticket in list(waiting.ranks):
                if waiting.owes(ticket):
                    waiting.untold[ticket] = Status.EXPIRED
        self._tell(turn.slow)
        for member in self.members:
            for sender, command in turn.commands:
                if sender == member.ticket:
                    self._command(turn.now, sender, command)
        self._depart(turn.departures)
        if self.departed:
            self._tell(turn.slow)
        self._join(turn.joins)
        for waiting in sorted(self.finished, key=lambda waiting: waiting.seq):
            counts = Counter(waiting.ended.values())
            done = Done(waiting.id, *(counts[Status(status)] for status in range(5)))
            self.owed[waiting.sender].append(done)
        for ticket, who in turn.queries:
            self.owed[ticket].append(self._page(who))
        for ticket, payload in turn.pings:
            self.owed[ticket].append(Pong(payload))
        for frames in self.owed.values():
            frames.sort(key=lambda frame: ORDER.index(type(frame)))

    def _find(self, seq: int) -> Waiting:
        return next(waiting for waiting in self.waiting if waiting.seq == seq)

    def _result(self, ticket: int, result: Result) -> None:
        for waiting in self.waiting:
            if waiting.seq == result.seq and waiting.owes(ticket):
                if result.status == Status.PART:
                    self._route(waiting, ticket, result.status, result.payload)
                else:
                    self._end(waiting, ticket, Status(result.status), result.payload)
                return
        self.dropped += 1

    def _route(self, waiting: Waiting, ticket: int, status: int, payload: bytes) -> None:
        routed = Routed(waiting.id, ticket, waiting.ranks[ticket], status, payload)
        self.owed[waiting.sender].append(routed)

    def _end(self, waiting: Waiting, ticket: int, status: Status, payload: bytes = b"") -> None:
        self._route(waiting, ticket, status, payload)
        waiting.ended[ticket] = status
        if len(waiting.ended) == len(waiting.ranks):
            self.waiting.remove(waiting)
            self.finished.append(waiting)

    def _tell(self, slow: Container[int]) -> None:
        """Route the final results not reported yet, those of senior senders first, unless the sender is slow."""
        for member in self.members:
            told = 0
            for waiting in [
                w for w in self.waiting if w.sender == member.ticket and member.ticket not in slow
            ]:
                for ticket in [t for t in waiting.ranks if t in waiting.untold][: self.told_max - told]:
                    self._end(waiting, ticket, waiting.untold.pop(ticket))
                    told += 1

    def _command(self, now: float, sender: int, command: Command) -> None:
        rank = [member.ticket for member in self.members].index(sender)
        juniors = range(rank + 1, len(self.members))
        waits = [waiting.id for waiting in self.waiting if waiting.sender == sender]
        wants_results = bool(command.flags & CommandFlag.RESULTS)
        code = None
        if len(command.payload) > self.max_payload:
            code = RefusedCode.TOO_BIG
        elif command.target == Target.ONE and command.arg >= len(self.members):
            code = RefusedCode.NO_SUCH_RANK
        elif command.target == Target.ONE and command.arg not in juniors:
            code = RefusedCode.NOT_LOWER
        elif not juniors:
            code = RefusedCode.NO_TARGET
        elif command.id in waits:
            code = RefusedCode.DUPLICATE
        elif wants_results and len(waits) >= self.waiting_max:
            code = RefusedCode.BUSY
        executors: list[int] = []
        if code is None:
            executors = {
                Target.ALL: list(juniors),
                Target.ONE: [command.arg],
                Target.NEXT: [rank + 1],
                Target.LEAST: [min(juniors, key=lambda junior: self.load(self.members[junior].ticket))],
            }[Target(command.target)]
            owed = sum(self.load(member.ticket) for member in self.members)
            owed += sum(len(waiting.untold) for waiting in self.waiting)
            if wants_results and owed + len(executors) > self.waiting_total_max:
                code = RefusedCode.BUSY
        if code is not None:
            self.owed[sender].append(Refused(command.id, code, ""))
            self.refused.append((sender, code))
            return
        self.seq += 1
        ttl_ms = command.ttl_ms
        if wants_results:
            ttl_ms = ttl_ms or self.result_ttl_ms
            ranks = {self.members[executor].ticket: executor for executor in executors}
            self.waiting.append(Waiting(self.seq, sender, command.id, round(now * 1000) + ttl_ms, ranks))
        execute = Execute(self.seq, rank, int(wants_results), ttl_ms, command.payload)
        for executor in executors:
            self.owed[self.members[executor].ticket].append(execute)
        if not command.flags & CommandFlag.QUIET:
            rejected = rank if command.target == Target.ALL else 0
            self.owed[sender].append(Accepted(command.id, self.seq, len(executors), rejected))

    def _depart(self, causes: dict[int, Cause]) -> None:
        before = list(self.members)
        self.departed = [member for member in before if member.ticket in causes]
        self.members = [member for member in before if member.ticket not in causes]
        self.seq += len(self.departed)
        self.waiting = [waiting for waiting in self.waiting if waiting.sender not in causes]
        for waiting in list(self.waiting):
            for member in self.departed:
                if waiting.owes(member.ticket):
                    waiting.untold[member.ticket] = Status.LEFT
        for rank, member in enumerate(self.members):
            ahead = [causes[m.ticket] for m in before[: before.index(member)] if m.ticket in causes]
            if ahead:
                self.owed[member.ticket].append(Rank(self.seq, rank, len(self.members), ahead[-1]))

    def _join(self, joins: list[Join]) -> None:
        self.joined, self.full = [], []
        for join in joins:
            if len(self.members) == self.seats:
                self.full.append(join)
                continue
            self.seq += 1
            self.last_ticket += 1
            self.members.append(Member(self.last_ticket, join.handle, join.name, join.address))
            self.joined.append(self.members[-1])

    def _page(self, who: Who) -> Members:
        """As many seats as fit into a frame; one that is too long for any frame is listed alone, without its texts."""
        page = Members(who.id, self.seq, len(self.members), ())
        for rank, member in list(enumerate(self.members))[who.first_rank :][: who.count]:
            info = MemberInfo(rank, member.ticket, self.load(member.ticket), member.name, member.address)
            longer = page._replace(members=(*page.members, info))
            if len(longer.encode()) - 4 <= self.max_payload + FRAME_OVERHEAD:
                page = longer
                continue
            if not page.members:
                page = page._replace(members=(info._replace(name="", address=""),))
            break
        return page
