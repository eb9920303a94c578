"""The two halves of a turn's room: neither starves, and both together exceed it by at most one frame."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rankmux.core.room.batch import Batch
from rankmux.server.intake.halves import Halves
from rankmux.wire import Command

MAX_PAYLOAD = 1000
ROOM = {"work": 64, "size": 300, "shared": 300, "listed": 64}
SIZES = st.sampled_from([0, 10, 200, MAX_PAYLOAD])


def take(batch: Batch, sizes: list[int]) -> tuple[int, int]:
    """Feed commands with payloads of these sizes while there is room; how many bytes, and frames, that took."""
    octets = b"".join(Command(1, 0, 0, 0, 0, bytes(size)).encode() for size in sizes)
    before = len(batch)
    taken, _ = batch.feed(1, octets)
    return taken, len(batch) - before


@pytest.fixture
def batch() -> Batch:
    return Batch(MAX_PAYLOAD)


def test_all_of_the_room_without_a_backlog(batch):
    Halves(batch).begin(**ROOM, members=5, waits=False)
    left = (batch.work_left, batch.bytes_left, batch.shared_left, batch.listed_left, batch.members)
    assert left == (64, 300, 300, 64, 5)


def test_half_of_the_room_and_what_the_backlog_leaves(batch):
    halves = Halves(batch)
    halves.begin(**ROOM, members=5, waits=True)
    assert (batch.work_left, batch.bytes_left, batch.listed_left, batch.members) == (32, 150, 32, 5)
    batch.spend(10)
    take(batch, [10])
    halves.turn_over()
    assert (batch.work_left, batch.bytes_left) == (64 - 11, 300 - 29)


def test_work_over_a_half_costs_the_other_nothing(batch):
    halves = Halves(batch)
    halves.begin(work=1, size=300, shared=300, listed=1, members=5, waits=True)
    assert batch.work_left == 0, "what waits goes first when there is room for one frame only"
    batch.spend(50)
    halves.turn_over()
    assert batch.work_left == 1


@example(turns=[([10, 10, 10, 0, 200], [10]), ([MAX_PAYLOAD], [10]), ([MAX_PAYLOAD], [10])])
@example(turns=[([200, 10, 0], [10])] * 20)
@given(
    turns=st.lists(
        st.tuples(st.lists(SIZES, max_size=8), st.lists(SIZES, min_size=1, max_size=8)), max_size=20
    )
)
def test_any_turns(turns):
    """A turn takes no more bytes than its room and one frame; the backlog gets a share in two turns at the latest."""
    batch = Batch(MAX_PAYLOAD)
    halves = Halves(batch)
    starved = 0
    for fresh, waiting in turns:
        halves.begin(**ROOM, members=5, waits=True)
        first, _ = take(batch, fresh)
        halves.turn_over()
        second, frames = take(batch, waiting)
        assert first + second <= ROOM["size"] + MAX_PAYLOAD + 19
        starved = 0 if frames else starved + 1
        assert starved <= 1
        batch.clear()
