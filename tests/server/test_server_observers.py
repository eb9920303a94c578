"""Observers and watchers over real sockets: frames that they get and may send, and that they pace no sender."""

from __future__ import annotations

from typing import Any

import pytest

from rankmux.codes import NO_RANK, Cause, Change, CommandFlag, ErrorCode, HelloFlag, Status
from rankmux.server.connections.closes import CloseReason
from rankmux.wire import (
    Cancel,
    Changed,
    Command,
    ErrorFrame,
    Frame,
    Hello,
    Leave,
    Members,
    Ping,
    Pong,
    Rank,
    Result,
    Who,
    Yield,
)

from ..support.embedded import Client, Embedded, embedded, executed, to_all
from ..support.strategies import to_set

OBSERVE, WATCH = int(HelloFlag.OBSERVE), int(HelloFlag.WATCH)


@pytest.fixture
def rig() -> Any:
    with embedded(seats=4) as made:
        yield made


def greeted(rig: Embedded, flags: int, receive_buffer: int = 0) -> Client:
    client = rig.connect(receive_buffer)
    client.send(Hello("eye", flags=flags))
    rig.until(lambda: client.welcome or client.ended, client)
    client.news()
    return client


def test_an_observer_is_in_no_count(rig):
    """It is admitted to a full room, asks as a member does, and takes no seq."""
    members = rig.crowd(4)
    eye = greeted(rig, OBSERVE)
    assert (eye.welcome.ticket, eye.welcome.rank, eye.welcome.members, eye.welcome.seq) == (0, NO_RANK, 4, 4)
    members[0].send(to_all(1, b"not for observers"))
    eye.send(Who(7, 0, 10), Ping(b"?"))
    rig.settle(*members)
    rig.until(lambda: Pong(b"?") in eye.frames, eye)
    page, pong = eye.news()
    assert (type(page), page.id, page.total, pong) == (Members, 7, 4, Pong(b"?"))
    assert [member.name for member in page.members] == ["m0", "m1", "m2", "m3"]
    eye.send(Leave())
    rig.until(lambda: eye.ended, eye)
    assert eye.ended == "end of stream"
    assert eye.news() == []
    rig.settle()
    for member in members:
        rig.check(member)
        assert not any(isinstance(frame, Rank) for frame in member.frames), "nobody has left"


@pytest.mark.parametrize(
    "frame",
    [
        to_all(1, b"x"),
        to_set(1, [1]),
        Result(1, Status.OK, b""),
        Cancel(1),
        Yield(1),
        Hello(),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_frames_that_an_observer_may_not_send(rig, frame: Frame):
    member = rig.join()
    eye = greeted(rig, OBSERVE)
    eye.send(Ping(b"first"), frame)
    rig.until(lambda: eye.ended, eye)
    pong, error = eye.news()
    assert (pong, error.code) == (Pong(b"first"), ErrorCode.PROTOCOL)
    rig.settle(member)
    assert executed(member) == []
    assert rig.room.seq == 1
    assert not rig.server.connections.observers


@pytest.mark.parametrize("most", [1, 16])
def test_the_limit_of_observers(most):
    """In one turn and in several; the place of one that leaves is free again."""
    with embedded(seats=1, observers_max=most) as rig:
        eyes = [rig.connect() for _ in range(most + 2)]
        for eye in eyes:
            eye.send(Hello(flags=OBSERVE))
        rig.until(lambda: all(eye.welcome or eye.ended for eye in eyes))
        assert [eye.welcome is not None for eye in eyes] == [True] * most + [False] * 2
        assert [type(eye.frames[0]) for eye in eyes[most:]] == [ErrorFrame] * 2
        assert eyes[-1].frames[0].code == ErrorCode.FULL
        eyes[0].send(Leave())
        rig.until(lambda: eyes[0].ended, eyes[0])
        assert greeted(rig, OBSERVE).welcome
        late = greeted(rig, OBSERVE)
        assert late.frames[0].code == ErrorCode.FULL


def test_sixteen_observers_by_default():
    with embedded(seats=1) as rig:
        assert rig.server.config.observers_max == 16


def test_a_watcher_gets_each_event(rig):
    """A member and an observer get the same CHANGEDs, each those after its WELCOME, without its own join."""
    first = greeted(rig, WATCH)
    eye = greeted(rig, OBSERVE | WATCH)
    second, third = rig.crowd(2)
    assert eye.welcome.seq == 1
    rig.settle(first, second, third)
    second.send(Leave())
    rig.until(lambda: second.ended)
    third.reset()
    rig.until(lambda: len(rig.room) == 1)
    late = greeted(rig, WATCH)
    rig.until(lambda: len([f for f in eye.frames if isinstance(f, Changed)]) == 5, eye, first)
    told = [frame for frame in eye.frames if isinstance(frame, Changed)]
    assert told == [
        Changed(2, Change.JOINED, 2, 1, 2, "m0"),
        Changed(3, Change.JOINED, 3, 2, 3, "m1"),
        Changed(4, Change.LEFT, 2, 1, 2, "m0"),
        Changed(5, Change.LOST, 3, 1, 1, "m1"),
        Changed(6, Change.JOINED, 4, 1, 2, "eye"),
    ]
    assert [frame for frame in first.frames if isinstance(frame, Changed)] == told
    assert not any(isinstance(frame, Changed) for frame in (*late.frames, *second.frames))
    rig.settle(first, late)
    for member in (first, late):
        rig.check(member)


def test_newcomers_of_one_turn_get_the_joins_after_theirs(rig):
    clients = [rig.connect() for _ in range(3)]
    rig.step()
    for client in clients:
        client.send(Hello("eye", flags=WATCH))
    turns = rig.room.turns
    rig.until(lambda: all(client.welcome for client in clients))
    assert rig.room.turns == turns + 1
    rig.settle()
    told = [[f.seq for f in client.frames if isinstance(f, Changed)] for client in clients]
    assert told == [[2, 3], [3], []]


def test_an_observer_that_does_not_read_is_closed_and_paces_no_sender():
    """Over the soft limit it is ended with SLOW, and no sender has waited for it."""
    with embedded(
        seats=600, outbox_soft_bytes=20_000, outbox_hard_bytes=1 << 20, send_buffer_bytes=4096
    ) as rig:
        sender, receiver = rig.crowd(2)
        eye = greeted(rig, OBSERVE | WATCH, receive_buffer=4096)
        connections = rig.server.connections
        ids = 0
        while connections.observers:
            ids += 1
            assert ids < 2000, "it is never ended"
            sender.send(to_all(ids, b"x", CommandFlag.QUIET))
            eye.send(*[Who(ids, 0, 2)] * 20)
            rig.step(sender, receiver)
            assert len(connections.pacing) == 0
        rig.settle(sender, receiver)
        assert len(executed(receiver)) == ids
        rig.until(lambda: eye.ended, eye)
        assert isinstance(eye.frames[-1], ErrorFrame)
        assert eye.frames[-1].code == ErrorCode.SLOW
        rig.until(lambda: connections.closes.counts == {CloseReason.SLOW: 1})
        for member in (sender, receiver):
            rig.check(member)


def test_an_observer_that_ends_is_not_a_departure(rig):
    watcher = greeted(rig, WATCH)
    for how in ("close", "reset"):
        eye = greeted(rig, OBSERVE)
        getattr(eye, how)()
        rig.until(lambda: not rig.server.connections.observers)
    rig.settle(watcher)
    assert rig.room.seq == 1
    assert not any(isinstance(frame, Changed) for frame in watcher.frames)
    assert Cause.LOST not in [frame.cause for frame in watcher.frames if isinstance(frame, Rank)]


def test_commands_after_hello_of_an_observer(rig):
    """In one segment: they are judged once it is admitted."""
    eye = rig.connect()
    eye.send(Hello("eye", flags=OBSERVE), Ping(b"!"), Command(1, 0, 0, 0, 0, b"x"))
    rig.until(lambda: eye.ended, eye)
    assert [type(frame) for frame in eye.frames[1:]] == [Pong, ErrorFrame]
