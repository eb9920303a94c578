"""What a driver keeps: listings over pages while the room changes, results of receipts that live or are dropped."""

from __future__ import annotations

import gc

from hypothesis import given
from hypothesis import strategies as st

import rankmux.core.client.inbox
from rankmux.codes import Status
from rankmux.core.client.events import CommandDone, Ended, ExecuteReceived, MembersPage, ResultRouted
from rankmux.core.client.inbox import Inbox
from rankmux.core.client.listing import Listing
from rankmux.core.client.sent import RoutedResult, gathered
from rankmux.core.client.session import ClientSession
from rankmux.errors import ConnectionLost
from rankmux.wire import MemberInfo


def page(room: list[int], first: int, size: int) -> MembersPage:
    rows = [MemberInfo(rank, room[rank], 0, "", "") for rank in range(first, min(first + size, len(room)))]
    return MembersPage(1, 1, len(room), tuple(rows))


@given(
    st.integers(1, 40),
    st.integers(2, 10),
    st.lists(st.tuples(st.sets(st.integers(0, 60), max_size=3), st.integers(0, 3)), max_size=6),
)
def test_a_listing_misses_nobody_who_was_there_all_the_time(members, size, changes):
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


def test_commands_that_wait_are_bounded_in_bytes_too(monkeypatch):
    monkeypatch.setattr(rankmux.core.client.inbox, "_COMMANDS_HARD_BYTES", 100)
    inbox = Inbox(ClientSession())

    def arrive(size: int) -> int:
        inbox.apply(ExecuteReceived(1, 0, 1, False, 0, bytes(size)), 0.0)
        return len(inbox.commands)

    assert [arrive(60), arrive(41), arrive(40), arrive(1)] == [1, 1, 2, 2]
    assert inbox.turned_away == 2
    inbox.take_command()
    assert [arrive(61), arrive(60), arrive(1)] == [1, 2, 2]


def test_results_of_a_dropped_receipt_are_not_kept():
    inbox = Inbox(ClientSession())
    kept, dropped = inbox.expect(1, True), inbox.expect(2, True)
    del dropped
    gc.collect()
    for id_ in (1, 2):
        inbox.apply(ResultRouted(id_, 5, 1, Status.OK, b"x"), 0.0)
        inbox.apply(CommandDone(id_, 1, 0, 0, 0, 0), 0.0)
    assert kept.take() == RoutedResult(1, 5, Status.OK, b"x")
    assert kept.take() is None
    assert kept.unread_size == 0
    assert kept.over


def test_a_loss_ends_everything_that_waits():
    inbox = Inbox(ClientSession())
    progress = inbox.expect(1, True)
    inbox.apply(ExecuteReceived(1, 0, 1, True, 0, b"x"), 0.0)
    inbox.apply(Ended(ConnectionLost("gone")), 0.0)
    assert isinstance(progress.error, ConnectionLost)
    assert progress.error.reason == "gone"
    assert inbox.take_command() is None


def test_partial_results_are_joined_in_front_of_their_end():
    part, ok = Status.PART, Status.OK
    results = [
        RoutedResult(2, 20, part, b"a"),
        RoutedResult(1, 10, part, b"x"),
        RoutedResult(2, 20, ok, b"b"),
        RoutedResult(1, 10, Status.LEFT, b""),
    ]
    assert gathered(results) == [RoutedResult(1, 10, Status.LEFT, b"x"), RoutedResult(2, 20, ok, b"ab")]
