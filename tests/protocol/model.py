"""A model of the room, written from sections 4 to 10 alone: a turn's input in, the frames of each connection out.

It knows no sockets. Connections are any hashable objects. Time plays no part: nothing expires, and no keep runs out.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .frames import (
    QUIET,
    RESULTS,
    TIED,
    WANTED,
    WATCH,
    Accepted,
    Baton,
    Cancel,
    Cause,
    Changed,
    Command,
    Done,
    Execute,
    Frame,
    Hello,
    Rank,
    Refusal,
    Result,
    Routed,
    State,
    Status,
    Stop,
    Target,
    What,
    Write,
    Yield,
    Yielded,
)

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

DEFAULT_TTL_MS = 60_000
COUNTS = ("ok", "failed", "rejected", "expired", "left", "cancelled")
SIMPLE = {Target.ALL, Target.NEXT, Target.LEAST}


@dataclass
class Member:
    """A seat. `connection` is None while it is absent."""

    ticket: int
    name: str
    connection: Hashable | None
    secret: bytes
    watches: bool


@dataclass
class Open:
    """A command that waits for results: `owing` has the rank at dispatch of each executor that has not ended."""

    seq: int
    id: int
    sender: int
    tied: bool
    owing: dict[int, int]
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))


@dataclass(frozen=True)
class Greeting:
    """The parts of WELCOME that the room decides; `how` is None without a resume block."""

    how: int | None
    ticket: int
    seq: int
    rank: int
    members: int


@dataclass
class Turn:
    """What arrived in one turn: frames and ends by connection, and HELLOs in the order of the connections."""

    frames: dict[Hashable, list[Frame]] = field(default_factory=dict)
    ends: dict[Hashable, Cause] = field(default_factory=dict)
    left: set[Hashable] = field(default_factory=set)
    hellos: list[tuple[Hashable, Hello]] = field(default_factory=list)


class Output:
    """One connection's frames of a turn, by kind."""

    def __init__(self) -> None:
        self.welcome: Greeting | None = None
        self.full = False
        self.taken_over = False
        self.executes: list[Frame] = []
        self.stops: list[Stop] = []
        self.rank: list[Frame] = []
        self.baton: list[Frame] = []
        self.changed: list[Changed] = []
        self.accepted: list[Frame] = []
        self.refused: list[tuple[int, int]] = []
        self.routed: list[Routed] = []
        self.done: list[tuple[int, Done]] = []
        self.yielded: list[Frame] = []


class Model:
    """The room between two turns."""

    def __init__(self, seats: int, first_ticket: int = 1) -> None:
        self.seats = seats
        self.seq = 0
        self.line: list[Member] = []
        self.baton: Baton | None = None
        self._next = first_ticket
        self._open: dict[int, Open] = {}
        self._out: dict[Hashable, Output] = {}
        self._changed: list[Changed] = []
        self._ranks_before: dict[int, int] = {}

    # Queries of tests

    def member(self, connection: Hashable) -> Member | None:
        return next((member for member in self.line if member.connection == connection), None)

    def load(self, ticket: int) -> int:
        return sum(ticket in command.owing for command in self._open.values())

    def owed_by(self, ticket: int) -> list[int]:
        return [command.seq for command in self._open.values() if ticket in command.owing]

    def listing(self) -> list[tuple[int, str, int, int]]:
        """Ticket, name, load and state of each member."""
        return [
            (m.ticket, m.name, self.load(m.ticket), State.ABSENT if m.connection is None else State.PRESENT)
            for m in self.line
        ]

    # One turn

    def apply(self, turn: Turn) -> dict[Hashable, Output]:
        """Apply a turn in the order of section 4."""
        self._out = defaultdict(Output)
        self._changed = []
        had_baton_rank = self.line[0].connection if self.line else None
        first = self.line[0].ticket if self.line else 0
        senders = {m.connection: m for m in self.line if m.connection is not None}
        for connection, frames in turn.frames.items():
            for frame in frames:
                if isinstance(frame, Result) and connection in senders:
                    self._result(senders[connection].ticket, frame)
        yields: dict[int, Yield] = {}
        for member in [m for m in self.line if m.connection is not None]:
            for frame in turn.frames.get(member.connection, []):
                if isinstance(frame, Command):
                    self._command(member, frame)
                elif isinstance(frame, Write):
                    self._write(member, frame)
                elif isinstance(frame, Yield):
                    yields[member.ticket] = frame
        yielding = self._judge_yields(turn, yields)
        for connection, frames in turn.frames.items():
            for frame in frames:
                if isinstance(frame, Cancel) and connection in senders:
                    self._cancel(senders[connection].ticket, frame.id)
        returning = self._depart(turn, yielding)
        self._lose(turn)
        self._return(turn)
        self._come_back(yielding, returning)
        self._join(turn)
        self._tell_watchers()
        if self.line and self.baton and self.baton.payload:
            new = self.line[0]
            if new.connection is not None and (new.ticket != first or new.connection != had_baton_rank):
                self._out[new.connection].baton.append(self.baton)
        return self._out

    def _judge_yields(self, turn: Turn, yields: dict[int, Yield]) -> dict[int, Yield]:
        """The yields that take place; the others are refused, or void."""
        taken = {hello.resume[12:] for _, hello in turn.hellos if hello.resume}
        valid = {}
        for rank, member in enumerate(self.line):
            if member.ticket not in yields:
                continue
            if member.connection in turn.ends or (member.secret and member.secret in taken):
                continue
            frame = yields[member.ticket]
            if any(junior.connection is not None for junior in self.line[rank + 1 :]):
                valid[member.ticket] = frame
            else:
                self._out[member.connection].refused.append((frame.id, Refusal.NO_TARGET))
        return valid

    def _result(self, ticket: int, frame: Result) -> None:
        command = self._open.get(frame.seq)
        if command is not None and ticket in command.owing:
            self._end(command, ticket, frame.status, frame.payload)

    def _end(self, command: Open, ticket: int, status: int, payload: bytes = b"") -> None:
        """Route what an executor answered, or how it ended; DONE after the last one."""
        sender = self._of(command.sender)
        rank = command.owing[ticket]
        if sender is not None and sender.connection is not None:
            self._out[sender.connection].routed.append(Routed(command.id, ticket, rank, status, payload))
        if status == Status.PART:
            return
        del command.owing[ticket]
        command.counts[COUNTS[status]] += 1
        if not command.owing:
            del self._open[command.seq]
            if sender is not None and sender.connection is not None:
                self._out[sender.connection].done.append((command.seq, Done(command.id, **command.counts)))

    def _of(self, ticket: int) -> Member | None:
        return next((member for member in self.line if member.ticket == ticket), None)

    def _command(self, sender: Member, frame: Command) -> None:
        rank = self.line.index(sender)
        out = self._out[sender.connection]
        juniors = self.line[rank + 1 :]
        present = [member for member in juniors if member.connection is not None]
        rejected = absent = 0
        executors: list[Member] = []
        refusal: Refusal | None = None
        payload = frame.payload
        if frame.target == Target.ALL:
            executors, rejected, absent = present, rank, len(juniors) - len(present)
        elif frame.target == Target.LEAST:
            executors = sorted(present, key=lambda m: (self.load(m.ticket), m.ticket))[:1]
        elif frame.target == Target.NEXT:
            executors = [member for member in juniors[:1] if member.connection is not None]
        elif frame.target == Target.ONE:
            if frame.arg >= len(self.line):
                refusal = Refusal.NO_SUCH_RANK
            elif frame.arg <= rank:
                refusal = Refusal.NOT_LOWER
            elif self.line[frame.arg].connection is None:
                refusal = Refusal.ABSENT
            else:
                executors = [self.line[frame.arg]]
        else:
            listed = {int.from_bytes(payload[8 * n : 8 * n + 8]) for n in range(frame.arg)}
            payload = payload[8 * frame.arg :]
            executors = [member for member in present if member.ticket in listed]
            rejected = sum(member.ticket in listed for member in self.line[: rank + 1])
            absent = len(listed) - rejected - len(executors)
            if not executors and rejected:
                refusal = Refusal.NOT_LOWER
            elif not executors:
                held = any(member.ticket in listed for member in juniors)
                refusal = Refusal.ABSENT if held else Refusal.NO_TARGET
        if frame.target in SIMPLE and not executors:
            refusal = Refusal.ABSENT if juniors else Refusal.NO_TARGET
        waiting = {command.id for command in self._open.values() if command.sender == sender.ticket}
        if refusal is None and frame.id in waiting:
            refusal = Refusal.DUPLICATE
        if refusal is not None:
            out.refused.append((frame.id, refusal))
            return
        self.seq += 1
        wanted = bool(frame.flags & RESULTS)
        ttl_ms = frame.ttl_ms or (DEFAULT_TTL_MS if wanted else 0)
        execute = Execute(self.seq, rank, WANTED if wanted else 0, ttl_ms, payload)
        for member in executors:
            self._out[member.connection].executes.append(execute)
        if wanted:
            owing = {member.ticket: self.line.index(member) for member in executors}
            tied = bool(frame.flags & TIED)
            self._open[self.seq] = Open(self.seq, frame.id, sender.ticket, tied, owing)
        if not frame.flags & QUIET:
            out.accepted.append(Accepted(frame.id, self.seq, len(executors), rejected, absent))

    def _write(self, sender: Member, frame: Write) -> None:
        out = self._out[sender.connection]
        if self.line[0] is not sender:
            out.refused.append((frame.id, Refusal.NOT_FIRST))
            return
        self.seq += 1
        self.baton = Baton(self.seq, sender.ticket, frame.payload)
        out.accepted.append(Accepted(frame.id, self.seq, 0, 0, 0))

    def _cancel(self, sender: int, ident: int) -> None:
        for command in list(self._open.values()):
            if (command.sender, command.id) == (sender, ident):
                self._stop(command)
                for ticket in list(command.owing):
                    self._end(command, ticket, Status.CANCELLED)

    def _stop(self, command: Open) -> None:
        for ticket in command.owing:
            member = self._of(ticket)
            if member is None or member.connection is None:
                continue
            out = self._out[member.connection]
            if out.welcome is None:  # not sent to a member that returned in this turn
                out.stops.append(Stop(command.seq))

    def _forget(self, senders: Iterable[int]) -> None:
        """The connections of these senders have ended: their commands are forgotten, and tied ones cancelled."""
        for command in list(self._open.values()):
            if command.sender in senders:
                del self._open[command.seq]
                if command.tied:
                    self._stop(command)

    def _depart(self, turn: Turn, yielding: dict[int, Yield]) -> dict[int, Member]:
        """All departures at once; the members that yield, by their old ticket."""
        before = list(self.line)
        going: dict[int, tuple[What, Cause]] = {}
        for member in before:
            cause = turn.ends.get(member.connection) if member.connection is not None else None
            if member.ticket in yielding:
                going[member.ticket] = (What.YIELDED, Cause.YIELDED)
            elif cause is not None and not self._stays(member, cause, turn):
                going[member.ticket] = (What(cause + 1), cause)
        self.line = [member for member in before if member.ticket not in going]
        self._forget(going)
        for command in list(self._open.values()):
            for ticket in [ticket for ticket in command.owing if ticket in going]:
                self._end(command, ticket, Status.LEFT)
        for rank, member in enumerate(before):
            if member.ticket in going:
                what, _ = going[member.ticket]
                self.seq += 1
                self._change(what, member, rank, len(self.line))
        gone, cause = 0, Cause.LEFT
        for rank, member in enumerate(before):
            if member.ticket in going:
                gone += 1
                cause = going[member.ticket][1]
            elif gone and member.connection is not None and member.connection not in turn.ends:
                self._out[member.connection].rank.append(Rank(self.seq, rank - gone, len(self.line), cause))
        self._ranks_before = {member.ticket: rank for rank, member in enumerate(before)}
        return {member.ticket: member for member in before if member.ticket in yielding}

    @staticmethod
    def _stays(member: Member, cause: Cause, turn: Turn) -> bool:
        """Whether a member whose connection has ended becomes absent."""
        return bool(member.secret) and cause != Cause.EVICTED and member.connection not in turn.left

    def _lose(self, turn: Turn) -> None:
        for member in self.line:
            if member.connection is not None and member.connection in turn.ends:
                self._forget([member.ticket])
                member.connection = None
                member.watches = False
                self.seq += 1
                self._change(What.ABSENT, member, self._ranks_before[member.ticket], len(self.line))

    def _return(self, turn: Turn) -> None:
        for connection, hello in turn.hellos:
            self._return_one(connection, hello)

    def _return_one(self, connection: Hashable, hello: Hello) -> bool:
        """Give a HELLO the seat that is held for its secret, if there is one."""
        secret = hello.resume[12:]
        member = next((m for m in self.line if secret and m.secret == secret), None)
        if member is None:
            return False
        self._forget([member.ticket])
        if member.connection is not None:
            self._out[member.connection].taken_over = True
        member.connection, member.name = connection, hello.name
        member.watches = bool(hello.flags & WATCH)
        self.seq += 1
        rank = self.line.index(member)
        self._change(What.BACK, member, self._ranks_before.get(member.ticket, rank), len(self.line))
        last_seq = int.from_bytes(hello.resume[4:12])
        for command in list(self._open.values()):
            if member.ticket in command.owing and command.seq > last_seq:
                self._end(command, member.ticket, Status.LEFT)
        self._out[connection].welcome = Greeting(1, member.ticket, self.seq, rank, len(self.line))
        return True

    def _come_back(self, yielding: dict[int, Yield], members: dict[int, Member]) -> None:
        for old, member in members.items():
            member.ticket, self._next = self._next, self._next + 1
            self.line.append(member)
            self.seq += 1
            total = len(self.line)
            frame = Yielded(yielding[old].id, self.seq, member.ticket, total - 1, total)
            self._out[member.connection].yielded.append(frame)
            self._change(What.JOINED, member, total - 1, total)

    def _join(self, turn: Turn) -> None:
        for connection, hello in turn.hellos:
            if self._out[connection].welcome is not None:
                continue
            if self._return_one(connection, hello):  # to the seat that another HELLO got just now
                continue
            if len(self.line) == self.seats:
                self._out[connection].full = True
                continue
            secret = hello.resume[12:]
            member = Member(self._next, hello.name, connection, secret, bool(hello.flags & WATCH))
            self._next += 1
            self.line.append(member)
            self.seq += 1
            total = len(self.line)
            how = 0 if hello.resume else None
            self._out[connection].welcome = Greeting(how, member.ticket, self.seq, total - 1, total)
            self._change(What.JOINED, member, total - 1, total)

    def _change(self, what: What, member: Member, rank: int, members: int) -> None:
        self._changed.append(Changed(self.seq, what, member.ticket, rank, members, member.name))

    def _tell_watchers(self) -> None:
        for member in self.line:
            if member.watches and member.connection is not None:
                out = self._out[member.connection]
                since = out.welcome.seq if out.welcome else 0
                out.changed = [frame for frame in self._changed if frame.seq > since]
