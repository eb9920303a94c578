"""The server on a clock that the test advances: expiry, the last frame sent, and how long a turn may wait."""

from __future__ import annotations

import selectors
import socket
from typing import Any

from rankmux.codes import CommandFlag, ErrorCode, Status, Target
from rankmux.server.connections.closes import CloseReason
from rankmux.wire import Accepted, Command, ErrorFrame, Hello, Leave, Ping, Rank, Result, Routed, Welcome

from ..support.embedded import Client, Embedded, embedded, to_all


def ticking(**settings: Any) -> tuple[Any, list[float]]:
    """A rig whose clock the test advances, in steps too small to count as a pause of the process."""
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


def test_no_frame_follows_an_error():
    """A member's frame times out while others command it: ERROR is the last frame that it gets."""
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


def test_a_member_that_times_out_keeps_its_descriptor_until_its_departure():
    """In the turn between, a command still goes to its rank, and a newcomer joins that must not receive it."""
    context, now = ticking(seats=4, ping_ms=1000)
    with context as rig:
        sender, _silent = rig.crowd(2)
        while not rig.server.connections.departing:
            assert now[0] < 1010.0
            sender.send(Ping(b"here"))
            pass_time(rig, now, 0.1, sender)
        newcomer = rig.connect()
        newcomer.send(Hello("newcomer"))
        sender.send(to_all(1, b"for the rank of who is lost", CommandFlag.QUIET))
        rig.until(lambda: newcomer.welcome, newcomer, sender)
        rig.settle(sender, newcomer)
        assert isinstance(newcomer.frames[0], Welcome)
        assert newcomer.own == rig.room.owed[newcomer.ticket]
        assert rig.server.connections.closes.counts == {CloseReason.SILENT: 1}


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


def test_connections_that_ended_before_do_not_delay_the_shutdown():
    """A refused connection that its peer never closes gets one second, not the whole drain period."""
    context, now = ticking(seats=1, shutdown_drain_s=10.0, drain_s=1.0)
    with context as rig:
        member, refused = rig.join(), rig.connect()
        refused.send(Hello())
        rig.until(lambda: refused.ended, refused)
        rig.server.stop()
        rig.step(member)
        member.close()
        pass_time(rig, now, 1.5)
        assert rig.server.stopped
        assert rig.server.connections.closes.counts == {CloseReason.FULL: 1, CloseReason.SHUTDOWN: 1}


class Watching(selectors.SelectSelector):
    """Records the timeout of each turn."""

    def __init__(self) -> None:
        super().__init__()
        self.timeouts: list[float | None] = []

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.timeouts.append(timeout)
        return super().select(0)


def test_idle_means_waiting():
    """With members, a half-closed one, and one that does not read: no turn is requested before a deadline."""
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
