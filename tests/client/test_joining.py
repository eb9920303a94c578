"""Joining a room: the client's view of itself, refused clients, and invalid arguments."""

from __future__ import annotations

import socket
import ssl

import pytest

import rankmux
import rankmux.aio
from rankmux.client.address import Address
from rankmux.client.failures import tls_failed
from rankmux.codes import ErrorCode
from rankmux.errors import (
    ArgumentError,
    AuthError,
    CannotConnect,
    ConnectionLost,
    FullError,
    ProtocolViolation,
)
from rankmux.server.server import Server

from ..faults.certificates import Certificates
from ..support.fake_server import Connection, FakeServer


def test_what_a_client_knows_of_itself(join, server):
    ada = join("ada")
    bob = join("bob")
    assert (ada.rank, ada.member_count, ada.capacity, ada.name) == (0, 1, 10, "ada")
    assert (bob.rank, bob.member_count) == (1, 2)
    assert bob.ticket > ada.ticket
    assert bob.max_payload == 65536
    assert bob.address == f"127.0.0.1:{server.address[1]}"
    assert repr(bob) == f"<rankmux.Client 'bob' at {bob.address}: rank 1 of 2>"
    bob.close()
    assert (bob.rank, bob.ticket, bob.member_count) == (None, None, None)
    assert repr(bob).endswith("not connected>")


def test_a_full_server_says_so(stage, connect):
    server = stage.enter_context(Server(port=0, seats=1))
    stage.enter_context(connect(*server.address))
    with pytest.raises(FullError) as caught:
        connect(*server.address)
    assert caught.value.code == ErrorCode.FULL
    assert "the room is full (1 of 1)" in str(caught.value)


@pytest.mark.parametrize("token", [None, b"", b"secre", "secret\0", b"secrets"])
def test_a_wrong_token(stage, token, connect):
    server = stage.enter_context(Server(port=0, seats=1, tokens=(b"secret",)))
    with pytest.raises(AuthError) as caught:
        connect(*server.address, token=token)
    assert "secret" not in f"{caught.value} {caught.value!r}"
    for right in (b"secret", "secret", lambda: b"secret", lambda: "secret"):
        with connect(*server.address, token=right) as client:
            assert client.rank == 0
            assert "secret" not in repr(client)


def test_a_server_that_speaks_tls_or_does_not(stage, connect, tmp_path):
    """The error says what may help, in terms of the client's arguments."""
    made = Certificates(tmp_path)
    plain = stage.enter_context(Server(port=0))
    secure = stage.enter_context(Server(port=0, tls_cert=str(made.server)))
    with pytest.raises(CannotConnect, match=r"^the server speaks TLS: pass an ssl_context$"):
        connect(*secure.address)
    trusting = made.client_context()
    with pytest.raises(CannotConnect, match=r"speaks plain TCP: leave ssl_context out$"):
        connect(*plain.address, ssl_context=trusting)
    port = secure.address[1]
    with pytest.raises(CannotConnect) as caught:
        connect("127.0.0.1", port, ssl_context=trusting)
    assert str(caught.value) == (
        f"the certificate of 127.0.0.1:{port} is not for 127.0.0.1, it is for localhost: "
        "connect to one of these names, or pass it as server_hostname"
    )
    with pytest.raises(CannotConnect, match="load the certificate of its authority into ssl_context"):
        connect("localhost", port, ssl_context=ssl.create_default_context())
    with connect("127.0.0.1", port, ssl_context=trusting, server_hostname="localhost") as client:
        assert client.rank == 0


def test_a_certificate_without_a_name_that_is_known():
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = 62
    assert str(tls_failed(Address("one.example"), error)) == (
        "the certificate of one.example:7117 is not for one.example: "
        "the server needs one with this subjectAltName, or pass one that it has as server_hostname"
    )


def test_the_names_of_a_certificate_that_is_not_trusted_are_not_told(stage, connect, tmp_path):
    """Anybody could make one with any name."""
    made = Certificates(tmp_path)
    server = stage.enter_context(Server(port=0, tls_cert=str(made.foreign)))
    with pytest.raises(CannotConnect) as caught:
        connect("127.0.0.1", server.address[1], ssl_context=made.client_context())
    assert "client-3" not in str(caught.value)


def test_nobody_listens(connect):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ConnectionLost, match="is rankmux-server running there"):
        connect(port=port)


def test_a_host_that_does_not_exist(connect):
    with pytest.raises(ConnectionLost, match="cannot connect to"):
        connect("no.such.host.invalid", timeout=5)


def test_a_server_that_never_answers(connect):
    with (
        FakeServer(Connection.until_gone) as fake,
        pytest.raises(ConnectionLost, match=r"did not answer within 0\.1"),
    ):
        connect(fake.host, fake.port, timeout=0.1)


@pytest.mark.parametrize(
    "options",
    [
        {"name": "two\nlines"},
        {"name": 5},
        {"name": b"ada"},
        {"token": bytes(1025)},
        {"token": 5},
        {"token": "secret\ud800"},
        {"host": None},
        {"port": "7117"},
        {"port": 65536 + 7117},  # the resolver would turn it into 7117
        {"port": -1},
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": None},
        {"timeout": float("nan")},
        {"timeout": "5"},
        {"host": ""},
        {"host": ["127.0.0.1", ""]},
        {"host": "127.0.0.1,:7117"},
        {"handler": "shout"},
        {"on_promoted": 5},
        {"on_joined": 5},
        {"on_lost": 5},
        {"ssl_context": True},
        pytest.param({"ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}, id="for servers"),
        {"server_hostname": "localhost"},  # without ssl_context: what is sent would be in the clear
    ],
    ids=repr,
)
def test_arguments_that_are_wrong(server, options, connect):
    """They are reported before any connection is opened, and a token is not shown."""
    host, port = server.address
    with pytest.raises(ArgumentError, match=f"^{next(iter(options))} is ") as caught:
        connect(**{"host": host, "port": port, **options})
    error: BaseException | None = caught.value
    assert "secret" not in f"{error} {error!r}"
    assert error.__context__ is None


def test_a_wrong_token_is_found_before_connecting():
    with pytest.raises(ArgumentError, match=r"^token is <class 'int'>: expected bytes or text$"):
        rankmux.aio.Client(token=5)


@pytest.mark.parametrize("option", ["handler", "on_promoted", "on_joined", "on_lost"])
def test_the_blocking_client_awaits_nothing(server, option):
    async def function(_: object) -> None:
        pass

    host, port = server.address
    with pytest.raises(
        ArgumentError, match=rf"^{option} is .*: expected a plain function, as only rankmux.aio"
    ):
        rankmux.Client(host, port, **{option: function})
    with rankmux.Client(host, port) as client:
        for wrong, text in (
            (function, "as only rankmux.aio awaits"),
            (5, "handler is 5: expected a function"),
        ):
            with pytest.raises(ArgumentError, match=text):
                client.serve(wrong)


@pytest.mark.parametrize(
    ("begin", "shown"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "(it reads 'HTTP', perhaps of another protocol)"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "(it reads 'SSH-', perhaps of another protocol)"),
    ],
)
def test_a_server_of_something_else(connect, begin, shown):
    def script(connection: Connection) -> None:
        connection.send(begin)
        connection.until_gone()

    with FakeServer(script) as fake, pytest.raises(ProtocolViolation) as caught:
        connect(fake.host, fake.port)
    assert shown in str(caught.value)


@pytest.mark.parametrize("payload", [5, None, ["print"], "\ud800"])
def test_payloads_that_are_none(join, payload):
    with pytest.raises(ArgumentError, match=r"^payload is "):
        join().command(payload)
