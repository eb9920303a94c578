"""CANCEL, TIED and SET over real sockets: the turn in which each takes effect, and the bound on its work."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from rankmux._twin import TWIN
from rankmux.codes import CommandFlag, Status
from rankmux.server import turn
from rankmux.wire import Accepted, Cancel, Done, Execute, Leave, Rank, Refused, Result, Routed, Stop

from ..support.embedded import embedded, executed, to_all
from ..support.strategies import to_set

RESULTS, TIED = int(CommandFlag.RESULTS), int(CommandFlag.RESULTS | CommandFlag.TIED)


@pytest.fixture
def rig() -> Any:
    with embedded(seats=8) as made:
        yield made


def test_command_and_cancel_in_one_segment(rig):
    """The executors get CANCEL after the EXECUTEs of that turn."""
    sender, first, second = rig.crowd(3)
    turns = rig.room.turns
    sender.send(to_all(5, b"long", RESULTS), to_all(6, b"other"), Cancel(5))
    rig.until(lambda: sum(isinstance(f, Done) for f in sender.frames), sender)
    assert rig.room.turns == turns + 1
    assert sender.news() == [
        Accepted(5, 4, 2, 0),
        Accepted(6, 5, 2, 0),
        Routed(5, 2, 1, Status.CANCELLED, b""),
        Routed(5, 3, 2, Status.CANCELLED, b""),
        Done(5, 0, 0, 0, 0, 0, 2),
    ]
    rig.settle()
    for executor in (first, second):
        assert executor.frames[1:4] == [
            Execute(4, 0, 1, 60_000, b"long"),
            Execute(5, 0, 0, 0, b"other"),
            Stop(4),
        ]
    first.send(Result(4, Status.OK, b"late"))
    rig.settle()
    for member in (sender, first, second):
        rig.check(member)


def test_cancel_and_command_in_one_segment(rig):
    """Commands come first in a turn: the id is still in use."""
    sender, _ = rig.crowd(2)
    sender.send(to_all(5, b"a", RESULTS))
    rig.settle()
    sender.news()
    sender.send(Cancel(5), to_all(5, b"b", RESULTS))
    rig.until(lambda: sum(isinstance(f, Done) for f in sender.frames), sender)
    kinds = [type(frame) for frame in sender.news()]
    assert kinds == [Refused, Routed, Done]
    rig.settle()
    rig.check(sender)


def test_the_cancel_of_another_is_no_cancel(rig):
    sender, other, executor = rig.crowd(3)
    sender.send(to_all(5, b"a", RESULTS))
    rig.settle()
    other.send(Cancel(5), Cancel(77))
    rig.settle()
    assert rig.room.waiting == 1
    assert not any(isinstance(frame, Stop) for frame in executor.frames)
    rig.check(other)


@pytest.mark.parametrize("how", ["leave", "close", "reset"])
def test_a_tied_command_ends_with_its_senders_connection(rig, how):
    sender, first, second = rig.crowd(3)
    sender.send(to_all(5, b"tied", TIED), to_all(6, b"not tied", RESULTS))
    rig.settle()
    first.send(Result(4, Status.OK, b""))
    rig.settle(first)
    if how == "leave":
        sender.send(Leave())
    else:
        getattr(sender, how)()
    rig.until(lambda: any(isinstance(f, Stop) for f in second.frames), first, second)
    rig.settle(first, second)
    assert [frame.seq for frame in second.frames if isinstance(frame, Stop)] == [4]
    assert not any(isinstance(frame, Stop) for frame in first.frames), "it has ended"
    assert (rig.room.waiting, list(rig.room.ranks.loads)) == (0, [0, 0])
    for member in (first, second):
        rig.check(member)


def test_expensive_cancels_are_spread_over_turns(rig):
    """Each ends four results here, and a turn ends no more than 8; each DONE comes in the turn of its cancel."""
    sender, *executors = rig.crowd(5)
    sender.send(*[to_all(id_, b"", RESULTS | CommandFlag.QUIET) for id_ in range(5)])
    rig.settle()
    sender.news()
    turns = rig.room.turns
    with mock.patch.object(turn, "_ENDED_PER_TURN", 8):
        sender.send(*[Cancel(id_) for id_ in range(5)])
        ended = []
        while len(ended) < 5:
            rig.step(sender, timeout=0.01)
            ended += [
                (frame.id, rig.room.turns - turns) for frame in sender.news() if isinstance(frame, Done)
            ]
    assert ended == [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3)]
    rig.settle()
    for member in (sender, *executors):
        rig.check(member)


def test_a_departure_after_pending_cancels(rig):
    """LEAVE comes with cancels that have to wait: all executors get CANCEL, and then RANK for the departure."""
    sender, executor = rig.crowd(2)
    sender.send(*[to_all(id_, b"", RESULTS | CommandFlag.QUIET) for id_ in range(3)])
    rig.settle()
    with mock.patch.object(turn, "_ENDED_PER_TURN", 1):
        sender.send(*[Cancel(id_) for id_ in range(3)], Leave())
        rig.until(lambda: sender.ended)
    rig.settle(executor)
    assert [frame.seq for frame in executor.frames if isinstance(frame, Stop)] == [3, 4, 5]
    kinds = [type(frame) for frame in executor.frames if isinstance(frame, Stop | Rank)]
    assert kinds == [Stop, Stop, Stop, Rank]
    rig.check(executor)


def test_a_set_is_as_much_work_as_it_names():
    """Sets of a hundred names are deferred as a hundred commands would be; none is lost."""
    with embedded(seats=8, turn_budget_frames=1600) as rig:
        sender, executor = rig.crowd(2)
        per_turn = (1600 if TWIN == "extension" else 200) // 101 + 1
        count = 3 * per_turn
        octets = [to_set(id_, range(2, 102), payload=b"%d" % id_) for id_ in range(count)]
        sender.send(*octets)
        rig.step()
        assert len(rig.room.arrived[sender.ticket]) == per_turn
        rig.settle()
        assert executed(executor) == [b"%d" % id_ for id_ in range(count)]
        rig.check(sender)
        rig.check(executor)
