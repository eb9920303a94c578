"""Results in the room, one test per rule, with explicit frames: requested, counted, answered or expired."""

from __future__ import annotations

import sys

import pytest

from rankmux._twin import TWIN
from rankmux.codes import Cause, CommandFlag, RefusedCode, Status, Target
from rankmux.core.room.batch import Batch
from rankmux.core.room.room import Room
from rankmux.core.room.turn import Entry, Join, Turn
from rankmux.core.wire.layouts import ROUTED_FRAME
from rankmux.wire import Accepted, Command, Done, Execute, Rank, Refused, Result, Routed

from ...support.room_turns import play, room_of_five, to_all, to_one


@pytest.fixture
def room() -> Room:
    return room_of_five()


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


def test_results_expire(room):
    command = Command(7, Target.ALL, 0, CommandFlag.RESULTS, 500, b"")
    play(room, (3, command), now=10.0)
    assert room.next_deadline_ms() == 10_501
    assert play(room, now=10.5) == play(room, now=10.501, judge=False) == {}
    got = play(room, (4, Result(6, Status.OK, b"just in time")), now=10.501)
    assert got[3] == [
        Routed(7, 4, 3, Status.OK, b"just in time"),
        Routed(7, 5, 4, Status.EXPIRED, b""),
        Done(7, 1, 0, 0, 1, 0),
    ]
    assert play(room, (5, Result(6, Status.OK, b"late")), now=10.6) == {}
    assert room.next_deadline_ms() is None
    assert list(room.ranks.loads) == [0] * 5


def test_the_same_id_and_too_many(room):
    """Both are judged in the order of the dispatch; an id is free again after DONE."""
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
    """Each executor counts until it has answered; without results there is no limit."""
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


def test_answered_commands_do_not_stay_till_they_expire():
    """A million commands per minute, all answered at once, must not leave a million deadlines."""
    room = Room(2, 100, 1000, 60_000)
    play(room, joins=[Join(1, "", ""), Join(2, "", "")])
    for _ in range(1000):
        play(room, (1, to_all(1, b"", 3)))
        play(room, (2, Result(room.seq, Status.OK, b"")))
    assert len(room._expiries) < 100


@pytest.mark.parametrize("end", ["leave", "expire"])
def test_a_sender_gets_a_bounded_number_of_results_in_a_turn(end):
    """LEFT and EXPIRED are sent when the sender is not slow, a bounded number in each turn; DONE follows."""
    room = Room(10, 100, 4, 60_000, told_max_bytes=2 * 22)
    play(room, joins=[Join(100 + i, "", "") for i in range(7)])
    play(room, (1, Command(1, Target.ALL, 0, 3, 500, b"")), (1, Command(2, Target.ALL, 0, 3, 500, b"")))
    seq = room.seq
    slow = frozenset({1})
    if end == "leave":
        got = play(room, departures=dict.fromkeys(range(3, 8), Cause.LOST), slow=slow)
    else:
        got = play(room, now=1.0, slow=slow)
        assert list(room.ranks.loads) == [0] * 7
    assert set(got) <= {2}, "the slow sender gets nothing"
    assert room.waiting == 2
    assert play(room, now=0.2, slow=slow) == {}
    told: list[list[Routed]] = []
    done: list[tuple[int, int]] = []
    while room.has_news(()):
        frames = play(room, (2, Result(seq, Status.OK, b"")), now=0.1, judge=False).get(1, [])
        told.append([frame for frame in frames if isinstance(frame, Routed) and frame.status])
        done += [(len(told), frame.id) for frame in frames if isinstance(frame, Done)]
    assert [len(frames) for frames in told] == [2] * (5 if end == "leave" else 6)
    assert done == ([(5, 2)] if end == "leave" else [(3, 1), (6, 2)]), "behind the last of its command"
    routed = [frame for frames in told for frame in frames]
    assert [frame.id for frame in routed] == [1] * (len(routed) // 2) + [2] * (len(routed) // 2)
    assert {frame.status for frame in routed} == {Status.LEFT if end == "leave" else Status.EXPIRED}
    assert len({(frame.id, frame.ticket) for frame in routed}) == len(routed), "each once"


def test_a_crowd_of_ends_is_spread_over_turns():
    """More results than one turn can report: those of the most senior sender come first, and none is lost."""
    room = Room(300, 100, 1024, 60_000)
    play(room, joins=[Join(100 + i, "", "") for i in range(202)])
    commands = [Command(id_, Target.ALL, 0, 3, 500, b"") for id_ in range(100)]
    play(room, *[(ticket, command) for ticket in (1, 2) for command in commands])
    turns = []
    got = play(room, departures=dict.fromkeys(range(3, 203), Cause.LOST))
    while got:
        routed = {ticket: len([f for f in frames if isinstance(f, Routed)]) for ticket, frames in got.items()}
        turns.append(routed)
        got = play(room)
    assert turns == [{1: 1024}] * 19 + [{1: 544, 2: 480}] + [{2: 1024}] * 19 + [{2: 64}]
    assert room.waiting == 100, "tickets 1's commands still wait for ticket 2"


def test_expiry_costs_what_a_turn_expires():
    """Of 5,000 commands with the same moment a turn takes out 1,024; the extension makes no Python call for each."""
    room = Room(3, 100, 10_000, 60_000)
    play(room, joins=[Join(100 + i, "", "") for i in range(3)])
    play(room, *[(1, Command(id_, Target.ONE, 2, 3, 500, b"")) for id_ in range(5000)])
    left, calls = [], []
    while room.waiting:
        turn, happened = Turn(Entry(1000, Batch(100))), []
        sys.setprofile(lambda _frame, event, _argument, happened=happened: happened.append(event))
        try:
            outcome = room.apply(turn)
        finally:
            sys.setprofile(None)
        left.append((len(room._expiries), len(outcome.deliveries.routed[1]) // ROUTED_FRAME.size))
        calls.append(len([event for event in happened if event.endswith("call")]))
    assert left == [(3976, 1024), (2952, 1024), (1928, 1024), (904, 1024), (0, 904)]
    each = 0 if TWIN == "extension" else 25
    assert max(calls) < 60 + each * 1024
