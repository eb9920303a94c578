"""Rows R: too many connections, bytes and attempts. The long forms: RANKMUX_FAULTS_FULL=1."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from ..protocol.frames import QUIET, Code, Command, Error, Hello, encode
from ..protocol.peer import ClosedError, Peer
from ..protocol.process import ROOT
from ..support.patience import until
from .conftest import FULL, Rigging, anywhere
from .test_slow_peers import BIG, flood, numbers
from .witness import Witness, expect_end, figure

HELLO = encode(Hello())
CONNECTORS = 2


@pytest.fixture
def many_files() -> Iterator[None]:
    """Raise the clients' limit of descriptors to the system's maximum."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@anywhere
def test_r1_one_more_than_there_are_seats(rig: Rigging) -> None:
    """FULL, and no rank changes."""
    server = rig(10)
    members = server.line(7)
    witness = Witness(server.join(), [server.join(), server.join()])
    slowest = 0.0
    for _ in range(50):
        late = server.connect()
        began = time.monotonic()
        late.send(Hello())
        late.expect_error(Code.FULL)
        slowest = max(slowest, time.monotonic() - began)
    witness.finish()
    assert not any(witness.ranks.values())
    for member in members:
        member.expect_quiet()
    assert slowest < 0.5
    figure("R1", "50 of N+1: the slowest FULL; p99 of the members", f"{slowest * 1e3:.0f} ms; {witness.ms()}")
    members[0].leave()
    members[1].leave()
    members[2].wait_for_total(8)
    assert server.join().joined.rank == 8
    server.finish_keeping_the_log()
    assert server.closes()["full"] == 50


@pytest.mark.slow
def test_r2_a_thousand_silent_connections(rig: Rigging, many_files: None) -> None:
    """The limits bound them; members are not affected; a client from another address is admitted at once."""
    server = rig(20)
    witness = Witness(server.join(), [server.join(), server.join()])
    rss = server.rss()
    silent = [server.plain(source=f"127.0.0.{2 + n // 50}") for n in range(1000)]
    fds = server.descriptors()
    assert fds < server.descriptors_before + 256 + 3 + 70
    newcomer = server.plain(source="127.0.1.1")
    for sock in silent[:200]:  # the connections from some addresses close
        sock.close()
    began = time.monotonic()
    server.join()
    took = time.monotonic() - began
    assert took < 1.0
    held = server.rss() - rss
    assert held < 5 << 20
    for sock in [*silent, newcomer]:
        sock.close()
    witness.finish()
    assert witness.keeps(0.2), witness.ms()
    figure(
        "R2",
        "a member let in beside them; p99 of the members; memory",
        f"{took * 1e3:.0f} ms; {witness.ms()}; {held >> 10} KiB",
    )


def test_r2_prompt_clients_of_the_same_address_are_served(rig: Rigging) -> None:
    """The limit counts waiting connections only: those that send HELLO at once are never affected."""
    server = rig(300)
    silent = [server.plain() for _ in range(64)]
    prompt = []
    for _ in range(200):
        sock = server.plain()
        sock.sendall(HELLO)
        prompt.append(sock)
    server_says = {sock.recv(100)[4] for sock in prompt}
    assert 0x81 in server_says
    for sock in [*silent, *prompt]:
        sock.close()


def test_r3_one_floods_at_line_rate(rig: Rigging) -> None:
    """TCP pushes back and it is not evicted; a member at 10 Hz keeps its pace."""
    server = rig(8)
    flooder, target = server.join(), server.join()
    witness = Witness(server.join(), [server.join(), server.join()], every_s=0.1)
    total = 4000
    began = time.monotonic()
    sending = threading.Thread(target=_to_one, args=(flooder, 1, total))
    sending.start()
    assert numbers(target, total, 60) == list(range(total))
    rate = total * BIG / (time.monotonic() - began) / 1e6
    sending.join(10)
    witness.finish()
    assert witness.keeps(0.25), witness.ms()
    flooder.expect_quiet()
    figure("R3", "flood of 250 MiB; p99 of a 10 Hz member", f"{rate:.0f} MB/s; {witness.ms()}")


def _to_one(sender: Peer, rank: int, count: int) -> None:
    sender.sock.settimeout(60)
    for number in range(count):
        payload = number.to_bytes(4, "big") + bytes(BIG - 4)
        sender.sock.sendall(encode(Command(number, 1, rank, QUIET, 0, payload)))


@pytest.mark.slow
def test_r4_one_copy_of_the_backlog(rig: Rigging, many_files: None) -> None:
    """40 stalled peers behind the same 7 MiB take 7 MiB, not 280; then they are evicted; other members lose nothing."""
    flags = ("--outbox-soft-bytes", str(7 << 20), "--write-timeout-s", "1.5")
    server = rig(50, *flags)
    sender, healthy = server.join(), server.join()
    stalled = [server.join(receive_buffer=4096) for _ in range(40)]
    before = server.rss()
    total = 10_000 if FULL else 600
    began = time.monotonic()
    sending = flood(sender, total, timeout_s=300)
    assert numbers(healthy, total, 300) == list(range(total))
    took = time.monotonic() - began
    sending.join(10)
    peak = server.peak() - before
    assert peak < 40 << 20
    figure(
        "R4",
        f"40 stalled, 64 KiB x {total}: peak over rest; in all",
        f"{peak / (1 << 20):.1f} MiB; {took:.1f} s",
    )
    healthy.settle()
    for peer in stalled:
        _is_evicted(peer)
    server.finish_keeping_the_log()
    assert server.closes()["slow"] == 40


def _is_evicted(peer: Peer) -> None:
    """Whole frames, then SLOW or a reset."""
    while True:
        try:
            frame = peer.recv()
        except ClosedError as closed:
            closed.require_whole() if closed.orderly else None
            return
        if isinstance(frame, Error):
            assert frame.code == Code.SLOW


@pytest.mark.slow
def test_the_worst_case_of_memory(rig: Rigging) -> None:
    """63 stalled members, each with different frames queued up to the soft limit, and with half a frame sent."""
    server = rig(66, "--write-timeout-s", "3", "--frame-timeout-s", "60", "--ping-ms", "60000")
    sender = server.join()
    stalled = [server.join(receive_buffer=4096) for _ in range(63)]
    before = server.rss()
    for peer in stalled:
        peer.raw(encode(Command(1, 0, 0, QUIET, 0, bytes(BIG)))[:-1])
    sender.sock.settimeout(1.5)
    with suppress(TimeoutError):
        for number in range(63 * 40):
            sender.sock.sendall(encode(Command(number, 1, 1 + number % 63, QUIET, 0, bytes(BIG))))
    held = server.peak() - before
    partial, owed, turn = 63 * (BIG + 64), 63 * ((1 << 20) + 2 * BIG), 4 << 20
    assert held < partial + owed + turn
    figure(
        "memory",
        "63 stalled, own frames up to the soft limit, half a frame each",
        f"{held / (1 << 20):.0f} MiB",
    )
    for peer in stalled:
        peer.reset()
    sender.reset()


@pytest.mark.slow
def test_r6_connects_at_a_high_rate(rig: Rigging) -> None:
    """2,000 joins and leaves per second (fewer on a slow machine): no leak, and a short log."""
    server = rig(64)
    witness = Witness(server.join(), [server.join(), server.join()], every_s=0.05)
    seconds = 60.0 if FULL else 3.0
    command = [sys.executable, "-m", "tests.faults.connector", server.host, str(server.port)]
    connectors = [
        subprocess.Popen(
            [*command, str(2000 / CONNECTORS), str(seconds)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(CONNECTORS)
    ]
    try:
        count = sum(int(each.communicate(timeout=seconds + 60)[0]) for each in connectors)
    finally:
        for each in connectors:
            each.kill()
            each.wait()
    rate = count / seconds
    witness.finish()
    assert rate > 300
    assert witness.keeps(0.25), witness.ms()
    until(lambda: server.descriptors() <= server.descriptors_before + 3, 5, "descriptors are left")
    lines = len(server.log().splitlines())
    assert lines < 60 * (seconds + 2)
    grown = server.rss() - server.rss_before
    figure(
        "R6",
        f"{count} connects in {seconds:g} s; p99; log; memory",
        f"{rate:.0f}/s; {witness.ms()}; {lines} lines; {grown >> 10} KiB",
    )


@anywhere
def test_a_limit_trips_when_traffic_stops(rig: Rigging) -> None:
    """Just below the limits all stay; over them each is evicted for its reason, even when nothing more is sent."""
    server = rig(8, "--frame-timeout-s", "0.6", "--ping-ms", "60000")
    below, over = server.join(), server.join()
    frame = encode(Command(1, 0, 0, QUIET, 0, b"late"))
    began = time.monotonic()
    below.raw(frame[:10])
    over.raw(frame[:10])
    time.sleep(0.3)
    below.raw(frame[10:])
    expect_end(over, Code.TIMEOUT)
    assert 0.5 < time.monotonic() - began < 1.2
    below.settle()
    server.finish_keeping_the_log()
    assert server.closes()["frame_timeout"] == 1
