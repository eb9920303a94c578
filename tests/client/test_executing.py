"""Running received commands and callbacks: the results of handlers, and when and in which thread they run."""

from __future__ import annotations

import socket
import threading
import time
import tracemalloc
from collections.abc import Callable

import pytest

from rankmux import Client, ReceivedCommand, Rejected, reject
from rankmux.codes import Cause, Status
from rankmux.errors import ArgumentError, CommandRefused, ConnectionLost, StateError
from rankmux.wire import Execute

from ..support.drivers import PATIENCE_S, serving
from ..support.fake_server import Connection, FakeServer
from .words import shout


def test_many_quiet_commands_and_some_with_results_run_in_order(stage, join):
    """The quiet ones in a row, without the lock; reading pauses and resumes meanwhile."""
    ada, bob, ran = join(), join(), []
    stage.enter_context(serving(bob, lambda command: ran.append(int(command.text))))
    receipts = [
        ada.command(str(number), results=number % 100 == 0, quiet=number % 100 > 0) for number in range(5000)
    ]
    assert all(receipt.wait(PATIENCE_S).ok == 1 for receipt in receipts[::100])
    assert ada.command("5000", results=True).wait(PATIENCE_S).ok == 1
    assert ran == [*range(5001)]


def test_results_of_handlers(stage, join, caplog):
    ada, bob = join(), join()

    def handler(command: ReceivedCommand) -> object:
        match command.text:
            case "bytes":
                return b"\xff"
            case "text":
                return "é"
            case "nothing":
                return None
            case "nonsense":
                return 5
            case "part":
                command.emit("one ")
                command.emit("")
                command.emit(b"two ")
                return "three"
            case "finish":
                command.finish(Status.FAILED, "by hand")
                return None
            case "long":
                return bytes(150_000)
            case "about":
                return f"{command.seq} {command.sender_rank} {command.rank} {command.wants_result}"
            case "reject":
                raise Rejected("not here")
            case "raise":
                raise ValueError("wrong")
        raise AssertionError

    stage.enter_context(serving(bob, handler))

    def answer(command: str) -> list[tuple[Status, bytes]]:
        return [
            (result.status, result.payload)
            for result in ada.command(command, results=True, timeout=PATIENCE_S)
        ]

    assert answer("bytes") == [(Status.OK, b"\xff")]
    assert answer("text") == [(Status.OK, "é".encode())]
    assert answer("nothing") == [(Status.OK, b"")]
    assert answer("part") == [(Status.PART, b"one "), (Status.PART, b"two "), (Status.OK, b"three")]
    assert answer("finish") == [(Status.FAILED, b"by hand")]
    assert [(status, len(payload)) for status, payload in answer("long")] == [
        (Status.PART, 65536),
        (Status.PART, 65536),
        (Status.OK, 150_000 - 2 * 65536),
    ]
    ((status, payload),) = answer("about")
    assert payload.split()[1:] == [b"0", b"1", b"True"]
    assert answer("reject") == [(Status.REJECTED, b"not here")]
    assert caplog.records == []
    ((status, payload),) = answer("nonsense")
    assert (status, payload) == (
        Status.FAILED,
        b"TypeError: the handler returned int: expected bytes, str or None",
    )
    assert answer("raise") == [(Status.FAILED, b"ValueError: wrong")]
    assert [record.exc_info[0] for record in caplog.records] == [TypeError, ValueError]
    assert answer("text") == [(Status.OK, "é".encode())], "the reader lives (L7)"


def test_a_client_that_executes_nothing(stage, join):
    ada, bob = join(), join(handler=reject)
    stage.enter_context(serving(bob, reject))
    assert ada.command("print", results=True).wait(PATIENCE_S).rejected == 1


def test_a_handler_commands_its_own_juniors(stage, join):
    """Re-entrancy: commands that arrive while a handler waits for a receipt are kept, and run afterwards in order."""
    clients = [join() for _ in range(4)]

    def forward(client: Client) -> Callable[[ReceivedCommand], str]:
        def handler(command: ReceivedCommand) -> str:
            try:
                below = client.command(command.payload, to="next", results=True, timeout=PATIENCE_S).gather()
            except CommandRefused:
                below = []
            return f"{command.rank}:{command.text}" + "".join(f"({result.text})" for result in below)

        return handler

    for client in clients[1:]:
        stage.enter_context(serving(client, forward(client)))
    receipts = [clients[0].command(f"c{n}", to="next", results=True, timeout=PATIENCE_S) for n in range(20)]
    answers = [receipt.gather()[0].text for receipt in receipts]
    assert answers == [f"1:c{n}(2:c{n}(3:c{n}))" for n in range(20)]


def test_a_handler_that_sends_more_than_the_server_reads(connect):
    """It is blocked, and gets an error in the end; memory stays flat."""
    gone = threading.Event()
    told: list[BaseException] = []

    def script(connection: Connection) -> None:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.welcome()
        connection.send(Execute(12, 0, 1, 0, b"x"))
        gone.wait(PATIENCE_S)

    def handler(command: ReceivedCommand) -> None:
        try:
            for _ in range(2000):
                command.emit(bytes(60_000))
        except TimeoutError as error:
            told.append(error)
        client.close()

    with FakeServer(script) as fake:
        client = connect(fake.host, fake.port, timeout=0.2)
        tracemalloc.start()
        try:
            client.serve(handler)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        gone.set()
    assert len(told) == 1
    assert peak < 2_000_000


def test_a_handler_given_at_the_start_runs_in_any_call_that_waits(join):
    ada, cyd = join(), None
    bob = join(handler=shout)
    cyd = join(handler=reject)
    receipt = ada.command("print", to="next", results=True)
    bob_receipt = bob.command("report", results=True, timeout=0.05)
    bob_receipt.wait(PATIENCE_S)
    assert [result.text for result in receipt.results(PATIENCE_S)] == ["PRINT"]
    assert cyd.rank == 2


def test_commands_are_queued_until_serve(stage, join):
    ada, bob = join(), join()
    receipts = [ada.command(str(n), results=True) for n in range(3)]
    bob.who()  # reads them
    stage.enter_context(serving(bob, lambda command: command.payload))
    assert [receipt.gather(PATIENCE_S)[0].text for receipt in receipts] == ["0", "1", "2"]


def test_a_command_that_expires_while_it_waits_is_not_run(stage, join, caplog):
    ada, bob = join(), join()
    late = ada.command("late", results=True, timeout=0.1)
    assert late.wait(PATIENCE_S).expired == 1
    bob.who()  # reads it
    time.sleep(0.2)  # its clock began later
    ran = []
    stage.enter_context(serving(bob, lambda command: ran.append(command.text)))
    assert ada.command("in time", results=True).wait(PATIENCE_S).ok == 1
    assert ran == ["in time"]
    assert "was not run: it waited here until it expired" in caplog.text


def test_serve_ends_when_the_handler_closes_the_client(join, caplog):
    ada, bob = join(), join()
    ada.command("stop", quiet=True)
    bob.serve(lambda _: bob.close())
    assert bob.closed
    with pytest.raises(ConnectionLost, match="this client was closed"):
        bob.command("print")


def test_serve_within_serve(join, caplog):
    ada, bob = join(), join()
    receipt = ada.command("x", results=True)

    def handler(command: ReceivedCommand) -> None:
        command.emit("trying")
        bob.serve(shout)

    thread = threading.Thread(target=bob.serve, args=(handler,))
    thread.start()
    assert receipt.wait(PATIENCE_S).failed == 1
    assert b"StateError" in receipt.gather()[0].payload
    with pytest.raises(StateError):
        bob.serve(shout)
    bob.close()
    thread.join(PATIENCE_S)


def test_poll_answers_and_runs(join):
    ada, bob = join(), join(handler=shout)
    receipt = ada.command("print", results=True)
    while ada.poll() or receipt.counts is None:
        bob.poll(0.01)
    assert receipt.gather()[0].text == "PRINT"


def test_promotions_by_callback_iterator_and_waiting(stage, join):
    heard: list[tuple[int, int, Cause]] = []
    ada, bob, cyd, dan = (
        join(),
        join(),
        join(),
        join(on_promoted=lambda p: heard.append((p.before, p.rank, p.cause))),
    )
    promotions = cyd.promotions()
    assert not cyd.wait_for_rank(0, timeout=0.01)
    for wrong in (-1, True, "0"):
        with pytest.raises(ArgumentError, match=r"rank .* expected a number, at least 0"):
            cyd.wait_for_rank(wrong)
    ada.close()
    assert dan.wait_for_rank(2, PATIENCE_S)
    bob.close()
    assert dan.wait_for_rank(1, PATIENCE_S)
    dan.poll()
    assert heard == [(3, 2, Cause.LEFT), (2, 1, Cause.LEFT)]
    assert [next(promotions).rank, next(promotions).rank] == [1, 0]
    assert cyd.rank == 0
    closer = threading.Timer(0, cyd.close)
    closer.start()
    assert list(promotions) == []
    closer.join()


def test_a_callback_that_raises_is_reported(join, caplog):
    def fail(promoted: object) -> None:
        raise ValueError("in the callback")

    ada, bob = join(), join(on_promoted=fail)
    ada.close()
    assert bob.wait_for_rank(0, PATIENCE_S)
    bob.poll()
    assert "in the callback" in caplog.text
    assert bob.who()
