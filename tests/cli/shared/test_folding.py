"""Results gathered and folded: ranks abbreviated, equal outputs grouped, none lost and none shown twice."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.cli.shared import folding
from rankmux.cli.shared.folding import Gathering, ranges
from rankmux.codes import Status
from rankmux.core.client.results import RoutedResult

ENDS = (Status.OK, Status.FAILED, Status.REJECTED, Status.EXPIRED, Status.LEFT)


def expanded(text: str) -> list[int]:
    ranks = []
    for run in filter(None, text.split(", ")):
        first, _, last = run.partition("-")
        ranks += range(int(first), int(last or first) + 1)
    return ranks


@pytest.mark.parametrize(
    ("ranks", "text"),
    [([], ""), ([3], "3"), ([1, 2], "1-2"), ([7, 2, 4, 1, 3], "1-4, 7"), ([5, 3, 1], "1, 3, 5")],
)
def test_ranges(ranks, text):
    assert ranges(ranks) == text


@given(st.lists(st.integers(0, 60)))
def test_ranges_name_each_rank_once_in_the_fewest_runs(ranks):
    text = ranges(ranks)
    assert expanded(text) == sorted(set(ranks))
    assert len([run for run in text.split(", ") if run]) == len(
        [r for r in set(ranks) if r - 1 not in set(ranks)]
    )


def routed(rank: int, payload: bytes, status: Status = Status.OK) -> RoutedResult:
    return RoutedResult(rank, 1000 + rank, status, payload)


def gathering(executors: int) -> Gathering:
    made = Gathering("print")
    made.executors = executors
    return made


@given(st.lists(st.tuples(st.sampled_from(ENDS), st.binary(max_size=3)), min_size=1, max_size=20))
def test_equal_outputs_are_shown_once(ends):
    results = gathering(len(ends))
    for rank, (status, payload) in enumerate(ends):
        results.add(routed(rank, payload, status))
    expected = defaultdict(list)
    for rank, (status, payload) in enumerate(ends):
        if payload or status is not Status.OK:
            expected[status, payload].append(rank)
    groups = results.take()
    assert {(group.status, group.head): list(group.ranks) for group in groups} == expected
    assert groups == sorted(groups, key=lambda group: group.ranks)
    assert results.take() == []
    counted = Counter(status.name.lower() for status, _ in ends)
    named = [f"{counted[end.name.lower()]} {end.name.lower()}" for end in ENDS if counted[end.name.lower()]]
    assert str(results) == ", ".join(named)


step = st.one_of(
    st.tuples(st.integers(0, 3), st.lists(st.sampled_from([b"a", b"\n", b"bc\n"]), max_size=4).map(b"".join)),
    st.none(),
)


@given(st.lists(step, max_size=40))
def test_parts_come_in_whole_lines_and_nothing_is_lost(steps):
    """`None` is a moment at which all output received so far is shown."""
    results = gathering(4)
    shown = defaultdict(bytes)

    def show(*, final: bool = False) -> None:
        for group in results.take():
            assert final or group.head.endswith(b"\n")
            assert group.size == len(group.head)
            for rank in group.ranks:
                shown[rank] += group.head

    given_ = defaultdict(bytes)
    for one in steps:
        if one is None:
            show()
        else:
            results.add(routed(*one, Status.PART))
            given_[one[0]] += one[1]
    for rank in range(4):
        results.add(routed(rank, b"end"))
        given_[rank] += b"end"
    show(final=True)
    assert shown == given_


def test_unfinished_results_can_be_taken_too():
    results = gathering(2)
    results.add(routed(1, b"half a line", Status.PART))
    assert results.take() == []
    assert [group.head for group in results.take(all_of_it=True)] == [b"half a line"]
    assert str(results) == "2 waiting"


@given(st.lists(st.integers(1, 4000), min_size=1, max_size=12), st.booleans())
def test_long_outputs_fold_however_they_are_cut(cuts, differ):
    """The outputs of two ranks, in different pieces, with or without a difference far beyond the part that is kept."""
    size = 40_000
    texts = {rank: bytearray(b"x" * size) for rank in (1, 2)}
    if differ:
        texts[2][-1:] = b"y"
    results = gathering(2)
    results.add(routed(1, bytes(texts[1])))
    at = 0
    for cut in cuts:
        results.add(routed(2, bytes(texts[2][at : at + cut]), Status.PART))
        at += cut
    results.add(routed(2, bytes(texts[2][at:])))
    groups = results.take()
    assert [group.ranks for group in groups] == ([(1,), (2,)] if differ else [(1, 2)])
    assert all(group.size == size and len(group.head) == folding._HEAD_BYTES for group in groups)


def test_memory_is_bounded():
    results = gathering(10_000)
    for rank in range(10_000):
        results.add(routed(rank, rank.to_bytes(4) * 1000))
    groups = results.take()
    assert sum(len(group.head) for group in groups) <= folding._KEPT_BYTES
    assert sum(group.size for group in groups) == 40_000_000
    assert len(groups) == 10_000
    results.add(routed(10_001, b"again"))
    assert [group.head for group in results.take()] == [b"again"]
