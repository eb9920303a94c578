"""Connections that are lost during a call (L3, L4), or closed."""

from __future__ import annotations

import time

import pytest

from rankmux.codes import ErrorCode, Status
from rankmux.errors import ConnectionLost, ServerError
from rankmux.server.server import Server
from rankmux.wire import Accepted, Ping, Rank, Routed

from ..support.drivers import PATIENCE_S
from ..support.fake_server import Connection, FakeServer
from .words import shout


def test_a_connection_lost_under_a_command(connect):
    """L3, L4: ConnectionLost, the rank is None, and no frame is sent again."""

    def script(connection: Connection) -> None:
        connection.welcome()
        connection.read_until(0x02)
        connection.reset()

    with FakeServer(script) as fake:
        client = connect(fake.host, fake.port)
        with pytest.raises(ConnectionLost):
            client.command("print", results=True)
        assert client.rank is None
        with pytest.raises(ConnectionLost):
            client.command("print")
        assert fake.accepted == 1
        client.close()


def test_a_connection_lost_under_a_receipt(connect):
    def script(connection: Connection) -> None:
        connection.welcome()
        id_ = int.from_bytes(connection.read_until(0x02)[:4])
        connection.send(Accepted(id_, 12, 2, 0), Routed(id_, 5, 3, Status.OK, b"one"))

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client:
        receipt = client.command("print", results=True)
        results = iter(receipt)
        assert next(results).text == "one"
        with pytest.raises(ConnectionLost, match="the server closed the connection"):
            next(results)
        with pytest.raises(ConnectionLost):
            receipt.wait()
        with pytest.raises(ConnectionLost):
            client.who()
        with pytest.raises(ConnectionLost):
            client.serve(shout)


def test_the_servers_last_word_is_what_is_raised(stage, connect):
    server = Server(port=0, seats=10)
    with server:
        client = stage.enter_context(connect(*server.address))
    for call in (client.poll, client.who, client.serve, client.keep_reading):
        with pytest.raises(ServerError) as caught:
            call()
        assert caught.value.code == ErrorCode.SHUTDOWN
    assert client.rank is None


def test_a_listing_that_the_servers_last_word_has_met(stage, connect):
    with Server(port=0, seats=10) as server:
        client = stage.enter_context(connect(*server.address))
    text = r"before the members were listed: .*the server is going away|^the server ended .* is going away"
    with pytest.raises((ConnectionLost, ServerError), match=text):
        client.who()


def test_a_server_that_falls_silent(connect):
    """Only silence tells a client that its server's machine is gone."""

    def script(connection: Connection) -> None:
        connection.welcome(ping_ms=1)
        assert [connection.read()[0] for _ in range(2)] == [0x06, 0x06]
        connection.until_gone()

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client:
        with pytest.raises(ConnectionLost, match="silent"):
            client.serve(shout)
        assert client.rank is None


def test_a_silent_server_is_given_up_when_it_gives_up_its_members(connect):
    """A leader that was more patient than its server would lead beside the next one."""
    with (
        FakeServer(lambda connection: (connection.welcome(ping_ms=200), connection.until_gone())) as fake,
        connect(fake.host, fake.port) as client,
    ):
        began_s = time.monotonic()
        with pytest.raises(ConnectionLost, match=r"silent for 0\.6 s"):
            client.serve(shout)
        assert 0.5 < time.monotonic() - began_s < 1.2


def test_pings_are_answered_while_something_waits(connect):
    def script(connection: Connection) -> None:
        connection.welcome()
        for number in range(5):
            connection.send(Ping(b"%d" % number))
            assert connection.read_until(0x07) == b"%d" % number
        connection.send(Rank(12, 1, 2, 1))
        connection.until_gone()

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client:
        assert client.wait_for_rank(1, PATIENCE_S)


def test_closing_says_leave_and_waits_for_the_end(connect):
    seen: list[int] = []

    def script(connection: Connection) -> None:
        connection.welcome()
        while (type_ := connection.read()[0]) != -1:
            seen.append(type_)
            if type_ == 0x08:
                return

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client:
        client.close()
        client.close()
    assert seen == [0x08]


def test_closing_gives_a_server_that_does_not_close_a_second(connect):
    def script(connection: Connection) -> None:
        connection.welcome()
        connection.until_gone()

    with FakeServer(script) as fake:
        client = connect(fake.host, fake.port)
        began = time.monotonic()
        client.close()
        assert 0.9 < time.monotonic() - began < PATIENCE_S
