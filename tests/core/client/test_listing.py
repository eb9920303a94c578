"""A listing: pages of WHO while the room changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rankmux.core.client.events import MembersPage
from rankmux.core.client.listing import Listing
from rankmux.wire import MemberInfo


def page(room: list[int], first: int, size: int) -> MembersPage:
    rows = [MemberInfo(rank, room[rank], 0, "", "") for rank in range(first, min(first + size, len(room)))]
    return MembersPage(1, 1, len(room), tuple(rows))


@given(
    st.integers(1, 40),
    st.integers(2, 10),
    st.lists(st.tuples(st.sets(st.integers(0, 60), max_size=3), st.integers(0, 3)), max_size=6),
)
def test_a_listing_has_every_member_that_was_there_throughout(members, size, changes):
    room = list(range(100, 100 + members))
    newest = room[-1]
    stayed = set(room)
    listing = Listing()
    pending = list(changes)
    while not listing.receive(page(room, listing.request()[0], size)):
        if pending:
            gone, joins = pending.pop()
            stayed -= {room[index] for index in gone if index < len(room)}
            room = [ticket for index, ticket in enumerate(room) if index not in gone]
            room += range(newest + 1, newest + 1 + joins)
            newest += joins
    tickets = [member.ticket for member in listing.members]
    assert tickets == sorted(set(tickets))
    if len(changes) <= 5:
        assert stayed <= set(tickets)
    if not changes:
        assert tickets == room


@given(st.integers(1, 20))
def test_pages_of_one_member(members):
    room = list(range(members))
    listing = Listing()
    for _ in range(members - 1):
        assert not listing.receive(page(room, listing.request()[0], 1))
    assert listing.receive(page(room, listing.request()[0], 1))
    assert [member.ticket for member in listing.members] == room


def test_a_room_that_empties():
    listing = Listing()
    assert not listing.receive(page(list(range(10)), 0, 5))
    assert not listing.receive(page([], 4, 5))  # begins again
    assert listing.receive(page([], 0, 5))
    assert listing.members == []


def test_a_room_that_never_rests():
    listing = Listing()
    pages = 0
    room = list(range(100))
    while not listing.receive(page(room, listing.request()[0], 10)):
        room = [*room[1:], room[-1] + 1]
        pages += 1
    assert pages < 30
