"""Servers that break the rules, flood, or fall silent (L5): the client reports it, and its memory stays flat."""

from __future__ import annotations

import gc
import socket
import threading
import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import pytest

import rankmux.core.client.inbox
import rankmux.core.client.listing
from rankmux import Client
from rankmux.codes import Status
from rankmux.errors import CommandRefused, ConnectionLost, ProtocolViolation, StateError
from rankmux.wire import Accepted, Done, Execute, MemberInfo, Members, Ping, Rank, Refused, Routed

from ..support.drivers import PATIENCE_S
from ..support.fake_server import Connection, FakeServer
from .words import shout


def huge(length: int) -> Callable[[Connection], None]:
    def script(connection: Connection) -> None:
        connection.welcome()
        connection.send(Ping(b""))
        connection.read_until(0x07)
        connection.send(length.to_bytes(4))
        with suppress(OSError):
            for _ in range(400):
                connection.send(bytes(65536))
        connection.until_gone()

    return script


@pytest.mark.parametrize("length", [0, 65536 + 65, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0xFFFF_FFDA])
def test_a_length_that_is_not_allowed(length, connect):
    with FakeServer(huge(length)) as fake, connect(fake.host, fake.port) as client:
        tracemalloc.start()
        try:
            with pytest.raises(ProtocolViolation):
                client.serve(shout)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 2_000_000
        assert client.rank is None


def test_a_frame_that_is_announced_and_never_comes(connect):
    """F6 in reverse: the client holds only the bytes that have arrived."""

    def script(connection: Connection) -> None:
        connection.welcome(ping_ms=1)
        connection.send((65536).to_bytes(4) + b"\x82" + bytes(9))
        connection.until_gone()

    with (
        FakeServer(script) as fake,
        connect(fake.host, fake.port) as client,
        pytest.raises(ConnectionLost, match="silent"),
    ):
        client.serve(shout)


@pytest.mark.parametrize(
    "reply", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x16\x03\x01\0\2\2\x46", bytes(100), b"\0\0\0\1\x99"]
)
def test_a_server_of_another_kind(reply, connect):
    with FakeServer(lambda c: (c.send(reply), c.until_gone())) as fake, pytest.raises(ProtocolViolation):
        connect(fake.host, fake.port, timeout=PATIENCE_S)


def test_a_violation_ends_what_waits(connect):
    def script(connection: Connection) -> None:
        connection.welcome()
        id_ = int.from_bytes(connection.read_until(0x02)[:4])
        connection.send(Accepted(id_, 12, 1, 0), Done(id_, 2, 0, 0, 0, 0))
        connection.until_gone()

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client:
        with pytest.raises(ConnectionLost, match="DONE") as caught:
            client.command("x", results=True).wait(PATIENCE_S)
        assert isinstance(caught.value.__cause__, ProtocolViolation)
        with pytest.raises(ProtocolViolation):
            client.poll()


def test_results_that_nobody_reads_are_bounded(monkeypatch, connect):
    """Reading stops, and each waiting caller gets an error; reading the results makes room again."""
    monkeypatch.setattr(rankmux.core.client.inbox, "_UNREAD_RESULTS_MAX_BYTES", 1_000_000)

    def script(connection: Connection) -> None:
        connection.welcome()
        id_ = int.from_bytes(connection.read_until(0x02)[:4])
        connection.send(Accepted(id_, 12, 1, 0))
        for _ in range(100):
            connection.send(Routed(id_, 5, 3, Status.PART, bytes(60_000)))
        connection.send(Routed(id_, 5, 3, Status.OK, b"end"), Done(id_, 1, 0, 0, 0, 0))
        connection.until_gone()

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client:
        receipt = client.command("flood", results=True)
        with pytest.raises(StateError, match="unread"):
            receipt.wait(PATIENCE_S)
        with pytest.raises(StateError, match="unread"):
            client.poll(PATIENCE_S)
        assert len(list(receipt)) == 101
        assert receipt.counts is not None


def test_reading_goes_on_once_a_request_has_taken_its_large_result(monkeypatch, connect):
    monkeypatch.setattr(rankmux.core.client.inbox, "_UNREAD_RESULTS_MAX_BYTES", 10_000)
    taken, answered = threading.Event(), threading.Event()

    def script(connection: Connection) -> None:
        connection.welcome(ping_ms=60_000)
        id_ = int.from_bytes(connection.read_until(0x02)[:4])
        connection.send(Routed(id_, 5, 3, Status.OK, bytes(60_000)), Done(id_, 1, 0, 0, 0, 0))
        assert taken.wait(PATIENCE_S)
        connection.send(Ping(b""))
        connection.read_until(0x07)
        answered.set()
        connection.until_gone()

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client:
        reader = threading.Thread(target=client.keep_reading)
        reader.start()
        try:
            assert len(client.request("x").payload) == 60_000
            taken.set()
            assert answered.wait(PATIENCE_S)
        finally:
            client.close()
            reader.join(PATIENCE_S)


def test_a_receipt_that_is_dropped_takes_its_results_with_it(connect):
    def script(connection: Connection) -> None:
        connection.welcome()
        id_ = int.from_bytes(connection.read_until(0x02)[:4])
        connection.send(Accepted(id_, 12, 1, 0))
        for _ in range(300):
            connection.send(Routed(id_, 5, 3, Status.PART, bytes(60_000)))
        connection.send(Routed(id_, 5, 3, Status.OK, b""), Done(id_, 1, 0, 0, 0, 0), Rank(14, 1, 2, 1))
        connection.until_gone()

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client:
        client.command("flood", results=True)
        gc.collect()
        tracemalloc.start()
        try:
            assert client.wait_for_rank(1, PATIENCE_S)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 3_000_000


def test_members_without_end(monkeypatch, connect):
    monkeypatch.setattr(rankmux.core.client.listing, "_MEMBERS_MAX", 1000)

    def script(connection: Connection) -> None:
        connection.welcome()
        first = 0
        for _ in range(11):
            id_ = int.from_bytes(connection.read_until(0x05)[:4])
            rows = tuple(MemberInfo(first + n, first + n, 0, "", "") for n in range(100))
            first += 99
            connection.send(Members(id_, 12, 0xFFFF_FFFF, rows))
        connection.until_gone()

    with (
        FakeServer(script) as fake,
        connect(fake.host, fake.port) as client,
        pytest.raises(ProtocolViolation),
    ):
        client.who()


def test_a_server_that_does_not_read(monkeypatch, connect):
    """A sender gets an error within its timeout, instead of filling memory."""
    gone = threading.Event()

    def fill(client: Client) -> None:
        for _ in range(10_000):
            client.command(bytes(60_000), quiet=True)

    def script(connection: Connection) -> None:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.welcome()
        gone.wait(PATIENCE_S)

    with FakeServer(script) as fake:
        client = connect(fake.host, fake.port, timeout=0.2)
        tracemalloc.start()
        try:
            with pytest.raises(TimeoutError, match="has read nothing"):
                fill(client)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        gone.set()
        client.close()
    assert peak < 2_000_000


def test_a_server_that_answers_no_command(connect):
    def script(connection: Connection) -> None:
        connection.welcome()
        connection.until_gone()

    with FakeServer(script) as fake, connect(fake.host, fake.port, timeout=0.1) as client:
        with pytest.raises(TimeoutError, match="did not answer command"):
            client.command("x")
        with pytest.raises(TimeoutError, match="did not list"):
            client.who()


def test_a_refusal_of_a_number_that_is_not_known(connect):
    def script(connection: Connection) -> None:
        connection.welcome()
        id_ = int.from_bytes(connection.read_until(0x02)[:4])
        connection.send(Refused(id_, 99, "for a new reason"))
        connection.until_gone()

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client:
        with pytest.raises(CommandRefused, match="for a new reason") as caught:
            client.command("x")
        assert caught.value.code == 99


@pytest.mark.parametrize(
    "numbers",
    [
        {"ping_ms": 2**31},
        {"ping_ms": 2**32 - 1},
        {"ping_ms": 0},
        {"max_payload": 2**32 - 1},
        {"capacity": 2**32 - 1, "members": 2**32 - 1},
        {"instance": 2**64 - 1, "ticket": 2**64 - 1},
    ],
)
def test_numbers_that_no_honest_server_announces(numbers, connect):
    def script(connection: Connection) -> None:
        connection.welcome(**numbers)
        connection.send(Execute(12, 0, 1, 2**32 - 1, b"first"))
        came: dict[int, bytes] = {}
        while len(came) < 2:
            came.update([connection.read()])
        assert came[0x03][9:] == b"FIRST"
        id_ = int.from_bytes(came[0x02][:4])
        connection.send(Accepted(id_, 2**64 - 2, 2**32 - 1, 2**32 - 1))
        connection.send(Rank(13, 1, 2, 1))
        while connection.read()[0] not in (-1, 0x08):
            pass

    with FakeServer(script) as fake, connect(fake.host, fake.port, handler=shout) as client:
        receipt = client.command("x", results=True, timeout=4_294_967)
        assert receipt.executors == 2**32 - 1
        assert client.wait_for_rank(1, 1e12)


def test_times_that_no_selector_takes(connect):
    def script(connection: Connection) -> None:
        connection.welcome()
        connection.read_until(0x05)
        connection.send(Rank(12, 1, 2, 1))
        connection.read_until(0x08)

    with FakeServer(script) as fake, connect(fake.host, fake.port, timeout=4_294_967) as client:
        threading.Timer(0.1, client.close).start()
        with pytest.raises(ConnectionLost, match="before the members were listed: this client left"):
            client.who()
