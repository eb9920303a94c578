"""A client whose calls only write still reads the frames from the server."""

from __future__ import annotations

import time

from rankmux import Client, Status
from rankmux.client.stream import Stream
from rankmux.server.server import Server
from rankmux.wire import Execute, Ping

from ..support.drivers import PATIENCE_S
from ..support.fake_server import Connection, FakeServer


def _pings(connection: Connection, type_: int) -> None:
    """Send a PING for each of 50 frames of that type; each is answered before the next but two."""
    asked = answered = 0
    while answered < 50:
        got, body = connection.read()
        assert got in (type_, 0x07), got
        if got == 0x07:
            assert body == b"%d" % answered
            answered += 1
        elif asked <= answered:
            connection.send(Ping(b"%d" % asked))
            asked += 1


def test_a_sender_that_never_waits_answers_pings():
    over: list[bool] = []

    def script(connection: Connection) -> None:
        connection.welcome()
        _pings(connection, 0x02)
        over.append(True)
        connection.until_gone()

    with FakeServer(script) as fake, Client(fake.host, fake.port) as client:
        deadline_s = time.monotonic() + PATIENCE_S
        while not over:
            client.command(b"x" * 1000, quiet=True)
            assert time.monotonic() < deadline_s


def test_a_handler_that_only_emits_answers_pings():
    over: list[bool] = []

    def script(connection: Connection) -> None:
        connection.welcome()
        connection.send(Execute(12, 0, 1, 0, b"talk"))
        _pings(connection, 0x03)
        over.append(True)
        connection.until_gone()

    with FakeServer(script) as fake, Client(fake.host, fake.port) as client:

        def talk(command: object) -> None:
            deadline_s = time.monotonic() + PATIENCE_S
            while not over:
                command.emit(b"x" * 1000)
                assert time.monotonic() < deadline_s
            command.finish(Status.OK)
            client.close()

        client.serve(talk)
    assert over == [True]


def test_a_sender_that_never_waits_keeps_its_seat():
    """Each of these commands is refused, as there is no junior: that makes more output than the server keeps."""
    with (
        Server(
            port=0,
            seats=2,
            send_buffer_bytes=65536,
            outbox_soft_bytes=65536,
            outbox_hard_bytes=1 << 20,
            write_timeout_s=0.3,
        ) as server,
        Client(*server.address) as client,
    ):
        until_s = time.monotonic() + 2.0
        while time.monotonic() < until_s:
            client.command(b"x", quiet=True)
        assert len(client.who()) == 1


def test_input_read_in_a_call_is_bounded(monkeypatch):
    """A server that sends continuously does not keep a call from returning."""

    def script(connection: Connection) -> None:
        connection.welcome()
        for first in range(12, 1 << 40, 1000):
            connection.send(*(Execute(seq, 0, 0, 0, bytes(100)) for seq in range(first, first + 1000)))

    reads = 0

    def receive(stream: Stream) -> bytes | None:
        nonlocal reads
        reads += 1
        return original(stream)

    original = Stream.receive
    with FakeServer(script) as fake, Client(fake.host, fake.port) as client:
        monkeypatch.setattr(Stream, "receive", receive)
        taken = 0
        while taken < 20:
            before = reads
            client.command(b"x", quiet=True)
            assert reads - before <= 1, "of 256 KiB"
            taken += reads - before
            time.sleep(0.001)
