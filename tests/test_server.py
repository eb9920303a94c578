"""The server in its own process's hands: turn by turn, in the background, and against everything that peers may do."""

from __future__ import annotations

import logging
import os
import selectors
import socket
import threading
from typing import Any

import pytest

from rankmux.codes import Cause, CommandFlag, ErrorCode, Status, Target
from rankmux.errors import ConfigError
from rankmux.peers import CloseReason
from rankmux.reactor import Reactor
from rankmux.server import Server
from rankmux.wire import (
    Accepted,
    Command,
    ErrorFrame,
    Execute,
    Hello,
    Leave,
    Ping,
    Pong,
    Rank,
    Refused,
    Result,
    Routed,
    Welcome,
    Who,
)

from .embedded import Client, Embedded, embedded, open_descriptors
from .history import check_together

SELECTORS = [None, selectors.SelectSelector, selectors.PollSelector]


@pytest.fixture(params=SELECTORS, ids=["default", "select", "poll"])
def rig(request: pytest.FixtureRequest) -> Any:
    with embedded(request.param, seats=8) as made:
        yield made


def to_all(id_: int, payload: bytes = b"", flags: int = 0) -> Command:
    return Command(id_, Target.ALL, 0, flags, 0, payload)


def executed(client: Client) -> list[bytes]:
    return [frame.payload for frame in client.frames if isinstance(frame, Execute)]


# Embedding.


def test_step_by_step():
    before = open_descriptors()
    server = Server(port=0, seats=3)
    host, port = server.address
    assert (host, port > 0) == ("127.0.0.1", True)
    server.step(0)
    client = Client(server.address)
    client.send(Hello("ada"))
    while client.welcome is None:
        server.step(1)
        client.pump()
    assert client.welcome == Welcome(server.instance, 1, 1, 0, 1, 3, 65_536, 10_000)
    server.close()
    client.pump()
    assert client.ended is not None
    client.close()
    server.close()
    server.step(0)
    assert server.stopped
    assert open_descriptors() <= before


def test_forever_until_stopped():
    before = open_descriptors()
    server = Server(port=0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with socket.create_connection(server.address, 10) as sock:
        sock.sendall(Hello("ada").encode())
        assert sock.recv(5)[4] == 0x81
        server.stop()
        thread.join(10)
        assert not thread.is_alive()
        assert server.stopped
    server.stop()
    server.close()
    assert open_descriptors() <= before


def test_in_the_background():
    before = open_descriptors()
    with Server(port=0) as server:
        client = Client(server.address)
        client.sock.settimeout(10)
        client.send(Hello("ada"))
        assert client.sock.recv(5)[4] == 0x81
    client.sock.setblocking(False)
    client.frames, client.rest = [], Welcome(*range(8)).encode()[:5]
    client.pump()
    assert client.frames[1:] == [ErrorFrame(ErrorCode.SHUTDOWN, "the server is going away")]
    assert client.ended == "end of stream"
    client.close()
    assert open_descriptors() <= before


def test_stopped_twice_and_after_the_end():
    with Server(port=0) as server:
        server.stop()
        server.stop()
        while not server.stopped:
            threading.Event().wait(0.001)
        server.stop()


def test_what_breaks_in_the_background_comes_out(monkeypatch):
    server = Server(port=0)
    monkeypatch.setattr(server, "step", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError), server:
        pass
    monkeypatch.undo()
    server.close()


def test_an_address_that_is_taken():
    before = open_descriptors()
    with embedded() as rig, pytest.raises(ConfigError) as caught:
        Server(port=rig.server.address[1])
    assert str(rig.server.address[1]) in str(caught.value)
    assert open_descriptors() <= before


def test_descriptors_in_any_order(monkeypatch):
    """The listener's is lower than that of the wake-up when a low one was freed in between."""
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(200)]

    def make(*args: Any) -> Reactor:
        reactor = Reactor(*args)
        os.close(held.pop(0))
        return reactor

    monkeypatch.setattr("rankmux.server.Reactor", make)
    server = Server(port=0)
    try:
        server.stop()
        server.step(0)
        assert server.stopped
    finally:
        server.close()
        for fd in held:
            os.close(fd)


# What comes together, counts in its order.


def test_ranks_are_first_come_first_served(rig):
    """In the order in which the connections were accepted, whoever says HELLO first; the rest finds no seat."""
    clients = [rig.connect() for _ in range(10)]
    rig.step()
    for client in reversed(clients):
        client.send(Hello())
    rig.until(lambda: all(c.frames for c in clients))
    assert [c.welcome.rank for c in clients[:8]] == list(range(8))
    assert [c.welcome.members for c in clients[:8]] == list(range(1, 9))
    for client in clients[8:]:
        assert client.frames == [ErrorFrame(ErrorCode.FULL, "no seat is free")]


def test_a_turn_with_everything(rig):
    """Found in one turn: commands from all, a departure, a reset, a join."""
    members = rig.crowd(5)
    turns = rig.room.turns
    for i in (4, 2, 0, 3, 1):
        members[i].send(to_all(i, b"%d" % i, CommandFlag.QUIET))
    members[1].send(Leave(), to_all(9, b"behind LEAVE"))
    members[1].sent.pop()
    members[3].reset()
    newcomer = rig.connect()
    newcomer.send(Hello())
    rig.until(lambda: newcomer.welcome)
    at_once = rig.room.turns == turns + 1  # without epoll a reset shows only when it is read again
    rig.settle()
    for index, seen in [(0, b""), (1, b"0"), (2, b"01"), (4, b"0123")]:
        assert b"".join(executed(members[index])) == seen
        rig.check(members[index])
    moves = [frame[1:] for frame in members[4].frames if isinstance(frame, Rank)]
    if not isinstance(rig.server._reactor._selector, selectors.SelectSelector | selectors.PollSelector):
        assert at_once
        assert moves == [(2, 3, Cause.LOST)]
        assert newcomer.welcome.rank == 3
    assert moves[-1][0] == 2
    assert executed(newcomer) == []


def test_a_command_right_before_a_reset_reaches_all(rig):
    members = rig.crowd(4)
    members[0].send(to_all(1, b"last words"))
    members[0].reset()
    rig.until(lambda: all(any(isinstance(f, Rank) for f in m.frames) for m in members[1:]))
    for rank, member in enumerate(members[1:]):
        assert member.news() == [Execute(5, 0, 0, 0, b"last words"), Rank(6, rank, 3, Cause.LOST)]
        rig.check(member)


def test_half_close(rig):
    """What had arrived is dispatched; what is still owed goes out; then the end."""
    first, second, third = rig.crowd(3)
    second.send(to_all(1, b"x"), Ping(b"?"))
    second.sock.shutdown(socket.SHUT_WR)
    rig.until(lambda: second.ended)
    assert second.news() == [Accepted(1, 4, 1, 1), Pong(b"?")]
    assert second.ended == "end of stream"
    rig.settle()
    assert third.news()[:2] == [Execute(4, 1, 0, 0, b"x"), Rank(5, 1, 2, Cause.LEFT)]
    rig.check(first)
    rig.check(third)


def test_leave(rig):
    first, second = rig.crowd(2)
    first.send(to_all(1, b"x"), Leave())
    rig.until(lambda: first.ended)
    assert first.news() == [Accepted(1, 3, 1, 0)]
    assert first.ended == "end of stream"
    rig.settle()
    assert second.news()[:2] == [Execute(3, 0, 0, 0, b"x"), Rank(4, 0, 1, Cause.LEFT)]


def test_an_end_inside_a_frame(rig):
    first, second = rig.crowd(2)
    first.raw(to_all(1, b"whole").encode() + to_all(2, b"torn").encode()[:-1])
    first.close()
    rig.until(lambda: any(isinstance(f, Rank) for f in second.frames))
    assert second.news() == [Execute(3, 0, 0, 0, b"whole"), Rank(4, 0, 1, Cause.LOST)]


def test_a_breach(rig):
    first, second = rig.crowd(2)
    first.raw(to_all(1, b"whole").encode() + bytes(4) + to_all(2, b"dropped").encode())
    rig.until(lambda: first.ended)
    accepted, error = first.news()
    assert (accepted, error.code) == (Accepted(1, 3, 1, 0), ErrorCode.PROTOCOL)
    rig.settle()
    assert second.news()[:2] == [Execute(3, 0, 0, 0, b"whole"), Rank(4, 0, 1, Cause.EVICTED)]


def test_behind_hello_in_one_segment(rig):
    rig.crowd(1)
    client = rig.connect()
    client.send(Hello("x"), to_all(1, b"nobody"), Who(7, 0, 10), Ping(b"1"))
    client.raw(Ping(b"2").encode()[:3])
    rig.until(lambda: Pong(b"1") in client.frames)
    client.raw(Ping(b"2").encode()[3:])
    rig.until(lambda: Pong(b"2") in client.frames)
    kinds = [type(frame) for frame in client.frames]
    assert kinds[:2] == [Welcome, Refused]
    assert [m.name for m in client.frames[2].members] == ["m0", "x"]
    rig.check(client)


def test_byte_by_byte(rig):
    first, second = rig.crowd(2)
    octets = to_all(1, b"dripping").encode() + Ping(b"!").encode()
    for at in range(len(octets)):
        first.raw(octets[at : at + 1])
        second.send(Ping(b"%d" % at))
        rig.step(first, second)
    first.sent.append(to_all(1, b"dripping"))
    rig.settle()
    assert executed(second) == [b"dripping"]
    rig.check(first)
    rig.check(second)


def test_reset_in_mid_fan_out(rig):
    """Found when it is sent to: that one alone goes, the others lose nothing and know their ranks."""
    members = rig.crowd(6)
    members[0].send(to_all(1, b"a"), Command(2, Target.ONE, 4, 0, 0, b"b"), to_all(3, b"c"))
    members[2].reset()
    members[4].reset()
    rig.until(lambda: all(m.frames and isinstance(m.frames[-1], Rank) for m in (members[3], members[5])))
    rig.settle()
    for member in (members[0], members[1], members[3], members[5]):
        rig.check(member)
    assert executed(members[5]) == [b"a", b"c"]
    assert [m.history.rank for m in (members[3], members[5])] == [2, 3]


def test_a_descriptor_used_again_in_a_batch(rig):
    """The newcomer gets only its own bytes, in that turn and when it gets the descriptor of who went."""
    members = rig.crowd(3)
    for round_ in range(5):
        gone = members.pop(1)
        members[0].send(to_all(round_, b"%d" % round_))
        gone.reset()
        newcomer = rig.connect()
        newcomer.send(Hello())
        rig.until(lambda: newcomer.welcome)  # noqa: B023
        assert newcomer.frames[0] == newcomer.welcome
        members.append(newcomer)
    rig.settle()
    for member in members:
        rig.check(member)
    assert b"".join(executed(members[-1])) == b""


def test_a_seat_freed_in_a_turn(rig):
    members = rig.crowd(8)
    members[3].send(Leave())
    newcomers = [rig.connect() for _ in range(2)]
    for newcomer in newcomers:
        newcomer.send(Hello())
    rig.until(lambda: all(n.frames for n in newcomers))
    assert newcomers[0].welcome.rank == 7
    assert newcomers[1].frames == [ErrorFrame(ErrorCode.FULL, "no seat is free")]
    rig.settle()
    for member in members:
        rig.check(member)


# Peers that do not read.


@pytest.mark.parametrize("directed", [False, True], ids=["all", "one"])
def test_a_slow_reader_catches_up_without_loss(directed):
    """Turns of all sizes, past a reader that takes nothing until they are over."""
    with embedded(seats=4, send_buffer_bytes=8192) as rig:
        sender, healthy = rig.crowd(2)
        slow = rig.join("slow", receive_buffer=8192)
        for i in range(150):
            payload = b"%d:" % i + bytes(i * 37 % 2000)
            commands = [to_all(i, payload, CommandFlag.QUIET)]
            if directed:
                commands.append(Command(i, Target.ONE, 2, CommandFlag.QUIET, 0, payload[::-1]))
            sender.send(*commands)
            rig.step(sender, healthy)
            if i % 50 == 49:
                slow.send(Ping(b"alive"))
        rig.settle(sender, healthy)
        assert rig.server.connections.outbox.size > 50_000
        assert len(slow.frames) == 1
        rig.settle()
        for client in (sender, healthy, slow):
            rig.check(client)
        assert len(executed(slow)) == (300 if directed else 150)
        check_together([sender.history, healthy.history, slow.history])
        rig.step()
        assert rig.server.connections.outbox.held_bytes == 0


def test_a_slow_reader_that_leaves_gets_what_it_is_owed():
    with embedded(seats=4, send_buffer_bytes=4096, drain_s=30.0) as rig:
        sender = rig.join()
        slow = rig.join(receive_buffer=4096)
        for i in range(100):
            sender.send(to_all(i, bytes(2000), CommandFlag.QUIET))
            rig.step(sender)
        rig.settle(sender)
        slow.send(Leave())
        rig.settle(sender)
        sender.send(to_all(999, b"it has left"))
        rig.settle(sender)
        rig.until(lambda: slow.ended, slow)
        assert slow.ended == "end of stream"
        rig.check(slow)
        assert len(executed(slow)) == 100


def test_senders_wait_for_who_does_not_keep_up():
    """Over the soft limit the sender is not read from; nobody goes, and all arrives."""
    with embedded(
        seats=4, outbox_soft_bytes=50_000, outbox_hard_bytes=10_000_000, send_buffer_bytes=4096
    ) as rig:
        sender, healthy = rig.crowd(2)
        slow = rig.join("slow", receive_buffer=4096)
        for i in range(300):
            sender.send(to_all(i, bytes(4000), CommandFlag.QUIET))
        rig.until(lambda: rig.server.connections.outbox.size > 50_000, sender, healthy)
        for _ in range(50):
            rig.step(sender, healthy)
        assert len(executed(healthy)) < 300
        rig.until(lambda: len(executed(slow)) == 300)
        rig.settle()
        for client in (sender, healthy, slow):
            rig.check(client)


# What is told to people.


def test_everyone_that_leaves_is_logged_with_its_own_reason(caplog):
    caplog.set_level(logging.INFO, "rankmux.server")
    with embedded(seats=4) as rig:
        members = rig.crowd(3)
        members[2].send(Leave())
        members[1].raw(bytes(4))
        rig.until(lambda: members[1].ended and members[2].ended)
        told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("left:")]
        assert [("m1" in line, "m2" in line) for line in told] == [(True, False), (False, True)]
        assert CloseReason.PROTOCOL.value in told[0]
        assert told[1].endswith(CloseReason.LEFT.value)


def test_commands_beyond_the_limit_of_the_log_are_counted(caplog):
    now = [1000.0]
    caplog.set_level(logging.INFO, "rankmux.server")
    with embedded(seats=4, log_lines_per_s=3, clock=lambda: now[0]) as rig:
        sender, _ = rig.crowd(2)
        now[0] += 1
        for i in range(10):
            sender.send(to_all(i))
            rig.settle()
        now[0] += 1
        rig.settle()
        told = [record.getMessage() for record in caplog.records]
        assert sum(line.startswith("command ") for line in told) == 3
        assert "command: 7 more in the last second" in told


# The clock.


def ticking(**settings: Any) -> tuple[Any, list[float]]:
    """A rig whose clock a test moves on, in steps that are no pause of the whole process."""
    now = [1000.0]
    return embedded(clock=lambda: now[0], **settings), now


def pass_time(rig: Embedded, now: list[float], seconds: float, *readers: Client) -> None:
    for _ in range(round(seconds * 10)):
        now[0] += 0.1
        rig.step(*readers)


def test_results_expire():
    context, now = ticking(seats=4)
    with context as rig:
        sender, executor = rig.crowd(2)
        sender.send(Command(5, Target.NEXT, 0, CommandFlag.RESULTS, 700, b""))
        rig.settle()
        pass_time(rig, now, 0.6, sender)
        assert sender.news()[0] == Accepted(5, 3, 1, 0)
        pass_time(rig, now, 0.2, sender)
        assert Routed(5, 2, 1, Status.EXPIRED, b"") in sender.news()
        executor.send(Result(3, Status.OK, b"late"))
        rig.settle()
        rig.check(sender)


def test_behind_an_error_comes_nothing():
    """A member's frame takes too long while others command it: ERROR is its last, whatever the turn after it brings."""
    context, now = ticking(seats=4, frame_timeout_s=1.0, send_buffer_bytes=4096)
    with context as rig:
        sender = rig.join()
        slow = rig.join(receive_buffer=4096)
        for i in range(30):
            sender.send(to_all(i, bytes(3000), CommandFlag.QUIET))
            rig.step(sender)
        slow.raw(b"\0\0")
        rig.settle(sender)
        for i in range(15):
            sender.send(to_all(100 + i, b"more"))
            pass_time(rig, now, 0.1, sender)
        rig.until(lambda: slow.ended, slow, sender)
        assert isinstance(slow.frames[-1], ErrorFrame)
        assert slow.frames[-1].code == ErrorCode.TIMEOUT
        assert slow.own == rig.room.owed[slow.ticket][: len(slow.own)]


def test_at_shutdown_error_is_the_last_and_ranks_are_frozen():
    context, now = ticking(seats=4, shutdown_drain_s=3.0)
    with context as rig:
        members = rig.crowd(3)
        members[0].send(Command(1, Target.ALL, 0, CommandFlag.RESULTS, 500, b"x"))
        rig.settle()
        for member in members:
            member.news()
        rig.server.stop()
        members[1].send(Result(4, Status.OK, b"too late"))
        rig.step()
        members[2].send(Leave())
        pass_time(rig, now, 1.0, *members)
        shutdown = ErrorFrame(ErrorCode.SHUTDOWN, "the server is going away")
        for member in members:
            news = member.news()
            assert news[-1] == shutdown
            assert not any(isinstance(frame, Rank) for frame in news)
            member.close()
        pass_time(rig, now, 0.2)
        assert rig.server.stopped
        assert rig.server.connections.closes.counts == {CloseReason.SHUTDOWN: 3}


class Watching(selectors.SelectSelector):
    """Remembers how long each turn was ready to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.timeouts: list[float | None] = []

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.timeouts.append(timeout)
        return super().select(0)


def test_idle_means_waiting():
    """With members, a half-closed one, and one that does not read: no turn is asked for before something is due."""
    with embedded(Watching, seats=8, send_buffer_bytes=4096, clock=lambda: 1000.0) as rig:
        members = rig.crowd(3)
        slow = rig.join(receive_buffer=4096)
        members[1].sock.shutdown(socket.SHUT_WR)
        for i in range(20):
            members[0].send(to_all(i, bytes(4000), CommandFlag.QUIET))
        rig.settle(members[0], members[2])
        assert slow.ticket in rig.room.ranks.tickets
        for _ in range(3):
            rig.step(timeout=60.0)
        waits = rig.server._reactor._selector.timeouts[-3:]
        assert all(wait is None or wait > 0.05 for wait in waits)
