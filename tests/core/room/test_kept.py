"""Kept seats: absent members and their deadlines, lookup by secret, keeps that expire in order."""

from __future__ import annotations

import pytest

from rankmux.core.room.kept import Keep, KeptSeats
from rankmux.core.room.ranks import Ranks


@pytest.fixture
def ranks() -> Ranks:
    ranks = Ranks()
    for ticket in (3, 5, 8, 9):
        ranks.append(ticket, ticket, "", "")
    return ranks


@pytest.fixture
def kept(ranks: Ranks) -> KeptSeats:
    kept = KeptSeats(ranks)
    for ticket, keep_ms in ((3, 500), (5, 1000), (9, 200)):
        kept.add(ticket, Keep(b"%d" % ticket, keep_ms, ""))
    return kept


def test_seats_are_found_by_secret(kept):
    assert [kept.ticket_of(secret) for secret in (b"3", b"5", b"9", b"8", b"")] == [3, 5, 9, 0, 0]
    assert [ticket in kept for ticket in (3, 8)] == [True, False]
    kept.drop(5)
    kept.drop(8)
    assert (kept.ticket_of(b"5"), kept.get(5)) == (0, None)
    kept.move(9, 12)
    assert (kept.ticket_of(b"9"), 9 in kept, kept[12].keep_ms) == (12, False, 200)


def test_the_absent_by_rank(kept, ranks):
    assert (list(kept.away()), kept.absent, kept.next_ms()) == ([], 0, None)
    kept.lose(9, 100)
    kept.lose(3, 100)
    assert (list(kept.away()), kept.absent) == ([0, 3], 2)
    assert [kept.is_absent(ticket) for ticket in (3, 5, 8, 9)] == [True, False, False, True]
    ranks.remove([1])
    kept.drop(5)
    kept.moved()
    assert list(kept.away()) == [0, 2]
    kept.find(3, 700)
    assert (list(kept.away()), kept[3].keep_ms) == ([2], 700)


def test_keeps_run_out_in_their_order(kept):
    kept.lose(5, 0)
    kept.lose(3, 100)
    kept.lose(9, 500)
    assert kept.next_ms() == 601
    assert kept.pop_over(600, set()) == 0
    assert [kept.pop_over(1001, set()) for _ in range(4)] == [3, 9, 5, 0]


def test_a_return_begins_the_keep_anew(kept):
    kept.lose(9, 0)
    kept.find(9, 200)
    assert kept.next_ms() is None
    kept.lose(9, 1000)
    assert (kept.next_ms(), kept.pop_over(1200, set())) == (1201, 0)
    assert kept.pop_over(1201, {9}) == 0, "it returns in this turn"


def test_after_a_restart_all_are_absent(kept):
    kept.lose(9, 0)
    kept.wake(50)
    assert (list(kept.away()), kept.next_ms()) == ([0, 1, 3], 251)
    assert [kept.pop_over(2000, set()) for _ in range(4)] == [9, 3, 5, 0]


def test_losses_and_returns_leave_nothing_behind(kept):
    """With an old keep that runs for long at their head."""
    kept.lose(5, 0)
    for moment_ms in range(1, 10_000):
        kept.lose(9, moment_ms)
        kept.find(9, 200)
    assert len(kept.moments) <= 2 * 3 + 64 + 1
    assert kept.next_ms() == 1001
