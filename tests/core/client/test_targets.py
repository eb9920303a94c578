"""The executors of a command as a caller names them: their target on the wire, and the wrong ones."""

from __future__ import annotations

import pytest

from rankmux.codes import Target
from rankmux.core.client.targets import Destination, destination_of
from rankmux.errors import ArgumentError
from rankmux.wire import MemberInfo

LINE = [MemberInfo(rank, ticket, 0, name, "") for rank, (ticket, name) in enumerate(
    [(3, "web-1"), (5, "db-1"), (8, "web-2"), (9, "Web-3")]
)]  # fmt: skip


def test_named_targets_and_ranks():
    assert destination_of("all") == Destination(Target.ALL, broadcast=True)
    assert destination_of("next") == Destination(Target.NEXT)
    assert destination_of("least") == Destination(Target.LEAST)
    assert destination_of(5) == Destination(Target.ONE, 5)


def test_members_go_by_ticket_rising_and_each_once():
    assert destination_of(LINE[2]) == Destination(Target.SET, tickets=(8,))
    assert destination_of([LINE[2], LINE[0], LINE[2]]) == Destination(Target.SET, tickets=(3, 8))
    assert destination_of(member for member in LINE[:2]) == Destination(Target.SET, tickets=(3, 5))
    assert destination_of([]) == Destination(Target.SET)
    assert destination_of("all", [9, 3, 9]) == Destination(Target.SET, tickets=(3, 9))


@pytest.mark.parametrize(
    ("names", "tickets", "broadcast"),
    [
        ("web-*", (3, 8), True),
        ("web-?", (3, 8), True),
        ("*", (3, 5, 8, 9), True),
        ("[dw]*-1", (3, 5), True),
        ("db-1", (5,), False),
        ("db", (), False),
        ("2", (), False),
        ("next", (), False),
        (["web-1", "db-?"], (3, 5), False),
        (["web-?", "[dw]*-1"], (3, 5, 8), True),
        ([], (), False),
    ],
)
def test_names_are_looked_up_in_a_listing(names, tickets, broadcast):
    destination = destination_of("all", names=names)
    assert destination.names == ((names,) if isinstance(names, str) else tuple(names))
    found = destination.looked_up(LINE, own_ticket=None)
    assert found == Destination(Target.SET, tickets=tickets, broadcast=broadcast)


def test_this_client_itself_is_never_meant():
    assert destination_of("all", names="web-*").looked_up(LINE, own_ticket=8).tickets == (3,)


@pytest.mark.parametrize(
    "to", ["", "leest", "ALL", "web-*", -1, 1 << 32, True, None, 1.0, b"all", [2], (1, 2), object()]
)
def test_what_names_nobody(to):
    with pytest.raises(ArgumentError, match="or a rank; names are given as names="):
        destination_of(to)


@pytest.mark.parametrize("ticket", [-1, 1 << 64, True, "3", None, LINE[0]])
def test_tickets_that_are_none(ticket):
    with pytest.raises(ArgumentError, match="tickets of members"):
        destination_of("all", [ticket])


def test_a_ticket_that_is_in_no_list():
    with pytest.raises(ArgumentError, match="tickets is 3: expected the tickets of members, in a list"):
        destination_of("all", 3)


@pytest.mark.parametrize("names", ["", [""], [3], 3, b"web", ["web-*", None]])
def test_names_that_are_none(names):
    with pytest.raises(ArgumentError, match="the name of members, a pattern"):
        destination_of("all", names=names)


def test_a_target_beside_tickets_or_names():
    for others in ({"tickets": [3]}, {"names": "web-*"}, {"tickets": [3], "names": "web-*"}):
        with pytest.raises(ArgumentError, match="beside tickets or names"):
            destination_of("next", **others)
    with pytest.raises(ArgumentError, match="none beside tickets"):
        destination_of("all", [3], "web-*")
