"""Tracking of a reader: entries in order, lost ones, holes of the log, and silence."""

from __future__ import annotations

import pytest

from rankmux.courier.tracking import Arrival, Silence, Tracker, numbers_of


def test_entries_in_order():
    tracker = Tracker(5)
    assert [tracker.arrived(seq, sent) for seq, sent in ((5, 1), (6, 2), (7, 3))] == [Arrival.NEXT] * 3
    assert tracker.next == 8
    assert not tracker.is_behind(3)
    assert tracker.is_behind(4)


def test_a_message_that_was_lost_on_the_way():
    tracker = Tracker(5)
    tracker.arrived(5, 1)
    assert tracker.arrived(7, 3) is Arrival.LOST
    assert tracker.next == 6


def test_a_reader_below_the_first_entry_begins_with_another_one():
    assert Tracker(5).arrived(9, 1) is Arrival.HOLE


def test_an_entry_that_was_had_is_old():
    tracker = Tracker(5)
    assert tracker.arrived(4, 1) is Arrival.OLD
    assert tracker.arrived(5, 2) is Arrival.NEXT


def test_silence_is_judged_by_looks_that_come_in_time():
    silence = Silence(1.0, 0.1, 0.0)
    assert not any(silence.look(at / 10) for at in range(1, 11))
    silence.heard(0.95)
    assert not silence.look(1.1)
    assert not any(silence.look(at / 10) for at in range(12, 20))
    assert silence.look(2.0)


def test_a_late_look_judges_nothing():
    """The process was stopped: what was sent meanwhile has not been read yet."""
    silence = Silence(1.0, 0.1, 0.0)
    assert not silence.look(60.0)
    assert not silence.look(60.1)
    assert any(silence.look(60 + at / 10) for at in range(2, 12))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("$JS.ACK.RM_main.rmx_1.1.12.3.1700000000.4", (12, 3, 1700000000, 4)),
        ("$JS.ACK._.hash.RM_main.rmx_1.1.12.3.1700000000.4.token", (12, 3, 1700000000, 4)),
        ("$JS.FC.RM_main.rmx_1.x", None),
        ("", None),
    ],
)
def test_numbers_in_a_reply(reply, expected):
    assert numbers_of(reply) == expected
