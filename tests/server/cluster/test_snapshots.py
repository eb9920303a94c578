"""The snapshots of a room: when one is due, and which ones a server does not begin with."""

from __future__ import annotations

import pytest

from rankmux.core.cluster.fold import Fold
from rankmux.core.cluster.snapshot import dump
from rankmux.errors import LogBroken
from rankmux.server.cluster.log import Opened
from rankmux.server.cluster.snapshots import Snapshots

from ...support.memory_log import MemoryLog, Store
from ...support.scribe import Log, Scribe, a_fold


@pytest.fixture
def fold() -> Fold:
    """That of a room that has begun."""
    fold = a_fold()
    Log(fold).add(Scribe(fold, 1).genesis())
    return fold


def test_one_is_due_after_10_000_entries(fold: Fold) -> None:
    snapshots = Snapshots(fold, MemoryLog(Store()))
    for last in (0, 10_000):
        fold.resume(last + 9999, 0)
        assert not snapshots.due
        fold.resume(last + 10_000, 0)
        assert snapshots.due
        snapshots.store()
        assert not snapshots.due


def test_one_is_due_after_16_mib_of_entries(fold: Fold) -> None:
    snapshots = Snapshots(fold, MemoryLog(Store()))
    for _ in range(2):
        snapshots.read((16 << 20) - 1)
        assert not snapshots.due
        snapshots.read(1)
        assert snapshots.due
        snapshots.store()
        assert not snapshots.due


def test_one_is_due_when_the_log_lacks_it(fold: Fold) -> None:
    log = MemoryLog(Store())
    snapshots = Snapshots(fold, log)
    assert not snapshots.due
    log.lacking = True
    assert snapshots.due
    snapshots.store()
    assert not snapshots.due


def test_both_are_counted_from_the_one_that_a_server_begins_with(fold: Fold) -> None:
    fold.resume(30_000, 0)
    late = a_fold()
    snapshots = Snapshots(late, MemoryLog(Store()))
    snapshots.read(16 << 20)
    snapshots.load(Opened("first", 30_000, 1 << 20, 30_000, dump(fold)))
    assert not snapshots.due
    late.resume(40_000, 0)
    assert snapshots.due


def test_that_of_another_room_is_refused(fold: Fold) -> None:
    """It is whole, and of another entry than the log says."""
    snapshots = Snapshots(a_fold(), MemoryLog(Store()))
    with pytest.raises(LogBroken, match="another"):
        snapshots.load(Opened("first", 5, 1 << 20, fold.seq + 1, dump(fold)))
