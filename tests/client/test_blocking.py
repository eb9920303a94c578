"""Features of the blocking client alone: its threads, and its descriptor."""

from __future__ import annotations

import threading

import rankmux.core.client.inbox
from rankmux import Client, ReceivedCommand, reject
from rankmux.codes import Cause
from rankmux.server.server import Server
from rankmux.wire import Execute, Rank

from ..support.drivers import PATIENCE_S, serving
from ..support.fake_server import Connection, FakeServer
from .words import until


def test_the_descriptor_is_that_of_the_socket():
    with Server(port=0, seats=2) as server, Client(*server.address) as client:
        assert client.fileno() >= 0
        client.close()
        assert client.fileno() == -1


def test_handlers_run_one_at_a_time_in_the_thread_that_serves(monkeypatch):
    monkeypatch.setattr(
        rankmux.core.client.inbox, "_COMMANDS_SOFT", 5
    )  # a waiting handler continues to read, above it too
    running: list[str] = []
    threads: set[int] = set()
    overlaps: list[list[str]] = []

    def handler(command: ReceivedCommand) -> None:
        running.append(command.text)
        threads.add(threading.get_ident())
        if len(running) > 1:
            overlaps.append(list(running))
        bob.who()  # reads the frames that have arrived meanwhile
        running.remove(command.text)

    with (
        Server(port=0, seats=3) as server,
        Client(*server.address) as ada,
        Client(*server.address) as bob,
        Client(*server.address, handler=reject),
        serving(bob, handler) as serving_thread,
    ):
        stop = threading.Event()
        others = [threading.Thread(target=lambda: bob.wait(stop.is_set, PATIENCE_S)) for _ in range(3)]
        for thread in others:
            thread.start()
        receipts = [ada.command(str(n), to="next", results=True, timeout=PATIENCE_S) for n in range(50)]
        assert [receipt.wait(PATIENCE_S).ok for receipt in receipts] == [1] * 50
        stop.set()
        ada.command("the last", to="next", results=True).wait(PATIENCE_S)
        for thread in others:
            thread.join(PATIENCE_S)
        assert overlaps == []
        assert threads == {serving_thread.ident}


def test_waiting_for_a_rank_runs_the_commands_before_it():
    """A host that takes over continues after the last command of its predecessor."""
    happened: list[str] = []

    def script(connection: Connection) -> None:
        connection.welcome(rank=1, members=2)
        commands = [Execute(seq, 0, 0, 0, b"tick") for seq in range(12, 32)]
        connection.send(*commands, Rank(32, 0, 1, Cause.LOST))
        connection.until_gone()

    with (
        FakeServer(script) as fake,
        Client(
            fake.host,
            fake.port,
            handler=lambda command: happened.append(command.text),
            on_promoted=lambda event: happened.append(f"rank {event.rank}"),
        ) as client,
    ):
        assert client.wait_for_rank(0, PATIENCE_S)
        assert sorted(happened) == ["rank 0"] + ["tick"] * 20


def test_a_callback_comes_between_quiet_commands_that_wait():
    told: list[object] = []
    with (
        Server(port=0, seats=3) as server,
        Client(*server.address) as ada,
        Client(*server.address) as eve,
        Client(*server.address, on_promoted=lambda promoted: told.append(promoted.rank)) as bob,
    ):

        def handler(command: ReceivedCommand) -> None:
            told.append(command.text)
            if command.text == "0":
                eve.close()
                until(lambda: bob.who()[1].ticket == bob.ticket)
            elif command.text == "9":
                bob.close()

        for number in range(10):
            ada.command(str(number), to=2, quiet=True)
        ada.who()
        bob.serve(handler)
    assert told == ["0", 1, *map(str, range(1, 10))]
