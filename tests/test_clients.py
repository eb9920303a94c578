"""The clients, blocking and asyncio, against a real server, and against servers that break the rules."""

from __future__ import annotations

import gc
import logging
import re
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

import rankmux.aio
import rankmux.client
import rankmux.client_inbox
from rankmux.client import Client, Counts, Rejected, reject
from rankmux.client_reconnect import Backoff
from rankmux.codes import Cause, ErrorCode, RefusedCode, Status
from rankmux.errors import (
    ArgumentError,
    AuthError,
    CommandRefused,
    ConnectionLost,
    PayloadTooBig,
    ProtocolViolation,
    RankmuxError,
    ServerError,
    StateError,
)
from rankmux.server import Server
from rankmux.wire import (
    Accepted,
    Done,
    ErrorFrame,
    Execute,
    MemberInfo,
    Members,
    Ping,
    Pong,
    Rank,
    Refused,
    Result,
    Routed,
)

from .drivers import PATIENCE_S, serving
from .fake_server import Connection, FakeServer


@pytest.fixture
def stage(connect: Callable[..., Client]) -> Iterator[ExitStack]:
    """What is on it goes before the driver's loop does."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def server(stage: ExitStack) -> Server:
    return stage.enter_context(Server(port=0, seats=10))


@pytest.fixture
def join(stage: ExitStack, server: Server, connect: Callable[..., Client]) -> Callable[..., Client]:
    """Makes a client of `server`, and closes it in the end."""

    def join(name: str = "", **options: object) -> Client:
        host, port = server.address
        return stage.enter_context(connect(host, port, name=name, **options))

    return join


def shout(command: rankmux.client.ReceivedCommand) -> str:
    return command.text.upper()


def until(condition: Callable[[], bool]) -> None:
    """For what no call can wait for, because it happens in the server."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


# Joining


def test_what_a_client_knows_of_itself(join, server):
    ada = join("ada")
    bob = join("bob")
    assert (ada.rank, ada.members, ada.capacity, ada.name) == (0, 1, 10, "ada")
    assert (bob.rank, bob.members) == (1, 2)
    assert bob.ticket > ada.ticket
    assert bob.max_payload == 65536
    assert bob.address == f"127.0.0.1:{server.address[1]}"
    assert repr(bob) == f"<rankmux.Client 'bob' at {bob.address}: rank 1 of 2>"
    bob.close()
    assert (bob.rank, bob.ticket, bob.members) == (None, None, None)
    assert repr(bob).endswith("not connected>")


def test_a_full_server_says_so(stage, connect):
    server = stage.enter_context(Server(port=0, seats=1))
    stage.enter_context(connect(*server.address))
    with pytest.raises(ServerError) as caught:
        connect(*server.address)
    assert caught.value.code == ErrorCode.FULL


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


def test_nobody_listens(connect):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ConnectionLost, match="is rankmux-server running there"):
        connect(port=port)


def test_a_host_that_does_not_exist(connect):
    with pytest.raises(ConnectionLost, match="cannot be reached"):
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
        {"port": 65536 + 7117},  # the resolver would make 7117 of it
        {"port": -1},
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": None},
        {"timeout": float("nan")},
        {"timeout": "5"},
        {"handler": "shout"},
        {"on_promoted": 5},
        {"on_joined": 5},
        {"on_lost": 5},
    ],
    ids=repr,
)
def test_arguments_that_are_wrong(server, options, connect):
    """They are told of before anything is opened, and a token is not shown."""
    host, port = server.address
    with pytest.raises(ArgumentError, match=f"^{next(iter(options))} is ") as caught:
        connect(**{"host": host, "port": port, **options})
    error: BaseException | None = caught.value
    assert "secret" not in f"{error} {error!r}"
    assert error.__context__ is None


@pytest.mark.parametrize("payload", [5, None, ["print"], "\ud800"])
def test_payloads_that_are_none(join, payload):
    with pytest.raises(ArgumentError, match=r"^payload is "):
        join().command(payload)


# Commanding


def test_a_command_to_all(stage, join):
    ada, bob, cyd = join("ada"), join("bob"), join("cyd")
    for client in (bob, cyd):
        stage.enter_context(serving(client, shout))
    receipt = ada.command("print", results=True)
    assert (receipt.executors, receipt.rejected) == (2, 0)
    assert receipt.seq == 4  # three have joined
    results = list(receipt)
    assert sorted((r.rank, r.ticket, r.text) for r in results) == [
        (1, bob.ticket, "PRINT"),
        (2, cyd.ticket, "PRINT"),
    ]
    assert all(r.final and r.status is Status.OK for r in results)
    assert receipt.counts == Counts(ok=2, failed=0, rejected=0, expired=0, left=0)
    assert list(receipt) == []
    assert receipt.wait() == receipt.counts


def test_targets(stage, join):
    clients = [join() for _ in range(4)]
    for client in clients[1:]:
        stage.enter_context(serving(client, lambda command: str(command.rank)))

    def ranks(sender: Client, to: object) -> list[int]:
        return [int(result.text) for result in sender.command("?", to=to, results=True).gather(PATIENCE_S)]

    assert ranks(clients[0], "all") == [1, 2, 3]
    assert ranks(clients[1], "all") == [2, 3]
    assert ranks(clients[1], "next") == [2]
    assert ranks(clients[0], 3) == [3]
    assert ranks(clients[0], "least") == [1]


def test_a_command_without_results(stage, join):
    ran = threading.Event()
    ada, bob = join(), join()
    stage.enter_context(serving(bob, lambda _: ran.set()))
    receipt = ada.command(b"\xff\0", to="next")
    assert (receipt.executors, receipt.counts) == (1, None)
    assert ran.wait(PATIENCE_S)
    with pytest.raises(StateError, match="results=True"):
        receipt.wait()
    with pytest.raises(StateError, match="results=True"):
        next(iter(receipt))


@pytest.mark.parametrize(
    ("to", "code"),
    [
        ("all", RefusedCode.NO_TARGET),
        ("next", RefusedCode.NO_TARGET),
        ("least", RefusedCode.NO_TARGET),
        (0, RefusedCode.NOT_LOWER),
        (1, RefusedCode.NOT_LOWER),
        (2, RefusedCode.NO_SUCH_RANK),
    ],
)
@pytest.mark.parametrize("results", [False, True])
def test_refusals(join, to, code, results):
    _, bob = join(), join()
    with pytest.raises(CommandRefused) as caught:
        bob.command("print", to=to, results=results)
    assert caught.value.code == code


@pytest.mark.parametrize("to", ["everybody", -1, 1 << 32, True, None, 1.0, ""])
def test_targets_that_are_none(join, to):
    with pytest.raises(ArgumentError, match="a rank is expected"):
        join().command("print", to=to)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), 1e10, "5"])
def test_timeouts_that_are_none(join, timeout):
    with pytest.raises(ArgumentError, match="seconds"):
        join().command("print", timeout=timeout)


def test_a_payload_that_is_too_big_sends_nothing(stage, join):
    ada, bob = join(), join()
    stage.enter_context(serving(bob, lambda command: str(len(command.payload))))
    with pytest.raises(PayloadTooBig):
        ada.command(bytes(65537))
    (result,) = ada.command(bytes(65536), results=True)
    assert result.text == "65536"


def test_a_command_expires(join):
    ada, _ = join(), join()
    receipt = ada.command("print", results=True, timeout=0.01)
    assert receipt.wait(PATIENCE_S) == Counts(0, 0, 0, 1, 0)
    (result,) = receipt
    assert (result.status, result.rank, result.payload) == (Status.EXPIRED, 1, b"")


def test_an_executor_leaves(join):
    ada, bob = join(), join()
    receipt = ada.command("print", results=True)
    bob.close()
    assert [result.status for result in receipt] == [Status.LEFT]


def test_waiting_for_results_can_be_given_up(join):
    ada, _bob = join(), join()
    receipt = ada.command("print", results=True)
    with pytest.raises(TimeoutError, match="was not done"):
        receipt.wait(0.01)
    with pytest.raises(TimeoutError, match="no result"):
        next(receipt.results(0.01))
    assert ada.command("print").executors == 1


def test_quiet_commands(stage, join, caplog):
    ran: list[str] = []
    ada, bob = join(), join()
    thread = stage.enter_context(serving(bob, lambda command: ran.append(command.text)))
    for number in range(2000):
        assert ada.command(str(number), quiet=True).seq is None
    receipt = ada.command("last", quiet=True, results=True)
    assert receipt.executors is None
    assert receipt.wait(PATIENCE_S).ok == receipt.executors == 1
    assert ran == [*map(str, range(2000)), "last"]
    bob.close()
    thread.join(PATIENCE_S)
    until(lambda: not ada.poll() and ada.who() and len(ada.who()) == 1)
    with pytest.raises(CommandRefused):
        ada.command("nobody there", quiet=True, results=True).wait(PATIENCE_S)
    with caplog.at_level(logging.WARNING):
        ada.command("nobody there", quiet=True)
        ada.who()
        ada.poll()
    assert "the command was refused" in caplog.text


def test_who_over_many_pages(stage, connect):
    server = stage.enter_context(Server(port=0, seats=40, max_payload=200))
    clients = [stage.enter_context(connect(*server.address, name="x" * 60 + f"{n}")) for n in range(40)]
    members = clients[7].who()
    assert [member.rank for member in members] == list(range(40))
    assert [member.ticket for member in members] == [client.ticket for client in clients]
    assert [member.name for member in members] == [client.name for client in clients]
    assert clients[7].members == 40


# Executing


def test_what_a_handler_makes_of_a_command(stage, join, caplog):
    ada, bob = join(), join()

    def handler(command: rankmux.client.ReceivedCommand) -> object:
        match command.text:
            case "bytes":
                return b"\xff"
            case "text":
                return "é"
            case "nothing":
                return None
            case "nonsense":
                return 5
            case "part":
                command.emit("one ")
                command.emit("")
                command.emit(b"two ")
                return "three"
            case "finish":
                command.finish(Status.FAILED, "by hand")
                return None
            case "long":
                return bytes(150_000)
            case "about":
                return f"{command.seq} {command.sender_rank} {command.rank} {command.wants_result}"
            case "reject":
                raise Rejected("not here")
            case "raise":
                raise ValueError("wrong")
        raise AssertionError

    stage.enter_context(serving(bob, handler))

    def answer(command: str) -> list[tuple[Status, bytes]]:
        return [
            (result.status, result.payload)
            for result in ada.command(command, results=True, timeout=PATIENCE_S)
        ]

    assert answer("bytes") == [(Status.OK, b"\xff")]
    assert answer("text") == [(Status.OK, "é".encode())]
    assert answer("nothing") == [(Status.OK, b"")]
    assert answer("part") == [(Status.PART, b"one "), (Status.PART, b"two "), (Status.OK, b"three")]
    assert answer("finish") == [(Status.FAILED, b"by hand")]
    assert [(status, len(payload)) for status, payload in answer("long")] == [
        (Status.PART, 65536),
        (Status.PART, 65536),
        (Status.OK, 150_000 - 2 * 65536),
    ]
    ((status, payload),) = answer("about")
    assert payload.split()[1:] == [b"0", b"1", b"True"]
    assert answer("reject") == [(Status.REJECTED, b"not here")]
    assert caplog.records == []
    ((status, payload),) = answer("nonsense")
    assert (status, payload) == (
        Status.FAILED,
        b"TypeError: the handler returned int: bytes, str or None is expected",
    )
    assert answer("raise") == [(Status.FAILED, b"ValueError: wrong")]
    assert [record.exc_info[0] for record in caplog.records] == [TypeError, ValueError]
    assert answer("text") == [(Status.OK, "é".encode())], "the reader lives (L7)"


def test_a_client_that_executes_nothing(stage, join):
    ada, bob = join(), join(handler=reject)
    stage.enter_context(serving(bob, reject))
    assert ada.command("print", results=True).wait(PATIENCE_S).rejected == 1


def test_a_handler_commands_its_own_juniors(stage, join):
    """Re-entrancy: what arrives while a handler waits for a receipt is kept, and run afterwards in order."""
    clients = [join() for _ in range(4)]

    def forward(client: Client) -> Callable[[rankmux.client.ReceivedCommand], str]:
        def handler(command: rankmux.client.ReceivedCommand) -> str:
            try:
                below = client.command(command.payload, to="next", results=True, timeout=PATIENCE_S).gather()
            except CommandRefused:
                below = []
            return f"{command.rank}:{command.text}" + "".join(f"({result.text})" for result in below)

        return handler

    for client in clients[1:]:
        stage.enter_context(serving(client, forward(client)))
    receipts = [clients[0].command(f"c{n}", to="next", results=True, timeout=PATIENCE_S) for n in range(20)]
    answers = [receipt.gather()[0].text for receipt in receipts]
    assert answers == [f"1:c{n}(2:c{n}(3:c{n}))" for n in range(20)]


def test_a_handler_that_sends_more_than_the_server_reads(connect):
    """It is held up, and told in the end; memory stays flat."""
    gone = threading.Event()
    told: list[BaseException] = []

    def script(connection: Connection) -> None:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.welcome()
        connection.send(Execute(12, 0, 1, 0, b"x"))
        gone.wait(PATIENCE_S)

    def handler(command: rankmux.client.ReceivedCommand) -> None:
        try:
            for _ in range(2000):
                command.emit(bytes(60_000))
        except TimeoutError as error:
            told.append(error)
        client.close()

    with FakeServer(script) as fake:
        client = connect(fake.host, fake.port, timeout=0.2)
        tracemalloc.start()
        try:
            client.serve(handler)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        gone.set()
    assert len(told) == 1
    assert peak < 2_000_000


def test_a_handler_given_at_the_start_runs_in_whatever_waits(join):
    ada, cyd = join(), None
    bob = join(handler=shout)
    cyd = join(handler=reject)
    receipt = ada.command("print", to="next", results=True)
    bob_receipt = bob.command("report", results=True, timeout=0.05)
    bob_receipt.wait(PATIENCE_S)
    assert [result.text for result in receipt.results(PATIENCE_S)] == ["PRINT"]
    assert cyd.rank == 2


def test_commands_wait_until_they_are_served(stage, join):
    ada, bob = join(), join()
    receipts = [ada.command(str(n), results=True) for n in range(3)]
    bob.who()  # reads them
    stage.enter_context(serving(bob, lambda command: command.payload))
    assert [receipt.gather(PATIENCE_S)[0].text for receipt in receipts] == ["0", "1", "2"]


def test_a_command_that_expires_while_it_waits_is_not_run(stage, join, caplog):
    ada, bob = join(), join()
    late = ada.command("late", results=True, timeout=0.1)
    assert late.wait(PATIENCE_S).expired == 1
    bob.who()  # reads it
    time.sleep(0.2)  # its clock began later
    ran = []
    stage.enter_context(serving(bob, lambda command: ran.append(command.text)))
    assert ada.command("in time", results=True).wait(PATIENCE_S).ok == 1
    assert ran == ["in time"]
    assert "was not run: it waited here until it expired" in caplog.text


def test_commands_that_nobody_runs_are_bounded(stage, join, monkeypatch, caplog):
    monkeypatch.setattr(rankmux.client_inbox, "_COMMANDS_HARD", 2)
    ada, bob = join(), join()
    receipts = [ada.command(str(n), results=True) for n in range(4)]
    bob.who()
    bob.poll()
    assert sum(map(int, re.findall("([0-9]+) commands were turned away", caplog.text))) == 2
    assert [receipt.gather(PATIENCE_S)[0].payload for receipt in receipts[2:]] == [
        b"2 commands wait here already"
    ] * 2
    stage.enter_context(serving(bob, lambda command: command.payload))
    assert [receipt.gather(PATIENCE_S)[0].text for receipt in receipts[:2]] == ["0", "1"]


def test_commands_that_are_run_are_never_turned_away(stage, join, monkeypatch):
    """Who runs them receives no more than can wait; TCP, and then the server, slow their sender down."""
    monkeypatch.setattr(rankmux.client_inbox, "_COMMANDS_SOFT", 10)
    monkeypatch.setattr(rankmux.client_inbox, "_COMMANDS_HARD", 700)  # one read brings 260
    ada, bob = join(), join()
    ran: list[bytes] = []
    go_on = threading.Event()

    def handler(command: rankmux.client.ReceivedCommand) -> None:
        assert go_on.wait(PATIENCE_S)
        ran.append(command.payload)

    stage.enter_context(serving(bob, handler))
    reader = threading.Thread(target=bob.keep_reading)
    reader.start()
    filler = b"x" * 1000
    for number in range(6_000):
        ada.command(b"%d " % number + filler, quiet=True)
        if number == 1500:
            go_on.set()
    receipt = ada.command("last", results=True, timeout=PATIENCE_S)
    assert receipt.wait(PATIENCE_S * 2).ok == 1
    assert [int(payload.split()[0]) for payload in ran[:-1]] == list(range(6_000))
    bob.close()
    reader.join(PATIENCE_S)


def test_serve_ends_when_the_handler_closes_the_client(join, caplog):
    ada, bob = join(), join()
    ada.command("stop", quiet=True)
    bob.serve(lambda _: bob.close())
    assert bob.closed
    with pytest.raises(ConnectionLost, match="this client was closed"):
        bob.command("print")


def test_serve_within_serve(join, caplog):
    ada, bob = join(), join()
    receipt = ada.command("x", results=True)

    def handler(command: rankmux.client.ReceivedCommand) -> None:
        command.emit("trying")
        bob.serve(shout)

    thread = threading.Thread(target=bob.serve, args=(handler,))
    thread.start()
    assert receipt.wait(PATIENCE_S).failed == 1
    assert b"StateError" in receipt.gather()[0].payload
    with pytest.raises(StateError):
        bob.serve(shout)
    bob.close()
    thread.join(PATIENCE_S)


def test_poll_answers_and_runs(join):
    ada, bob = join(), join(handler=shout)
    receipt = ada.command("print", results=True)
    while ada.poll() or receipt.counts is None:
        bob.poll(0.01)
    assert receipt.gather()[0].text == "PRINT"


# Promotions


def test_promotions_by_callback_iterator_and_waiting(stage, join):
    heard: list[tuple[int, int, Cause]] = []
    ada, bob, cyd, dan = (
        join(),
        join(),
        join(),
        join(on_promoted=lambda p: heard.append((p.before, p.rank, p.cause))),
    )
    promotions = cyd.promotions()
    assert not cyd.wait_for_rank(0, timeout=0.01)
    ada.close()
    assert dan.wait_for_rank(2, PATIENCE_S)
    bob.close()
    assert dan.wait_for_rank(1, PATIENCE_S)
    dan.poll()
    assert heard == [(3, 2, Cause.LEFT), (2, 1, Cause.LEFT)]
    assert [next(promotions).rank, next(promotions).rank] == [1, 0]
    assert cyd.rank == 0
    closer = threading.Timer(0, cyd.close)
    closer.start()
    assert list(promotions) == []
    closer.join()


def test_a_callback_that_raises_is_reported(join, caplog):
    def fail(promoted: object) -> None:
        raise ValueError("in the callback")

    ada, bob = join(), join(on_promoted=fail)
    ada.close()
    assert bob.wait_for_rank(0, PATIENCE_S)
    bob.poll()
    assert "in the callback" in caplog.text
    assert bob.who()


# Threads (L6)


def test_threads_that_send_at_once(stage, join):
    """Frames never mix: every answer belongs to its question."""
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
    """Each thread gets its answer or ConnectionLost, and nobody hangs."""
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


def test_a_handler_that_blocks_does_not_stop_who_reads(stage, connect):
    """L7: with `keep_reading` in a thread of the caller's own, a server that is quick to judge keeps the client."""
    server = stage.enter_context(Server(port=0, seats=10, ping_ms=400))
    ada = stage.enter_context(connect(*server.address))
    bob = stage.enter_context(connect(*server.address))
    go_on = threading.Event()
    stage.enter_context(serving(bob, lambda _: str(go_on.wait(PATIENCE_S))))
    reader = threading.Thread(target=bob.keep_reading)
    reader.start()
    receipt = ada.command("block", results=True, timeout=PATIENCE_S)
    with pytest.raises(TimeoutError):
        receipt.wait(1.6)  # several ping intervals
    assert bob.rank == 1
    go_on.set()
    assert receipt.gather(PATIENCE_S)[0].text == "True"
    bob.close()
    reader.join(PATIENCE_S)
    assert not reader.is_alive()


def test_a_busy_worker_is_not_taken_for_dead(stage, connect, monkeypatch):
    """Behind a handler that takes long so much has piled up that nothing more is read, the server's PINGs neither."""
    monkeypatch.setattr(rankmux.client_inbox, "_COMMANDS_SOFT", 3)
    server = stage.enter_context(Server(port=0, seats=10, ping_ms=400))
    ada = stage.enter_context(connect(*server.address))
    bob = stage.enter_context(connect(*server.address))
    go_on = threading.Event()
    stage.enter_context(serving(bob, lambda _: str(go_on.wait(PATIENCE_S))))
    for client in (ada, bob):
        threading.Thread(target=client.keep_reading, daemon=True).start()
    receipts = [ada.command("block", results=True, timeout=PATIENCE_S) for _ in range(10)]
    with pytest.raises(TimeoutError):
        receipts[0].wait(2)  # such a server waits 1.1 s for a sign of life
    go_on.set()
    assert [receipt.gather(PATIENCE_S)[0].text for receipt in receipts] == ["True"] * 10
    assert bob.rank == 1


def test_a_busy_worker_shows_that_it_lives_for_as_long_as_it_takes(connect, monkeypatch):
    """More often than PONGs may be owed otherwise; and all of them are taken when it reads on."""
    monkeypatch.setattr(rankmux.client_inbox, "_COMMANDS_SOFT", 3)
    go_on = threading.Event()

    def script(connection: Connection) -> None:
        connection.welcome(ping_ms=1)
        connection.send(*(Execute(12 + n, 0, 0, 0, b"x") for n in range(4)))
        for _ in range(20):
            assert connection.read_until(0x06) == b""
        go_on.set()
        connection.send(*[Pong(b"")] * 20, Rank(16, 1, 2, 1))
        connection.until_gone()

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client:
        with serving(client, lambda _: str(go_on.wait(PATIENCE_S))):
            reader = threading.Thread(target=client.keep_reading)
            reader.start()
            assert client.wait_for_rank(1, PATIENCE_S)
        reader.join(PATIENCE_S)


def test_a_busy_worker_learns_that_its_server_has_gone(connect, monkeypatch):
    monkeypatch.setattr(rankmux.client_inbox, "_COMMANDS_SOFT", 3)

    def script(connection: Connection) -> None:
        connection.welcome(ping_ms=50)
        connection.send(*(Execute(12 + n, 0, 0, 0, b"x") for n in range(4)))
        connection.read_until(0x06)
        connection.reset()

    go_on = threading.Event()

    def work(call: Callable[[], None]) -> None:
        with suppress(ConnectionLost):
            call()

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client:
        calls = (client.keep_reading, lambda: client.serve(lambda _: str(go_on.wait(PATIENCE_S))))
        threads = [threading.Thread(target=work, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        until(lambda: client.rank is None)
        go_on.set()
        for thread in threads:
            thread.join(PATIENCE_S)


def test_reading_goes_on_when_there_is_room_again_though_the_server_does_not_read(connect, monkeypatch):
    """Who sleeps until it can write must learn that it may read; the ping interval is far too long to wait for."""
    monkeypatch.setattr(rankmux.client_inbox, "_COMMANDS_SOFT", 3)
    go_on, told = threading.Event(), threading.Event()

    def script(connection: Connection) -> None:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.welcome(ping_ms=3_600_000)
        connection.send(*(Execute(12 + n, 0, 0, 0, b"x") for n in range(4)))
        assert go_on.wait(PATIENCE_S)
        connection.send(Rank(16, 1, 2, 1))
        assert told.wait(PATIENCE_S)

    def fill() -> None:
        with suppress(TimeoutError):
            for _ in range(200):
                client.command(bytes(60_000), quiet=True)

    with FakeServer(script) as fake, connect(fake.host, fake.port, timeout=0.2) as client:
        with serving(client, lambda _: str(go_on.wait(PATIENCE_S))):
            reader = threading.Thread(target=client.keep_reading)
            reader.start()
            fill()
            go_on.set()
            until(lambda: client.rank == 1)
            told.set()
        reader.join(PATIENCE_S)


def test_keep_reading_reads_for_others(stage, join):
    ada, bob = join(), join()
    stage.enter_context(serving(bob, shout))
    reader = threading.Thread(target=ada.keep_reading)
    reader.start()
    assert [ada.command(str(n), results=True).gather(PATIENCE_S)[0].text for n in range(20)] == [
        *map(str, range(20))
    ]
    ada.close()
    reader.join(PATIENCE_S)
    assert not reader.is_alive()


# Losses


def test_a_connection_lost_under_a_command(connect):
    """L3, L4: ConnectionLost, the rank is None, and nothing is sent again."""

    def script(connection: Connection) -> None:
        connection.welcome()
        connection.read_until(0x02)
        connection.reset()

    with FakeServer(script) as fake:
        client = connect(fake.host, fake.port)
        with pytest.raises(ConnectionLost):
            client.command("print", results=True)
        assert client.rank is None
        with pytest.raises(ConnectionLost):
            client.command("print")
        assert fake.accepted == 1
        client.close()


def test_a_connection_lost_under_a_receipt(connect):
    def script(connection: Connection) -> None:
        connection.welcome()
        id_ = int.from_bytes(connection.read_until(0x02)[:4])
        connection.send(Accepted(id_, 12, 2, 0), Routed(id_, 5, 3, Status.OK, b"one"))

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client:
        receipt = client.command("print", results=True)
        results = iter(receipt)
        assert next(results).text == "one"
        with pytest.raises(ConnectionLost, match="the server closed the connection"):
            next(results)
        with pytest.raises(ConnectionLost):
            receipt.wait()
        with pytest.raises(ConnectionLost):
            client.who()
        with pytest.raises(ConnectionLost):
            client.serve(shout)


def test_the_servers_last_word_is_what_is_raised(stage, connect):
    server = Server(port=0, seats=10)
    with server:
        client = stage.enter_context(connect(*server.address))
    for call in (client.poll, client.who, client.serve, client.keep_reading):
        with pytest.raises(ServerError) as caught:
            call()
        assert caught.value.code == ErrorCode.SHUTDOWN
    assert client.rank is None


def test_a_server_that_falls_silent(connect):
    """Nothing tells a client that its server's machine is gone but silence."""

    def script(connection: Connection) -> None:
        connection.welcome(ping_ms=1)
        assert [connection.read()[0] for _ in range(2)] == [0x06, 0x06]
        connection.until_gone()

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client:
        with pytest.raises(ConnectionLost, match="silent"):
            client.serve(shout)
        assert client.rank is None


def test_pings_are_answered_while_something_waits(connect):
    def script(connection: Connection) -> None:
        connection.welcome()
        for number in range(5):
            connection.send(Ping(b"%d" % number))
            assert connection.read_until(0x07) == b"%d" % number
        connection.send(Rank(12, 1, 2, 1))
        connection.until_gone()

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client:
        assert client.wait_for_rank(1, PATIENCE_S)


def test_closing_says_leave_and_waits_for_the_end(connect):
    seen: list[int] = []

    def script(connection: Connection) -> None:
        connection.welcome()
        while (type_ := connection.read()[0]) != -1:
            seen.append(type_)
            if type_ == 0x08:
                return

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client:
        client.close()
        client.close()
    assert seen == [0x08]


def test_closing_gives_a_server_that_does_not_close_a_second(connect):
    def script(connection: Connection) -> None:
        connection.welcome()
        connection.until_gone()

    with FakeServer(script) as fake:
        client = connect(fake.host, fake.port)
        began = time.monotonic()
        client.close()
        assert 0.9 < time.monotonic() - began < PATIENCE_S


def test_closing_wakes_who_waits(connect):
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


def test_sending_wakes_who_waits(connect):
    """What does not go out at once goes out by the thread that waits already, which must learn of it."""
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


# Reconnecting (L1, L2)


@pytest.fixture
def at_once(monkeypatch) -> None:
    """Back-off without the waiting; its delays have tests of their own."""
    for module in (rankmux.client, rankmux.aio):
        monkeypatch.setattr(module, "Backoff", lambda: Backoff(lambda low, _: low))


def test_reconnecting_after_a_restart(at_once, connect):
    """L1, L3, L4: a new rank, nothing sent twice, and everybody is back."""
    lost: list[str] = []
    joined: list[int] = []
    with Server(port=0, seats=10) as server:
        host, port = server.address
        clients = [
            connect(
                host,
                port,
                name=str(n),
                reconnect=True,
                on_lost=lambda e: lost.append(str(e)),
                on_joined=joined.append,
            )
            for n in range(3)
        ]
        receipt = clients[0].command("never answered", results=True)
    with pytest.raises(ConnectionLost):
        receipt.wait(PATIENCE_S)
    for client in clients:
        client.poll()
        assert client.rank is None
    with Server(host=host, port=port, seats=10):
        for client in clients:
            assert client.wait_for_rank(9, PATIENCE_S)
            client.poll()
        assert sorted(client.rank for client in clients) == [0, 1, 2]
        assert receipt.counts is None
        first = min(clients, key=lambda client: client.rank)
        assert first.command("hello").executors == 2
        for client in clients:
            client.close()
    assert len(lost) == 3
    assert sorted(joined) == [0, 0, 1, 1, 2, 2]


def test_serve_goes_on_after_a_loss(at_once, connect):
    rounds = []

    def script(connection: Connection) -> None:
        connection.welcome()
        connection.send(Execute(12, 0, 1, 0, b"again"))
        rounds.append(connection.read_until(0x03))

    def last(connection: Connection) -> None:
        connection.welcome()
        connection.send(Execute(12, 0, 1, 0, b"stop"))
        connection.until_gone()

    with FakeServer(script, script, last) as fake:
        client = connect(fake.host, fake.port, reconnect=True)

        def handler(command: rankmux.client.ReceivedCommand) -> bytes:
            if command.text == "stop":
                client.close()
            return command.payload

        client.serve(handler)
        assert rounds == [Result(12, 0, b"again").encode()[5:]] * 2


def test_a_wrong_token_twice_ends_the_trying(at_once, connect):
    """L2, and a full server in between is no reason to stop."""

    def say(code: ErrorCode) -> Callable[[Connection], None]:
        return lambda connection: (connection.read_until(0x01), connection.send(ErrorFrame(code, "no")))

    full, auth = say(ErrorCode.FULL), say(ErrorCode.AUTH)
    with FakeServer(lambda connection: connection.welcome(), full, auth, full, full, auth, full) as fake:
        client = connect(fake.host, fake.port, reconnect=True)
        with pytest.raises(AuthError):
            client.serve(shout)
        assert fake.accepted == 6
        with pytest.raises(AuthError):
            client.poll()
        assert fake.accepted == 6
        client.close()


def test_a_result_for_the_connection_before_is_not_sent(at_once, caplog, connect):
    """A command's result goes back over the connection that it came by, or nowhere."""
    running = threading.Event()

    def first(connection: Connection) -> None:
        connection.welcome()
        connection.send(Execute(12, 0, 1, 0, b"slow"))
        assert running.wait(PATIENCE_S)

    seen: list[int] = []

    def second(connection: Connection) -> None:
        connection.welcome()
        connection.send(Execute(12, 0, 1, 0, b"stop"))
        while (type_ := connection.read()[0]) != -1:
            seen.append(type_)

    with FakeServer(first, second) as fake:
        client = connect(fake.host, fake.port, reconnect=True, timeout=PATIENCE_S)

        def handler(command: rankmux.client.ReceivedCommand) -> str:
            if command.text == "slow":
                running.set()
                client.wait(lambda: fake.accepted == 2 and client.rank is not None, PATIENCE_S)
                return "too late"
            client.close()
            return "closed"

        client.serve(handler)
    assert seen == [0x08]
    assert "was not sent" in caplog.text


def test_a_welcome_makes_good_for_a_wrong_token(at_once, connect):
    def auth(connection: Connection) -> None:
        connection.read_until(0x01)
        connection.send(ErrorFrame(ErrorCode.AUTH, "no"))

    welcomes: list[int] = []
    scripts = [Connection.welcome, auth, Connection.welcome, auth, Connection.welcome, Connection.until_gone]
    with FakeServer(*scripts) as fake:
        client = connect(fake.host, fake.port, reconnect=True, on_joined=welcomes.append)
        while len(welcomes) < 3:
            client.poll(0.1)
        client.close()
        assert fake.accepted >= 5


def test_a_connection_that_comes_when_it_is_no_longer_wanted(connect):
    asked, closed = threading.Event(), threading.Event()

    def late(connection: Connection) -> None:
        connection.read_until(0x01)
        asked.set()
        assert closed.wait(PATIENCE_S)
        connection.welcome_at_once()
        connection.until_gone()

    with FakeServer(Connection.welcome, late) as fake:
        client = connect(fake.host, fake.port, reconnect=True)
        thread = threading.Thread(target=client.serve, args=(shout,))
        thread.start()
        assert asked.wait(PATIENCE_S)
        client.close()
        closed.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_a_connection_lost_under_who(at_once, connect):
    """It is told at once, and not made up for by the next connection."""

    def script(connection: Connection) -> None:
        connection.welcome()
        connection.read_until(0x05)

    with FakeServer(script, script, Connection.until_gone) as fake:
        client = connect(fake.host, fake.port, reconnect=True, timeout=PATIENCE_S)
        with pytest.raises(ConnectionLost):
            client.who()
        with pytest.raises(ConnectionLost):
            client.who()
        client.close()


def test_closing_while_it_reconnects(connect):
    with FakeServer(
        lambda connection: connection.welcome(), lambda connection: connection.read_until(0x01)
    ) as fake:
        client = connect(fake.host, fake.port, reconnect=True)
        thread = threading.Thread(target=client.serve, args=(shout,))
        thread.start()
        until(lambda: fake.accepted > 1)
        client.close()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


@pytest.mark.slow
def test_many_clients_come_back(stage, connect):
    """L1: with the real back-off."""
    with Server(port=0, seats=64) as server:
        host, port = server.address
        clients = [stage.enter_context(connect(host, port, reconnect=True)) for _ in range(64)]
        threads = [threading.Thread(target=client.serve, args=(shout,), daemon=True) for client in clients]
        for thread in threads:
            thread.start()
    with Server(host=host, port=port, seats=65), connect(host, port) as watcher:
        until(lambda: len(watcher.who()) == 65)
        ranks = sorted(member.rank for member in watcher.who())
        assert ranks == list(range(65))
        for client in clients:
            client.close()
    for thread in threads:
        thread.join(PATIENCE_S)


# A hostile server (L5)


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
    """F6 turned round: what is held is what has come."""

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
    "reply", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01\0\2\2\x46", bytes(100), b"\0\0\0\1\x99"]
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
    """Reading stops, and whoever waits is told; reading the results makes room again."""
    monkeypatch.setattr(rankmux.client_inbox, "_UNREAD_RESULTS_MAX_BYTES", 1_000_000)

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
    monkeypatch.setattr(rankmux.client_inbox, "_LISTING_MAX", 1000)

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
    """A sender is told, within its timeout, instead of filling memory."""
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
