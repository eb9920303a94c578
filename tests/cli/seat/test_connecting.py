"""Connecting without waiting: to what listens, what does not, what is silent; names; TLS."""

from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack, closing

import pytest

from rankmux.cli.seat.connecting import Connecting
from rankmux.cli.seat.loop import Loop
from rankmux.client.address import Address
from rankmux.errors import ConnectionLost
from rankmux.server.server import Server

from ...faults.certificates import Authority
from ...support.script import PATIENCE_S


def connect(address: Address, timeout_s: float = PATIENCE_S) -> socket.socket | ConnectionLost:
    """What a whole attempt ends with."""
    outcomes: list[socket.socket | ConnectionLost] = []
    with closing(Loop()) as loop:

        def ended(outcome: socket.socket | ConnectionLost) -> None:
            outcomes.append(outcome)
            loop.stop(0)

        Connecting(loop, address, timeout_s, connected=ended, failed=ended)
        loop.run()
        assert loop._callbacks == {}  # nothing is watched any more
    assert len(outcomes) == 1
    return outcomes[0]


def silent_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_server(host):
    with Server(port=0, seats=1) as server:
        sock = connect(Address(host, server.address[1]))
        with sock:
            assert sock.getpeername() == server.address[:2]
            assert not sock.getblocking()


def test_a_unix_socket(tmp_path):
    path = tmp_path / "server"
    assert "nobody listens at" in str(connect(Address(unix=path)))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        with connect(Address(unix=path)) as sock:
            assert sock.getpeername() == str(path)


def test_nobody_listens():
    port = silent_port()
    error = connect(Address("127.0.0.1", port))
    assert error.reason == f"nobody listens at 127.0.0.1:{port}: is rankmux-server running there?"


@pytest.mark.parametrize("host", ["no.such.name.invalid", "x" * 300, "a..b", "\udcff"])
def test_a_name_that_is_none(host):
    reason = str(connect(Address(host, 1)))
    assert "cannot connect to" in reason
    assert "Errno" not in reason


def test_each_address_is_tried(monkeypatch):
    port = silent_port()
    with Server(port=0, seats=1) as server:
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", server.address),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        connect(Address("somewhere", 1)).close()


def test_a_backlog_that_is_full_counts_as_silence():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = Address(*listener.getsockname())
        taken = []
        while True:
            outcome = connect(address, 0.3)
            if isinstance(outcome, ConnectionLost):
                break
            taken.append(outcome)
        for sock in taken:
            sock.close()
    assert outcome.reason == f"cannot connect to {address}: timed out"


def test_it_can_be_given_up():
    loop = Loop()

    def never(_: object) -> None:
        raise AssertionError("it was given up")

    for address in (Address("127.0.0.1", silent_port()), Address("localhost", silent_port())):
        connecting = Connecting(loop, address, PATIENCE_S, connected=never, failed=never)
        loop.after(0.0, connecting.close)
    loop.after(0.3, lambda: loop.stop(0))
    loop.run()
    assert loop._callbacks == {}
    loop.close()


def test_tls(tmp_path):
    authority = Authority(tmp_path, "authority")
    context = ssl.create_default_context(cafile=authority.path)
    with Server(port=0, seats=1, tls_cert=str(authority.issue("localhost"))) as server:
        port = server.address[1]
        with connect(Address("127.0.0.1", port, None, context, "localhost")) as sock:
            assert sock.version().startswith("TLS")
        assert "TLS with" in str(connect(Address("127.0.0.1", port, None, context, "elsewhere")))
        assert "TLS with" in str(connect(Address("127.0.0.1", port, None, ssl.create_default_context())))
    with socket.create_server(("127.0.0.1", 0)) as mute:
        error = connect(Address(*mute.getsockname(), None, context), 0.3)
        assert "timed out" in error.reason


def test_an_address_that_is_silent_is_left_for_the_next(monkeypatch):
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as silent,
        Server(port=0, seats=1) as server,
        ExitStack() as stack,
    ):
        while not isinstance(taken := connect(Address(*silent.getsockname()), 0.3), ConnectionLost):
            stack.enter_context(taken)
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", where)
            for where in (silent.getsockname(), server.address)
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        with connect(Address("somewhere", 1), 0.3) as sock:
            assert sock.getpeername() == server.address
