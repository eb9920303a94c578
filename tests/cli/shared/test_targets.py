"""Targets as users write them, looked up in a list of members."""

from __future__ import annotations

import pytest

from rankmux.cli.shared.targets import target_of
from rankmux.errors import ArgumentError

NAMES = ["boss", "me", "web-1", "web-2", "db-1", "2", "ada@box", ""]
MEMBERS = [(rank, 100 + rank, name) for rank, name in enumerate(NAMES)]
ME = 101


@pytest.mark.parametrize(
    ("text", "ranks", "below"),
    [
        ("2", [2], 1),
        ("0", [0], 0),
        ("1", [], 0),
        ("1-3", [2, 3], 2),
        ("2-3,6", [2, 3, 6], 3),
        (" 2 , 6 ", [2, 6], 2),
        ("7-99", [7], 1),
        ("99", [], 0),
        ("ticket:102", [2], 1),
        ("ticket:9", [], 0),
        ("web-*", [2, 3], 2),
        ("web-?", [2, 3], 2),
        ("[wd]*b-1", [2, 4], 2),
        ("WEB-*", [], 0),
        ("ada@box", [6], 1),
        ("name:2", [5], 1),
        ("name:all", [], 0),
        ("!db-*", [0, 2, 3, 5, 6, 7], 5),
        ("!2-7", [0], 0),
        ("web-*,!web-2", [2], 1),
        ("!web-2,web-*", [2], 1),
        ("*", [0, 2, 3, 4, 5, 6, 7], 6),
        ("web-*,2,db-1", [2, 3, 4], 3),
    ],
)
def test_lookup_of_several_members(text, ranks, below):
    found = target_of(text).find(MEMBERS, ME)
    assert (found.tickets, found.below) == (tuple(100 + rank for rank in ranks), below)


@pytest.mark.parametrize(
    ("text", "unknown", "single"),
    [
        ("2", [], True),
        ("ticket:102", [], True),
        ("web-1", [], True),
        ("web-*,!web-2", [], False),
        ("2-2", [], True),
        ("2-3", [], False),
        ("2,99,web-9,ticket:5,20-30,x*", ["99", "web-9", "ticket:5"], False),
        ("!99", [], False),
    ],
)
def test_lookup_of_one_member(text, unknown, single):
    found = target_of(text).find(MEMBERS, ME)
    assert (found.unknown, found.single) == (unknown, single)


def test_two_of_one_name_are_not_one_member():
    assert not target_of("twin").find([(1, 1, "twin"), (2, 2, "twin")], 0).single


@pytest.mark.parametrize("text", ["", ",", "1,", "!", "1,!", "5-1", "4294967296", "ticket:", "ticket:x"])
def test_invalid_targets(text):
    with pytest.raises(ArgumentError):
        target_of(text)


@pytest.mark.parametrize("text", ["all", "next", "least"])
def test_keywords(text):
    assert target_of(text).keyword == text
    assert target_of(f"name:{text}").keyword is None
