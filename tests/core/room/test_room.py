"""Turns of the room, one test per rule, with explicit frames: executors, the order of frames, promotions."""

from __future__ import annotations

import pytest

from rankmux.codes import Cause, CommandFlag, RefusedCode, Status, Target
from rankmux.core.room.room import Room
from rankmux.core.room.turn import Join
from rankmux.wire import (
    Accepted,
    Command,
    Done,
    Execute,
    Members,
    Pong,
    Rank,
    Refused,
    Result,
    Routed,
    Who,
    Yielded,
)

from ...support.room_model import ModelTurn
from ...support.room_turns import as_turn, owed, play, room_of_five, to_all, to_one


@pytest.fixture
def room() -> Room:
    return room_of_five()


def test_the_most_senior_sender_comes_first(room):
    got = play(room, (3, to_all(1, b"c")), (1, to_all(2, b"a1")), (2, to_all(3, b"b")), (1, to_all(4, b"a2")))
    frames = [
        Execute(6, 0, 0, 0, b"a1"),
        Execute(7, 0, 0, 0, b"a2"),
        Execute(8, 1, 0, 0, b"b"),
        Execute(9, 2, 0, 0, b"c"),
    ]
    assert got == {2: frames[:2], 3: frames[:3], 4: frames, 5: frames}


def test_a_directed_frame_keeps_its_place(room):
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
        (3, 2, RefusedCode.NOT_LOWER),  # the sender itself
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
    """The sender and a receiver depart in the turn of the command; both still count for it."""
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
    outcome = room.apply(as_turn(turn, 100))
    assert [(j.handle, j.ticket, j.rank, j.seq) for j in outcome.joined] == [(3, 3, 1, 4)]
    assert outcome.full == [Join(4, "d", "")]
    assert owed(outcome)[2] == [Rank(3, 0, 1, Cause.LEFT)], "the newcomer does not count yet"


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
    """A page holds as many members as fit; queries that continue where it ended list every member once."""
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
    """For consecutive bounds: one more member would not fit, and no page exceeds the bound."""
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
        outcomes = [owed(room.apply(as_turn(ModelTurn(**turn), 100))) for room in rooms]
        assert outcomes[0] == outcomes[1]


def test_a_ticket_without_a_seat_does_nothing(room):
    """Nor for the next junior: 3 departs, and frames and departures with its ticket arrive late."""
    play(room, departures={3: Cause.LEFT})
    before = room.seq
    turn = as_turn(
        ModelTurn(
            commands=[(3, to_all(1, b"from nobody", 0)), (99, to_all(1, b"from nobody", 0))],
            results=[(3, Result(1, Status.OK, b"")), (99, Result(1, Status.OK, b""))],
            departures={3: Cause.LOST, 99: Cause.LOST},
            queries=[(3, Who(1, 0, 10))],
            pings=[(99, b"?")],
        ),
        100,
    )
    outcome = room.apply(turn)
    assert not any(owed(outcome).values())
    assert (outcome.departed, outcome.commands, outcome.dropped_results, room.seq) == ([], 0, 4, before)
    assert list(room.ranks.tickets) == [1, 2, 4, 5]


def test_a_second_departure_of_a_ticket_in_one_turn_is_dropped(room):
    turn = as_turn(ModelTurn(departures={2: Cause.LOST}), 100)
    turn.entry.departures *= 2
    outcome = room.apply(turn)
    assert [gone.ticket for gone in outcome.departed] == [2]
    assert list(room.ranks.tickets) == [1, 3, 4, 5]


def test_the_clock_of_an_entry_never_goes_back(room):
    command = Command(7, Target.ALL, 0, CommandFlag.RESULTS, 500, b"")
    play(room, now=20.0)
    play(room, (3, command), now=10.0)
    assert room.next_deadline_ms() == 20_501


def test_due_commands_wait_for_an_entry_that_judges(room):
    command = Command(7, Target.ALL, 0, CommandFlag.RESULTS, 500, b"")
    play(room, (4, command), now=10.0)
    assert play(room, now=11.0, judge=False) == {}
    late = Result(6, Status.OK, b"was unread")
    assert play(room, (5, late), now=11.0)[4] == [
        Routed(7, 5, 4, Status.OK, b"was unread"),
        Done(7, 1, 0, 0, 0, 0),
    ]


def test_a_yield_to_absent_members_only_is_refused():
    """Judged as a command is; with one present junior among them it is granted."""
    room = Room(4, 100, 2, 1000)
    keeps = [(), (b"b" * 32, 5000), (), (b"d" * 32, 5000)]
    play(room, joins=[Join(i, "", "", *keep) for i, keep in enumerate(keeps)])
    play(room, absences=[2, 4])
    assert play(room, yields=[(3, 7)]) == {3: [Refused(7, RefusedCode.NO_TARGET, "")]}
    assert play(room, yields=[(1, 8)])[1] == [Yielded(8, 8, 5, 3, 4)]
