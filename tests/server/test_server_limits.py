"""Every setting that is a limit, in four cases: just below it, at it, far above it, and when traffic stops there.

A row of LIMITS names an action with an `amount` (a count, bytes or seconds) and its outcome over the limit; below the
limit it has none. All other limits are huge meanwhile, so that none of them can be the reason. The clock is the test's.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from rankmux.codes import ErrorCode
from rankmux.config import settings
from rankmux.server.sockets.transport import PlainSocket
from rankmux.wire import ErrorFrame, Hello

from ..faults.certificates import Certificates
from ..support import limit_scenes as scenes
from ..support.embedded import embedded
from ..support.limit_scenes import LONG, Scene

HUGE: dict[str, Any] = {
    "seats": 200,
    "max_payload": 1 << 20,
    "greeting_max": 1_000_000,
    "greeting_max_per_address": 1_000_000,
    "greeting_in_bytes": 4096,
    "greeting_out_bytes": 65_536,
    "handshake_timeout_s": 3600.0,
    "tls_handshake_timeout_s": 3600.0,
    "frame_timeout_s": 3600.0,
    "outbox_soft_bytes": 1 << 40,
    "outbox_hard_bytes": 1 << 40,
    "outboxes_total_bytes": 1 << 40,
    "write_timeout_s": 3600.0,
    "send_buffer_bytes": 4096,
    "ping_ms": 3_600_000,
    "pings_missed": 1000,
    "user_timeout_s": 3600.0,
    "read_budget_bytes": 1 << 22,
    "turn_budget_bytes": 1 << 22,
    "turn_budget_frames": 1 << 22,
    "accept_budget": 100_000,
    "tls_handshake_budget": 100_000,
    "keep_max_s": 86_400.0,
    "observers_max": 100_000,
    "waiting_max": 1_000_000,
    "waiting_total_max": 1 << 40,
    "result_ttl_ms": 0xFFFF_FFFF,
    "drain_s": 60.0,
    "shutdown_drain_s": 3600.0,
    "log_lines_per_s": 1_000_000,
    "log_excerpt_bytes": 65_536,
}
NO_LIMIT = {
    "port": "a number that names something",
    "first_ticket": "a number that names something",
    "user_timeout_s": "the kernel judges; see the last test",
    "cluster_replicas": "for NATS",
    "cluster_fence_s": "of a cluster; see tests/core/cluster/test_lease.py",
    "cluster_down_s": "of a cluster; see tests/core/cluster/test_lease.py",
}


Probe = Callable[[Scene, Any], str]


@dataclass(frozen=True)
class Limit:
    """With `value` (None: the amount itself) the outcome of `below` is "", that of `at` and `far` is `over`.

    Rows with `local` use a Unix socket: a peer that reads nothing there accepts no more bytes, while TCP may, some time
    later, find room in its buffers for a few more.
    """

    name: str
    value: Any
    below: Any
    at: Any
    far: Any
    over: str
    probe: Probe
    others: dict[str, Any] = field(default_factory=dict)
    tls: bool = False
    local: bool = False

    def __str__(self) -> str:
        return self.name


LIMITS = [
    Limit("seats", 4, 3, 4, 30, "FULL", scenes.seats),
    Limit("max_payload", 100, 100, 101, 100_000, "TOO_BIG", scenes.payload),
    Limit("greeting_max", 3, 3, 4, 30, "RESOURCE", scenes.silent_connections),
    Limit("greeting_max_per_address", 3, 3, 4, 30, "RESOURCE", scenes.silent_connections),
    Limit("greeting_in_bytes", 64, 64, 65, 900, "TOO_BIG", scenes.bytes_before_hello),
    Limit(
        "greeting_out_bytes",
        None,
        4 * (len(LONG) + 7),
        4 * (len(LONG) + 6),
        64,
        "cut",
        scenes.error_before_hello,
    ),
    Limit("handshake_timeout_s", 2.0, 1.9, 2.2, 30, "HANDSHAKE_TIMEOUT", scenes.says_nothing),
    Limit("tls_handshake_timeout_s", 2.0, 1.9, 2.2, 30, "HANDSHAKE_TIMEOUT", scenes.says_nothing, tls=True),
    Limit("frame_timeout_s", 2.0, 1.9, 2.2, 30, "FRAME_TIMEOUT", scenes.frame_takes_long),
    Limit("outbox_soft_bytes", 65_536, 65_536, 65_537, 500_000, "paced", scenes.owed_until_paced, local=True),
    Limit(
        *("outbox_hard_bytes", 65_536, 65_536, 65_537, 500_000, "SLOW", scenes.owed_until_closed),
        {"outbox_soft_bytes": 65_536},
        local=True,
    ),
    Limit("outboxes_total_bytes", 65_536, 65_536, 65_537, 500_000, "SLOW", scenes.owed_in_all, local=True),
    Limit("write_timeout_s", 2.0, 1.9, 2.2, 30, "SLOW", scenes.takes_no_bytes, local=True),
    Limit("send_buffer_bytes", 16_384, 4096, 65_536, 900_000, "queued", scenes.sent_to_who_reads_nothing),
    Limit("ping_ms", 2000, 1.9, 2.4, 3.5, "PING", scenes.stays_silent),
    Limit("pings_missed", 2, 2.5, 3.3, 30, "SILENT", scenes.answers_no_ping, {"ping_ms": 1000}),
    Limit("read_budget_bytes", 1024, 1024, 1025, 9000, "next turn", scenes.one_sends_in_a_turn),
    Limit("turn_budget_bytes", 1024, 1023, 1024, 9000, "next turn", scenes.all_send_in_a_turn),
    Limit("turn_budget_frames", 64, 64, 72, 640, "next turn", scenes.frames_in_a_turn),
    Limit("accept_budget", 3, 3, 4, 30, "next turn", scenes.connections_in_a_turn),
    Limit("tls_handshake_budget", 3, 3, 4, 9, "next turn", scenes.connections_in_a_turn, tls=True),
    Limit("observers_max", 3, 3, 4, 30, "FULL", scenes.observers),
    Limit("keep_max_s", 2.0, 1.9, 2.2, 30, "LOST", scenes.is_absent),
    Limit("waiting_max", 3, 3, 4, 30, "BUSY", scenes.commands_that_wait),
    Limit("waiting_total_max", 3, 3, 4, 30, "BUSY", scenes.commands_that_wait),
    Limit("result_ttl_ms", 2000, 1.9, 2.2, 30, "EXPIRED", scenes.result_stays_out),
    Limit("drain_s", 2.0, 1.9, 2.2, 30, "LEFT", scenes.leaves_and_stays),
    Limit("shutdown_drain_s", 2.0, 1.9, 2.2, 30, "SHUTDOWN", scenes.stops),
    Limit("log_lines_per_s", 3, 3, 4, 30, "left out", scenes.lines_of_a_kind),
    Limit("log_excerpt_bytes", 8, 8, 9, 500, "cut", scenes.payload_in_the_log),
]
each = pytest.mark.parametrize("limit", LIMITS, ids=str)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def scene(limit: Limit, amount: Any, certificates: Certificates, *, silent: bool = False) -> Iterator[Scene]:
    now = [1000.0]
    context = certificates.client_context() if limit.tls else None
    transport = {"tls_cert": str(certificates.server)} if limit.tls else {}
    if limit.local:
        transport = {"unix": str(certificates.server.with_name("limits.sock"))}
    values = HUGE | limit.others | {limit.name: amount if limit.value is None else limit.value} | transport
    log, lines = logging.getLogger("rankmux.server"), Lines()
    level = log.level
    log.addHandler(lines)
    log.setLevel(logging.INFO)
    try:
        with embedded(None, context, clock=lambda: now[0], **values) as rig:
            yield Scene(rig, now, lines.lines, silent)
    finally:
        log.setLevel(level)
        log.removeHandler(lines)


@each
def test_just_below_nothing_happens(limit: Limit, certificates: Certificates) -> None:
    with scene(limit, limit.below, certificates) as each_scene:
        assert limit.probe(each_scene, limit.below) == ""


@each
def test_at_the_limit_it_trips_for_its_own_reason(limit: Limit, certificates: Certificates) -> None:
    with scene(limit, limit.at, certificates) as each_scene:
        assert limit.probe(each_scene, limit.at) == limit.over


@each
def test_far_above_it_trips_for_its_own_reason(limit: Limit, certificates: Certificates) -> None:
    with scene(limit, limit.far, certificates) as each_scene:
        assert limit.probe(each_scene, limit.far) == limit.over


@each
def test_it_trips_when_traffic_stops(limit: Limit, certificates: Certificates) -> None:
    """All traffic stops, both below and over the limit."""
    with scene(limit, limit.below, certificates, silent=True) as each_scene:
        assert limit.probe(each_scene, limit.below) == ""
    with scene(limit, limit.at, certificates, silent=True) as each_scene:
        assert limit.probe(each_scene, limit.at) == limit.over


def test_no_limit_is_without_a_row() -> None:
    numbers = {setting.name for setting in settings() if setting.kind in (int, float)}
    rows = [limit.name for limit in LIMITS]
    assert sorted([*rows, *NO_LIMIT]) == sorted(numbers)


@pytest.mark.parametrize("seconds", [1.0, 20.0, 3600.0])
def test_the_kernel_is_told_how_long_bytes_may_stay_unacknowledged(seconds: float) -> None:
    with embedded(user_timeout_s=seconds) as rig:
        rig.join()
        (peer,) = rig.server.connections
        assert isinstance(peer.transport, PlainSocket)
        told = peer.transport.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        assert told == seconds * 1000


@pytest.mark.parametrize("name", ["greeting_max", "greeting_max_per_address"])
def test_a_place_without_hello_is_free_again(name: str) -> None:
    """Of the waiting connections one sends HELLO, one closes and one resets: three more may wait."""
    with embedded(**(HUGE | {name: 3})) as rig:
        greeting, closing, resetting = (rig.connect() for _ in range(3))
        rig.step()
        greeting.send(Hello())
        closing.close()
        resetting.reset()
        rig.until(lambda: greeting.welcome and len(rig.server.connections) == 1, greeting)
        for _ in range(3):
            rig.connect()
        for _ in range(5):
            rig.step()
        assert len(rig.server.connections) == 4
        late = rig.connect()
        rig.until(lambda: late.ended, late)
        assert [frame.code for frame in late.frames if isinstance(frame, ErrorFrame)] == [ErrorCode.RESOURCE]


def test_a_newcomer_is_no_member_on_the_descriptor_of_one() -> None:
    """It has not sent HELLO, so it is not pinged."""
    now = [1000.0]
    with embedded(clock=lambda: now[0], **(HUGE | {"ping_ms": 1000})) as rig:
        member = rig.join()
        (peer,) = rig.server.connections
        number = peer.fd
        member.reset()
        rig.until(lambda: not len(rig.server.connections))
        silent = rig.connect()
        rig.step()
        assert [peer.fd for peer in rig.server.connections] == [number]
        for _ in range(60):
            now[0] += 0.05
            rig.step(silent)
        assert silent.frames == []
