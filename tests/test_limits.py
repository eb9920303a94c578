"""Every setting that is a limit, from four sides: just below it, at it, far above it, and when traffic stops there.

A row of LIMITS says what is done `amount` times (or bytes, or seconds) and what comes of it over the limit; under it
nothing does. All other limits are huge meanwhile, so that nothing else can be the reason. Time is the test's own.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from rankmux.codes import CommandFlag, RefusedCode, Status, Target
from rankmux.config import settings
from rankmux.outbox import _PIECE_BYTES as PIECE_BYTES
from rankmux.outbox import Outbox
from rankmux.wire import Command, ErrorFrame, Hello, Leave, Ping, Pong, Refused, Routed

from .embedded import Client, Embedded, embedded
from .faults.certificates import Certificates

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
    "accept_budget": 100_000,
    "tls_handshake_budget": 100_000,
    "waiting_max": 1_000_000,
    "waiting_total_max": 1 << 40,
    "result_ttl_ms": 0xFFFF_FFFF,
    "drain_s": 60.0,
    "shutdown_drain_s": 3600.0,
    "log_lines_per_s": 1_000_000,
    "log_excerpt_bytes": 65_536,
}
COMMAND_BYTES, EXECUTE_BYTES = 19, 22  # of the frames, without a payload
LONG = "a frame's length is 0, at least 1 is expected"  # a detail of an ERROR
SILENCE_S = 5.0
NO_LIMIT = {"port": "a number that names something", "user_timeout_s": "the kernel judges; see the last test"}


class Scene:
    """A server with a `neighbour` of rank 0, who chats while time passes, unless all is `silent`."""

    def __init__(self, rig: Embedded, now: list[float], lines: list[str], silent: bool) -> None:
        self.rig = rig
        self.lines = lines
        self.silent = silent
        self._now = now
        self.neighbour = rig.join("neighbour")

    def turns(self, count: int = 12) -> None:
        """So many, in no time; then, if all is silent, nothing happens for long."""
        for _ in range(count):
            self.rig.step()
        if self.silent:
            self.wait(SILENCE_S)

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * 20)):
            self._now[0] += 0.05
            if not self.silent and self.neighbour.ended is None:
                self.neighbour.send(Ping(b"chat"))
            self.rig.step(self.neighbour)
            self.neighbour.send(*[Pong(f.payload) for f in self.neighbour.news() if isinstance(f, Ping)])

    def closed(self) -> str:
        """The reasons of all closes so far."""
        connections = self.rig.server.connections
        reasons = {peer.reason for peer in connections if peer.reason} | set(connections.closes.counts)
        return " ".join(sorted(reason.name for reason in reasons))

    def refused(self, client: Client) -> str:
        """What its commands were refused for, or it was closed for."""
        client.pump()
        codes = {RefusedCode(frame.code).name for frame in client.frames if isinstance(frame, Refused)}
        return " ".join(sorted(codes)) or self.closed()

    def owing(self, amount: int, held: Callable[[Outbox], int], overhead: int = EXECUTE_BYTES) -> None:
        """A member that reads nothing is owed `amount` bytes, to the byte, beyond what the kernel takes."""
        sender, receiver = self.rig.join("sender"), self.rig.join("receiver", receive_buffer=4096)
        assert receiver.welcome is not None
        arrived, rank = self.rig.room.arrived[sender.ticket], receiver.welcome.rank
        outbox = self.rig.server.connections.outbox

        def send(size: int) -> None:
            sender.send(Command(1, Target.ONE, rank, CommandFlag.QUIET, 0, bytes(size)))
            self.rig.until(lambda: len(arrived) == len(sender.sent), sender)
            for _ in range(3):
                self.rig.step()

        for _ in range(12):  # until the kernel has enough
            send(2000)
        tripped = False
        while (missing := amount - held(outbox)) > 0 and not tripped:
            send(max(0, missing - overhead))
            tripped = bool(self.closed()) or len(self.rig.server.connections.pacing) > 0
        assert tripped or held(outbox) == amount


Probe = Callable[[Scene, Any], str]


@dataclass(frozen=True)
class Limit:
    """With `value` (None: the amount itself) `below` brings "", `at` and `far` bring `over`."""

    name: str
    value: Any
    below: Any
    at: Any
    far: Any
    over: str
    probe: Probe
    others: dict[str, Any] = field(default_factory=dict)
    tls: bool = False

    def __str__(self) -> str:
        return self.name


def seats(scene: Scene, amount: int) -> str:
    for _ in range(amount):
        scene.rig.connect().send(Hello())
    scene.turns()
    return scene.closed()


def payload(scene: Scene, amount: int) -> str:
    sender, _ = scene.rig.crowd(2)
    sender.send(Command(1, Target.NEXT, 0, 0, 0, bytes(amount)))
    scene.turns()
    return scene.refused(sender)


def silent_connections(scene: Scene, amount: int) -> str:
    for _ in range(amount):
        scene.rig.connect()
    scene.turns()
    return scene.closed()


def bytes_before_hello(scene: Scene, amount: int) -> str:
    scene.rig.connect().raw(Hello("", bytes(1000)).encode()[:amount])
    scene.turns()
    return scene.closed()


def error_before_hello(scene: Scene, amount: int) -> str:
    client = scene.rig.connect()
    client.raw(bytes(4))
    scene.rig.until(lambda: client.ended, client)
    scene.turns(1)
    (error,) = client.frames
    assert isinstance(error, ErrorFrame)
    assert len(error.encode()) <= amount
    assert LONG.startswith(error.text)
    assert scene.closed() == "PROTOCOL"
    return "cut" if error.text != LONG else ""


def says_nothing(scene: Scene, amount: float) -> str:
    scene.rig.clients.append(Client(scene.rig.server.address))  # not even TLS
    scene.rig.step()
    scene.wait(amount)
    return scene.closed()


def frame_takes_long(scene: Scene, amount: float) -> str:
    client = scene.rig.join()
    client.begin(Command(1, Target.NEXT, 0, 0, 0, b"slow"), 10)
    scene.rig.step()
    scene.wait(amount)
    return scene.closed()


def owed_until_paced(scene: Scene, amount: int) -> str:
    scene.owing(amount, _largest)
    scene.turns(3)
    return "paced" if len(scene.rig.server.connections.pacing) else scene.closed()


def owed_until_closed(scene: Scene, amount: int) -> str:
    scene.owing(amount, _largest)
    scene.turns(3)
    return scene.closed()


def owed_in_all(scene: Scene, amount: int) -> str:
    scene.owing(amount, lambda outbox: outbox.held_bytes, EXECUTE_BYTES + PIECE_BYTES)
    scene.turns(3)
    return scene.closed()


def _largest(outbox: Outbox) -> int:
    return max((queue.size for queue in outbox.queues.values()), default=0)


def takes_no_bytes(scene: Scene, amount: float) -> str:
    scene.owing(60_000, _largest)
    scene.wait(amount)
    return scene.closed()


def sent_to_who_reads_nothing(scene: Scene, amount: int) -> str:
    sender, receiver = scene.rig.join(), scene.rig.join(receive_buffer=4096)
    sender.send(Command(1, Target.NEXT, 0, CommandFlag.QUIET, 0, bytes(amount)))
    scene.rig.until(lambda: scene.rig.room.arrived[sender.ticket], sender)
    scene.turns(3)
    assert receiver.welcome is not None
    return "queued" if scene.rig.server.connections.outbox.queues else scene.closed()


def stays_silent(scene: Scene, amount: float) -> str:
    client = scene.rig.join()
    scene.wait(amount)
    client.pump()
    return scene.closed() or ("PING" if any(isinstance(frame, Ping) for frame in client.frames) else "")


def answers_no_ping(scene: Scene, amount: float) -> str:
    scene.rig.join()
    scene.wait(amount)
    return scene.closed()


def one_sends_in_a_turn(scene: Scene, amount: int) -> str:
    sender, _ = scene.rig.crowd(2)
    sender.send(Command(1, Target.NEXT, 0, 0, 0, bytes(amount - COMMAND_BYTES)))
    return _whether_read_at_once(scene, [sender])


def all_send_in_a_turn(scene: Scene, amount: int) -> str:
    senders = scene.rig.crowd(2)
    scene.rig.join()
    for sender, size in zip(
        senders, (amount, 100), strict=True
    ):  # the second is read if the first has left anything
        sender.send(Command(1, Target.NEXT, 0, 0, 0, bytes(size - COMMAND_BYTES)))
    return _whether_read_at_once(scene, senders)


def _whether_read_at_once(scene: Scene, senders: list[Client]) -> str:
    scene.rig.step()
    arrived = [bool(scene.rig.room.arrived[sender.ticket]) for sender in senders]
    scene.turns()
    assert all(scene.rig.room.arrived[sender.ticket] for sender in senders), "it is put off, not lost"
    return scene.closed() or ("" if all(arrived) else "next turn")


def connections_in_a_turn(scene: Scene, amount: int) -> str:
    before = scene.rig.server.connections.accepted
    for _ in range(amount):
        scene.rig.connect().send(Hello())
    scene.rig.step()
    at_once = scene.rig.server.connections.accepted - before
    scene.turns()
    scene.rig.until(lambda: scene.rig.server.connections.accepted == before + amount)
    return scene.closed() or ("" if at_once == amount else "next turn")


def commands_that_wait(scene: Scene, amount: int) -> str:
    sender, _ = scene.rig.crowd(2)
    sender.send(
        *[Command(id_, Target.NEXT, 0, CommandFlag.RESULTS, 0, b"") for id_ in range(amount)],
    )
    scene.turns()
    return scene.refused(sender)


def result_stays_out(scene: Scene, amount: float) -> str:
    sender, _ = scene.rig.crowd(2)
    sender.send(Command(1, Target.NEXT, 0, CommandFlag.RESULTS, 0, b""))
    scene.rig.step()
    scene.wait(amount)
    sender.pump()
    routed = {Status(frame.status).name for frame in sender.frames if isinstance(frame, Routed)}
    return scene.closed() or " ".join(routed)


def leaves_and_stays(scene: Scene, amount: float) -> str:
    client = scene.rig.join()
    before = len(scene.rig.server.connections)
    client.send(Leave())
    for _ in range(3):
        scene.rig.step()
    scene.wait(amount)
    return "" if len(scene.rig.server.connections) == before else scene.closed()


def stops(scene: Scene, amount: float) -> str:
    scene.rig.join()
    scene.rig.server.stop()
    scene.rig.step()
    scene.wait(amount)
    return scene.closed() if scene.rig.server.stopped else ""


def lines_of_a_kind(scene: Scene, amount: int) -> str:
    client = scene.rig.join()
    client.send(*[Command(id_, Target.ONE, 100, 0, 0, b"") for id_ in range(amount)])
    scene.rig.until(lambda: sum(isinstance(f, Refused) for f in client.frames) == amount, client)
    told = sum(line.startswith("refused:") for line in scene.lines)
    assert told == min(amount, 3)
    scene.turns()
    return "left out" if told < amount else scene.closed()


def payload_in_the_log(scene: Scene, amount: int) -> str:
    sender, _ = scene.rig.crowd(2)
    sender.send(Command(1, Target.NEXT, 0, 0, 0, b"x" * amount))
    scene.turns()
    (line,) = [line for line in scene.lines if line.startswith("command ")]
    shown = line.split('"')[1]
    assert shown == "x" * amount if amount <= 8 else shown == "x" * 8 + "…"
    return "cut" if "…" in line else scene.closed()


LIMITS = [
    Limit("seats", 4, 3, 4, 30, "FULL", seats),
    Limit("max_payload", 100, 100, 101, 100_000, "TOO_BIG", payload),
    Limit("greeting_max", 3, 3, 4, 30, "RESOURCE", silent_connections),
    Limit("greeting_max_per_address", 3, 3, 4, 30, "RESOURCE", silent_connections),
    Limit("greeting_in_bytes", 64, 64, 65, 900, "TOO_BIG", bytes_before_hello),
    Limit(
        "greeting_out_bytes", None, 4 * (len(LONG) + 7), 4 * (len(LONG) + 6), 64, "cut", error_before_hello
    ),
    Limit("handshake_timeout_s", 2.0, 1.9, 2.2, 30, "HANDSHAKE_TIMEOUT", says_nothing),
    Limit("tls_handshake_timeout_s", 2.0, 1.9, 2.2, 30, "HANDSHAKE_TIMEOUT", says_nothing, tls=True),
    Limit("frame_timeout_s", 2.0, 1.9, 2.2, 30, "FRAME_TIMEOUT", frame_takes_long),
    Limit("outbox_soft_bytes", 65_536, 65_536, 65_537, 500_000, "paced", owed_until_paced),
    Limit(
        *("outbox_hard_bytes", 65_536, 65_536, 65_537, 500_000, "SLOW", owed_until_closed),
        {"outbox_soft_bytes": 65_536},
    ),
    Limit("outboxes_total_bytes", 65_536, 65_536, 65_537, 500_000, "SLOW", owed_in_all),
    Limit("write_timeout_s", 2.0, 1.9, 2.2, 30, "SLOW", takes_no_bytes),
    Limit("send_buffer_bytes", 16_384, 4096, 65_536, 900_000, "queued", sent_to_who_reads_nothing),
    Limit("ping_ms", 2000, 1.9, 2.4, 3.5, "PING", stays_silent),
    Limit("pings_missed", 2, 2.5, 3.3, 30, "SILENT", answers_no_ping, {"ping_ms": 1000}),
    Limit("read_budget_bytes", 1024, 1024, 1025, 9000, "next turn", one_sends_in_a_turn),
    Limit("turn_budget_bytes", 1024, 1023, 1024, 9000, "next turn", all_send_in_a_turn),
    Limit("accept_budget", 3, 3, 4, 30, "next turn", connections_in_a_turn),
    Limit("tls_handshake_budget", 3, 3, 4, 9, "next turn", connections_in_a_turn, tls=True),
    Limit("waiting_max", 3, 3, 4, 30, "BUSY", commands_that_wait),
    Limit("waiting_total_max", 3, 3, 4, 30, "BUSY", commands_that_wait),
    Limit("result_ttl_ms", 2000, 1.9, 2.2, 30, "EXPIRED", result_stays_out),
    Limit("drain_s", 2.0, 1.9, 2.2, 30, "LEFT", leaves_and_stays),
    Limit("shutdown_drain_s", 2.0, 1.9, 2.2, 30, "SHUTDOWN", stops),
    Limit("log_lines_per_s", 3, 3, 4, 30, "left out", lines_of_a_kind),
    Limit("log_excerpt_bytes", 8, 8, 9, 500, "cut", payload_in_the_log),
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
    """Nobody says anything any more, neither below nor over it."""
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
        assert isinstance(peer.sock, socket.socket)
        told = peer.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        assert told == seconds * 1000
