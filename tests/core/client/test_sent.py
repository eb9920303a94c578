"""A sent request: its answers, and the error that replaces them."""

from __future__ import annotations

import pytest

from rankmux.codes import Status
from rankmux.core.client.events import CommandAccepted, CommandDone, MembersPage
from rankmux.core.client.results import Counts, RoutedResult, gathered
from rankmux.core.client.sent import PageRequest, Progress, SentCommand
from rankmux.errors import CommandRefused, ConnectionLost


def test_a_command_is_dispatched_and_then_over():
    progress = Progress(1, wants_results=True)
    assert not progress.dispatched
    progress.accept(CommandAccepted(1, 12, 2, 3))
    progress.check_dispatched()
    assert (progress.seq, progress.executors, progress.rejected) == (12, 2, 3)
    assert progress.dispatched
    assert not progress.over
    progress.finish(CommandDone(1, 1, 0, 0, 0, 1))
    assert progress.over
    assert progress.final_counts() == Counts(1, 0, 0, 0, 1)
    assert progress.final_counts().total == 2


def test_a_refused_command_raises_the_refusal():
    progress = Progress(1, wants_results=True)
    progress.refuse(CommandRefused(1, 2, "not lower"))
    assert progress.over
    for step in (progress.check_dispatched, progress.final_counts):
        with pytest.raises(CommandRefused, match="not lower"):
            step()


def test_a_loss_after_the_dispatch_raises_only_at_the_end():
    progress = Progress(1, wants_results=True)
    progress.accept(CommandAccepted(1, 12, 2, 0))
    progress.error = ConnectionLost("gone")
    progress.check_dispatched()
    with pytest.raises(ConnectionLost):
        progress.final_counts()


@pytest.mark.parametrize(("results", "end"), [(True, "not done"), (False, "no results wanted")])
def test_a_receipt_shows_how_far_it_is(results, end):
    progress = Progress(7, results)
    progress.accept(CommandAccepted(7, 12, 2, 0))
    assert repr(SentCommand(progress)) == f"<Receipt 7: seq 12, 2 executors, {end}>"


def test_a_page_request_has_its_page_or_raises():
    request = PageRequest(5)
    assert not request.over
    request.page = MembersPage(5, 12, 0, ())
    assert request.over
    assert request.result() is request.page
    lost = PageRequest(6)
    lost.error = ConnectionLost("gone")
    assert lost.over
    with pytest.raises(ConnectionLost):
        lost.result()


def test_partial_results_are_joined_in_front_of_their_end():
    part, ok = Status.PART, Status.OK
    results = [
        RoutedResult(2, 20, part, b"a"),
        RoutedResult(1, 10, part, b"x"),
        RoutedResult(2, 20, ok, b"b"),
        RoutedResult(1, 10, Status.LEFT, b""),
    ]
    assert gathered(results) == [RoutedResult(1, 10, Status.LEFT, b"x"), RoutedResult(2, 20, ok, b"ab")]
