"""When the servers of a room go on to a newer version: not while an older one may only be away."""

from __future__ import annotations

from rankmux.core.cluster.fold import Peer
from rankmux.core.cluster.upgrade import SETTLED_S, Upgrade

OLD, NEW, NEWEST = Peer("old", 1), Peer("new", 2), Peer("newest", 3)


def test_all_must_have_spoken_it_for_some_time() -> None:
    upgrade = Upgrade()
    assert upgrade.reached({1: NEW, 2: OLD}, 1, 100.0) == 1
    assert upgrade.reached({1: NEW}, 1, 200.0) == 1
    assert upgrade.reached({1: NEW, 2: NEWEST}, 1, 199.9 + SETTLED_S) == 1
    assert upgrade.reached({1: NEW, 2: NEWEST}, 1, 200.0 + SETTLED_S) == 2
    assert upgrade.reached({1: NEW, 2: NEWEST}, 2, 201.0 + SETTLED_S) == 2


def test_the_time_begins_anew_behind_an_old_one_that_came_back() -> None:
    upgrade = Upgrade(10.0)
    assert upgrade.reached({1: NEW}, 1, 0.0) == 1
    assert upgrade.reached({1: NEW, 2: OLD}, 1, 9.0) == 1
    assert upgrade.reached({1: NEW}, 1, 10.0) == 1
    assert upgrade.reached({1: NEW}, 1, 19.9) == 1
    assert upgrade.reached({1: NEW}, 1, 20.0) == 2


def test_and_behind_a_time_in_which_this_server_was_not_up() -> None:
    upgrade = Upgrade(10.0)
    assert upgrade.reached({1: NEW}, 1, 0.0) == 1
    upgrade.begin()
    assert upgrade.reached({1: NEW}, 1, 100.0) == 1
    assert upgrade.reached({1: NEW}, 1, 110.0) == 2
