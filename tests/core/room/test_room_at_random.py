"""Random turns of the room, against a plain list: ranks, frames and their order, every result settled once."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rankmux.codes import FRAME_OVERHEAD, Cause, Change, Status, Target
from rankmux.core.room.batch import OBSERVERS
from rankmux.core.room.room import Room
from rankmux.core.room.turn import Join
from rankmux.wire import Changed, Command, Execute, Result, SetBaton, Who

from ...support.history import History, parse
from ...support.room_model import ModelTurn, RoomModel
from ...support.room_turns import as_turn, owed
from ...support.strategies import to_set


def choices(*options: Sequence[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """One element of each option in a single draw, at a tenth of the cost of separate draws."""

    def choose(number: int) -> tuple[Any, ...]:
        chosen = []
        for option in options:
            number, at = divmod(number, len(option))
            chosen.append(option[at])
        return tuple(chosen)

    return st.integers(0, prod(map(len, options)) - 1).map(choose)


INDEXES = range(8)
COMMANDS = choices(
    INDEXES,
    [0, 1, 2, 3],  # id
    [*[Target.ALL] * 3, *[Target.ONE] * 2, Target.NEXT, Target.LEAST, *[Target.SET] * 3],
    range(7),  # arg
    range(1, 512),  # the members of a SET, one each bit; the last bits are no members
    [0, 1, 1, 1, 2, 3, 5, 5, 7],  # flags
    [0, 0, 1000, 2500, 0xFFFF_FFFF],  # ttl_ms
    [0, 0, 0, 1, 1, 2, 40, 41],  # bytes of payload
)
ANSWERS = choices(
    INDEXES,
    range(6),
    [Status.OK, Status.OK, Status.FAILED, Status.REJECTED, Status.PART],
    [False, False, False, True],
)
CANCELS = choices(INDEXES, [0, 1, 2, 3])
DEPARTURES = choices(INDEXES, [Cause.LEFT, Cause.LOST, Cause.EVICTED])
YIELDS = choices(INDEXES, [0, 1, 2])
BATONS = choices([0, 0, 0, 1], [0, 1], [0, 2, 41])
SECRETS = [b"", b"", b"a" * 32, b"b" * 32, b"c" * 32, b"d" * 32]
JOINS = choices(
    ["", "ada", "x" * 64], ["", "[::1]:7117"], SECRETS, [1000, 2500], [0, 2, 5, 1000], ["", "", "", "cn"]
)
QUERIES = choices(INDEXES, range(8), [0, 1, 2, 100, 0xFFFF_FFFF])
PINGS = choices(INDEXES, [b"", b"p"])


def few(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """A short list, empty in at least half of the turns."""
    return st.just([]) | st.lists(elements, max_size=3)


class RoomMachine(RuleBasedStateMachine):
    """Each step is a turn, in the room and in the model."""

    @initialize(
        seats=st.sampled_from([1, 2, 4, 5, 6, 7]),
        max_payload=st.sampled_from([1, 40, 200]),
        waiting_max=st.integers(1, 3),
        ttl_ms=st.sampled_from([1500, 3000]),
        total=st.sampled_from([4, 1000, 1000]),
        told_bytes=st.sampled_from([1, 50, 1000]),
    )
    def open(self, seats, max_payload, waiting_max, ttl_ms, total, told_bytes):
        self.room = Room(seats, max_payload, waiting_max, ttl_ms, total, told_bytes)
        self.model = RoomModel(seats, max_payload, waiting_max, ttl_ms, total, told_bytes)
        self.limits = (seats, max_payload, waiting_max, ttl_ms, total, told_bytes)
        self.now = 0.0
        self.handles = 0
        self.histories: dict[int, History] = {}
        self.asked: list[tuple[int, int]] = []  # (executor's ticket, seq) that may be answered
        self.apply(ModelTurn(joins=[self.join("", "", SECRETS[i % 6]) for i in range(seats)]))

    def member(self, index: int) -> int:
        """The ticket of a member, present or absent."""
        return self.model.members[index % len(self.model.members)].ticket

    def present(self, index: int) -> int:
        """The ticket of a member that has a connection, if there is one."""
        tickets = [member.ticket for member in self.model.members if not member.absent]
        return tickets[index % len(tickets)] if tickets else 10**9

    def join(
        self,
        name: str,
        address: str,
        secret: bytes = b"",
        keep_ms: int = 1000,
        back: int = 0,
        identity: str = "",
    ) -> Join:
        """With a secret it returns, or asks for a keep; `back` events before now it received its last EXECUTE."""
        self.handles += 1
        if not secret:
            return Join(self.handles, name, address)
        last_seq = max(0, self.model.seq - back)
        return Join(self.handles, name, address, secret, keep_ms, last_seq, identity)

    def result(self, index: int, which: int, status: Status, stray: bool) -> tuple[int, Result]:
        """Mostly an answer to a received command; otherwise to one that went to other members, or to none."""
        members = [member.ticket for member in self.model.members if not member.absent]
        asked = [(ticket, seq) for ticket, seq in self.asked if ticket in members]
        if stray or not asked:
            return self.present(index), Result(max(1, self.model.seq - which), status, b"")
        ticket, seq = asked[-1 - which % len(asked)]
        if status != Status.PART:
            self.asked.remove((ticket, seq))
        return ticket, Result(seq, status, b"x" * (which % 2))

    @precondition(lambda self: self.model.members)
    @rule(
        commands=st.lists(COMMANDS, max_size=5),
        answers=st.lists(ANSWERS, max_size=5),
        cancels=few(CANCELS),
        batons=few(BATONS),
        departures=few(DEPARTURES),
        absences=few(st.sampled_from(INDEXES)),
        yields=few(YIELDS),
        joins=few(JOINS),
        queries=few(QUERIES),
        pings=few(PINGS),
        later=st.sampled_from([0, 0, 0, 1, 2]),
        slow=few(st.sampled_from(INDEXES)),
        watchers=few(st.sampled_from(INDEXES)),
        observed=st.booleans(),
    )
    def turn(
        self,
        commands,
        answers,
        cancels,
        batons,
        departures,
        absences,
        yields,
        joins,
        queries,
        pings,
        later,
        slow,
        watchers,
        observed,
    ):
        self.now += later
        turn = ModelTurn(self.now)
        turn.commands = [(self.present(index), self.command(*command)) for index, *command in commands]
        turn.commands += [(self.present(index), SetBaton(id_, bytes(size))) for index, id_, size in batons]
        turn.results = [self.result(*answer) for answer in answers]
        turn.cancels = [(self.present(index), id_) for index, id_ in cancels]
        turn.departures = {self.member(index): cause for index, cause in departures}
        turn.absences = list({self.present(index) for index in absences} - {10**9})
        turn.yields = list({self.present(index): id_ for index, id_ in yields}.items())
        turn.joins = [self.join(*join) for join in joins]
        tickets = [member.ticket for member in self.model.members]
        turn.queries = [(self.present(index), Who(index, first, count)) for index, first, count in queries]
        turn.pings = [(self.present(index), payload) for index, payload in pings]
        for asked in (turn.queries, turn.pings, turn.results, turn.commands):
            asked[:] = [entry for entry in asked if entry[0] in tickets]
        turn.slow = {self.member(index) for index in slow}
        turn.watchers = {self.member(index) for index in watchers}
        if observed:
            turn.queries += [(OBSERVERS + ticket, who) for ticket, who in turn.queries]
            turn.pings += [(OBSERVERS + ticket, payload) for ticket, payload in turn.pings]
        self.apply(turn)

    def command(
        self, id_: int, target: Target, arg: int, mask: int, flags: int, ttl_ms: int, size: int
    ) -> Command:
        tickets = [member.ticket for member in self.model.members]
        strangers = sorted({*range(1, self.model.last_ticket + 2)} - {*tickets})[-2:]
        named = [ticket for bit, ticket in enumerate(tickets) if mask >> bit & 1]
        named += [ticket for bit, ticket in enumerate(strangers, 7) if mask >> bit & 1]
        fits = 15 + 8 * len(named) + size <= self.model.max_payload + FRAME_OVERHEAD
        if target == Target.SET and named and fits:
            return to_set(id_, named, flags, ttl_ms, bytes(size))
        if target != Target.ONE:
            arg = 0
        return Command(id_, target % Target.SET, arg, flags, ttl_ms, bytes(size))

    @rule()
    def dump_and_load(self):
        """Another room continues from the dump of this one, all members connected elsewhere."""
        other = Room(*self.limits)
        other.load(self.room.dump())
        assert other.dump() == self.room.dump()
        self.room = other
        self.elsewhere()

    @rule()
    def restart(self):
        """The server stops and starts again: kept seats are absent from now on, nothing waits."""
        other = Room(*self.limits)
        other.load(self.room.retire(set()))
        other.wake(round(self.now * 1000))
        self.room = other
        model = self.model
        staying = [member for member in model.members if member.secret]
        model.seq += len(model.members) - len(staying)
        model.members, model.waiting = staying, []
        model.clock_ms = round(self.now * 1000)
        for member in staying:
            member.absent, member.until_ms = True, model.clock_ms + member.keep_ms + 1
        self.histories = {member.ticket: self.histories[member.ticket] for member in staying}
        self.elsewhere()

    def elsewhere(self) -> None:
        """No member is connected here; commands without outstanding results do not expire."""
        for member in self.model.members:
            member.handle = -1
        for waiting in self.model.waiting:
            if not any(waiting.owes(ticket) for ticket in waiting.ranks):
                waiting.expired = True

    @precondition(lambda self: not self.model.members)
    @rule()
    def refill(self):
        self.apply(ModelTurn(self.now, joins=[self.join("", "") for _ in range(self.model.seats + 1)]))

    def apply(self, turn: ModelTurn) -> None:
        self.whole = False
        told: list[int] = []
        real_turn = as_turn(turn, self.model.max_payload)
        due = turn.judge and self.model.is_due(turn.now)
        assert self.room.is_due(real_turn.entry) == (due or self.model.has_news(turn.slow))
        before = self.model.seq
        absent = [member.ticket for member in self.model.members if member.absent]
        self.line = [member.ticket for member in self.model.members]
        outcome = self.room.apply(real_turn, lambda *args: told.append(args[3]))
        self.model.apply(turn)
        model = self.model
        # the output for each member, byte by byte
        got = owed(outcome, turn.watchers)
        for ticket in absent:  # nothing is sent to absent members, although `owed` includes the shared frames
            del got[ticket], model.owed[ticket]
        assert got == model.owed
        observed = outcome.deliveries.observed
        assert {key: parse(bytes(frames)) for key, frames in observed.items()} == model.observed
        # newcomers that watch get CHANGED for later joins only
        if real_turn.watched:
            for joined in outcome.joined:
                start, end = outcome.deliveries.changes_after(joined.seq)
                changes = parse(bytes(outcome.deliveries.executes[start:end]))
                assert changes == [change for change in model.changes if change.seq > joined.seq]
        # the outcome that the server receives
        assert [(d.ticket, d.cause) for d in outcome.departed] == [
            (m.ticket, model.causes[m.ticket]) for m in model.departed
        ]
        assert outcome.joined == model.places
        assert outcome.yielded == model.yielded
        assert (outcome.absent, outcome.barred) == (model.absent, model.barred)
        assert outcome.full == model.full
        assert outcome.refused == model.refused
        assert outcome.dropped_results == model.dropped
        assert outcome.settled == len(model.finished)
        assert outcome.commands == len(told)
        dispatched = sorted(told + [seq for seq, _, _ in model.batons])
        assert dispatched == list(range(before + 1, before + 1 + len(dispatched)))
        # each ALL command is stored once in the shared frames
        everybody = {f for frames in got.values() for f in frames if isinstance(f, Execute)}
        shared = outcome.deliveries.executes
        if outcome.deliveries.changes:
            shared = shared[: outcome.deliveries.changes[0][1]]
        assert len(shared) <= sum(len(f.encode()) for f in everybody)
        assert outcome.deliveries.executions == sum(
            isinstance(f, Execute) for frames in got.values() for f in frames
        )
        # checks from the side of a member
        for ticket, frames in got.items():
            self.histories[ticket].got(frames)
            self.follow(frames, before)
            self.asked += [(ticket, f.seq) for f in frames if isinstance(f, Execute) and f.flags]
        for member in model.departed:
            del self.histories[member.ticket]
        for joined in [*outcome.joined, *(place for _, place in outcome.yielded)]:
            if joined.returned and joined.ticket in self.histories:
                self.histories[joined.ticket].rank = joined.rank
            else:
                self.histories[joined.ticket] = History(joined.ticket, joined.rank, unique_ids=False)
        self.whole = True

    def follow(self, frames: Sequence[Any], before: int) -> None:
        """A watcher that applies the CHANGEDs to the line before the turn has the line after it."""
        changes = [frame for frame in frames if isinstance(frame, Changed)]
        if not changes:
            return
        known = self.line
        for change in changes:
            assert before < change.seq <= self.model.seq
            if change.what in (Change.ABSENT, Change.BACK):
                assert change.ticket in known
                assert change.ticket not in self.line or self.line[change.rank] == change.ticket
            elif change.what == Change.JOINED:
                known = [*known, change.ticket]
                assert (change.rank, change.members) == (len(known) - 1, len(known))
            else:
                assert self.line[change.rank] == change.ticket
                known = [other for other in known if other != change.ticket]
        assert known == [member.ticket for member in self.model.members]

    @invariant()
    def agrees(self):
        room, model = self.room, self.model
        ranks = room.ranks
        assert list(zip(ranks.tickets, ranks.handles, ranks.names, ranks.addresses, strict=True)) == [
            (m.ticket, m.handle, m.name, m.address) for m in model.members
        ]
        assert list(ranks.loads) == [model.load(m.ticket) for m in model.members]
        assert (len(room), room.seq, room.waiting) == (len(model.members), model.seq, len(model.waiting))
        assert room.next_deadline_ms() == model.deadline_ms()
        for rank, member in enumerate(model.members):
            assert member.absent or self.histories[member.ticket].rank == rank

    def teardown(self):
        """All remaining members depart: the room must hold nothing after that."""
        if not getattr(self, "whole", False):
            return
        self.apply(ModelTurn(self.now, departures={m.ticket: Cause.LOST for m in self.model.members}))
        assert (len(self.room), self.room.waiting, self.room.next_deadline_ms()) == (0, 0, None)


TestRoomAgainstAList = RoomMachine.TestCase
TestRoomAgainstAList.settings = settings(stateful_step_count=20)
