"""Violations that the rules for a history of several servers detect."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from .cluster_rules import ClusterRules
from .logs import Logs

HELLO = "H 7 10000 0 1000 0"


def judged(*lines: str, troubles: Sequence[tuple[float, float]] = ()) -> list[str]:
    logs = Logs()
    logs.troubles = lambda _: troubles
    logs.read(f"{line}\n" for line in lines)
    ClusterRules(logs, calm="c1.").check()
    return logs.violations


@pytest.mark.parametrize(
    ("second", "noticed"), [(2000, False), (1900, False), (1700, True), (1000, True), (1100, True)]
)
def test_two_that_believe_in_rank_0_at_once(second: int, noticed: bool) -> None:
    lines = ["c1.0 K 1 1000 5", "c1.0 K 0 2000", f"c2.0 K 1 {second} 6", f"c2.0 K 0 {second + 700}"]
    assert bool(judged(*lines)) == noticed


@pytest.mark.parametrize(
    ("ticket", "trouble", "noticed"),
    [(5, (1000, 2000), False), (5, (1600, 2000), True), (6, (1000, 2000), True)],
)
def test_a_seat_that_is_taken_over_while_its_server_is_cut_off(
    ticket: int, trouble: tuple[float, float], noticed: bool
) -> None:
    lines = ["c1.0 K 1 1000 5", "c1.0 K 0 2000", f"c2.0 K 1 1500 {ticket}", "c2.0 K 0 3000"]
    assert bool(judged(*lines, troubles=[trouble])) == noticed


def test_one_that_ends_while_another_believes() -> None:
    lines = [
        "c1.0 K 1 1000 5",
        "c1.0 K 0 9000",
        "c2.0 K 1 2000 6",
        "c2.0 K 0 2100",
        "c3.0 K 1 5000 7",
        "c3.0 K 0 6000",
    ]
    assert len(judged(*lines)) == 1, "the first one is too short to count, the second one is not"


@pytest.mark.parametrize(
    ("ended", "again", "noticed"),
    [
        ("X eof 0 2000", "J 5 9 0 1 1 10000 3000 1", False),
        ("X eof 0 2000", "J 6 9 0 1 0 10000 3000 1", True),  # a new seat
        ("X eof 0 2000", "J 6 9 0 1 1 10000 3000 1", True),  # another seat
        ("X eof 0 2000", "J 6 9 0 1 0 10000 12500 1", False),  # too late
    ],
)
def test_a_calm_member_that_comes_back(ended: str, again: str, noticed: bool) -> None:
    first = [f"c1.0 {HELLO}", "c1.0 J 5 2 0 1 0 10000 1000 1", f"c1.0 {ended}"]
    assert bool(judged(*first, f"c1.1 {HELLO}", f"c1.1 {again}")) == noticed


def test_a_member_that_left_has_no_seat() -> None:
    first = [f"c1.0 {HELLO}", "c1.0 J 5 2 0 1 0 10000 1000 1", "c1.0 L 3", "c1.0 X eof 0 2000"]
    assert judged(*first, f"c1.1 {HELLO}", "c1.1 J 6 9 0 1 0 10000 3000 1") == []
