"""Addresses that answer late or never, and errors of the system: those that mean no server, and all others."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

import rankmux.aio.connect
import rankmux.client.connect
from rankmux import Client
from rankmux.client.address import Address
from rankmux.client.dialing import Dialer
from rankmux.errors import ConnectionLost
from rankmux.server.server import Server

from ..support.drivers import PATIENCE_S, new_loop
from ..support.fake_server import Connection, FakeServer

Connect = Callable[[Address, float], socket.socket]


@pytest.fixture(params=["blocking", "asyncio", "uvloop"])
def connected(request) -> Iterator[Connect]:
    """The connector of each driver."""
    if request.param == "blocking":
        yield rankmux.client.connect.connected_socket
        return
    with asyncio.Runner(loop_factory=lambda: new_loop(request.param)) as runner:
        yield lambda *what: runner.run(rankmux.aio.connect.connected_socket(*what))


@pytest.fixture
def found(monkeypatch) -> Callable[..., None]:
    """Makes every name resolve to these addresses."""

    def found(*places: Any) -> None:
        rows = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", place) for place in places]

        async def look_up(host: str, port: int) -> list[tuple[Any, ...]]:
            return rows

        monkeypatch.setattr(rankmux.aio.connect, "_look_up", look_up)
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: rows)

    return found


@pytest.fixture
def silent() -> Iterator[Any]:
    """An address that drops packets: its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as crowd:
        for _ in range(2):
            waiting = crowd.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield full.getsockname()


def test_an_address_that_is_silent_does_not_keep_the_next_from_being_tried(connected, found, silent):
    with Server(port=0, seats=2) as server:
        found(silent, silent, server.address)
        began_s = time.monotonic()
        connected(Address("three.addresses.example", 1), PATIENCE_S).close()
        assert 0.4 < time.monotonic() - began_s < 2.0


def test_an_address_that_refuses_is_followed_by_the_next_at_once(connected, found):
    with Server(port=0, seats=2) as server:
        found(*[("127.0.0.1", 1)] * 20, server.address)
        began_s = time.monotonic()
        connected(Address("many.addresses.example", 1), PATIENCE_S).close()
        assert time.monotonic() - began_s < 1.0


def test_the_time_is_that_of_all_addresses(connected, found, silent):
    found(silent, silent, silent, ("127.0.0.1", 1))
    began_s = time.monotonic()
    with pytest.raises(ConnectionLost, match="no answer in time"):
        connected(Address("four.addresses.example", 1), 0.9)
    assert 0.8 < time.monotonic() - began_s < 2.0


def test_a_name_without_an_address(connected, found):
    found()
    with pytest.raises(ConnectionLost, match="the name has no address"):
        connected(Address("none.example", 1), 1.0)


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[tuple[Path, socket.socket]]:
    """A Unix socket whose backlog is full."""
    path = tmp_path / "busy"
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as crowd:
        listener.bind(str(path))
        listener.listen(0)
        code = 0
        while code != errno.EAGAIN:
            waiting = crowd.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            code = waiting.connect_ex(str(path))
        yield path, listener


def test_a_unix_socket_that_is_busy_is_waited_for(connected, busy):
    path, listener = busy

    def accept() -> None:
        listener.accept()[0].close()

    timer = Timer(0.1, accept)
    timer.start()
    with connected(Address(unix=path), PATIENCE_S) as sock:
        assert sock.getpeername() == str(path)
    timer.join()


def test_a_unix_socket_that_stays_busy_is_not_called_absent(connected, busy):
    with pytest.raises(ConnectionLost, match="its queue of new connections is full"):
        connected(Address(unix=busy[0]), 0.2)


def test_no_server(connected, tmp_path):
    with pytest.raises(ConnectionLost, match="there is no such socket; is rankmux-server running there"):
        connected(Address(unix=tmp_path / "nothing"), 1.0)
    with pytest.raises(ConnectionLost, match="nobody listens"):
        connected(Address("127.0.0.1", 1), 1.0)


REFUSALS = {
    errno.EADDRNOTAVAIL: "no local port is free",
    errno.EMFILE: "no file descriptor left",
    errno.ENFILE: "no file descriptor left",
    errno.ENOBUFS: "no memory left",
    errno.ENOMEM: "no memory left",
    errno.EHOSTUNREACH: "there is no way to that host",
    errno.ETIMEDOUT: "no answer in time",
}


class Refusing(socket.socket):
    """Fails with each of `codes` in turn, then works."""

    codes: list[int] = []  # noqa: RUF012

    def connect_ex(self, to: Any) -> int:
        return self.codes.pop(0) if self.codes else super().connect_ex(to)


@pytest.mark.parametrize("code", REFUSALS)
def test_an_error_of_the_system_is_reported_as_such(connected, found, monkeypatch, code):
    found(("127.0.0.1", 1), ("127.0.0.1", 1))
    monkeypatch.setattr(socket, "socket", Refusing)
    for codes in ([code, errno.ECONNREFUSED], [errno.ECONNREFUSED, code]):
        monkeypatch.setattr(Refusing, "codes", codes)
        with pytest.raises(ConnectionLost, match=REFUSALS[code]):
            connected(Address("two.addresses.example", 1), 1.0)


def test_no_socket_can_be_made(connected, monkeypatch):
    class Unmade(socket.socket):
        def __init__(self, family: int = -1, *rest: Any) -> None:
            if family == socket.AF_INET:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            super().__init__(family, *rest)

    monkeypatch.setattr(socket, "socket", Unmade)
    with pytest.raises(ConnectionLost, match="this process has no file descriptor left"):
        connected(Address("127.0.0.1", 1), 1.0)


def test_a_connect_that_a_signal_interrupts_goes_on(connected, found, monkeypatch):
    monkeypatch.setattr(socket, "socket", Refusing)
    monkeypatch.setattr(Refusing, "codes", [errno.EINTR, errno.EALREADY])
    with Server(port=0, seats=2) as server:
        found(server.address)
        connected(Address("one.example", 1), PATIENCE_S).close()


def test_names_that_cannot_be_looked_up_for_now(connected, monkeypatch):
    def fail(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    async def look_up(*_: object) -> list[object]:
        return fail()

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(rankmux.aio.connect, "_look_up", look_up)
    with pytest.raises(ConnectionLost, match="the name cannot be looked up for now"):
        connected(Address("some.example", 1), 1.0)


@pytest.mark.parametrize("code", [*REFUSALS, errno.ECONNREFUSED, errno.ENOENT])
def test_every_refusal_is_tried_again_by_a_client_that_reconnects(monkeypatch, at_once, code):
    with FakeServer(Connection.welcome, _stay) as fake:
        client = Client(fake.host, fake.port, reconnect=True)
        monkeypatch.setattr(socket, "socket", Refusing)
        monkeypatch.setattr(Refusing, "codes", [code, code])
        client.wait(lambda: fake.accepted == 2 and client.rank is not None, PATIENCE_S)
        assert Refusing.codes == []
        assert client.rank == 2
        client.close()


def test_a_token_that_cannot_be_had_again_is_tried_again(at_once):
    tries = []

    def token() -> str:
        tries.append(1)
        if len(tries) == 2:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return "secret"

    with FakeServer(Connection.welcome, _stay) as fake:
        client = Client(fake.host, fake.port, reconnect=True, token=token)
        assert client.wait(lambda: len(tries) == 3 and client.rank is not None, PATIENCE_S)
        client.close()


def test_attempts_that_are_given_up_leave_nothing_open(silent):
    dialer = Dialer([(socket.AF_INET, silent)] * 3, time.monotonic)
    assert dialer.step() is None
    (sock,) = dialer.sockets
    dialer.close()
    assert sock.fileno() == -1
    assert dialer.sockets == []


def _stay(connection: Connection) -> None:
    connection.welcome()
    with suppress(OSError):
        while connection.read()[0] not in (-1, 0x08):
            pass
