"""An inbox: its bounds, the results of live or dropped receipts, and the end of the connection."""

from __future__ import annotations

import gc

import rankmux.core.client.inbox
from rankmux.codes import Status
from rankmux.core.client.events import CommandDone, Ended, ExecuteReceived, ResultRouted
from rankmux.core.client.inbox import Inbox
from rankmux.core.client.sent import RoutedResult
from rankmux.core.client.session import ClientSession
from rankmux.errors import ConnectionLost


def test_commands_that_wait_are_bounded_in_bytes_too(monkeypatch):
    monkeypatch.setattr(rankmux.core.client.inbox, "_COMMANDS_HARD_BYTES", 100)
    inbox = Inbox(ClientSession())

    def arrive(size: int) -> int:
        inbox.apply(ExecuteReceived(1, 0, 1, False, 0, bytes(size)), 0.0)
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
        inbox.apply(ResultRouted(id_, 5, 1, Status.OK, b"x"), 0.0)
        inbox.apply(CommandDone(id_, 1, 0, 0, 0, 0), 0.0)
    assert kept.take() == RoutedResult(1, 5, Status.OK, b"x")
    assert kept.take() is None
    assert kept.unread_size == 0
    assert kept.over


def test_a_loss_ends_everything_that_waits():
    inbox = Inbox(ClientSession())
    progress = inbox.expect(1, True)
    inbox.apply(ExecuteReceived(1, 0, 1, True, 0, b"x"), 0.0)
    inbox.apply(Ended(ConnectionLost("gone")), 0.0)
    assert isinstance(progress.error, ConnectionLost)
    assert progress.error.reason == "gone"
    assert inbox.take_command() is None
