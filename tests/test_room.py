"""The room, turn by turn, against a plain list: ranks, who gets what in which order, every result settled once."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rankmux.codes import Cause, CommandFlag, RefusedCode, Status, Target
from rankmux.framing import Batch
from rankmux.room import Departure, Join, Outcome, Room, Turn
from rankmux.wire import (
    Accepted,
    Command,
    Done,
    Execute,
    Frame,
    Members,
    Pong,
    Rank,
    Refused,
    Result,
    Routed,
    Who,
)

from .history import History, parse
from .room_model import ModelTurn, RoomModel


def choices(*options: Sequence[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """One of each, in a single draw: a tenth of what as many draws cost."""

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
    [Target.ALL, Target.ALL, Target.ALL, Target.ONE, Target.ONE, Target.NEXT, Target.LEAST],
    range(7),  # arg
    [0, 1, 1, 1, 2, 3],  # flags
    [0, 0, 1000, 2500, 0xFFFF_FFFF],  # ttl_ms
    [0, 0, 0, 1, 1, 2, 40, 41],  # bytes of payload
)
ANSWERS = choices(
    INDEXES,
    range(6),
    [Status.OK, Status.OK, Status.FAILED, Status.REJECTED, Status.PART],
    [False, False, False, True],
)
DEPARTURES = choices(INDEXES, list(Cause))
JOINS = choices(["", "ada", "x" * 64], ["", "[::1]:7117"])
QUERIES = choices(INDEXES, range(8), [0, 1, 2, 100, 0xFFFF_FFFF])
PINGS = choices(INDEXES, [b"", b"p"])


def few(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """None in half of the turns."""
    return st.just([]) | st.lists(elements, max_size=3)


def as_turn(model_turn: ModelTurn, room: Room, max_payload: int) -> Turn:
    """The turn as the server would make it."""
    turn = Turn(model_turn.now, Batch(max_payload))
    for ticket, frame in (*model_turn.results, *model_turn.commands):
        octets = frame.encode()
        assert turn.batch.feed(ticket, octets) == (len(octets), [])
    turn.departures = [Departure(ticket, cause) for ticket, cause in model_turn.departures.items()]
    turn.joins = list(model_turn.joins)
    turn.queries = list(model_turn.queries)
    turn.pings = list(model_turn.pings)
    turn.expired = room.due(model_turn.now)
    return turn


def owed(outcome: Outcome) -> dict[int, list[Frame]]:
    """What each who was a member when the turn began gets of it, in order; texts of refusals left out."""
    deliveries, tails = outcome.deliveries, outcome.deliveries.tails()
    assert set(tails) <= set(outcome.tickets)
    found = {}
    for rank, ticket in enumerate(outcome.tickets):
        pieces = deliveries.pieces(rank, tails.get(ticket))
        octets = b"".join(
            p if isinstance(p, bytes) else bytes(deliveries.executes[p[0] : p[1]]) for p in pieces
        )
        frames = parse(octets)
        found[ticket] = [f._replace(text="") if isinstance(f, Refused) else f for f in frames]
    return found


class RoomMachine(RuleBasedStateMachine):
    """Each step is a turn, in the room and in the model."""

    @initialize(
        seats=st.sampled_from([1, 2, 4, 5, 6, 7]),
        max_payload=st.sampled_from([1, 40, 200]),
        waiting_max=st.integers(1, 3),
        ttl_ms=st.sampled_from([1500, 3000]),
        total=st.sampled_from([4, 1000, 1000]),
    )
    def open(self, seats, max_payload, waiting_max, ttl_ms, total):
        self.room = Room(seats, max_payload, waiting_max, ttl_ms, total)
        self.model = RoomModel(seats, max_payload, waiting_max, ttl_ms, total)
        self.now = 0.0
        self.peers = 0
        self.histories: dict[int, History] = {}
        self.asked: list[tuple[int, int]] = []  # (executor's ticket, seq) of what may be answered
        self.apply(ModelTurn(joins=[self.join("", "") for _ in range(seats)]))

    def member(self, index: int) -> int:
        """Some member's ticket."""
        return self.model.members[index % len(self.model.members)].ticket

    def join(self, name: str, address: str) -> Join:
        self.peers += 1
        return Join(self.peers, name, address)

    def result(self, index: int, which: int, status: Status, stray: bool) -> tuple[int, Result]:
        """Mostly an answer to what was asked; else somebody answers what others, or nobody, were asked."""
        members = [member.ticket for member in self.model.members]
        asked = [(ticket, seq) for ticket, seq in self.asked if ticket in members]
        if stray or not asked:
            return self.member(index), Result(max(1, self.model.seq - which), status, b"")
        ticket, seq = asked[-1 - which % len(asked)]
        if status != Status.PART:
            self.asked.remove((ticket, seq))
        return ticket, Result(seq, status, b"x" * (which % 2))

    @precondition(lambda self: self.model.members)
    @rule(
        commands=st.lists(COMMANDS, max_size=5),
        answers=st.lists(ANSWERS, max_size=5),
        departures=few(DEPARTURES),
        joins=few(JOINS),
        queries=few(QUERIES),
        pings=few(PINGS),
        later=st.sampled_from([0, 0, 0, 1, 2]),
    )
    def turn(self, commands, answers, departures, joins, queries, pings, later):
        self.now += later
        turn = ModelTurn(self.now)
        turn.commands = [
            (
                self.member(index),
                Command(id_, to, arg if to == Target.ONE else 0, flags, ttl_ms, bytes(size)),
            )
            for index, id_, to, arg, flags, ttl_ms, size in commands
        ]
        turn.results = [self.result(*answer) for answer in answers]
        turn.departures = {self.member(index): cause for index, cause in departures}
        turn.joins = [self.join(*join) for join in joins]
        turn.queries = [(self.member(index), Who(index, first, count)) for index, first, count in queries]
        turn.pings = [(self.member(index), payload) for index, payload in pings]
        self.apply(turn)

    @precondition(lambda self: not self.model.members)
    @rule()
    def refill(self):
        self.apply(ModelTurn(self.now, joins=[self.join("", "") for _ in range(self.model.seats + 1)]))

    def apply(self, turn: ModelTurn) -> None:
        self.whole = False
        told: list[int] = []
        real_turn = as_turn(turn, self.room, self.model.max_payload)
        assert real_turn.expired == self.model.due(turn.now)
        before = self.model.seq
        outcome = self.room.apply(real_turn, lambda *args: told.append(args[3]))
        self.model.apply(turn)
        model = self.model
        # who was owed what, byte by byte
        got = owed(outcome)
        assert got == model.owed
        # what the server is told
        assert [(d.ticket, d.cause) for d in outcome.departed] == [
            (m.ticket, turn.departures[m.ticket]) for m in model.departed
        ]
        assert [(j.peer, j.ticket, j.name) for j in outcome.joined] == [
            (m.peer, m.ticket, m.name) for m in model.joined
        ]
        firsts = len(model.members) - len(model.joined), model.seq - len(model.joined) + 1
        assert [(j.rank, j.seq) for j in outcome.joined] == [
            (firsts[0] + i, firsts[1] + i) for i in range(len(model.joined))
        ]
        assert outcome.full == model.full
        assert outcome.refused == model.refused
        assert outcome.dropped_results == model.dropped
        assert outcome.settled == len(model.finished)
        assert outcome.commands == len(told)
        assert told == list(range(before + 1, before + 1 + len(told)))
        # each ALL command lies once in what all share
        everybody = {f for frames in got.values() for f in frames if isinstance(f, Execute)}
        assert len(outcome.deliveries.executes) <= sum(len(f.encode()) for f in everybody)
        assert outcome.deliveries.executions == sum(
            isinstance(f, Execute) for frames in got.values() for f in frames
        )
        # what a member can tell from its side
        for ticket, frames in got.items():
            self.histories[ticket].got(frames)
            self.asked += [(ticket, f.seq) for f in frames if isinstance(f, Execute) and f.flags]
        for member in model.departed:
            del self.histories[member.ticket]
        for joined in outcome.joined:
            self.histories[joined.ticket] = History(joined.ticket, joined.rank, unique_ids=False)
        self.whole = True

    @invariant()
    def agrees(self):
        room, model = self.room, self.model
        ranks = room.ranks
        assert list(zip(ranks.tickets, ranks.peers, ranks.names, ranks.addresses, strict=True)) == [
            (m.ticket, m.peer, m.name, m.address) for m in model.members
        ]
        assert list(ranks.loads) == [model.load(m.ticket) for m in model.members]
        assert (len(room), room.seq, room.waiting) == (len(model.members), model.seq, len(model.waiting))
        assert room.next_deadline() == model.deadline()
        for rank, member in enumerate(model.members):
            assert self.histories[member.ticket].rank == rank

    def teardown(self):
        """All who are left go: nothing may stay behind."""
        if not getattr(self, "whole", False):
            return
        self.apply(ModelTurn(self.now, departures={m.ticket: Cause.LOST for m in self.model.members}))
        assert (len(self.room), self.room.waiting, self.room.next_deadline()) == (0, 0, None)


TestRoomAgainstAList = RoomMachine.TestCase
TestRoomAgainstAList.settings = settings(stateful_step_count=20)


# Examples: one rule each, with the frames written out.


@pytest.fixture
def room() -> Room:
    """Five members, tickets 1 to 5."""
    room = Room(seats=10, max_payload=100, waiting_max=2, result_ttl_ms=60_000)
    outcome = play(room, joins=[Join(100 + i, name, f"127.0.0.1:{i}") for i, name in enumerate("abcde")])
    assert outcome == {}
    return room


def play(room: Room, *frames: tuple[int, Command | Result], **parts) -> dict[int, list[Frame]]:
    """Apply a turn; what each member gets of it, by ticket, for those who get anything."""
    turn = ModelTurn(parts.pop("now", 0.0), **parts)
    turn.commands = [(ticket, f) for ticket, f in frames if isinstance(f, Command)]
    turn.results = [(ticket, f) for ticket, f in frames if isinstance(f, Result)]
    outcome = room.apply(as_turn(turn, room, 100))
    return {ticket: got for ticket, got in owed(outcome).items() if got}


def to_all(id_: int, payload: bytes, flags: int = CommandFlag.QUIET) -> Command:
    return Command(id_, Target.ALL, 0, flags, 0, payload)


def to_one(id_: int, rank: int, payload: bytes = b"", flags: int = 0) -> Command:
    return Command(id_, Target.ONE, rank, flags, 0, payload)


def test_the_most_senior_sender_comes_first(room):
    got = play(room, (3, to_all(1, b"c")), (1, to_all(2, b"a1")), (2, to_all(3, b"b")), (1, to_all(4, b"a2")))
    frames = [
        Execute(6, 0, 0, 0, b"a1"),
        Execute(7, 0, 0, 0, b"a2"),
        Execute(8, 1, 0, 0, b"b"),
        Execute(9, 2, 0, 0, b"c"),
    ]
    assert got == {2: frames[:2], 3: frames[:3], 4: frames, 5: frames}


def test_a_directed_frame_stands_at_its_place(room):
    got = play(
        room,
        (1, to_all(1, b"first", 0)),
        (1, to_one(2, 3, b"second")),
        (1, to_all(3, b"third", 0)),
        (2, Command(4, Target.NEXT, 0, 0, 0, b"fourth")),
    )
    first, second, third, fourth = (
        Execute(6 + i, int(i == 3), 0, 0, payload)
        for i, payload in enumerate([b"first", b"second", b"third", b"fourth"])
    )
    assert got == {
        1: [Accepted(1, 6, 4, 0), Accepted(2, 7, 1, 0), Accepted(3, 8, 4, 0)],
        2: [first, third, Accepted(4, 9, 1, 0)],
        3: [first, third, fourth],
        4: [first, second, third],
        5: [first, third],
    }


@pytest.mark.parametrize(
    ("sender", "arg", "code"),
    [
        (3, 2, RefusedCode.NOT_LOWER),  # oneself
        (3, 1, RefusedCode.NOT_LOWER),
        (3, 0, RefusedCode.NOT_LOWER),
        (3, 5, RefusedCode.NO_SUCH_RANK),
        (3, 0xFFFF_FFFF, RefusedCode.NO_SUCH_RANK),
        (5, 4, RefusedCode.NOT_LOWER),
        (3, 3, None),
        (3, 4, None),
    ],
)
def test_only_juniors_are_commanded(room, sender, arg, code):
    got = play(room, (sender, to_one(1, arg)))
    if code is None:
        assert got == {sender: [Accepted(1, 6, 1, 0)], arg + 1: [Execute(6, 2, 0, 0, b"")]}
    else:
        assert got == {sender: [Refused(1, code, "")]}
        assert room.seq == 5


@pytest.mark.parametrize("target", [Target.ALL, Target.NEXT, Target.LEAST])
def test_nobody_is_below_the_last(room, target):
    got = play(room, (5, Command(1, target, 0, CommandFlag.QUIET, 0, b"")))
    assert got == {5: [Refused(1, RefusedCode.NO_TARGET, "")]}


def test_all_counts_the_seniors_as_rejected(room):
    assert play(room, (4, to_all(1, b"", 0))) == {5: [Execute(6, 3, 0, 0, b"")], 4: [Accepted(1, 6, 1, 3)]}


def test_commands_go_out_before_departures(room):
    """The sender and a receiver go in the same turn; both were there."""
    got = play(room, (1, to_all(1, b"last words")), departures={4: Cause.LOST, 1: Cause.LEFT})
    frame = Execute(6, 0, 0, 0, b"last words")
    assert got == {
        2: [frame, Rank(8, 0, 3, Cause.LEFT)],
        3: [frame, Rank(8, 1, 3, Cause.LEFT)],
        4: [frame],
        5: [frame, Rank(8, 2, 3, Cause.LOST)],
    }


def test_one_rank_whatever_the_number_of_departures(room):
    got = play(room, departures={2: Cause.EVICTED, 3: Cause.LOST, 4: Cause.LEFT})
    assert got == {5: [Rank(8, 1, 2, Cause.LEFT)]}
    assert play(room, departures={5: Cause.LOST}) == {}, "whose rank did not change hears nothing"


def test_a_seat_freed_in_a_turn_is_taken_in_it():
    room = Room(2, 100, 2, 1000)
    play(room, joins=[Join(1, "a", ""), Join(2, "b", "")])
    turn = ModelTurn(departures={1: Cause.LEFT}, joins=[Join(3, "c", ""), Join(4, "d", "")])
    outcome = room.apply(as_turn(turn, room, 100))
    assert [(j.peer, j.ticket, j.rank, j.seq) for j in outcome.joined] == [(3, 3, 1, 4)]
    assert outcome.full == [Join(4, "d", "")]
    assert owed(outcome)[2] == [Rank(3, 0, 1, Cause.LEFT)], "the newcomer does not count yet"


def test_results_to_their_end(room):
    results = CommandFlag.RESULTS
    assert play(room, (3, to_all(7, b"x", results))) == {
        4: [Execute(6, 2, 1, 60_000, b"x")],
        5: [Execute(6, 2, 1, 60_000, b"x")],
        3: [Accepted(7, 6, 2, 2)],
    }
    assert list(room.ranks.loads) == [0, 0, 0, 1, 1]
    assert play(room, (5, Result(6, Status.PART, b"some")), (5, Result(6, Status.OK, b"more"))) == {
        3: [Routed(7, 5, 4, Status.PART, b"some"), Routed(7, 5, 4, Status.OK, b"more")]
    }
    assert play(room, (5, Result(6, Status.FAILED, b"twice")), (2, Result(6, Status.OK, b"unasked"))) == {}
    assert list(room.ranks.loads) == [0, 0, 0, 1, 0]
    assert play(room, departures={4: Cause.LOST, 1: Cause.LOST}) == {
        2: [Rank(8, 0, 3, Cause.LOST)],
        3: [Rank(8, 1, 3, Cause.LOST), Routed(7, 4, 3, Status.LEFT, b""), Done(7, 1, 0, 0, 0, 1)],
        5: [Rank(8, 2, 3, Cause.LOST)],
    }
    assert room.waiting == 0


def test_what_is_not_answered_in_time_expires(room):
    command = Command(7, Target.ALL, 0, CommandFlag.RESULTS, 500, b"")
    play(room, (3, command), now=10.0)
    assert room.next_deadline() == 10.5
    assert room.due(10.4) == []
    got = play(room, (4, Result(6, Status.OK, b"just in time")), now=10.5)
    assert got[3] == [
        Routed(7, 4, 3, Status.OK, b"just in time"),
        Routed(7, 5, 4, Status.EXPIRED, b""),
        Done(7, 1, 0, 0, 1, 0),
    ]
    assert play(room, (5, Result(6, Status.OK, b"late")), now=10.6) == {}
    assert room.next_deadline() is None
    assert list(room.ranks.loads) == [0] * 5


def test_the_same_id_and_too_many(room):
    """Both are judged in the order of the dispatch; an id that is done is free again."""
    flags = CommandFlag.RESULTS | CommandFlag.QUIET
    got = play(room, *((4, to_all(id_, b"", flags)) for id_ in (1, 1, 2, 3)))
    assert got[4] == [Refused(1, RefusedCode.DUPLICATE, ""), Refused(3, RefusedCode.BUSY, "")]
    got = play(
        room,
        (5, Result(6, Status.OK, b"")),
        (4, to_all(1, b"", flags)),
        (4, to_all(2, b"")),
        (4, to_all(9, b"")),
    )
    assert got[4] == [
        Refused(2, RefusedCode.DUPLICATE, ""),
        Routed(1, 5, 4, Status.OK, b""),
        Done(1, 1, 0, 0, 0, 0),
    ]
    assert [frame.flags for frame in got[5]] == [1, 0]


def test_too_many_results_in_all():
    """Each executor counts; what was answered is free again; without results there is no limit."""
    room = Room(10, 100, 100, 1000, waiting_total_max=5)
    play(room, joins=[Join(i, "", "") for i in range(4)])
    flags = CommandFlag.RESULTS | CommandFlag.QUIET
    busy = Refused(3, RefusedCode.BUSY, "")
    got = play(room, (1, to_all(1, b"", flags)), (2, to_all(2, b"", flags)), (3, to_all(3, b"", flags)))
    assert got[3] == [Execute(5, 0, 1, 1000, b""), Execute(6, 1, 1, 1000, b""), busy]
    assert play(room, (3, to_all(3, b"")))[4] == [Execute(7, 2, 0, 0, b"")]
    got = play(room, (4, Result(5, Status.OK, b"")), (3, to_all(3, b"", flags)))
    assert got[4] == [Execute(8, 2, 1, 1000, b"")]
    got = play(room, (3, to_all(3, b"", flags)), departures={1: Cause.LOST})
    assert got[3][1:] == [Refused(3, RefusedCode.DUPLICATE, "")], "the first reason counts"
    assert [f.seq for f in play(room, (2, to_all(3, b"", flags)))[3]] == [10]


def test_the_least_loaded_of_the_juniors(room):
    least = [Command(id_, Target.LEAST, 0, 3, 0, b"%d" % id_) for id_ in (1, 2)]
    got = play(room, (2, least[0]), (2, least[1]), (1, to_one(1, 1, b"", 3)), (3, least[0]))
    assert {ticket: [f.seq for f in frames] for ticket, frames in got.items()} == {
        2: [6],
        3: [7],
        4: [8],
        5: [9],
    }, "equal loads: the most senior"


def test_a_departed_sender_is_forgotten(room):
    play(room, (1, to_all(1, b"", CommandFlag.RESULTS)))
    assert list(room.ranks.loads) == [0, 1, 1, 1, 1]
    play(room, departures={1: Cause.LOST})
    assert (room.waiting, list(room.ranks.loads)) == (0, [0] * 4)
    assert play(room, (2, Result(6, Status.OK, b"too late"))) == {}


def test_sender_and_executor_leave_together(room):
    play(room, (1, to_one(1, 1, b"", 3)), (3, to_one(1, 3, b"", 3)))
    got = play(room, departures={4: Cause.LEFT, 1: Cause.LEFT, 2: Cause.LEFT})
    assert got[3][1:] == [Routed(1, 4, 3, Status.LEFT, b""), Done(1, 0, 0, 0, 0, 1)]
    assert set(got) == {3, 5}
    assert list(room.ranks.loads) == [0, 0]


def test_answers_come_last_each_kind_in_order(room):
    play(room, (4, to_all(1, b"", CommandFlag.RESULTS)))
    got = play(
        room,
        (4, to_one(5, 0)),
        (4, to_all(6, b"", 0)),
        (5, Result(6, Status.OK, b"")),
        queries=[(4, Who(8, 0, 1))],
        pings=[(4, b"p"), (4, b"q")],
        departures={1: Cause.LOST},
        joins=[Join(9, "f", "")],
    )
    kinds = [Rank, Accepted, Refused, Routed, Done, Members, Pong, Pong]
    assert [type(frame) for frame in got[4]] == kinds
    assert got[4][5].total == 5, "a page shows the room behind the turn"
    assert (got[4][5].seq, room.seq) == (9, 9)


def test_who_in_pages():
    """A page holds what fits; who asks on from where it ended sees everybody once."""
    room = Room(300, 1000, 2, 1000)
    play(room, joins=[Join(i, f"name {i}", f"127.0.0.1:{i}") for i in range(300)])
    seen, pages = [], 0
    while len(seen) < 300:
        (page,) = play(room, queries=[(1, Who(pages, len(seen), 0xFFFF_FFFF))])[1]
        assert len(page.encode()) - 4 <= 1064
        assert (page.id, page.total, page.seq) == (pages, 300, 300)
        seen += page.members
        pages += 1
    assert [m.rank for m in seen] == list(range(300))
    assert [m.ticket for m in seen] == list(range(1, 301))
    assert [m.name for m in seen] == [f"name {i}" for i in range(300)]
    assert pages < 20


def test_a_page_holds_all_that_fits():
    """For bounds next to each other: one more member would not have fitted, and nothing is over."""
    exact = 0
    for max_payload in range(300, 340):
        room = Room(20, max_payload, 2, 1000)
        play(room, joins=[Join(i, "n" * i, "a" * (i % 3)) for i in range(20)])
        (page,) = play(room, queries=[(1, Who(0, 0, 100))])[1]
        (rest,) = play(room, queries=[(1, Who(0, len(page.members), 1))])[1]
        longer = page._replace(members=page.members + rest.members)
        sizes = [len(frame.encode()) - 4 for frame in (page, longer)]
        assert sizes[0] <= max_payload + 64 < sizes[1]
        exact += sizes[0] == max_payload + 64
    assert exact


def test_answered_commands_do_not_stay_till_they_expire():
    """A million commands a minute, all answered at once, must not be a million deadlines."""
    room = Room(2, 100, 1000, 60_000)
    play(room, joins=[Join(1, "", ""), Join(2, "", "")])
    for _ in range(1000):
        play(room, (1, to_all(1, b"", 3)))
        play(room, (2, Result(room.seq, Status.OK, b"")))
    assert len(room._deadlines) < 100


def test_the_same_turns_give_the_same_frames():
    """`apply` is a pure function of the entries."""
    rooms = [Room(4, 100, 2, 1000) for _ in range(2)]
    for turn in (
        {"joins": [Join(1, "", ""), Join(2, "", ""), Join(3, "", "")]},
        {"commands": [(2, to_all(1, b"x", 1)), (1, to_all(2, b"y", 1))]},
        {
            "results": [(3, Result(4, Status.OK, b"")), (3, Result(5, Status.OK, b""))],
            "departures": {2: Cause.LOST},
        },
    ):
        outcomes = [owed(room.apply(as_turn(ModelTurn(**turn), room, 100))) for room in rooms]
        assert outcomes[0] == outcomes[1]
