"""The exact line of members: a listing in pages, and the changes that arrive during and after it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rankmux.core.client.line
from rankmux.codes import Change
from rankmux.core.client.events import LineChanged, MembersPage
from rankmux.core.client.line import Line
from rankmux.errors import ConnectionLost, ProtocolViolation, StateError
from rankmux.wire import MemberInfo


class Room:
    """The server's side: the line, its seq, and the frames for a watcher."""

    def __init__(self, members: int) -> None:
        self.seq = self.last_ticket = members
        self.line = [(ticket, f"m{ticket}", False) for ticket in range(1, members + 1)]

    def happen(self, what: Change, place: int = 0) -> LineChanged | None:
        if what is Change.JOINED:
            self.last_ticket += 1
            self.line.append((self.last_ticket, f"m{self.last_ticket}", False))
            rank, (ticket, name, _) = len(self.line) - 1, self.line[-1]
        elif not self.line:
            return None
        else:
            rank = place % len(self.line)
            ticket, name, _ = self.line[rank]
            if what in (Change.ABSENT, Change.BACK):
                self.line[rank] = ticket, name, what is Change.ABSENT
            else:
                del self.line[rank]
        self.seq += 1
        return LineChanged(self.seq, what, ticket, rank, len(self.line), name)

    def page(self, first_rank: int, size: int) -> MembersPage:
        rows = tuple(
            MemberInfo(rank, ticket, 0, name, "", absent)
            for rank, (ticket, name, absent) in list(enumerate(self.line))[first_rank : first_rank + size]
        )
        return MembersPage(1, self.seq, len(self.line), rows)

    def command(self) -> None:
        self.seq += 1


def seen(line: Line) -> list[tuple[int, str, bool]]:
    assert [member.rank for member in line.members] == list(range(len(line.members)))
    return [(member.ticket, member.name, member.absent) for member in line.members]


CHANGES = st.lists(st.tuples(st.sampled_from(Change), st.integers(0, 30)), max_size=4)


@given(st.integers(0, 12), st.integers(1, 4), st.data())
def test_the_line_is_exact_whatever_happens_meanwhile(members, size, data):
    room, line = Room(members), Line()

    def happen(changes: list[tuple[Change, int]]) -> None:
        for what, place in changes:
            if (change := room.happen(what, place)) is not None:
                line.feed(change)
        room.command()

    for _ in range(60):
        first_rank, _ = line.request()
        happen(data.draw(CHANGES))  # before the server takes the WHO
        page = room.page(first_rank, size)
        if line.receive(page):
            break
        happen(data.draw(CHANGES))  # before the next WHO
    else:
        while not line.receive(room.page(line.request()[0], size)):  # no changes from here on
            pass
    assert seen(line) == room.line
    happen(data.draw(CHANGES))
    while line.take() is not None:
        pass
    assert seen(line) == room.line


def test_a_change_counts_from_when_it_is_taken():
    room, line = Room(3), Line()
    before = room.happen(Change.LOST, 0)
    line.feed(before)
    assert line.receive(room.page(0, 9)), "the page has that already"
    assert line.take() is None
    after = room.happen(Change.LEFT, 0)
    line.feed(after)
    assert [ticket for ticket, *_ in seen(line)] == [2, 3]
    assert line.ready
    assert line.take() == after
    assert [ticket for ticket, *_ in seen(line)] == [3]


def test_a_return_has_the_new_name():
    room, line = Room(1), Line()
    line.receive(room.page(0, 9))
    line.feed(LineChanged(5, Change.BACK, 1, 0, 1, "renamed"))
    line.take()
    assert seen(line) == [(1, "renamed", False)]


def test_unread_changes_are_bounded(monkeypatch):
    monkeypatch.setattr(rankmux.core.client.line, "_CHANGES_MAX", 3)
    line = Line()
    for seq in range(1, 10):
        line.feed(LineChanged(seq, Change.JOINED, seq, 0, 1, ""))
    assert not line._changes
    with pytest.raises(StateError, match="wait unread"):
        line.take()


def test_a_loss_comes_after_the_changes():
    room, line = Room(1), Line()
    line.receive(room.page(0, 9))
    line.feed(room.happen(Change.JOINED))
    line.lose(ConnectionLost("gone"))
    assert line.take() is not None
    with pytest.raises(ConnectionLost, match="gone"):
        line.take()


def test_pages_that_make_no_line():
    line = Line()
    for _ in range(100):
        assert not line.receive(MembersPage(1, 1, 5, ()))
    with pytest.raises(ProtocolViolation):
        line.receive(MembersPage(1, 1, 5, ()))
    line = Line()
    with pytest.raises(ProtocolViolation):
        line.receive(MembersPage(1, 1, 1, (MemberInfo(0, 1, 0, "", ""), MemberInfo(1, 2, 0, "", ""))))
