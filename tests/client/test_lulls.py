"""Waiting for all results of a command: they are read in large pieces, and nothing else comes late for that.

Lulls last for ever in most of these tests, so that only what ends them can.
"""

from __future__ import annotations

import threading
import time

import pytest

import rankmux.aio.link
import rankmux.client.engine
from rankmux.client.stream import Stream
from rankmux.errors import ResultsLost
from rankmux.wire import Accepted, Command, Done, Ping, Routed

from ..support.drivers import PATIENCE_S
from ..support.fake_server import Connection, FakeServer

EXECUTORS = 200


@pytest.fixture
def for_ever(monkeypatch) -> None:
    for module in (rankmux.client.engine, rankmux.aio.link):
        monkeypatch.setattr(module, "LULL_S", 10 * PATIENCE_S)


@pytest.fixture
def reads(monkeypatch) -> list[int]:
    """The sizes of what the clients have read."""
    sizes: list[int] = []
    receive = Stream.receive

    def counted(stream: Stream) -> bytes | None:
        data = receive(stream)
        sizes.append(len(data or b""))
        return data

    monkeypatch.setattr(Stream, "receive", counted)
    return sizes


def accept(connection: Connection) -> int:
    """Take a command, and tell that EXECUTORS members have it; its id."""
    id_ = Command.decode(connection.read_until(0x02)).id
    connection.send(Accepted(id_, 12, EXECUTORS, 0))
    return id_


def result(id_: int, number: int) -> Routed:
    return Routed(id_, 100 + number, 3 + number, 0, b"%d" % number)


def done(id_: int) -> Done:
    return Done(id_, EXECUTORS, 0, 0, 0, 0, 0)


def test_many_results_take_few_reads(connect, for_ever, reads):
    def script(connection: Connection) -> None:
        connection.welcome()
        id_ = accept(connection)
        for number in range(EXECUTORS):
            connection.send(result(id_, number))
            time.sleep(0.001)  # each would be read by itself
        connection.send(done(id_))
        connection.until_gone()

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client:
        receipt = client.command("", results=True)
        reads.clear()
        assert [row.text for row in receipt.gather(PATIENCE_S)] == [str(n) for n in range(EXECUTORS)]
        assert len(reads) < EXECUTORS / 4
        assert receipt.counts.ok == EXECUTORS


def test_an_iteration_has_each_result_at_once(connect, for_ever):
    taken = threading.Semaphore(0)

    def script(connection: Connection) -> None:
        connection.welcome()
        id_ = accept(connection)
        for number in range(EXECUTORS):
            connection.send(result(id_, number))
            assert taken.acquire(timeout=PATIENCE_S)
        connection.send(done(id_))
        connection.until_gone()

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client:
        for number, row in enumerate(client.command("", results=True)):
            assert row.text == str(number)
            taken.release()


def test_a_ping_is_answered_meanwhile(connect):
    def script(connection: Connection) -> None:
        connection.welcome()
        id_ = accept(connection)
        for number in range(EXECUTORS):
            if number % 50 == 10:
                connection.send(Ping(b"alive?"))
                assert connection.read_until(0x07) == b"alive?"
            connection.send(result(id_, number))
        connection.send(done(id_))
        connection.until_gone()

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client:
        assert len(client.command("", results=True).gather(PATIENCE_S)) == EXECUTORS


def test_other_answers_come_at_once(connect, for_ever):
    """One call waits for all results; those of other threads, or tasks, have their answers all the same."""
    counted = threading.Event()

    def script(connection: Connection) -> None:
        connection.welcome()
        id_ = accept(connection)
        for number in range(50):
            connection.send(result(id_, number))
        for seq in (13, 14):
            other = Command.decode(connection.read_until(0x02)).id
            connection.send(Accepted(other, seq, 1, 0))
        assert counted.wait(PATIENCE_S)
        for number in range(50, EXECUTORS):
            connection.send(result(id_, number))
        connection.send(done(id_))
        connection.until_gone()

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client:
        receipt = client.command("", results=True)
        gathered: list[int] = []
        thread = threading.Thread(target=lambda: gathered.append(len(receipt.gather(PATIENCE_S))))
        thread.start()
        for seq in (13, 14):
            time.sleep(0.02)  # the other one is in a lull by now, or will be in none
            assert client.command("").seq == seq
        counted.set()
        thread.join(PATIENCE_S)
        assert gathered == [EXECUTORS]


def test_the_end_of_the_connection_shows_at_once(connect, for_ever):
    def script(connection: Connection) -> None:
        connection.welcome()
        id_ = accept(connection)
        connection.send(result(id_, 0))

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client, pytest.raises(ResultsLost):
        client.command("", results=True).gather(PATIENCE_S)


def test_a_wait_that_ends_early_leaves_no_lull(connect, for_ever):
    def script(connection: Connection) -> None:
        connection.welcome()
        id_ = accept(connection)
        connection.send(result(id_, 0))
        connection.read_until(0x02)
        connection.send(result(id_, 1))
        connection.until_gone()

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client:
        receipt = client.command("", results=True)
        with pytest.raises(TimeoutError):
            receipt.gather(0.05)
        rows = receipt.results(PATIENCE_S)
        assert next(rows).text == "0"
        client.command("", quiet=True)
        assert next(rows).text == "1"
