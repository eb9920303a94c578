"""The leader lock under faults, two rounds of each. (`python -m tests.faults.leader_lock`: the long form.)"""

from __future__ import annotations

import asyncio

import pytest

from .contender import GRACE_S
from .leader_lock import FAULTS, KEPT, STOPPED_S, measure
from .lock_notes import Note, judge

PING_S = 0.4  # GRACE_S is well below 1.75 times this, which prevents two leaders under some faults
SLACK_S = 1.5  # for starting programs on a busy machine
BUSY_S = 0.3  # for stopping them
SILENCE_S = PING_S * 3.25  # the server evicts a silent member within this time
LEADS_WITHIN_S = {  # from the fault until the next program writes
    "kill": GRACE_S,
    "stop": SILENCE_S,
    "cut-to-client": SILENCE_S + GRACE_S,
    "cut-to-server": SILENCE_S,
    "cut-both": SILENCE_S,
    "server": 3.0,  # it has to start, and `wait` too, more than once
}
KEEP_S = 2.0
KEPT_WITHIN_S = {
    "kill": GRACE_S + SLACK_S,
    "server": 3.0 + SLACK_S,
    "cut-short": 0.0,
    "cut-long": SILENCE_S + KEEP_S + SLACK_S,
}
TWO_WITHIN_S = {
    "kill": 0.0,
    "stop": STOPPED_S + GRACE_S + BUSY_S,
    "cut-to-client": 0.0,
    "cut-to-server": GRACE_S + BUSY_S,
    "cut-both": PING_S * 1.25 + GRACE_S + BUSY_S,
    "server": GRACE_S + BUSY_S,
}


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("stubborn", [False, True], ids=["ends at SIGTERM", "ignores SIGTERM"])
@pytest.mark.parametrize("fault", FAULTS)
def test_the_next_one_leads_and_two_do_not_for_long(fault: str, stubborn: bool) -> None:
    for each in asyncio.run(measure(fault, 2, PING_S, stubborn=stubborn)):
        print(fault, each)
        assert each.nobody_s <= each.next_s <= LEADS_WITHIN_S[fault] + SLACK_S
        assert each.two_s <= TWO_WITHIN_S[fault]
        assert each.rising
        assert each.fenced
        if fault == "stop":
            assert each.refused, "the program of a stopped `wait` goes on, and only the fence holds it up"


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", KEPT)
def test_with_a_keep_two_lead_only_after_a_server_that_forgot_it(fault: str) -> None:
    """A leader that is killed or cut off for a moment leads on, with its ticket; else the next one does.

    A server that was killed knows no keep, and its first member leads, while the program of the old leader may go on.
    """
    for each in asyncio.run(measure(fault, 1, PING_S, keep_s=KEEP_S)):
        print(fault, each)
        assert each.two_s <= (KEEP_S if fault == "server" else 0.0)
        assert each.nobody_s <= each.next_s <= KEPT_WITHIN_S[fault]
        assert each.rising
        assert each.fenced
        assert each.two_s or not each.refused


def notes(pid: int, ticket: int, *at: float, written: bool = True) -> list[Note]:
    return [Note(ticket, each, pid, written) for each in at]


def test_a_gap_is_counted_from_the_fault() -> None:
    found = judge([*notes(1, 1, 0.0, 1.0), *notes(2, 2, 3.5, 4.0)], fault_at=2.0)
    assert (found.next_s, found.nobody_s, found.two_s, found.rising) == (1.5, 1.5, 0.0, True)


def test_an_overlap_is_counted() -> None:
    found = judge([*notes(1, 1, 0.0, 4.0), *notes(2, 2, 2.5, 3.0), *notes(3, 3, 5.0)], fault_at=2.0)
    assert (found.next_s, found.nobody_s, found.two_s) == (0.5, 1.0, 0.5)


def test_a_smaller_ticket_that_writes_has_passed_the_fence() -> None:
    late = [*notes(1, 1, 0.0), *notes(2, 2, 1.0)]
    refused = judge([*late, *notes(1, 1, 2.0, written=False)], fault_at=0.5)
    assert (refused.fenced, refused.refused) == (True, 1)
    assert not judge([*late, *notes(1, 1, 2.0)], fault_at=0.5).fenced


def test_a_ticket_that_does_not_rise() -> None:
    assert not judge([*notes(1, 2, 0.0), *notes(2, 2, 1.0)], fault_at=0.5).rising
