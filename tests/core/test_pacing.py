"""Pacing: the senders that wait for slow receivers, and its cost."""

from __future__ import annotations

import tracemalloc
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.codes import Status
from rankmux.core.pacing import Pacing
from rankmux.core.room.deliveries import Deliveries
from rankmux.wire import Execute, Routed, Stop


class Scene:
    """Members 0 to `size` - 1, rank and ticket each the same; `held` are those that wait."""

    def __init__(self, size: int) -> None:
        self.over: set[int] = set()
        self.held: set[int] = set()
        self.pacing = Pacing(self.over)
        self.tickets = array("Q", range(size))

    def turn(self, senders: list[int], directed: dict[int, list[int]] | None = None) -> None:
        """`senders` (ascending) command all juniors; `directed` are the senders of frames for one receiver alone."""
        deliveries = Deliveries()
        deliveries.steps = [(rank, rank + 1) for rank in senders]
        for receiver, ranks in (directed or {}).items():
            frames = [(0, Execute(1, rank, 0, 0, b"").encode()) for rank in ranks]
            deliveries.directed[receiver] = [*frames, (0, Stop(1).encode())]
        self.held.update(self.pacing.judge(sorted(self.over), deliveries, self.tickets))

    def catch_up(self, *receivers: int) -> None:
        self.over.difference_update(receivers)
        released = self.pacing.release()
        assert self.held.issuperset(released)
        self.held.difference_update(released)


def test_a_sender_waits_for_the_juniors_that_it_filled() -> None:
    scene = Scene(8)
    scene.over |= {2, 5}
    scene.turn([0, 3, 6])
    assert scene.held == {0, 3}
    scene.catch_up(5)
    assert scene.held == {0}
    scene.over.add(7)  # filled later, by others: senders already waiting do not wait for it
    scene.catch_up(2)
    assert scene.held == set()


def test_a_frame_for_one_alone() -> None:
    scene = Scene(8)
    scene.over |= {4, 5}
    scene.turn([], {4: [1, 1, 2], 5: [2]})
    assert scene.held == {1, 2}
    scene.catch_up(4)
    assert scene.held == {2}
    scene.pacing.forget(2)
    scene.catch_up(5)
    assert scene.held == {2}, "who ended is not let go on"


def test_an_executor_that_answers_fills_a_sender_and_the_server_does_not() -> None:
    """The statuses that the server decides pace no sender: EXPIRED, LEFT and CANCELLED."""
    scene = Scene(8)
    scene.over.add(1)
    deliveries = Deliveries()
    for ticket, status in enumerate(
        [Status.OK, Status.EXPIRED, Status.LEFT, Status.CANCELLED, Status.PART], 2
    ):
        deliveries.answer(deliveries.routed, 1, Routed(1, ticket, ticket, status, b"").encode())
    assert sorted(scene.pacing.judge([1], deliveries, scene.tickets)) == [2, 6]


RECEIVERS = st.sets(st.integers(0, 7))


@given(st.lists(st.tuples(RECEIVERS, RECEIVERS, RECEIVERS), max_size=8))
def test_as_if_each_had_a_set_of_its_own(turns: list[tuple[set[int], set[int], set[int]]]) -> None:
    """A held sender filled a receiver that is over its limit; a released one has seen each such receiver catch up."""
    scene = Scene(8)
    filled: dict[int, set[int]] = {}
    missing: dict[int, set[int]] = {}
    for over, senders, caught_up in turns:
        scene.over |= over
        new = sorted(senders - scene.held)
        scene.turn(new)
        for sender in new:
            filled[sender] = {receiver for receiver in scene.over if receiver > sender}
            missing[sender] = set(filled[sender])
        for _ in range(2):
            assert all(filled[sender] & scene.over for sender in scene.held)
            assert {sender for sender in filled if missing[sender]} <= scene.held
            scene.catch_up(*caught_up)
            for left in missing.values():
                left.intersection_update(scene.over)


@pytest.mark.parametrize("turns", [1, pytest.param(300, marks=pytest.mark.slow)])
def test_many_that_wait_for_many_take_no_more_than_their_sum(turns: int) -> None:
    """Half of 600 members do not keep up, the others send commands, all in one turn or each in a separate one."""
    scene = Scene(600)
    scene.over.update(range(300, 600))
    tracemalloc.start()
    try:
        for turn in range(turns):
            scene.turn(list(range(turn, 300, turns)))
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(scene.held) == 300
    assert taken < 300 * 600, "a set for each would hold 300 times 300"
    scene.catch_up(*range(300, 600))
    assert not scene.held
