"""The joins of a turn and the places they get: what both twins of them have in common."""

from __future__ import annotations

from types import ModuleType

import pytest

JOINS = [(7, "ada", "a:1"), (-1, "", "", b"s" * 32, 2**32 - 1, 2**64 - 1, "cn")]
PLACES = [(7, 2**64 - 1, 2, 3, "ada", 3), (-1, 5, 2**32 - 2, 9, "", 2**32 - 1, 2**32 - 1, True, b"baton")]
SHOWN = {
    "Join": "Join(handle=7, name='ada', address='a:1', secret=b'', keep_ms=0, last_seq=0, identity='')",
    "Joined": (
        f"Joined(handle=7, ticket={2**64 - 1}, rank=2, seq=3, name='ada', members=3, keep_ms=0, returned=False, "
        "baton=b'')"
    ),
}


@pytest.mark.parametrize(("kind", "cases"), [("Join", JOINS), ("Joined", PLACES)])
def test_they_are_equal_by_their_facts(
    framing: ModuleType, kind: str, cases: list[tuple[object, ...]]
) -> None:
    made = getattr(framing, kind)
    for facts in cases:
        one = made(*facts)
        assert one == made(*facts)
        assert one != made(8, *facts[1:])
        assert one != facts
    assert repr(made(*cases[0])) == SHOWN[kind]


def test_what_a_turn_changes_in_them(framing: ModuleType) -> None:
    join = framing.Join(1, "ada", "a:1")
    join.secret, join.keep_ms, join.last_seq, join.identity = b"s" * 32, 1000, 5, "cn"
    assert join == framing.Join(1, "ada", "a:1", b"s" * 32, 1000, 5, "cn")
    place = framing.Joined(1, 2, 3, 4, "ada", 5)
    place.keep_ms, place.baton = 1000, b"baton"
    assert place == framing.Joined(1, 2, 3, 4, "ada", 5, keep_ms=1000, returned=False, baton=b"baton")
