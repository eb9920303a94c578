"""Newcomers on the fast paths: the outcome is that of the general path."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.codes import HelloFlag
from rankmux.core.greeting import HELLO_MAX_BYTES, greet
from rankmux.server.connections.connection import Connection
from rankmux.server.connections.states import State
from rankmux.server.server import Server
from rankmux.server.sockets.descriptors import Descriptors
from rankmux.server.sockets.transport import PlainSocket
from rankmux.wire import Hello, Keep, Welcome

from ...support.embedded import Client
from ...support.twins import PURE

NAMES = st.text(max_size=40) | st.just("n" * 64) | st.just("n" * 65)
KEEPS = st.none() | st.just(Keep(1000, 0, b"0123456789abcdef"))
HELLOS = st.builds(Hello, NAMES, st.sampled_from([b"", b"token"]), st.just(1), st.integers(0, 4), KEEPS)


@st.composite
def greetings(draw: st.DrawFn) -> bytes:
    """A HELLO, most often as it should be."""
    octets = bytearray(draw(HELLOS).encode())
    if draw(st.booleans()):
        octets[draw(st.integers(0, len(octets) - 1))] = draw(st.integers(0, 255))
    end = draw(st.sampled_from([len(octets)] * 4 + list(range(len(octets)))))
    return bytes(octets[:end]) + draw(st.sampled_from([b""] * 4 + [b"\0\0\0\1"]))


@given(st.lists(greetings() | st.none() | st.just(b"") | st.just(104), max_size=5))
def test_what_a_plain_hello_is(framing: ModuleType, firsts: list[bytes | int | None]) -> None:
    tables = Descriptors()
    watched: list[int] = []

    def watch_all(fds: list[int]) -> int:
        watched.extend(fds)
        return len(fds)

    with ExitStack() as stack:
        newcomers = [(PlainSocket(socket.AF_INET), "127.0.0.1:5000", first) for first in firsts]
        for sock, _, _ in newcomers:
            stack.callback(sock.close)
            tables.reserve(sock.fileno())
        found: list[Connection | None] = [None] * len(tables.modes)
        joining: list[Connection] = []
        others = framing.greet_crowd(newcomers, joining, found, tables, watch_all, Connection, 7, 1.5)
        plain = {}
        for serial, (_, _, first) in enumerate(newcomers, 7):
            taken, hello = greet(first, HELLO_MAX_BYTES) if isinstance(first, bytes) else (0, None)
            if isinstance(hello, Hello) and taken == len(first) and hello == Hello(hello.name):
                plain[serial] = hello.name
        if framing is PURE:
            plain = {}
        assert {conn.serial: conn.name for conn in joining} == plain
        assert others == [(7 + at, one) for at, one in enumerate(newcomers) if 7 + at not in plain]
        assert watched == [conn.fd for conn in joining]
        for conn in joining:
            assert conn.state is State.JOINING
            assert found[conn.fd] is conn
            assert (tables.modes[conn.fd], tables.tickets[conn.fd], tables.heard[conn.fd]) == (0, 0, 1.5)
            assert (conn.transport, conn.address) == (newcomers[conn.serial - 7][0], "127.0.0.1:5000")


@pytest.mark.parametrize("taken", range(4))
def test_those_that_cannot_be_watched_go_the_general_way(framing: ModuleType, taken: int) -> None:
    tables = Descriptors()
    with ExitStack() as stack:
        hellos = [Hello(name).encode() for name in ("ada", "bob", "cleo")]
        newcomers = [(PlainSocket(socket.AF_INET), "127.0.0.1:5000", hello) for hello in hellos]
        for sock, _, _ in newcomers:
            stack.callback(sock.close)
            tables.reserve(sock.fileno())
        found: list[Connection | None] = [None] * len(tables.modes)
        before = Connection(newcomers[0][0], 1, "", 0.0)
        joining = [before]
        others = framing.greet_crowd(newcomers, joining, found, tables, lambda _: taken, Connection, 7, 1.0)
        if framing is PURE:
            taken = 0
        assert others == [(7 + at, newcomers[at]) for at in range(taken, 3)]
        assert joining[0] is before
        assert [conn.name for conn in joining[1:]] == ["ada", "bob", "cleo"][:taken]
        assert [conn for conn in found if conn is not None] == joining[1:]


def test_nothing_is_half_done_when_memory_runs_out(framing: ModuleType) -> None:
    def watch_all(_: list[int]) -> int:
        raise MemoryError

    tables = Descriptors()
    with ExitStack() as stack:
        sock = PlainSocket(socket.AF_INET)
        stack.callback(sock.close)
        tables.reserve(sock.fileno())
        found: list[Connection | None] = [None] * len(tables.modes)
        joining: list[Connection] = []
        with suppress(MemoryError):
            newcomers = [(sock, "127.0.0.1:5000", Hello("ada").encode())]
            framing.greet_crowd(newcomers, joining, found, tables, watch_all, Connection, 1, 1.0)
        assert (joining, set(found)) == ([], {None})


HELLOS_OF_A_TURN = (
    Hello("plain"),
    Hello("keeps", keep=Keep(5000, 0, b"0123456789abcdef")),
    Hello(""),
    Hello("watches", flags=HelloFlag.WATCH),
    Hello("plain, too"),
    Hello("no seat", flags=HelloFlag.OBSERVE),
    Hello("ä" * 32),
    Hello("last"),
)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(port=0, seats=40)
    yield server
    server.close()


@pytest.mark.parametrize("times", [1, 6], ids=["few", "more than the ring needs"])
def test_they_join_in_the_order_of_their_coming(server: Server, times: int) -> None:
    clients = []
    hellos = HELLOS_OF_A_TURN * times
    for hello in hellos:
        one = Client(server.address)
        one.send(hello)
        clients.append(one)
    for _ in range(3):
        server.step(0.01)
    for one in clients:
        one.pump()
    seated = [(one, hello) for one, hello in zip(clients, hellos, strict=True) if hello.name != "no seat"]
    first: Welcome = seated[0][0].welcome
    for rank, (one, hello) in enumerate(seated):
        if hello.keep is not None and rank > 1:
            continue  # the same secret: it returns to the seat of the first one
        welcome: Welcome = one.welcome
        assert welcome.instance == server.instance
        assert welcome.keep_ms == (5000 if hello.keep else None)
        if times == 1:
            assert (welcome.rank, welcome.ticket, welcome.seq) == (rank, first.ticket + rank, rank + 1)
            assert welcome.members == rank + 1
    plain = [one.welcome for one, hello in seated if hello.keep is None]
    assert [w.ticket for w in plain] == sorted({w.ticket for w in plain}), "in the order in which they came"
    assert list(server.room.ranks.names[:3]) == ["plain", "keeps", ""]
    for one in clients:
        one.close()
