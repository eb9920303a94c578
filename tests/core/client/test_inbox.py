"""An inbox: its bounds, the results of live or dropped receipts, and the end of the connection."""

from __future__ import annotations

import gc
from collections import deque
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rankmux.core.client.inbox
from rankmux.codes import Status
from rankmux.core.client.events import CommandDone, Ended, ExecuteReceived, ExecutionCancelled
from rankmux.core.client.inbox import Inbox
from rankmux.core.client.received import ExecutedCommand
from rankmux.core.client.results import RoutedResult
from rankmux.core.client.session import ClientSession
from rankmux.errors import ConnectionLost, ResultsLost

from ...support.client_sessions import arrived, routed


def test_commands_that_wait_are_bounded_in_bytes_too(monkeypatch):
    monkeypatch.setattr(rankmux.core.client.inbox, "_COMMANDS_HARD_BYTES", 100)
    inbox = Inbox(ClientSession())

    seqs = count(1)

    def arrive(size: int) -> int:
        inbox.apply(arrived(ExecuteReceived(next(seqs), 0, 1, False, 0, bytes(size))), 0.0)
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
        inbox.apply(routed(id_, RoutedResult(1, 5, Status.OK, b"x")), 0.0)
        inbox.apply(CommandDone(id_, 1, 0, 0, 0, 0), 0.0)
    assert kept.take() == RoutedResult(1, 5, Status.OK, b"x")
    assert kept.take() is None
    assert kept.unread_size == 0
    assert kept.over


def test_a_loss_ends_everything_that_waits():
    inbox = Inbox(ClientSession())
    progress = inbox.expect(1, True)
    inbox.apply(arrived(ExecuteReceived(1, 0, 1, True, 0, b"x")), 0.0)
    inbox.apply(Ended(ConnectionLost("gone")), 0.0)
    assert isinstance(progress.error, ResultsLost)
    assert progress.error.reason == "gone"
    assert inbox.take_command() is None


def test_a_command_that_is_cancelled_before_it_was_begun_is_never_begun(monkeypatch):
    monkeypatch.setattr(rankmux.core.client.inbox, "_COMMANDS_SOFT_BYTES", 100)
    inbox = Inbox(ClientSession())
    for seq in (1, 2, 3):
        inbox.apply(arrived(ExecuteReceived(seq, 0, 1, True, 0, bytes(50))), 0.0)
    assert inbox.commands_suffice
    inbox.apply(ExecutionCancelled(2), 0.0)
    inbox.apply(ExecutionCancelled(3), 0.0)
    inbox.apply(ExecutionCancelled(4), 0.0)
    assert not inbox.commands_suffice
    taken = inbox.take_command()
    assert taken is not None
    assert taken[0].seq == 1
    assert inbox.take_command() is None


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("come"), st.lists(st.booleans(), min_size=1, max_size=4)),
            st.tuples(st.just("cancel"), st.integers(0, 20)),
            st.tuples(st.just("take"), st.none()),
            st.tuples(st.just("drop"), st.none()),
        ),
        max_size=30,
    )
)
def test_commands_that_come_are_cancelled_and_are_taken(steps):
    """Only those that want a result can be cancelled, and all others are taken, in order, with exact sizes."""
    inbox, seqs = Inbox(ClientSession()), count(1)
    waiting: list[ExecuteReceived] = []
    for what, argument in steps:
        match what:
            case "come":
                commands = [ExecuteReceived(next(seqs), 0, 1, wants, 0, bytes(7)) for wants in argument]
                inbox.apply(arrived(*commands), 0.0)
                waiting += commands
            case "cancel":
                inbox.apply(ExecutionCancelled(argument), 0.0)
                waiting = [one for one in waiting if one.seq != argument or not one.wants_result]
            case "take":
                taken = inbox.take_command()
                assert (taken and taken[0]) == (waiting.pop(0) if waiting else None)
            case "drop":
                inbox.apply(Ended(None), 0.0)
                waiting.clear()
        assert inbox.commands_size == 7 * len(waiting)


@pytest.mark.parametrize("taken_at", range(12))
def test_a_command_is_cancelled_while_another_thread_takes_quiet_ones(taken_at):
    """At whatever step of the cancellation the other thread takes commands, no other command is cancelled."""
    inbox = Inbox(ClientSession())
    inbox.apply(arrived(*(ExecuteReceived(n, 0, 1, n == 8, 0, b"") for n in range(1, 16))), 0.0)
    steps, ran = count(), []

    class Waiting(deque):
        """Commands of which another thread takes two between two of our accesses."""

        def __getitem__(self, index: int) -> object:
            if next(steps) == taken_at:
                ran.extend(self.popleft()[0].seq for _ in range(2))
            return super().__getitem__(index)

    inbox.commands = Waiting(inbox.commands)
    inbox.apply(ExecutionCancelled(8), 0.0)
    while (taken := inbox.take_command()) is not None:
        ran.append(taken[0].seq)
    assert ran == [n for n in range(1, 16) if n != 8]


def test_a_running_command_is_marked_as_cancelled():
    inbox = Inbox(ClientSession())
    calls: list[int] = []
    command = ExecutedCommand(ExecuteReceived(7, 0, 1, True, 0, b"x"), 0.0, 100, lambda: 0.0)
    command._on_cancel = lambda: calls.append(1)
    inbox.running[7] = command
    inbox.apply(ExecutionCancelled(8), 0.0)
    assert not command.cancelled
    inbox.apply(ExecutionCancelled(7), 0.0)
    assert command.cancelled
    assert calls == [1]
    assert list(command._partial("more")) == list(command._final(Status.OK, "done")) == []
    assert command.finished
