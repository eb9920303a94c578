"""Signal handlers run at each point of the blocking client where CPython can run one: they raise, or close it.

`Interrupter` finds those points.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress

import pytest

from rankmux import Client
from rankmux.errors import ConnectionLost, StateError
from rankmux.server.server import Server

from ..support.drivers import PATIENCE_S
from ..support.fake_server import Connection, FakeServer
from ..support.interrupts import Interrupter, Recorder, ctrl_c, signal_after
from .words import until

PROMPT_S = 2.0
CLOSED_S = 0.5


Interrupted = Callable[[], AbstractContextManager[None]]


def _command(client: Client, interrupted: Interrupted) -> None:
    with interrupted():
        client.command(b"interrupted")


def _quiet(client: Client, interrupted: Interrupted) -> None:
    with interrupted():
        client.command(b"interrupted", quiet=True)


def _results(client: Client, interrupted: Interrupted) -> None:
    with interrupted():
        assert [result.payload for result in client.command(b"interrupted", results=True)] == [b"done"]


def _who(client: Client, interrupted: Interrupted) -> None:
    with interrupted():
        client.who()


def _serve(client: Client, interrupted: Interrupted) -> None:
    with interrupted():
        client.serve(lambda command: client.close() if command.text == "stop" else "ran")


def _keep_reading(client: Client, interrupted: Interrupted) -> None:
    with interrupted():
        threading.Timer(0.01, client.close).start()
        client.keep_reading()


def _poll(client: Client, interrupted: Interrupted) -> None:
    with interrupted():
        client.poll(0.001)


def _promotions(client: Client, interrupted: Interrupted) -> None:
    promotions = client.promotions()
    with interrupted():
        next(promotions, None)


def _beside_a_reader(client: Client, interrupted: Interrupted) -> None:
    def read() -> None:
        with suppress(ConnectionLost):
            client.keep_reading()

    threading.Thread(target=read, name="reader").start()
    with interrupted():
        client.command(b"interrupted")


def _close(client: Client, interrupted: Interrupted) -> None:
    client.command(b"interrupted", quiet=True)
    with interrupted():
        client.close()


SCENES = [_command, _quiet, _results, _who, _serve, _poll, _promotions, _beside_a_reader, _close]


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("reconnect", [False, True])
def test_nothing_is_sent_twice_or_torn_wherever_an_exception_comes(scene, reconnect, at_once):
    at, done = 0, False
    while not done:
        recorder = Recorder()
        with FakeServer(recorder.serve) as fake:
            client = Client(fake.host, fake.port, reconnect=reconnect, timeout=PROMPT_S)
            interrupter = Interrupter(at, ctrl_c)
            began_s = time.monotonic()
            scene(client, interrupter)
            failed: str | None = None
            try:
                client.command(b"again")
            except ConnectionLost as error:
                failed = error.reason
            client.close()
            client.close()
            for thread in threading.enumerate():
                if thread.name == "reader":
                    thread.join(PATIENCE_S)
            took_s = time.monotonic() - began_s
        place = interrupter.place
        assert took_s < PROMPT_S, place
        assert client.fileno() == -1, place
        assert recorder.commands.count(b"interrupted") <= 1, place
        assert recorder.commands.count(b"again") == (failed is None), place
        assert set(recorder.commands) <= {b"interrupted", b"again"}, place
        assert len(recorder.results) <= 1, place
        assert set(recorder.others) <= {0x05, 0x06, 0x07, 0x08}, place
        if failed is not None:
            assert failed == "this client was closed" or ("interrupted" in failed and not reconnect), place
        at, done = at + 1, not place
    assert at > 20


@pytest.mark.slow
@pytest.mark.parametrize("scene", [*SCENES, _keep_reading])
def test_a_signal_handler_may_close_it_wherever_it_comes(scene):
    """The call that it interrupts closes the client, and ends as if another thread had closed it."""
    at, done = 0, False
    while not done:
        recorder = Recorder()
        with FakeServer(recorder.serve) as fake:
            client = Client(fake.host, fake.port, timeout=PROMPT_S)
            interrupter = Interrupter(at, client.close)
            began_s = time.monotonic()
            lost: ConnectionLost | None = None
            try:
                scene(client, interrupter)
            except ConnectionLost as error:
                lost = error
            took_s = time.monotonic() - began_s
            if interrupter.place:
                assert client.closed
                assert client.fileno() == -1, interrupter.place
            client.close()
        place = interrupter.place
        assert took_s < CLOSED_S, place
        assert lost is None or lost.reason == "this client was closed", place
        assert recorder.commands.count(b"interrupted") <= 1, place
        assert recorder.others[0x08] == 1, place
        at, done = at + 1, not place
    assert at > 20


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(port=0, seats=10) as server:
        yield server


def test_a_real_signal_closes_a_client_that_serves(server):
    client = Client(*server.address)
    closed_at: list[float] = []

    def close() -> None:
        closed_at.append(time.monotonic())
        client.close()

    with signal_after(0.05, close):
        client.serve()
    assert time.monotonic() - closed_at[0] < CLOSED_S
    with Client(*server.address) as other:
        assert len(other.who()) == 1


def test_a_real_signal_closes_a_client_while_it_connects_again(at_once):
    """This server accepts the second connection, and sends nothing."""
    closed_at: list[float] = []

    def go(connection: Connection) -> None:
        connection.welcome()

    with FakeServer(go, Connection.until_gone) as fake:
        client = Client(fake.host, fake.port, reconnect=True, timeout=PATIENCE_S)

        def close() -> None:
            closed_at.append(time.monotonic())
            client.close()

        with signal_after(0.1, close):
            client.serve()
        assert time.monotonic() - closed_at[0] < CLOSED_S


def test_a_real_signal_closes_a_client_that_waits_to_connect_again(monkeypatch):
    monkeypatch.setattr("rankmux.core.client.backoff._FIRST_BOUND_S", 1000.0)
    monkeypatch.setattr("rankmux.core.client.backoff._LAST_BOUND_S", 1000.0)
    with FakeServer(Connection.welcome) as fake:
        client = Client(fake.host, fake.port, reconnect=True, timeout=PATIENCE_S)
        with signal_after(0.1, client.close):
            began_s = time.monotonic()
            client.serve()
        assert time.monotonic() - began_s < 0.1 + CLOSED_S


def test_other_calls_above_a_call_are_refused_and_do_no_harm(server):
    senior, client = Client(*server.address), Client(*server.address)
    refused: list[str] = []

    def use() -> None:
        for call in (lambda: client.command("x"), client.who, client.poll, client.serve, client.keep_reading):
            try:
                call()
            except StateError as error:
                refused.append(str(error))

    with signal_after(0.05, use):
        assert not client.wait_for_rank(0, 0.2)
    assert len(refused) == 5
    assert all("only close may be called there" in text for text in refused)
    assert len(client.who()) == 2
    client.close()
    senior.close()


def test_a_handler_of_a_command_may_close_it(server):
    with Client(*server.address) as ada, Client(*server.address) as bob:
        ada.command("end", quiet=True)
        began_s = time.monotonic()
        bob.serve(lambda _: bob.close())
        assert time.monotonic() - began_s < CLOSED_S
        assert bob.fileno() == -1
        assert len(ada.who()) == 1


SENDER = """
import signal, sys
import rankmux

def stop(*_):
    sys.exit()

host, port, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if how == "exit":
    signal.signal(signal.SIGINT, stop)
for turn in range(int(sys.argv[4])):
    try:
        with rankmux.Client(host, port) as client:
            print("joined", flush=True)
            sys.stdin.readline()
            number = 0
            while True:
                client.command(f"{turn}.{number}", quiet=how == "quiet")
                number += 1
    except (KeyboardInterrupt, SystemExit):
        print("interrupted", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["loud", "quiet", "exit"])
def test_a_sender_that_is_interrupted_sends_nothing_twice(how):
    turns = 20
    ran: Counter[str] = Counter()
    with (
        Server(port=0, seats=10) as server,
        subprocess.Popen(
            [sys.executable, "-c", SENDER, *map(str, server.address), how, str(turns)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as sender,
    ):
        assert sender.stdin is not None
        assert sender.stdout is not None
        limit = threading.Timer(60, sender.kill)
        limit.start()
        for turn in range(turns):
            assert sender.stdout.readline() == "joined\n"
            with Client(*server.address, handler=lambda command: ran.update([command.text])) as executor:
                thread = threading.Thread(target=executor.serve)
                thread.start()
                sender.stdin.write("go\n")
                sender.stdin.flush()
                until(lambda: any(name.startswith(f"{turn}.") for name in list(ran)))  # noqa: B023
                time.sleep(random.uniform(0, 0.02))
                sender.send_signal(signal.SIGINT)
                assert sender.stdout.readline() == "interrupted\n"
                assert executor.wait_for_rank(0, PATIENCE_S)
                executor.close()
                thread.join(PATIENCE_S)
        assert sender.wait(PATIENCE_S) == 0
        limit.cancel()
    assert len(ran) > turns
    assert [name for name, count in ran.items() if count > 1] == []
