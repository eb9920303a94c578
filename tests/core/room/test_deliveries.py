"""The output of a turn: shared prefixes, directed frames at their places, answers by kind."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rankmux.core.room.deliveries import RANK_FRAME_BYTES, Deliveries
from rankmux.wire import Rank

from ...support.laid import Laid, joined, laid_turns


@given(laid_turns())
def test_every_rank_gets_its_frames_in_their_order(laid):
    deliveries = laid.deliveries()
    for rank, ticket in enumerate(laid.tickets):
        watches = rank in laid.watchers
        pieces = deliveries.pieces(rank, ticket, watches)
        assert joined(deliveries, rank, ticket, watches) == laid.expected(rank)
        assert deliveries.rank_frame(rank) == laid.rank_frame(rank)
        if watches and laid.changes:
            pieces.remove(deliveries.changes_after(0))
        shared = [piece for piece in pieces if isinstance(piece, tuple)]
        assert all(start < end for start, end in shared)
        assert all(a[1] == b[0] for a, b in pairwise(shared)), "a gap, or something twice"
        assert not shared or (shared[0][0], shared[-1][1]) == (0, deliveries.prefix(rank))
        assert b"" not in pieces


@given(laid_turns())
def test_shared_frames_are_stored_once(laid):
    everything = b"".join(octets for _, receiver, octets in laid.frames if receiver is None)
    assert laid.deliveries().executes == everything + b"".join(laid.changes)


def test_a_stop_comes_after_all_commands():
    """Never before the EXECUTE that it stops, whichever of the turn's commands that is."""
    deliveries = Laid(
        3, [(0, 2, b"one"), (0, None, b"all"), (1, 2, b"two")], [], {}, [(2, b"stop")]
    ).deliveries()
    assert joined(deliveries, 2, 0) == b"onealltwostop"
    assert deliveries.pieces(2, 0)[1] == (0, 3), "what is shared stays shared"


def test_changes_by_their_seqs():
    deliveries = Laid(2, [(0, None, b"all")], [], {}).deliveries()
    assert deliveries.changes_after(0) == (3, 3)
    for seq in (7, 8, 10):
        deliveries.change(seq, b"%02d" % seq)
    ranges = [deliveries.changes_after(seq) for seq in (0, 6, 7, 8, 9, 10)]
    assert ranges == [(3, 9), (3, 9), (5, 9), (7, 9), (7, 9), (9, 9)]
    assert deliveries.pieces(1, 0) == [(0, 3)], "not for those that do not watch"
    assert deliveries.pieces(1, 0, watches=True) == [(0, 3), (3, 9)]
    assert deliveries.pieces(0, 0, watches=True) == [(3, 9)]


def test_a_prefix_ends_before_the_first_sender_that_is_not_senior():
    deliveries = Laid(
        6, [(0, None, b"aa"), (2, None, b"bb"), (2, None, b"b"), (4, None, b"c")], [], {}
    ).deliveries()
    assert deliveries.steps == [(0, 2), (2, 5), (4, 6)]
    assert [deliveries.prefix(rank) for rank in range(6)] == [0, 2, 2, 5, 5, 6]


def test_a_directed_frame_splits_the_prefix():
    laid = Laid(
        3,
        [(0, 2, b"x"), (0, None, b"aa"), (0, 2, b"y"), (1, 2, b"z"), (1, None, b"bb"), (1, 2, b"w")],
        [],
        {2: b"tail"},
    )
    pieces = [laid.deliveries().pieces(rank, ticket) for rank, ticket in enumerate(laid.tickets)]
    assert pieces == [[], [(0, 2)], [b"x", (0, 2), b"y", b"z", (2, 4), b"w", b"t", b"ail"]]


def test_nothing_is_copied():
    """The frames and answers of one receiver are used as pieces without copying."""
    deliveries = Laid(2, [(0, 1, b"directed")], [], {1: b"answers"}).deliveries()
    frame, first, second = deliveries.pieces(1, 13)
    assert frame is deliveries.directed[1][0][1]
    assert first is deliveries.refused[13]
    assert second is deliveries.done[13]


def test_the_size_of_a_rank_frame():
    assert len(Rank(1, 2, 3, 1).encode()) == RANK_FRAME_BYTES


def test_a_departed_member_has_no_rank_frame():
    deliveries = Laid(5, [], [1, 3], {}).deliveries()
    assert [bool(deliveries.rank_frame(rank)) for rank in range(5)] == [False, False, True, False, True]


KINDS = ["accepted", "refused", "routed", "done", "members", "pongs"]


@given(
    st.lists(
        st.tuples(st.sampled_from(KINDS), st.integers(1, 3), st.binary(min_size=1, max_size=3)), max_size=12
    )
)
def test_answers_are_ordered_by_kind_then_as_given(answers):
    deliveries = Deliveries()
    expected: dict[int, bytes] = {}
    for kind, ticket, octets in answers:
        deliveries.answer(getattr(deliveries, kind), ticket, octets)
    for kind in KINDS:
        for also, ticket, octets in answers:
            if also == kind:
                expected[ticket] = expected.get(ticket, b"") + octets
    assert {ticket: joined(deliveries, 0, ticket) for ticket in (1, 2, 3)} == {
        ticket: expected.get(ticket, b"") for ticket in (1, 2, 3)
    }
