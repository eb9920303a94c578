"""The registry, which performs all work on connections: a failure in the work for one ends only that one."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from rankmux.codes import CommandFlag
from rankmux.errors import ConfigError
from rankmux.server.connections.closes import CloseReason
from rankmux.server.server import Server
from rankmux.wire import Ping, Pong

from ...support.embedded import Embedded, embedded, executed, to_all

FULL = OSError(errno.ENOSPC, "no space left on device")


def refuse_to_watch(rig: Embedded, monkeypatch: pytest.MonkeyPatch, fd: int) -> None:
    """Make the selector fail for that descriptor from now on, except to unregister it."""
    watch = rig.server._reactor.watch

    def failing(number: int, interest: int) -> None:
        if number == fd and interest:
            raise FULL
        watch(number, interest)

    monkeypatch.setattr(rig.server._reactor, "watch", failing)


def test_a_paced_sender_that_cannot_be_watched_again_ends_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with embedded(seats=4) as rig:
        first, paced, last = rig.crowd(3)
        connections = rig.server.connections
        conn = connections.seats[paced.ticket]
        connections.pacing.wait(paced.ticket, [last.ticket])
        connections.pace([paced.ticket], 1.0)
        assert conn.paced
        refuse_to_watch(rig, monkeypatch, conn.fd)
        rig.step(first)  # no receiver is over its limit, so it would continue
        rig.until(lambda: paced.ended)
        assert connections.closes.counts == {CloseReason.INTERNAL: 1}
        first.send(to_all(1, b"the others go on", CommandFlag.QUIET), Ping(b"here"))
        rig.until(lambda: b"the others go on" in executed(last), first, last)
        assert Pong(b"here") in first.frames


@pytest.mark.parametrize("step", ["greeting", "frame", "ping"])
def test_a_step_of_the_sweep_that_fails_ends_that_connection_alone(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    settings: dict[str, Any] = {"handshake_timeout_s": 1.0, "frame_timeout_s": 1.0, "ping_ms": 1000}
    with embedded(clock=lambda: now[0], seats=4, **settings) as rig:
        healthy = rig.join("healthy")
        victim = rig.connect() if step == "greeting" else rig.join("victim")
        rig.step(healthy)
        if step == "frame":
            victim.raw(b"\0\0")
            rig.step(healthy)
        (conn,) = [c for c in rig.server.connections if c.ticket != healthy.ticket]
        failed = []
        update, send = rig.server.connections.watching.update, rig.server.connections.send

        def failing_update(one: Any) -> None:
            if one is conn:
                failed.append(one)
                raise FULL
            update(one)

        def failing_send(one: Any, frame: bytes, at: float) -> None:
            if one is conn:
                failed.append(one)
                raise FULL
            send(one, frame, at)

        monkeypatch.setattr(rig.server.connections.watching, "update", failing_update)
        monkeypatch.setattr(rig.server.connections, "send", failing_send)
        for _ in range(30):
            now[0] += 0.1
            healthy.send(Ping(b"here"))
            rig.step(healthy)
        assert failed
        assert conn.reason is not None
        assert healthy.ended is None
        assert Pong(b"here") in healthy.frames


def test_a_send_buffer_over_what_the_kernel_takes() -> None:
    """The largest allowed send buffer is accepted, also when a member is evicted and the size is doubled."""
    with pytest.raises(ConfigError):
        Server(port=0, send_buffer_bytes=(1 << 30) + 1)
    with embedded(seats=4, send_buffer_bytes=1 << 30) as rig:
        first, second = rig.crowd(2)
        connections = rig.server.connections
        connections.end(connections.seats[second.ticket], CloseReason.SLOW, "for the test", 1.0)
        rig.until(lambda: second.ended, first, second)
        assert connections.closes.counts == {CloseReason.SLOW: 1}
