"""Several threads in one client (L6): frames never mix, and no thread hangs when it is closed."""

from __future__ import annotations

import threading

from rankmux.errors import ConnectionLost, RankmuxError
from rankmux.wire import Rank

from ..support.drivers import PATIENCE_S, serving
from ..support.fake_server import Connection, FakeServer
from .words import shout


def test_threads_that_send_at_once(stage, join):
    """Frames never mix: every answer belongs to its request."""
    ada, bob = join(), join()
    stage.enter_context(serving(bob, shout))
    wrong: list[object] = []

    def work(number: int) -> None:
        for turn in range(50):
            text = f"thread {number} turn {turn} " + "x" * (number * 997)
            (result,) = ada.command(text, results=True, timeout=PATIENCE_S)
            if result.text != text.upper():
                wrong.append((number, turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S * 3)
    assert wrong == []
    assert not any(thread.is_alive() for thread in threads)


def test_close_while_others_wait_and_send(stage, join):
    """Each thread gets its answer or ConnectionLost, and none hangs."""
    ada, bob = join(), join()
    stage.enter_context(serving(bob, shout))
    ended: list[RankmuxError] = []
    wrong: list[BaseException] = []
    running = threading.Barrier(6)

    def work() -> None:
        running.wait()
        try:
            while True:
                ada.command("x" * 30_000, results=True, timeout=PATIENCE_S).wait()
        except ConnectionLost as error:
            ended.append(error)
        except Exception as error:  # noqa: BLE001
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    running.wait()
    bob.who()
    ada.close()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert wrong == []
    assert len(ended) == 5


def test_closing_wakes_a_waiting_thread(connect):
    """The other thread sleeps in the selector, and this server will not wake it."""

    def script(connection: Connection) -> None:
        connection.welcome()
        connection.until_gone()

    with FakeServer(script) as fake:
        client = connect(fake.host, fake.port)
        thread = threading.Thread(target=client.serve, args=(shout,))
        thread.start()
        client.close()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_sending_wakes_a_waiting_thread(connect):
    """Output that cannot be sent at once is sent by the thread already waiting, which must learn of it."""
    received: list[int] = []

    def script(connection: Connection) -> None:
        connection.welcome()
        received.extend(len(connection.read_until(0x02)) for _ in range(200))
        connection.send(Rank(12, 0, 1, 1))
        connection.until_gone()

    with FakeServer(script) as fake, connect(fake.host, fake.port, timeout=5) as client:
        reader = threading.Thread(target=client.keep_reading)
        reader.start()
        for _ in range(200):
            client.command(bytes(60_000), quiet=True)
        assert client.wait_for_rank(0, 5)
        client.close()
        reader.join(PATIENCE_S)
    assert received == [60_014] * 200
