"""The combined input of one server turn, over real sockets: commands, ends, breaches, resets, each in its order."""

from __future__ import annotations

import selectors
import socket
from typing import Any

import pytest

from rankmux.codes import Cause, CommandFlag, ErrorCode, Target
from rankmux.wire import (
    Accepted,
    Command,
    ErrorFrame,
    Execute,
    Hello,
    Leave,
    Ping,
    Pong,
    Rank,
    Refused,
    Welcome,
    Who,
)

from ..support.embedded import embedded, executed, to_all

SELECTORS = [None, selectors.SelectSelector, selectors.PollSelector]


@pytest.fixture(params=SELECTORS, ids=["default", "select", "poll"])
def rig(request: pytest.FixtureRequest) -> Any:
    with embedded(request.param, seats=8) as made:
        yield made


def test_ranks_are_first_come_first_served(rig):
    """Seats go in the order in which the connections were accepted, not in that of HELLO; the rest find no seat."""
    clients = [rig.connect() for _ in range(10)]
    rig.step()
    for client in reversed(clients):
        client.send(Hello())
    rig.until(lambda: all(c.frames for c in clients))
    assert [c.welcome.rank for c in clients[:8]] == list(range(8))
    assert [c.welcome.members for c in clients[:8]] == list(range(1, 9))
    for client in clients[8:]:
        assert client.frames == [ErrorFrame(ErrorCode.FULL, "no seat is free, the room is full (8 of 8)")]


def test_a_turn_with_everything(rig):
    """Found in one turn: commands from all, a departure, a reset, a join."""
    members = rig.crowd(5)
    turns = rig.room.turns
    for i in (4, 2, 0, 3, 1):
        members[i].send(to_all(i, b"%d" % i, CommandFlag.QUIET))
    members[1].send(Leave(), to_all(9, b"behind LEAVE"))
    members[1].sent.pop()
    members[3].reset()
    newcomer = rig.connect()
    newcomer.send(Hello())
    rig.until(lambda: newcomer.welcome)
    at_once = rig.room.turns == turns + 1  # without epoll a reset shows only when it is read again
    rig.settle()
    for index, seen in [(0, b""), (1, b"0"), (2, b"01"), (4, b"0123")]:
        assert b"".join(executed(members[index])) == seen
        rig.check(members[index])
    moves = [frame[1:] for frame in members[4].frames if isinstance(frame, Rank)]
    if not isinstance(rig.server._reactor._selector, selectors.SelectSelector | selectors.PollSelector):
        assert at_once
        assert moves == [(2, 3, Cause.LOST)]
        assert newcomer.welcome.rank == 3
    assert moves[-1][0] == 2
    assert executed(newcomer) == []


def test_a_command_right_before_a_reset_reaches_all(rig):
    members = rig.crowd(4)
    members[0].send(to_all(1, b"last words"))
    members[0].reset()
    rig.until(lambda: all(any(isinstance(f, Rank) for f in m.frames) for m in members[1:]))
    for rank, member in enumerate(members[1:]):
        assert member.news() == [Execute(5, 0, 0, 0, b"last words"), Rank(6, rank, 3, Cause.LOST)]
        rig.check(member)


def test_half_close(rig):
    """Commands that had arrived are dispatched, pending output is sent, and then the stream ends."""
    first, second, third = rig.crowd(3)
    second.send(to_all(1, b"x"), Ping(b"?"))
    second.sock.shutdown(socket.SHUT_WR)
    rig.until(lambda: second.ended)
    assert second.news() == [Accepted(1, 4, 1, 1), Pong(b"?")]
    assert second.ended == "end of stream"
    rig.settle()
    assert third.news()[:2] == [Execute(4, 1, 0, 0, b"x"), Rank(5, 1, 2, Cause.LEFT)]
    rig.check(first)
    rig.check(third)


def test_leave(rig):
    first, second = rig.crowd(2)
    first.send(to_all(1, b"x"), Leave())
    rig.until(lambda: first.ended)
    assert first.news() == [Accepted(1, 3, 1, 0)]
    assert first.ended == "end of stream"
    rig.settle()
    assert second.news()[:2] == [Execute(3, 0, 0, 0, b"x"), Rank(4, 0, 1, Cause.LEFT)]


def test_an_end_inside_a_frame(rig):
    first, second = rig.crowd(2)
    first.raw(to_all(1, b"whole").encode() + to_all(2, b"torn").encode()[:-1])
    first.close()
    rig.until(lambda: any(isinstance(f, Rank) for f in second.frames))
    assert second.news() == [Execute(3, 0, 0, 0, b"whole"), Rank(4, 0, 1, Cause.LOST)]


def test_a_breach(rig):
    first, second = rig.crowd(2)
    first.raw(to_all(1, b"whole").encode() + bytes(4) + to_all(2, b"dropped").encode())
    rig.until(lambda: first.ended)
    accepted, error = first.news()
    assert (accepted, error.code) == (Accepted(1, 3, 1, 0), ErrorCode.PROTOCOL)
    rig.settle()
    assert second.news()[:2] == [Execute(3, 0, 0, 0, b"whole"), Rank(4, 0, 1, Cause.EVICTED)]


def test_frames_after_hello_in_one_segment(rig):
    rig.crowd(1)
    client = rig.connect()
    client.send(Hello("x"), to_all(1, b"nobody"), Who(7, 0, 10), Ping(b"1"))
    client.raw(Ping(b"2").encode()[:3])
    rig.until(lambda: Pong(b"1") in client.frames)
    client.raw(Ping(b"2").encode()[3:])
    rig.until(lambda: Pong(b"2") in client.frames)
    kinds = [type(frame) for frame in client.frames]
    assert kinds[:2] == [Welcome, Refused]
    assert [m.name for m in client.frames[2].members] == ["m0", "x"]
    rig.check(client)


def test_byte_by_byte(rig):
    first, second = rig.crowd(2)
    octets = to_all(1, b"dripping").encode() + Ping(b"!").encode()
    for at in range(len(octets)):
        first.raw(octets[at : at + 1])
        second.send(Ping(b"%d" % at))
        rig.step(first, second)
    first.sent.append(to_all(1, b"dripping"))
    rig.settle()
    assert executed(second) == [b"dripping"]
    rig.check(first)
    rig.check(second)


def test_reset_in_mid_fan_out(rig):
    """A send detects it: only that member departs, the others lose nothing and know their ranks."""
    members = rig.crowd(6)
    members[0].send(to_all(1, b"a"), Command(2, Target.ONE, 4, 0, 0, b"b"), to_all(3, b"c"))
    members[2].reset()
    members[4].reset()
    rig.until(lambda: all(m.frames and isinstance(m.frames[-1], Rank) for m in (members[3], members[5])))
    rig.settle()
    for member in (members[0], members[1], members[3], members[5]):
        rig.check(member)
    assert executed(members[5]) == [b"a", b"c"]
    assert [m.history.rank for m in (members[3], members[5])] == [2, 3]


def test_a_descriptor_used_again_in_a_batch(rig):
    """The newcomer receives only its own bytes, in that turn and when it gets the descriptor of the departed member."""
    members = rig.crowd(3)
    for round_ in range(5):
        gone = members.pop(1)
        members[0].send(to_all(round_, b"%d" % round_))
        gone.reset()
        newcomer = rig.connect()
        newcomer.send(Hello())
        rig.until(lambda: newcomer.welcome)  # noqa: B023
        assert newcomer.frames[0] == newcomer.welcome
        members.append(newcomer)
    rig.settle()
    for member in members:
        rig.check(member)
    assert b"".join(executed(members[-1])) == b""


def test_a_seat_freed_in_a_turn(rig):
    members = rig.crowd(8)
    members[3].send(Leave())
    newcomers = [rig.connect() for _ in range(2)]
    for newcomer in newcomers:
        newcomer.send(Hello())
    rig.until(lambda: all(n.frames for n in newcomers))
    assert newcomers[0].welcome.rank == 7
    assert newcomers[1].frames == [ErrorFrame(ErrorCode.FULL, "no seat is free, the room is full (8 of 8)")]
    rig.settle()
    for member in members:
        rig.check(member)


def test_light_senders_do_not_wait_for_heavy_ones():
    """Twenty members have input for hundreds of turns waiting: a PING is answered in the turn in which it arrives."""
    with embedded(seats=24, turn_budget_frames=8 * 16) as rig:
        crowd = rig.crowd(21)
        innocent, flood = crowd[0], crowd[1:]
        for each in flood:
            each.send(*[Ping(b"flood")] * 400)
        for _ in range(5):
            rig.step()
        for number in range(20):
            innocent.send(Ping(b"%d" % number))
            rig.step()
            innocent.pump()
            assert innocent.frames[-1] == Pong(b"%d" % number)
        assert rig.server.connections.descriptors.backlog, "the flood is over: nothing was tried"


def test_the_backlog_is_taken_whatever_else_comes_in():
    """Members that send something in every turn do not keep the backlog waiting."""
    with embedded(seats=24, turn_budget_frames=8) as rig:
        crowd = rig.crowd(21)
        slow, busy = crowd[0], crowd[1:]
        pings = [Ping(b"%d" % number) for number in range(10)]
        slow.send(*pings)
        for _ in range(400):  # each member of the backlog has been served ten times by then
            for each in busy:
                each.send(Ping(b"busy"))
            rig.step()
        slow.pump()
        assert [frame for frame in slow.frames if isinstance(frame, Pong)] == [Pong(*ping) for ping in pings]


@pytest.mark.parametrize("how", ["close", "reset"])
def test_the_end_of_a_stream_comes_when_its_frames_have_been_taken(how):
    """Input beyond the budget of many turns, then the end: all of it is processed, and the cause is that of the end."""
    with embedded(seats=4, turn_budget_frames=8) as rig:
        going, other = rig.crowd(2)
        going.send(*[to_all(number, b"%d" % number, CommandFlag.QUIET) for number in range(200)])
        assert not going.outgoing
        getattr(going, how)()
        rig.until(lambda: isinstance(other.frames[-1], Rank), other)
        assert executed(other) == [b"%d" % number for number in range(200)]
        assert other.frames[-1].cause == (Cause.LEFT if how == "close" else Cause.LOST)
        rig.check(other)
