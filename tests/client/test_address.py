"""Several servers of one room: their written form, and a server that is down costs no more than one attempt."""

from __future__ import annotations

import random
import socket

import pytest

from rankmux.client.address import Address, Addresses, addresses_of
from rankmux.codes import ErrorCode
from rankmux.errors import ArgumentError, AuthError, ConnectionLost, ProtocolViolation, ServerError
from rankmux.server.server import Server
from rankmux.wire import ErrorFrame

from ..support.fake_server import Connection, FakeServer
from .words import until


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("a", ["a:7117"]),
        ("a,b:7118, c ", ["a:7117", "b:7118", "c:7117"]),
        (["a:1", "b"], ["a:1", "b:7117"]),
        ("::1", ["[::1]:7117"]),
        ("[::1]:80,fe80::2,[::3]", ["[::1]:80", "[fe80::2]:7117", "[::3]:7117"]),
    ],
)
def test_written_forms(host, expected):
    addresses = addresses_of(host, 7117)
    found = set()
    for _ in expected:
        found.add(str(addresses.current))
        addresses.turn()
    assert found == set(expected)
    assert len(addresses) == len(expected)


@pytest.mark.parametrize("host", ["a:", "a:x", "a:0", "a:65536", "[::1]x", "b,a:123456", []])
def test_invalid_addresses(host):
    with pytest.raises(ArgumentError, match="host"):
        addresses_of(host, 7117)


def test_they_are_tried_in_turn_from_a_random_one():
    places = [Address(name) for name in "abc"]
    firsts = set()
    for seed in range(30):
        addresses = Addresses(places, random.Random(seed).randrange)
        seen = []
        for _ in range(4):
            seen.append(addresses.current.host)
            addresses.turn()
        assert "".join(seen) in "abcabcabc"
        firsts.add(seen[0])
    assert firsts == set("abc")


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def refusing(code: ErrorCode):
    def script(connection: Connection) -> None:
        connection.read_until(0x01)
        connection.send(ErrorFrame(code, "not here"))

    return script


@pytest.mark.parametrize("code", [ErrorCode.SHUTDOWN, ErrorCode.RESOURCE])
def test_the_one_that_is_there_is_found(connect, code):
    """Without `reconnect`: one address refuses, one answers with an error, one is a server."""
    for _ in range(6):
        with Server(port=0, seats=4) as server, FakeServer(*[refusing(code)] * 3) as fake:
            hosts = [f"127.0.0.1:{port}" for port in (closed_port(), fake.port, server.address[1])]
            with connect(hosts) as client:
                assert client.rank == 0
                assert client.address == hosts[2]


def foreign(connection: Connection) -> None:
    """It speaks another protocol."""
    connection.send(b'INFO {"server_id":"x"}\r\n')
    connection.until_gone()


def test_a_server_of_something_else_is_passed_over(connect):
    for _ in range(6):
        with Server(port=0, seats=4) as server, FakeServer(foreign) as fake:
            hosts = [f"127.0.0.1:{port}" for port in (fake.port, server.address[1])]
            with connect(hosts) as client:
                assert client.address == hosts[1]
    with FakeServer(foreign) as fake, pytest.raises(ProtocolViolation):
        connect(f"127.0.0.1:{fake.port}")


def test_all_are_away(connect):
    with pytest.raises(ConnectionLost):
        connect(f"127.0.0.1:{closed_port()},127.0.0.1:{closed_port()}")


@pytest.mark.parametrize(("code", "error"), [(ErrorCode.AUTH, AuthError), (ErrorCode.FULL, ServerError)])
def test_an_error_of_the_room_is_not_tried_elsewhere(connect, code, error):
    with FakeServer(refusing(code)) as fake:
        hosts = [f"127.0.0.1:{fake.port}"] * 2
        with pytest.raises(error):
            connect(hosts)


def test_after_a_loss_the_next_one_is_tried_first(at_once, connect):
    """Both would take it: the one that it has lost is not asked again."""
    served: list[int] = []

    def script(number: int):
        def run(connection: Connection) -> None:
            connection.welcome()
            served.append(number)
            if len(served) > 1:
                connection.until_gone()

        return run

    with FakeServer(script(0), script(0)) as one, FakeServer(script(1), script(1)) as two:
        hosts = [f"127.0.0.1:{fake.port}" for fake in (one, two)]
        with connect(hosts, reconnect=True) as client:

            def is_back() -> bool:
                client.poll(0.02)
                return len(served) == 2 and client.rank is not None

            until(is_back)
            assert served in ([0, 1], [1, 0])
            assert client.address == hosts[served[1]]
