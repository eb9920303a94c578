"""Workers with slow handlers (L7): input is read meanwhile, its amount is bounded, and no server evicts them."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

import rankmux.core.client.inbox
from rankmux import Client, ReceivedCommand
from rankmux.client.engine import Engine
from rankmux.errors import ConnectionLost
from rankmux.server.server import Server
from rankmux.wire import Execute, Pong, Rank

from ..support.drivers import PATIENCE_S, serving
from ..support.fake_server import Connection, FakeServer
from .words import shout, until


def test_commands_without_a_handler_are_bounded(stage, join, monkeypatch, caplog):
    monkeypatch.setattr(rankmux.core.client.inbox, "_COMMANDS_HARD", 2)
    ada, bob = join(), join()
    receipts = [ada.command(str(n), results=True) for n in range(4)]
    bob.who()
    bob.poll()
    assert sum(map(int, re.findall("([0-9]+) commands were turned away", caplog.text))) == 2
    assert [receipt.gather(PATIENCE_S)[0].payload for receipt in receipts[2:]] == [
        b"2 commands wait here already"
    ] * 2
    stage.enter_context(serving(bob, lambda command: command.payload))
    assert [receipt.gather(PATIENCE_S)[0].text for receipt in receipts[:2]] == ["0", "1"]


@pytest.mark.slow
def test_commands_that_are_run_are_never_turned_away(stage, join, monkeypatch):
    """Their executor receives no more than its inbox holds; TCP, and then the server, slow the sender down."""
    monkeypatch.setattr(rankmux.core.client.inbox, "_COMMANDS_SOFT", 10)
    monkeypatch.setattr(rankmux.core.client.inbox, "_COMMANDS_HARD", 700)  # one read brings 260
    ada, bob = join(), join()
    ran: list[bytes] = []
    go_on = threading.Event()

    def handler(command: ReceivedCommand) -> None:
        assert go_on.wait(PATIENCE_S)
        ran.append(command.payload)

    stage.enter_context(serving(bob, handler))
    reader = threading.Thread(target=bob.keep_reading)
    reader.start()
    filler = b"x" * 1000
    for number in range(6_000):
        ada.command(b"%d " % number + filler, quiet=True)
        if number == 1500:
            go_on.set()
    receipt = ada.command("last", results=True, timeout=PATIENCE_S)
    assert receipt.wait(PATIENCE_S * 2).ok == 1
    assert [int(payload.split()[0]) for payload in ran[:-1]] == list(range(6_000))
    bob.close()
    reader.join(PATIENCE_S)


def test_a_handler_that_blocks_does_not_stop_keep_reading(stage, connect):
    """L7: with `keep_reading` in one of the caller's threads, a server with short timeouts keeps the client."""
    server = stage.enter_context(Server(port=0, seats=10, ping_ms=400))
    ada = stage.enter_context(connect(*server.address))
    bob = stage.enter_context(connect(*server.address))
    go_on = threading.Event()
    stage.enter_context(serving(bob, lambda _: str(go_on.wait(PATIENCE_S))))
    reader = threading.Thread(target=bob.keep_reading)
    reader.start()
    receipt = ada.command("block", results=True, timeout=PATIENCE_S)
    with pytest.raises(TimeoutError):
        receipt.wait(1.6)  # several ping intervals
    assert bob.rank == 1
    go_on.set()
    assert receipt.gather(PATIENCE_S)[0].text == "True"
    bob.close()
    reader.join(PATIENCE_S)
    assert not reader.is_alive()


def test_a_busy_worker_is_not_taken_for_dead(stage, connect, monkeypatch):
    """During a slow handler the inbox is so full that no more input is read, not even the server's PINGs."""
    monkeypatch.setattr(rankmux.core.client.inbox, "_COMMANDS_SOFT", 3)
    server = stage.enter_context(Server(port=0, seats=10, ping_ms=400))
    ada = stage.enter_context(connect(*server.address))
    bob = stage.enter_context(connect(*server.address))
    go_on = threading.Event()
    stage.enter_context(serving(bob, lambda _: str(go_on.wait(PATIENCE_S))))
    for client in (ada, bob):
        threading.Thread(target=client.keep_reading, daemon=True).start()
    receipts = [ada.command("block", results=True, timeout=PATIENCE_S) for _ in range(10)]
    with pytest.raises(TimeoutError):
        receipts[0].wait(2)  # this server waits 1.1 s for a sign of life
    go_on.set()
    assert [receipt.gather(PATIENCE_S)[0].text for receipt in receipts] == ["True"] * 10
    assert bob.rank == 1


def test_a_busy_worker_goes_on_sending_pings(connect, monkeypatch):
    """It may send more PINGs than can otherwise await a PONG; all PONGs are accepted when it reads again."""
    monkeypatch.setattr(rankmux.core.client.inbox, "_COMMANDS_SOFT", 3)
    go_on = threading.Event()

    def script(connection: Connection) -> None:
        connection.welcome(ping_ms=1)
        connection.send(*(Execute(12 + n, 0, 0, 0, b"x") for n in range(4)))
        for _ in range(20):
            assert connection.read_until(0x06) == b""
        go_on.set()
        connection.send(*[Pong(b"")] * 20, Rank(16, 1, 2, 1))
        connection.until_gone()

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client:
        with serving(client, lambda _: str(go_on.wait(PATIENCE_S))):
            reader = threading.Thread(target=client.keep_reading)
            reader.start()
            assert client.wait_for_rank(1, PATIENCE_S)
        reader.join(PATIENCE_S)


def test_a_busy_worker_notices_the_loss_of_its_server(connect, monkeypatch):
    monkeypatch.setattr(rankmux.core.client.inbox, "_COMMANDS_SOFT", 3)

    def script(connection: Connection) -> None:
        connection.welcome(ping_ms=50)
        connection.send(*(Execute(12 + n, 0, 0, 0, b"x") for n in range(4)))
        connection.read_until(0x06)
        connection.reset()

    go_on = threading.Event()

    def work(call: Callable[[], None]) -> None:
        with suppress(ConnectionLost):
            call()

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client:
        calls = (client.keep_reading, lambda: client.serve(lambda _: str(go_on.wait(PATIENCE_S))))
        threads = [threading.Thread(target=work, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        until(lambda: client.rank is None)
        go_on.set()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in threads)


def unread(promotes: threading.Event, told: threading.Event) -> Callable[[Connection], None]:
    """A server that reads nothing: it sends four commands, then a new rank, and stays until that is `told`."""

    def script(connection: Connection) -> None:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.welcome(ping_ms=3_600_000)
        connection.send(*(Execute(12 + n, 0, 0, 0, b"x") for n in range(4)))
        assert promotes.wait(PATIENCE_S)
        connection.send(Rank(16, 1, 2, 1))
        assert told.wait(PATIENCE_S)

    return script


def fill(client: Client) -> None:
    """Have it send until it must wait."""
    with suppress(TimeoutError):
        for _ in range(200):
            client.command(bytes(60_000), quiet=True)


def test_reading_resumes_although_the_server_does_not_read(connect, monkeypatch):
    """A thread that sleeps until it can write must learn that it may read; the ping interval is far too long a wait."""
    monkeypatch.setattr(rankmux.core.client.inbox, "_COMMANDS_SOFT", 3)
    go_on, told = threading.Event(), threading.Event()

    with FakeServer(unread(go_on, told)) as fake, connect(fake.host, fake.port, timeout=0.2) as client:
        with serving(client, lambda _: str(go_on.wait(PATIENCE_S))):
            reader = threading.Thread(target=client.keep_reading)
            reader.start()
            fill(client)
            go_on.set()
            until(lambda: client.rank == 1)
        reader.join(PATIENCE_S)
        told.set()  # it closes with input unread, which would reset the connection


def test_what_is_taken_while_a_thread_decides_not_to_read_is_not_missed(monkeypatch):
    """Commands that want no result are taken without the lock: here, between the look at them and the sleep."""
    monkeypatch.setattr(rankmux.core.client.inbox, "_COMMANDS_SOFT", 3)
    begun, go_on, taken, told = (threading.Event() for _ in range(4))
    paused, tell = Engine._paused, Engine.taken

    def look(engine: Engine) -> bool:
        found = paused(engine)
        if found and threading.current_thread() is reader and not go_on.is_set():
            go_on.set()
            assert taken.wait(PATIENCE_S)
        return found

    def tell_taken(engine: Engine) -> None:
        tell(engine)
        if go_on.is_set() and not engine.inbox.commands:
            taken.set()

    def handler(_: object) -> str:
        begun.set()
        return str(go_on.wait(PATIENCE_S))

    monkeypatch.setattr(Engine, "_paused", look)
    monkeypatch.setattr(Engine, "taken", tell_taken)
    with FakeServer(unread(taken, told)) as fake, Client(fake.host, fake.port, timeout=0.2) as client:
        reader = threading.Thread(target=client.keep_reading)
        with serving(client, handler):
            assert begun.wait(PATIENCE_S)
            fill(client)
            reader.start()
            until(lambda: client.rank == 1)
        reader.join(PATIENCE_S)
        told.set()


def test_keep_reading_reads_for_others(stage, join):
    ada, bob = join(), join()
    stage.enter_context(serving(bob, shout))
    reader = threading.Thread(target=ada.keep_reading)
    reader.start()
    assert [ada.command(str(n), results=True).gather(PATIENCE_S)[0].text for n in range(20)] == [
        *map(str, range(20))
    ]
    ada.close()
    reader.join(PATIENCE_S)
    assert not reader.is_alive()
