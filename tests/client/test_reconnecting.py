"""Reconnecting after a loss (L1, L2): the errors that are retried, those that are not, and the end of retries."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from rankmux import ReceivedCommand
from rankmux.codes import ErrorCode
from rankmux.errors import AuthError, ConnectionLost
from rankmux.server.server import Server
from rankmux.wire import ErrorFrame, Execute, Result

from ..support.drivers import PATIENCE_S
from ..support.fake_server import Connection, FakeServer
from .words import shout, until


def test_reconnecting_after_a_restart(at_once, connect):
    """L1, L3, L4: a new rank, no frame sent twice, and every client is back."""
    lost: list[str] = []
    joined: list[int] = []
    with Server(port=0, seats=10) as server:
        host, port = server.address
        clients = [
            connect(
                host,
                port,
                name=str(n),
                reconnect=True,
                on_lost=lambda e: lost.append(str(e)),
                on_joined=joined.append,
            )
            for n in range(3)
        ]
        receipt = clients[0].command("never answered", results=True)
    with pytest.raises(ConnectionLost):
        receipt.wait(PATIENCE_S)
    for client in clients:
        client.poll()
        assert client.rank is None
    with Server(host=host, port=port, seats=10):
        for client in clients:
            assert client.wait_for_rank(9, PATIENCE_S)
            client.poll()
        assert sorted(client.rank for client in clients) == [0, 1, 2]
        assert receipt.counts is None
        first = min(clients, key=lambda client: client.rank)
        assert first.command("hello").executors == 2
        for client in clients:
            client.close()
    assert len(lost) == 3
    assert sorted(joined) == [0, 0, 1, 1, 2, 2]


def test_serve_goes_on_after_a_loss(at_once, connect):
    rounds = []

    def script(connection: Connection) -> None:
        connection.welcome()
        connection.send(Execute(12, 0, 1, 0, b"again"))
        rounds.append(connection.read_until(0x03))

    def last(connection: Connection) -> None:
        connection.welcome()
        connection.send(Execute(12, 0, 1, 0, b"stop"))
        connection.until_gone()

    with FakeServer(script, script, last) as fake:
        client = connect(fake.host, fake.port, reconnect=True)

        def handler(command: ReceivedCommand) -> bytes:
            if command.text == "stop":
                client.close()
            return command.payload

        client.serve(handler)
        assert rounds == [Result(12, 0, b"again").encode()[5:]] * 2


def test_a_wrong_token_twice_ends_the_trying(at_once, connect):
    """L2; a full server in between does not end the retries."""

    def say(code: ErrorCode) -> Callable[[Connection], None]:
        return lambda connection: (connection.read_until(0x01), connection.send(ErrorFrame(code, "no")))

    full, auth = say(ErrorCode.FULL), say(ErrorCode.AUTH)
    with FakeServer(lambda connection: connection.welcome(), full, auth, full, full, auth, full) as fake:
        client = connect(fake.host, fake.port, reconnect=True)
        with pytest.raises(AuthError):
            client.serve(shout)
        assert fake.accepted == 6
        with pytest.raises(AuthError):
            client.poll()
        assert fake.accepted == 6
        client.close()


def test_a_result_for_the_connection_before_is_not_sent(at_once, caplog, connect):
    """The result of a command is sent on the connection that brought the command, or not at all."""
    running = threading.Event()

    def first(connection: Connection) -> None:
        connection.welcome()
        connection.send(Execute(12, 0, 1, 0, b"slow"))
        assert running.wait(PATIENCE_S)

    seen: list[int] = []

    def second(connection: Connection) -> None:
        connection.welcome()
        connection.send(Execute(12, 0, 1, 0, b"stop"))
        while (type_ := connection.read()[0]) != -1:
            seen.append(type_)

    with FakeServer(first, second) as fake:
        client = connect(fake.host, fake.port, reconnect=True, timeout=PATIENCE_S)

        def handler(command: ReceivedCommand) -> str:
            if command.text == "slow":
                running.set()
                client.wait(lambda: fake.accepted == 2 and client.rank is not None, PATIENCE_S)
                return "too late"
            client.close()
            return "closed"

        client.serve(handler)
    assert seen == [0x08]
    assert "was not sent" in caplog.text


def test_a_welcome_resets_the_count_of_wrong_tokens(at_once, connect):
    def auth(connection: Connection) -> None:
        connection.read_until(0x01)
        connection.send(ErrorFrame(ErrorCode.AUTH, "no"))

    welcomes: list[int] = []
    scripts = [Connection.welcome, auth, Connection.welcome, auth, Connection.welcome, Connection.until_gone]
    with FakeServer(*scripts) as fake:
        client = connect(fake.host, fake.port, reconnect=True, on_joined=welcomes.append)
        while len(welcomes) < 3:
            client.poll(0.1)
        client.close()
        assert fake.accepted >= 5


def test_a_connection_that_comes_when_it_is_no_longer_wanted(connect):
    asked, closed = threading.Event(), threading.Event()

    def late(connection: Connection) -> None:
        connection.read_until(0x01)
        asked.set()
        assert closed.wait(PATIENCE_S)
        connection.welcome_at_once()
        connection.until_gone()

    with FakeServer(Connection.welcome, late) as fake:
        client = connect(fake.host, fake.port, reconnect=True)
        thread = threading.Thread(target=client.serve, args=(shout,))
        thread.start()
        assert asked.wait(PATIENCE_S)
        client.close()
        closed.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_a_connection_lost_during_who(at_once, connect):
    """The loss is reported at once, and the next connection does not repeat the call."""

    def script(connection: Connection) -> None:
        connection.welcome()
        connection.read_until(0x05)

    with FakeServer(script, script, Connection.until_gone) as fake:
        client = connect(fake.host, fake.port, reconnect=True, timeout=PATIENCE_S)
        with pytest.raises(ConnectionLost):
            client.who()
        with pytest.raises(ConnectionLost):
            client.who()
        client.close()


def test_closing_while_it_reconnects(connect):
    """At whatever moment: its HELLO may be on its way, or not yet sent."""
    with FakeServer(Connection.welcome, Connection.until_gone) as fake:
        client = connect(fake.host, fake.port, reconnect=True)
        thread = threading.Thread(target=client.serve, args=(shout,))
        thread.start()
        until(lambda: fake.accepted > 1)
        client.close()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


@pytest.mark.slow
def test_many_clients_come_back(stage, connect):
    """L1: with the real back-off."""
    with Server(port=0, seats=64) as server:
        host, port = server.address
        clients = [stage.enter_context(connect(host, port, reconnect=True)) for _ in range(64)]
        threads = [threading.Thread(target=client.serve, args=(shout,), daemon=True) for client in clients]
        for thread in threads:
            thread.start()
    with Server(host=host, port=port, seats=65), connect(host, port) as watcher:
        until(lambda: len(watcher.who()) == 65)
        ranks = sorted(member.rank for member in watcher.who())
        assert ranks == list(range(65))
        for client in clients:
            client.close()
    for thread in threads:
        thread.join(PATIENCE_S)
