"""The window: what is under way is sent again in order, until it is read back."""

from __future__ import annotations

from rankmux.core.cluster.window import Window, Written
from rankmux.core.room.batch import Batch
from rankmux.core.room.turn import Entry, Turn


def filled(count: int, at: float = 10.0) -> Window:
    window = Window()
    for n in range(1, count + 1):
        window.add(Written(n, b"%d" % n, at))
    return window


def test_it_is_full_by_number_and_by_bytes() -> None:
    window = Window(entries_max=2, bytes_max=10)
    assert not window.full
    window.add(Written(1, b"1234567890", 0.0))
    assert window.full
    window.read_back(1, 0.0)
    assert not window.full
    window.add(Written(2, b"", 0.0))
    window.add(Written(3, b"", 0.0))
    assert window.full
    window.clear()
    assert not window.full


def test_it_is_full_at_4_mib_unless_set_otherwise() -> None:
    window = Window()
    window.add(Written(1, bytes((4 << 20) - 1), 0.0))
    assert not window.full
    window.add(Written(2, b"x", 0.0))
    assert window.full


def test_only_the_oldest_is_read_back() -> None:
    window = filled(3)
    assert window.read_back(2, 11.0) is None
    first = window.read_back(1, 11.0)
    assert first is not None
    assert (first.n, len(window)) == (1, 2)
    assert window.read_back(1, 11.0) is None


def test_all_of_it_is_sent_again_when_nothing_moves_for_half_a_second() -> None:
    window = filled(3)
    assert window.next_at() == 10.5
    assert window.again(10.49) == []
    window.read_back(1, 10.4)
    assert window.again(10.89) == []
    assert window.again(10.91) == [b"2", b"3"]
    assert window.again(10.92) == []
    assert window.again(11.42) == [b"2", b"3"]


def test_after_a_gap_it_is_sent_again_soon_but_not_for_each() -> None:
    window = filled(2)
    assert window.again(10.06, gap=True) == [b"1", b"2"]
    assert window.again(10.07, gap=True) == []
    assert window.again(10.12, gap=True) == [b"1", b"2"]


def test_nothing_is_sent_again_of_nothing() -> None:
    window = Window()
    assert window.again(100.0) == []
    assert window.next_at() == float("inf")
    assert window.since == float("inf")


def test_a_new_connection_gets_everything_at_once() -> None:
    window = filled(2)
    assert window.all_again(10.1) == [b"1", b"2"]
    assert window.next_at() == 10.6


def test_pings_leave_those_that_wait() -> None:
    window = filled(2)
    last = window.last
    assert last is not None
    idle = Entry(0, Batch(10))
    last.wait(Turn(idle, pings=[(1, b"a")]))
    last.wait(Turn(idle, pings=[(2, b"b")]))
    assert window.take_pings() == [(1, b"a"), (2, b"b")]
    assert window.take_pings() == []
    assert last.local is not None
