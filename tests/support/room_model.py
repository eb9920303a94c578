"""A naive model of the room after the protocol's sections 4 to 6: a plain list of members, without any index.

The frames that a turn brings each member are computed for each member alone, one frame after another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field, replace

from rankmux.codes import FRAME_OVERHEAD, Cause, Change, CommandFlag, RefusedCode, Status, Target
from rankmux.core.room.turn import Join, Joined
from rankmux.wire import (
    Accepted,
    Baton,
    Changed,
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
    SetBaton,
    Stop,
    Who,
    Yielded,
)

ORDER = (
    Execute,
    Stop,
    Rank,
    Baton,
    Changed,
    Accepted,
    Refused,
    Routed,
    Done,
    Yielded,
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
    absent: bool = False
    secret: bytes = b""  # of a seat that is kept
    keep_ms: int = 0
    identity: str = ""
    until_ms: int = 0  # when the keep of an absent one is over


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
    tied: bool = False
    ended: dict[int, Status] = field(default_factory=dict)
    untold: dict[int, Status] = field(default_factory=dict)
    expired: bool = False

    def owes(self, ticket: int) -> bool:
        return ticket in self.ranks and ticket not in self.ended and ticket not in self.untold


@dataclass
class ModelTurn:
    """The input of a turn; members are identified by their tickets."""

    now: float = 0.0
    commands: list[tuple[int, Command | SetBaton]] = field(default_factory=list)
    results: list[tuple[int, Result]] = field(default_factory=list)
    cancels: list[tuple[int, int]] = field(default_factory=list)
    departures: dict[int, Cause] = field(default_factory=dict)
    absences: list[int] = field(default_factory=list)
    yields: list[tuple[int, int]] = field(default_factory=list)
    joins: list[Join] = field(default_factory=list)
    queries: list[tuple[int, Who]] = field(default_factory=list)
    pings: list[tuple[int, bytes]] = field(default_factory=list)
    judge: bool = True  # whether due commands expire
    slow: Container[int] = ()  # senders that receive LEFT, EXPIRED and CANCELLED later
    watchers: Container[int] = ()  # members that receive CHANGED


class RoomModel:
    """The output of the last turn: `owed`, for each member present when it began, by ticket; `changes`, all CHANGEDs.

    `observed` are the answers to observers, by the numbers that stand for them in the place of tickets.
    """

    def __init__(
        self,
        seats: int,
        max_payload: int,
        waiting_max: int,
        result_ttl_ms: int,
        waiting_total_max: int = 1 << 40,
        told_max_bytes: int = 1 << 20,
        first_ticket: int = 1,
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
        self.last_ticket = first_ticket - 1
        self.owed: dict[int, list[Frame]] = {}
        self.observed: dict[int, list[Frame]] = {}
        self.changes: list[Changed] = []
        self.batons: list[tuple[int, int, bytes]] = []  # written in the last turn: (seq, writer, payload)
        self.departed: list[Member] = []
        self.places: list[Joined] = []  # of those that returned or joined
        self.yielded: list[tuple[int, Joined]] = []
        self.absent: list[int] = []
        self.barred: list[Join] = []
        self.baton: tuple[int, int, bytes] | None = None
        self.clock_ms = 0
        self.full: list[Join] = []
        self.refused: list[tuple[int, int]] = []
        self.dropped = 0

    def load(self, ticket: int) -> int:
        """The number of commands that still await its final result (section 5)."""
        return sum(waiting.owes(ticket) for waiting in self.waiting)

    def deadline_ms(self) -> int | None:
        """When the next command expires."""
        moments = [waiting.deadline_ms for waiting in self.waiting if not waiting.expired]
        moments += [member.until_ms for member in self.members if member.absent]
        return min(moments, default=None)

    def is_due(self, now: float) -> bool:
        """Whether a command or a keep is over."""
        clock_ms = round(now * 1000)
        return bool(self.due(now)) or any(m.absent and m.until_ms <= clock_ms for m in self.members)

    def due(self, now: float) -> list[int]:
        """The seqs that expire by `now`."""
        clock_ms = round(now * 1000)
        deadlines = sorted((w.deadline_ms, w.seq) for w in self.waiting if not w.expired)
        return [seq for due, seq in deadlines if due <= clock_ms]

    def has_news(self, slow: Container[int]) -> bool:
        """Whether there is a final result to report."""
        return any(waiting.untold and waiting.sender not in slow for waiting in self.waiting)

    def apply(self, turn: ModelTurn) -> None:
        """Results, expiries, commands, cancels, departures, joins, answers."""
        self.owed = {member.ticket: [] for member in self.members}
        self.observed, self.changes, self.batons = {}, [], []
        self.finished, self.refused, self.dropped = [], [], 0
        self.clock_ms = max(self.clock_ms, round(turn.now * 1000))
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
        cancelled = [
            self._cancel(sender, id_)
            for member in self.members
            for sender, id_ in turn.cancels
            if sender == member.ticket
        ]
        if any(cancelled):
            self._tell(turn.slow)
        self._move(turn)
        if self.departed or self.places:
            self._tell(turn.slow)
        for ticket in self.owed:
            if ticket in turn.watchers:
                self.owed[ticket] += self.changes
        for waiting in sorted(self.finished, key=lambda waiting: waiting.seq):
            counts = Counter(waiting.ended.values())
            done = Done(waiting.id, *(counts[Status(status)] for status in range(6)))
            self.owed[waiting.sender].append(done)
        for ticket, who in turn.queries:
            self._answers(ticket).append(self._page(who))
        for ticket, payload in turn.pings:
            self._answers(ticket).append(Pong(payload))
        for frames in self.owed.values():
            frames.sort(key=lambda frame: ORDER.index(type(frame)))
        for ticket, place in self.yielded:
            if self.baton is not None and not place.rank:
                at = [type(frame) for frame in self.owed[ticket]].index(Yielded)
                self.owed[ticket].insert(at + 1, Baton(*self.baton))

    def _answers(self, ticket: int) -> list[Frame]:
        return self.owed[ticket] if ticket in self.owed else self.observed.setdefault(ticket, [])

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

    def _command(self, now: float, sender: int, command: Command | SetBaton) -> None:
        rank = [member.ticket for member in self.members].index(sender)
        juniors = range(rank + 1, len(self.members))
        waits = [waiting.id for waiting in self.waiting if waiting.sender == sender]
        if isinstance(command, SetBaton):
            self._write_baton(rank, sender, command)
            return
        wants_results = bool(command.flags & CommandFlag.RESULTS)
        code = None
        executors: list[int] = []
        named: list[int] = []
        rejected = rank if command.target == Target.ALL else 0
        if len(command.payload) > self.max_payload:
            code = RefusedCode.TOO_BIG
        elif command.target == Target.SET:
            named = [int.from_bytes(command.payload[at : at + 8]) for at in range(0, 8 * command.arg, 8)]
            tickets = [member.ticket for member in self.members]
            executors = [tickets.index(ticket) for ticket in named if ticket in tickets[rank + 1 :]]
            rejected = len([ticket for ticket in named if ticket in tickets[: rank + 1]])
            if rejected:
                code = RefusedCode.NOT_LOWER
            elif executors:
                code = RefusedCode.ABSENT
            else:
                code = RefusedCode.NO_TARGET
        elif command.target == Target.ONE and command.arg >= len(self.members):
            code = RefusedCode.NO_SUCH_RANK
        elif command.target == Target.ONE and command.arg not in juniors:
            code = RefusedCode.NOT_LOWER
        elif not juniors:
            code = RefusedCode.NO_TARGET
        else:
            code = RefusedCode.ABSENT
            executors = {
                Target.ALL: list(juniors),
                Target.ONE: [command.arg],
                Target.NEXT: [rank + 1],
                Target.LEAST: list(juniors),
            }[Target(command.target)]
        asked = len(named) - rejected if named else len(executors)
        executors = [executor for executor in executors if not self.members[executor].absent]
        absent = asked - len(executors)
        if executors and command.target == Target.LEAST:
            executors = [min(executors, key=lambda junior: self.load(self.members[junior].ticket))]
            absent = 0
        if executors:
            code = None
            if command.id in waits:
                code = RefusedCode.DUPLICATE
            elif wants_results and len(waits) >= self.waiting_max:
                code = RefusedCode.BUSY
            owed = sum(self.load(member.ticket) for member in self.members)
            owed += sum(len(waiting.untold) for waiting in self.waiting)
            if not code and wants_results and owed + len(executors) > self.waiting_total_max:
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
            tied = bool(command.flags & CommandFlag.TIED)
            deadline_ms = round(now * 1000) + ttl_ms + 1
            self.waiting.append(Waiting(self.seq, sender, command.id, deadline_ms, ranks, tied))
        payload = command.payload[8 * len(named) :]
        execute = Execute(self.seq, rank, int(wants_results), ttl_ms, payload)
        for executor in executors:
            self.owed[self.members[executor].ticket].append(execute)
        if not command.flags & CommandFlag.QUIET:
            accepted = Accepted(command.id, self.seq, len(executors), rejected, absent)
            self.owed[sender].append(accepted)

    def _write_baton(self, rank: int, sender: int, baton: SetBaton) -> None:
        code = RefusedCode.NOT_FIRST if rank else None
        if len(baton.payload) > self.max_payload:
            code = RefusedCode.TOO_BIG
        if code is not None:
            self.owed[sender].append(Refused(baton.id, code, ""))
            self.refused.append((sender, code))
            return
        self.seq += 1
        self.batons.append((self.seq, sender, baton.payload))
        self.baton = self.batons[-1] if baton.payload else None
        self.owed[sender].append(Accepted(baton.id, self.seq, 0, 0, 0))

    def _stop(self, waiting: Waiting) -> list[int]:
        """Send CANCEL to the executors without a final result; returns them."""
        owing = [ticket for ticket in waiting.ranks if waiting.owes(ticket)]
        for ticket in owing:
            self.owed[ticket].append(Stop(waiting.seq))
        return owing

    def _cancel(self, sender: int, id_: int) -> bool:
        """Whether an executor had to stop."""
        for waiting in self.waiting:
            if (waiting.sender, waiting.id) == (sender, id_):
                owing = self._stop(waiting)
                waiting.untold.update(dict.fromkeys(owing, Status.CANCELLED))
                return bool(owing)
        return False

    def _depart(self, causes: dict[int, Cause]) -> None:
        before, self.causes = self.before, causes
        self.departed = [member for member in before if member.ticket in causes]
        self.members = [member for member in before if member.ticket not in causes]
        for rank, member in enumerate(before):
            if member in self.departed:
                self.seq += 1
                change = Change[causes[member.ticket].name]
                self._change(change, member, rank)
                for waiting in self.waiting:
                    if waiting.sender == member.ticket and waiting.tied:
                        self._stop(waiting)
        self.waiting = [waiting for waiting in self.waiting if waiting.sender not in causes]
        for waiting in list(self.waiting):
            for member in self.departed:
                if waiting.owes(member.ticket):
                    waiting.untold[member.ticket] = Status.LEFT
        for rank, member in enumerate(self.members):
            ahead = [causes[m.ticket] for m in before[: before.index(member)] if m.ticket in causes]
            if ahead:
                self.owed[member.ticket].append(Rank(self.seq, rank, len(self.members), ahead[-1]))

    def _move(self, turn: ModelTurn) -> None:
        """Departures, absences, returns, yields, joins; then the baton."""
        self.before = list(self.members)
        self.places, self.yielded, self.absent, self.barred, self.full = [], [], [], [], []
        tickets = [member.ticket for member in self.before]
        returning = [m.ticket for m in self.before for join in turn.joins if self._is_that_of(m, join)]
        causes = {ticket: cause for ticket, cause in turn.departures.items() if ticket in tickets}
        for member in self.before:
            over = turn.judge and member.absent and member.until_ms <= self.clock_ms
            if over and member.ticket not in returning:
                causes.setdefault(member.ticket, Cause.LOST)
        yields = self._judge_yields(turn, {*causes, *returning, *turn.absences})
        lost = [m for m in self.before if m.ticket in turn.absences and m.ticket not in causes]
        causes |= {member.ticket: Cause.LOST for member in lost if not member.secret}
        self._depart(causes | dict.fromkeys(yields, Cause.YIELDED))
        for member in lost:
            if member.secret:
                self._disconnect(member)
                member.absent, member.until_ms = True, self.clock_ms + member.keep_ms + 1
                member.handle = -1
                self.absent.append(member.ticket)
                self._event(Change.ABSENT, member)
        held = [member.secret for member in self.members]
        for join in turn.joins:
            if join.secret and join.secret in held:
                self._return(join)
        for member in self.departed:
            if member.ticket in yields:
                place = replace(self._seat(replace(member)), keep_ms=0)  # YIELDED does not say so
                self.yielded.append((member.ticket, place))
                answer = Yielded(yields[member.ticket], place.seq, place.ticket, place.rank, place.members)
                self.owed[member.ticket].append(answer)
        for join in turn.joins:
            if join.secret and join.secret in held:
                continue
            if join.secret and join.secret in [member.secret for member in self.members]:
                self._return(join)
            elif len(self.members) == self.seats:
                self.full.append(join)
            else:
                keep = (join.secret, join.keep_ms, join.identity) if join.secret else ()
                member = Member(0, join.handle, join.name, join.address, False, *keep)
                self.places.append(self._seat(member))
        first = tickets[:1] != [member.ticket for member in self.members[:1]]
        if self.baton is not None and self.members and first:
            leader = self.members[0].ticket
            if leader in tickets and leader not in [place.ticket for place in self.places]:
                self.owed[leader].append(Baton(*self.baton))

    def _is_that_of(self, member: Member, join: Join) -> bool:
        return bool(join.secret) and (member.secret, member.identity) == (join.secret, join.identity)

    def _judge_yields(self, turn: ModelTurn, void: Container[int]) -> dict[int, int]:
        yields = {}
        for rank, member in enumerate(self.before):
            for ticket, id_ in turn.yields:
                if ticket != member.ticket or ticket in void:
                    continue
                if all(junior.absent for junior in self.before[rank + 1 :]):
                    self.owed[ticket].append(Refused(id_, RefusedCode.NO_TARGET, ""))
                    self.refused.append((ticket, RefusedCode.NO_TARGET))
                else:
                    yields[ticket] = id_
        return yields

    def _disconnect(self, member: Member) -> None:
        """Forget the pending commands of its connection."""
        for waiting in [waiting for waiting in self.waiting if waiting.sender == member.ticket]:
            if waiting.tied:
                self._stop(waiting)
            self.waiting.remove(waiting)

    def _return(self, join: Join) -> None:
        (member,) = [member for member in self.members if member.secret == join.secret]
        if not self._is_that_of(member, join):
            self.barred.append(join)
            return
        if not member.absent:
            self._disconnect(member)
        for waiting in self.waiting:
            if waiting.seq > join.last_seq and waiting.owes(member.ticket):
                waiting.untold[member.ticket] = Status.LEFT
        member.handle, member.name, member.address = join.handle, join.name, join.address
        member.keep_ms, member.absent = join.keep_ms, False
        self._event(Change.BACK, member)
        self.places.append(self._place(member, returned=True))

    def _seat(self, member: Member) -> Joined:
        self.seq += 1
        self.last_ticket += 1
        member.ticket = self.last_ticket
        self.members.append(member)
        self._change(Change.JOINED, member, len(self.members) - 1)
        return self._place(member)

    def _place(self, member: Member, *, returned: bool = False) -> Joined:
        rank, members = self.members.index(member), len(self.members)
        baton = b"" if rank or self.baton is None else Baton(*self.baton).encode()
        keep_ms = member.keep_ms if member.secret else 0
        facts = (member.handle, member.ticket, rank, self.seq, member.name, members)
        return Joined(*facts, keep_ms, returned, baton)

    def _event(self, what: Change, member: Member) -> None:
        """It has the rank before any departure; of a newcomer, its own."""
        self.seq += 1
        line = self.before if member in self.before else self.members
        self._change(what, member, line.index(member))

    def _change(self, what: Change, member: Member, rank: int) -> None:
        self.changes.append(Changed(self.seq, what, member.ticket, rank, len(self.members), member.name))

    def _page(self, who: Who) -> Members:
        """As many seats as fit into a frame; one that is too long for any frame is listed alone, without its texts."""
        page = Members(who.id, self.seq, len(self.members), ())
        for rank, member in list(enumerate(self.members))[who.first_rank :][: who.count]:
            load, texts = self.load(member.ticket), (member.name, member.address)
            info = MemberInfo(rank, member.ticket, load, *texts, member.absent)
            longer = page._replace(members=(*page.members, info))
            if len(longer.encode()) - 4 <= self.max_payload + FRAME_OVERHEAD:
                page = longer
                continue
            if not page.members:
                page = page._replace(members=(info._replace(name="", address=""),))
            break
        return page
