"""Commands that end early: cancelled by their sender, at the end of a block, or with its connection."""

from __future__ import annotations

import threading

import pytest

from rankmux import Counts, ReceivedCommand, Status
from rankmux.errors import StateError
from rankmux.wire import Execute, Stop

from ..support.drivers import PATIENCE_S, serving
from ..support.fake_server import Connection, FakeServer
from .words import shout, until


class Worker:
    """A handler that runs until its command is cancelled; an asyncio client cancels the task that awaits it, too."""

    def __init__(self) -> None:
        self.began, self.ended = threading.Event(), threading.Event()
        self.ran: list[str] = []
        self.failures: list[str] = []

    def __call__(self, command: ReceivedCommand) -> str:
        self.ran.append(command.text)
        if command.text == "short":
            return "done"
        self.began.set()
        pause = threading.Event()
        for _ in range(int(PATIENCE_S / 0.01)):
            if command.cancelled:
                self.ended.set()
                return "too late"
            pause.wait(0.01)
        self.failures.append("it was never cancelled")
        return ""


@pytest.fixture
def scene(stage, join):
    worker = Worker()
    ada, bob = join("ada"), join("bob")
    stage.enter_context(serving(bob, worker))
    yield ada, bob, worker
    assert worker.failures == []


def test_a_command_that_runs_is_stopped_and_answers_nothing(scene):
    ada, _, worker = scene
    receipt = ada.command("long", results=True, timeout=60)
    assert worker.began.wait(PATIENCE_S)
    receipt.cancel()
    receipt.cancel()
    assert receipt.wait(PATIENCE_S) == Counts(0, 0, 0, 0, 0, 1)
    assert [result.status for result in receipt] == [Status.CANCELLED]
    assert worker.ended.wait(PATIENCE_S)
    receipt.cancel()  # all have ended
    assert ada.command("short", results=True).gather(PATIENCE_S)[0].text == "done"


def test_a_command_that_waits_behind_another_is_never_begun(scene):
    ada, _, worker = scene
    first = ada.command("long", results=True, timeout=60)
    assert worker.began.wait(PATIENCE_S)
    second = ada.command("second", results=True, timeout=60)
    second.cancel()
    assert second.wait(PATIENCE_S).cancelled == 1
    first.cancel()
    assert first.wait(PATIENCE_S).cancelled == 1
    assert ada.command("short", results=True).wait(PATIENCE_S).ok == 1
    assert worker.ran == ["long", "short"]


def test_leaving_the_block_cancels_pending_commands(scene):
    ada, _, worker = scene
    with ada.command("long", results=True, timeout=60) as receipt:
        assert worker.began.wait(PATIENCE_S)
        assert not worker.ended.is_set()
    assert worker.ended.wait(PATIENCE_S)
    assert receipt.wait(PATIENCE_S).cancelled == 1
    with ada.command("short", results=True) as receipt:
        assert receipt.wait(PATIENCE_S).ok == 1
    with ada.command("short") as receipt:
        pass
    with pytest.raises(StateError, match="results=True"):
        receipt.cancel()


def test_a_tied_command_ends_with_the_connection_of_its_sender(scene):
    ada, _, worker = scene
    ada.command("long", results=True, tied=True, timeout=60)
    assert worker.began.wait(PATIENCE_S)
    ada.close()
    assert worker.ended.wait(PATIENCE_S)


def test_a_cancel_for_an_unknown_command_is_ignored(connect):
    results = []

    def script(connection: Connection) -> None:
        connection.welcome()
        connection.send(Stop(999), Execute(12, 0, 1, 0, b"a"), Stop(11), Execute(13, 0, 1, 0, b"b"), Stop(13))
        results.append(connection.read_until(0x03)[8:])
        connection.send(Stop(12), Execute(14, 0, 1, 0, b"c"))
        results.append(connection.read_until(0x03)[8:])
        connection.until_gone()

    with FakeServer(script) as fake:
        client = connect(fake.host, fake.port)
        with serving(client, shout):
            until(lambda: len(results) == 2)
        assert results == [b"\0A", b"\0C"]


def test_waiting_for_the_cancel(server):
    """Of the blocking client alone, whose handlers have no task to cancel."""
    from rankmux import Client

    ended = []
    with Client(*server.address) as ada, Client(*server.address) as bob:

        def handler(command: ReceivedCommand) -> str:
            ended.append(command.wait_cancelled(0.01))
            ended.append(command.wait_cancelled(PATIENCE_S))
            return "too late"

        with serving(bob, handler):
            receipt = ada.command("long", results=True)
            until(lambda: len(ended) == 1)
            receipt.cancel()
            assert receipt.wait(PATIENCE_S).cancelled == 1
            until(lambda: len(ended) == 2)
    assert ended == [False, True]


def test_a_stopped_command_sends_no_result(connect):
    """Neither what the handler returns, nor that its task was cancelled."""
    worker, results = Worker(), []

    def script(connection: Connection) -> None:
        connection.welcome()
        connection.send(Execute(12, 0, 1, 0, b"long"))
        assert worker.began.wait(PATIENCE_S)
        connection.send(Stop(12), Execute(13, 0, 1, 0, b"short"))
        results.append(connection.read_until(0x03))
        connection.until_gone()

    with FakeServer(script) as fake:
        client = connect(fake.host, fake.port)
        with serving(client, worker):
            until(lambda: bool(results))
            assert worker.ended.wait(PATIENCE_S)
    assert results == [(13).to_bytes(8) + b"\0done"]
    assert worker.failures == []
