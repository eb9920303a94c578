"""A seat that outlives its connection: lost and back, taken over, given up, and kept in a file."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time

import pytest

from rankmux import ReceivedCommand
from rankmux.codes import ErrorCode, Status
from rankmux.errors import ArgumentError, ConnectionLost, ResultsLost, ServerError
from rankmux.server.server import Server
from rankmux.wire import ErrorFrame, Execute, Ping, Rank, Result

from ..support.drivers import PATIENCE_S, serving
from ..support.fake_server import WELCOME, Connection, FakeServer
from .words import shout, until

KEPT = WELCOME._replace(keep_ms=60_000)
BACK = KEPT._replace(returned=True)


class News:
    """The callbacks of a client, in the order of the calls."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, object]] = []

    def callbacks(self) -> dict[str, object]:
        names = ("joined", "lost", "absent", "back", "seat_lost")
        return {f"on_{name}": lambda fact, name=name: self.heard.append((name, fact)) for name in names}

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.heard]


def welcome(frame: object) -> object:
    def script(connection: Connection) -> None:
        connection.read_until(0x01)
        connection.send(frame)

    return script


def cut(client: object) -> None:
    """Lose the connection without LEAVE or ERROR, as after a pulled cable."""
    with socket.socket(fileno=os.dup(client.fileno())) as copy:
        copy.shutdown(socket.SHUT_RDWR)


def test_the_seat_comes_back(stage, join, at_once):
    news = News()
    ada, bob, cyd = join("ada"), join("bob", keep_s=30, **news.callbacks()), join("cyd")
    assert bob.keep == 30.0
    assert 20 < bob.deadline - time.monotonic() < 30
    ticket, open_command = bob.ticket, bob.command("never answered", results=True)
    cut(bob)
    with pytest.raises(ResultsLost):
        open_command.wait(PATIENCE_S)
    assert bob.wait_for_rank(1, PATIENCE_S)
    bob.poll()
    assert (bob.rank, bob.ticket, bob.state, cyd.rank) == (1, ticket, "present", 2)
    assert [member.name for member in ada.who()] == ["ada", "bob", "cyd"]
    until(lambda: not bob.poll() and len(news.heard) == 3)
    assert news.names == ["joined", "absent", "back"]
    assert isinstance(news.heard[1][1], ConnectionLost)
    assert news.heard[2][1] == 1


def test_without_callbacks_of_its_own_a_loss_is_a_loss_and_a_return_a_joining(join, at_once):
    heard: list[object] = []
    bob = join(keep_s=30, on_lost=lambda error: heard.append(type(error)), on_joined=heard.append)
    cut(bob)
    until(lambda: not bob.poll(0.01) and len(heard) == 3)
    assert heard == [0, ConnectionLost, 0]


def test_while_it_is_absent(stage, server, join, connect):
    """It has a ticket and no rank, executes nothing, and moves up."""
    ada, look = join("ada"), join("", observe=True, watch=True)
    host, port = server.address
    bob = connect(host, port, name="bob", keep_s=30)
    ticket, watch = bob.ticket, look.watch()
    bob.close(leave=False)
    change = next(watch.changes(PATIENCE_S))
    assert (change.what.name, change.ticket) == ("ABSENT", ticket)
    assert [member.absent for member in watch.members] == [False, True]
    assert [member.absent for member in ada.who()] == [False, True]
    receipt = ada.command("print", results=True)
    assert (receipt.executors, receipt.refusal.code) == (0, 7)
    join("cyd")
    assert (ada.command("print").executors, ada.command("print").absent) == (1, 1)


def test_results_that_may_have_been_lost_are_sent_again(connect, at_once):
    """Only the final ones, only on the same seat; those of handlers that end while it is absent, too."""
    sent: list[list[bytes]] = []
    running = threading.Event()

    def first(connection: Connection) -> None:
        connection.read_until(0x01)
        connection.send(KEPT, Execute(12, 0, 1, 0, b"quick"), Execute(13, 0, 1, 0, b"slow"))
        sent.append([connection.read_until(0x03), connection.read_until(0x03)])
        assert running.wait(PATIENCE_S)

    def second(connection: Connection) -> None:
        connection.read_until(0x01)
        connection.send(BACK._replace(seq=14))
        sent.append([connection.read_until(0x03), connection.read_until(0x03)])
        connection.send(Execute(15, 0, 1, 0, b"stop"))
        connection.until_gone()

    with FakeServer(first, second) as fake:
        client = connect(fake.host, fake.port, keep_s=60, timeout=PATIENCE_S)

        def handler(command: ReceivedCommand) -> str:
            if command.text == "quick":
                command.emit("part")
            elif command.text == "slow":
                running.set()
                client.wait(lambda: client.rank is None or fake.accepted == 2, PATIENCE_S)
            else:
                client.close()
            return command.text

        with serving(client, handler):
            until(lambda: len(sent) == 2)
            until(lambda: client.closed)
    again = [Result(12, Status.OK, b"quick").encode()[5:], Result(13, Status.OK, b"slow").encode()[5:]]
    assert sent[0] == [Result(12, Status.PART, b"part").encode()[5:], again[0]]
    assert sent[1] == again


def test_commands_that_were_received_are_run_after_the_return(connect, at_once):
    ran: list[str] = []

    def first(connection: Connection) -> None:
        connection.read_until(0x01)
        connection.send(KEPT, Execute(12, 0, 1, 0, b"waits"))

    results: list[bytes] = []

    def second(connection: Connection) -> None:
        hello = connection.read_until(0x01)
        assert int.from_bytes(hello[-40:-32]) == 12, "it says that it has received it"
        connection.send(BACK._replace(seq=13), Execute(14, 0, 1, 0, b"later"))
        results.extend(connection.read_until(0x03) for _ in range(2))
        connection.until_gone()

    with FakeServer(first, second) as fake:
        client = connect(fake.host, fake.port, keep_s=60)
        until(lambda: not client.poll(0.01) and fake.accepted == 2 and client.rank is not None)

        def handler(command: ReceivedCommand) -> str:
            ran.append(command.text)
            return command.text

        with serving(client, handler):
            until(lambda: len(results) == 2)
    assert ran == ["waits", "later"]


def test_a_seat_that_is_lost(connect, at_once):
    news = News()
    last = KEPT._replace(ticket=9, rank=1)
    with FakeServer(
        welcome(KEPT), welcome(last), welcome(BACK._replace(ticket=9)), Connection.until_gone
    ) as fake:
        client = connect(fake.host, fake.port, keep_s=60, **news.callbacks())
        until(lambda: not client.poll(0.01) and len(news.heard) >= 6)
        client.close()
    assert news.names[:6] == ["joined", "absent", "seat_lost", "joined", "absent", "back"]
    assert news.heard[2] == ("seat_lost", 3)


@pytest.mark.parametrize("reconnect", [False, True])
def test_a_takeover_ends_the_reconnecting(stage, server, connect, at_once, tmp_path, reconnect):
    """Otherwise two programs with one secret would take the seat from each other for ever."""
    news, of_new = News(), News()
    host, port = server.address
    path = tmp_path / "seat"
    again = {"keep_s": 30, "reconnect": reconnect}
    old = stage.enter_context(connect(host, port, keep_file=path, **again, **news.callbacks()))
    ticket, copy = old.ticket, tmp_path / "copy"
    copy.write_bytes(path.read_bytes())
    copy.chmod(0o600)
    new = stage.enter_context(connect(host, port, keep_file=copy, **again, **of_new.callbacks()))
    assert new.ticket == ticket
    with pytest.raises(ServerError) as caught:
        old.serve(shout)
    assert caught.value.code == ErrorCode.TAKEN_OVER
    until(lambda: "lost" in news.names)
    assert news.names == ["joined", "seat_lost", "lost"]
    assert (old.rank, old.ticket, old.state) == (None, None, "none")
    with pytest.raises(ServerError):
        old.who()
    assert new.who()[0].ticket == new.ticket == ticket
    until(lambda: not new.poll(0.01) and of_new.names)
    assert of_new.names == ["back"]


def test_no_rank_after_the_deadline(connect):
    """The server answers nothing, and does not hang up: the socket looks open."""
    news = News()
    with FakeServer(
        lambda c: (c.read_until(0x01), c.send(KEPT._replace(keep_ms=300)), c.until_gone())
    ) as fake:
        client = connect(fake.host, fake.port, keep_s=0.3, **news.callbacks())
        assert (client.rank, client.ticket) == (2, 3)
        started_s = time.monotonic()
        assert client.wait(lambda: client.rank is None, PATIENCE_S)
        assert time.monotonic() - started_s < 5
        assert time.monotonic() >= client.deadline
        assert (client.ticket, client.state) == (3, "absent")
        until(lambda: not client.poll(0.01) and news.names == ["joined", "absent"])
        client.close()


def test_a_term_outlives_a_short_loss_and_no_deadline(connect, at_once):
    first = KEPT._replace(rank=0, members=1, keep_ms=1000)
    back, gone = threading.Event(), threading.Event()

    def leading(frame: object, then: object = None) -> object:
        def script(connection: Connection) -> None:
            connection.read_until(0x01)
            connection.send(frame)
            id_ = connection.read_until(0x05)[:4]
            connection.send(b"\0\0\0\x13\x88" + id_ + bytes(14))
            if then is not None:
                then.wait(PATIENCE_S)

        return script

    with FakeServer(
        leading(first, back), leading(first._replace(returned=True), gone), Connection.until_gone
    ) as fake:
        client = connect(fake.host, fake.port, keep_s=1.0, timeout=PATIENCE_S)
        with client.lead(PATIENCE_S) as term:
            back.set()
            until(lambda: not client.poll(0.01) and fake.accepted == 2 and client.rank == 0)
            assert not term.over
            client.who()
            gone.set()
            started_s = time.monotonic()
            assert term.wait(PATIENCE_S)
            assert time.monotonic() - started_s < 5, "not the timeout of an attempt to connect"
            assert term.over
            assert client.rank is None
        client.close()


def test_a_file_keeps_the_seat_over_restarts(server, connect, tmp_path):
    host, port = server.address
    path = tmp_path / "seat"
    with connect(host, port, keep_s=30, keep_file=path) as first:
        ticket = first.ticket
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(ArgumentError, match="another program uses it"):
            connect(host, port, keep_s=30, keep_file=path)
        first.close(leave=False)
    news = News()
    with connect(host, port, keep_s=30, keep_file=path, **news.callbacks()) as second:
        assert second.ticket == ticket
        until(lambda: not second.poll() and news.names == ["back"])
    with connect(host, port, keep_s=30, keep_file=path) as third:
        assert third.ticket != ticket, "the second one has left"
    assert [entry.name for entry in tmp_path.iterdir()] == ["seat"]


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"keep_s": 0}, "keep_s"),
        ({"keep_s": -1}, "keep_s"),
        ({"keep_s": "5"}, "keep_s"),
        ({"keep_s": 5, "observe": True}, "no seat to keep"),
        ({"keep_file": "x"}, "only with keep_s"),
        ({"on_absent": 5}, "on_absent"),
        ({"observe": True, "handler": bytes}, "handler .* an observer has no seat"),
        ({"observe": True, "on_promoted": print}, "on_promoted .* an observer has no seat"),
        ({"unix": "/run/rankmux"}, "unix .* without a host and a port"),
    ],
)
def test_options_that_are_wrong(connect, options, wrong):
    with pytest.raises(ArgumentError, match=wrong):
        connect("127.0.0.1", 1, **options)


def test_pings_often_enough(connect):
    """Every third of the keep, though the server is not silent."""
    pings: list[float] = []

    def script(connection: Connection) -> None:
        connection.read_until(0x01)
        connection.send(KEPT._replace(keep_ms=300))
        while len(pings) < 4:
            type_, body = connection.read()
            if type_ == 0x06:
                pings.append(time.monotonic())
                connection.send(b"\0\0\0\1\x07" + body, Rank(12, 1, 2, 1) if len(pings) == 1 else Ping(b""))
        connection.send(ErrorFrame(ErrorCode.KICKED, "enough"))

    with FakeServer(script) as fake:
        client = connect(fake.host, fake.port, keep_s=0.3)
        with pytest.raises(ServerError, match="enough"):
            client.serve(shout)
        client.close()
    assert pings[3] - pings[0] >= 0.25


def test_a_server_that_keeps_nothing(stage, connect, at_once):
    server = stage.enter_context(Server(port=0, seats=4, keep_max_s=0))
    news = News()
    bob = stage.enter_context(connect(*server.address, keep_s=30, **news.callbacks()))
    assert (bob.keep, bob.deadline) == (0.0, None)
    cut(bob)
    until(lambda: not bob.poll(0.01) and len(news.heard) == 3)
    assert news.names == ["joined", "lost", "joined"]


def test_a_seat_that_is_lost_again_in_the_same_moment(connect, at_once):
    """WELCOME and the end in one read: nothing that happened to the seat is left out."""
    news = News()

    def short(connection: Connection) -> None:
        connection.read_until(0x01)
        connection.send(KEPT._replace(ticket=9), ErrorFrame(ErrorCode.SHUTDOWN, "bye"))

    with FakeServer(welcome(KEPT), short, welcome(BACK._replace(ticket=9)), Connection.until_gone) as fake:
        client = connect(fake.host, fake.port, keep_s=60, **news.callbacks())
        until(lambda: not client.poll(0.01) and "back" in news.names)
        client.close()
    assert [name for name in news.names if name != "joined"][:4] == ["absent", "seat_lost", "absent", "back"]


def test_a_server_that_is_restarted_with_its_room(connect, at_once, tmp_path):
    news, state = News(), str(tmp_path / "room")
    with Server(port=0, seats=4, state=state) as server:
        host, port = server.address
        client = connect(host, port, keep_s=30, **news.callbacks())
        ticket = client.ticket
    with Server(host=host, port=port, seats=4, state=state):
        until(lambda: not client.poll(0.01) and "back" in news.names)
        assert (client.ticket, client.rank) == (ticket, 0)
        client.close()
    assert news.names == ["joined", "absent", "back"]
