"""A room as bytes: after loading it, the same turns give the same frames; damage is detected and changes nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock
from zlib import crc32

import pytest

from rankmux.codes import Cause, CommandFlag, Status, Target
from rankmux.core.room import line
from rankmux.core.room import room as module
from rankmux.core.room.room import Room
from rankmux.core.room.turn import Departure, Entry, Join, Turn
from rankmux.errors import SnapshotError
from rankmux.wire import Command, Result

from ...support.room_turns import owed, play, room_of_five, to_all
from ...support.strategies import to_set
from ...support.twins import TWINS

SEATS = 8


@pytest.fixture(params=TWINS, ids=lambda twin: twin.__name__)
def twin(request: pytest.FixtureRequest) -> Iterator[Any]:
    with played_by(request.param):
        yield request.param


@contextmanager
def played_by(twin: Any) -> Iterator[None]:
    """Rooms have that twin's ledger and dispatch."""
    with (
        mock.patch.multiple(module, Ledger=twin.Ledger, dispatch=twin.dispatch),
        mock.patch.object(line, "rank_frames", twin.rank_frames),
    ):
        yield


def a_room() -> Room:
    return Room(SEATS, 100, 4, 60_000, 40, told_max_bytes=44)


def drawn_turn(draw: random.Random, number: int, tickets: list[int], seqs: list[int], batch: Any) -> Turn:
    """Commands with results, some answers, some expiries, joins and departures."""
    for _ in range(draw.randrange(4)):
        ticket = draw.choice([*tickets, 999])
        if draw.random() < 0.6:
            target = draw.choice([Target.ALL, Target.NEXT, Target.LEAST, Target.SET])
            flags = draw.choice([0, CommandFlag.RESULTS, CommandFlag.RESULTS | CommandFlag.TIED])
            id_, ttl_ms = draw.randrange(6), draw.choice([0, 50])
            command = Command(id_, target, 0, flags, ttl_ms, b"x")
            if target == Target.SET:
                named = {draw.choice([*tickets, 999]) for _ in range(3)}
                command = to_set(id_, named, flags, ttl_ms, b"x")
            batch.feed(ticket, command.encode())
        elif seqs:
            status = draw.choice([Status.OK, Status.PART, Status.FAILED])
            batch.feed(ticket, Result(draw.choice(seqs), status, b"y").encode())
    entry = Entry(number * 20, batch, judge=draw.random() < 0.8)
    entry.cancels = [(t, draw.randrange(6)) for t in tickets if draw.random() < 0.1]
    entry.departures = [Departure(t, Cause.LEFT) for t in tickets if draw.random() < 0.05]
    entry.slow = {t for t in tickets if draw.random() < 0.3}
    entry.joins = [Join(number, f"n{number}", "a:1")] if draw.random() < 0.3 else []
    return Turn(entry)


def run(twin: Any, room: Room, seed: int, first: int, turns: int) -> list[Any]:
    """The output for all members in drawn turns, which depend on the seed and the tickets alone."""
    got = []
    seqs: list[int] = []
    for number in range(first, first + turns):
        draw = random.Random(f"{seed} {number}")
        turn = drawn_turn(draw, number, list(room.ranks.tickets) or [999], seqs, twin.Batch(100))
        outcome = room.apply(turn)
        seqs = list(range(max(1, room.seq - 8), room.seq + 1))
        got.append((owed(outcome), outcome.refused, outcome.dropped_results, outcome.settled, room.seq))
    return got


@pytest.mark.parametrize("seed", range(40))
def test_a_loaded_room_continues_like_the_original(twin: Any, seed: int) -> None:
    room, copy = a_room(), a_room()
    room.apply(Turn(Entry(0, twin.Batch(100), joins=[Join(i, f"m{i}", "a:1") for i in range(5)])))
    run(twin, room, seed, 1, 10 + seed)
    data = room.dump()
    copy.load(data)
    assert copy.dump() == data
    assert list(copy.ranks.loads) == list(room.ranks.loads)
    assert set(copy.ranks.handles) <= {-1}
    # the list of answered seqs starts empty in both, so both draw the same turns
    assert run(twin, copy, seed, 500, 30) == run(twin, room, seed, 500, 30)
    assert copy.dump() == room.dump()


def test_both_twins_give_the_same_bytes() -> None:
    dumps = []
    for twin in TWINS:
        with played_by(twin):
            room = a_room()
            room.apply(Turn(Entry(0, twin.Batch(100), joins=[Join(i, f"m{i}", "a:1") for i in range(5)])))
            run(twin, room, 7, 1, 25)
            assert room.waiting
            dumps.append(room.dump())
    assert len(set(dumps)) == 1


def test_an_empty_room() -> None:
    room = a_room()
    copy = a_room()
    copy.load(room.dump())
    assert (len(copy), copy.seq, copy.waiting) == (0, 0, 0)


def waiting_room() -> Room:
    room = room_of_five()
    play(
        room,
        (2, to_all(7, b"", CommandFlag.RESULTS)),
        (1, to_set(9, [3, 5], CommandFlag.RESULTS | CommandFlag.TIED)),
        (4, Command(8, Target.NEXT, 0, CommandFlag.RESULTS, 9, b"")),
    )
    play(room, (5, Result(6, Status.OK, b"")))
    return room


def test_every_damaged_byte_is_found() -> None:
    room = waiting_room()
    data = room.dump()
    for at in range(len(data)):
        with pytest.raises(SnapshotError):
            room.load(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(SnapshotError):
            room.load(data[:at])
    assert room.dump() == data, "nothing has changed"


def sealed(data: bytes) -> bytes:
    return data + crc32(data).to_bytes(4)


def test_an_impossible_room_is_refused() -> None:
    """With a valid checksum, each changed byte gives a working room or is refused; no other exception is raised."""
    data = waiting_room().dump()[:-4]
    for at in range(len(data)):
        for value in (0, 1, 0x7F, 0xFF):
            copy = a_room()
            try:
                copy.load(sealed(data[:at] + bytes([value]) + data[at + 1 :]))
            except SnapshotError:
                assert len(copy) == 0
            else:
                play(copy, departures=dict.fromkeys(list(copy.ranks.tickets), Cause.LEFT))
                assert copy.waiting == 0
    for wrong in (sealed(data + b"x"), sealed(data[:-1]), sealed(b"\2" + data[1:])):
        with pytest.raises(SnapshotError):
            a_room().load(wrong)


def test_more_members_than_seats() -> None:
    """As in a room whose number of seats was lowered: no member is removed."""
    small = Room(4, 100, 4, 60_000)
    small.load(room_of_five().dump())
    assert (len(small), small.seats) == (5, 4)
