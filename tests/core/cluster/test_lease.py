"""The lease: a server acts as long as what it writes counts, and is taken for dead only after it has stopped to."""

from __future__ import annotations

from rankmux.core.cluster.fold import Peer
from rankmux.core.cluster.lease import Lease

UP = {1: Peer("one", 1), 2: Peer("two", 1)}


def test_it_holds_from_when_the_last_entry_that_counted_was_sent() -> None:
    lease = Lease(12.0, 15.0)
    lease.begin(100.0)
    assert lease.until < 100.0
    lease.counted(100.0)
    assert lease.until == 112.0
    lease.counted(105.0)  # read back late: what counts is when it was sent
    assert lease.until == 117.0
    lease.counted(101.0)
    assert lease.until == 117.0
    lease.begin(110.0)
    assert lease.until < 110.0


def test_another_is_silent_after_its_time_and_named_once_a_second() -> None:
    lease = Lease(12.0, 15.0)
    lease.heard(2, 100.0)
    lease.heard(1, 100.0)
    assert lease.silent(UP, 1, 114.9) == []
    assert lease.silent(UP, 1, 115.0) == [(2, False)]
    assert lease.silent(UP, 1, 115.5) == []
    assert lease.silent(UP, 1, 116.1) == [(2, True)]
    lease.heard(2, 116.2)
    assert lease.silent(UP, 1, 131.1) == []
    assert lease.silent(UP, 1, 131.3) == [(2, True)]


def test_one_that_was_never_heard_is_silent_from_the_first_look() -> None:
    lease = Lease(12.0, 15.0)
    assert lease.silent(UP, 1, 50.0) == []
    assert lease.silent(UP, 1, 64.9) == []
    assert lease.silent(UP, 1, 65.0) == [(2, False)]


def test_after_a_break_nobody_has_been_silent() -> None:
    lease = Lease(12.0, 15.0)
    lease.heard(2, 100.0)
    lease.begin(130.0)
    assert lease.silent(UP, 1, 144.9) == []
    assert lease.silent(UP, 1, 145.0) == [(2, False)]


def test_one_that_is_gone_is_forgotten() -> None:
    lease = Lease(12.0, 15.0)
    lease.heard(2, 100.0)
    lease.silent({}, 1, 101.0)
    assert lease.silent(UP, 1, 116.0) == []


def test_one_that_comes_up_between_two_looks_is_silent_after_its_time() -> None:
    lease = Lease(12.0, 15.0)
    lease.heard(2, 100.0)
    assert lease.silent(UP, 1, 101.0) == []
    up = UP | {3: Peer("three", 1)}
    lease.heard(3, 102.0)
    lease.heard(2, 114.0)
    assert lease.silent(up, 1, 116.9) == []
    assert lease.silent(up, 1, 117.0) == [(3, False)]
    assert lease.silent(up, 1, 118.0) == [(3, True)]
    assert lease.silent(up, 1, 129.0) == [(2, False), (3, True)]
