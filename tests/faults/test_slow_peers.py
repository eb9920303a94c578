"""Rows S: senders are paced for a peer that does not read, then it is evicted; no other member loses anything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from ..protocol.frames import QUIET, Cause, Code, Command, Error, Execute, Leave, Rank, encode
from ..protocol.peer import ClosedError, Peer, SilenceError
from ..support.patience import until
from .conftest import Rigging, anywhere, everywhere
from .witness import Witness, figure

BIG = 65_536


def flood(sender: Peer, count: int, size: int = BIG, timeout_s: float = 30.0) -> threading.Thread:
    """A thread that sends numbered commands to all."""

    def send() -> None:
        sender.sock.settimeout(timeout_s)
        for number in range(count):
            payload = number.to_bytes(4, "big") + bytes(size - 4)
            sender.sock.sendall(encode(Command(number, 0, 0, QUIET, 0, payload)))

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def numbers(peer: Peer, count: int, timeout_s: float = 20.0) -> list[int]:
    """The numbers of the next `count` commands; RANK frames are skipped."""
    seen: list[int] = []
    while len(seen) < count:
        frame = peer.recv(timeout_s)
        if isinstance(frame, Execute):
            seen.append(int.from_bytes(frame.payload[:4], "big"))
        else:
            assert isinstance(frame, Rank), frame
    return seen


def rest_of_stream(peer: Peer) -> tuple[list[int], Error | None]:
    """The rest of a slow peer's stream: the numbers of whole commands, the ERROR, and a clean end."""
    seen: list[int] = []
    error = None
    while True:
        try:
            frame = peer.recv()
        except ClosedError as closed:
            closed.require_whole()
            return seen, error
        assert error is None
        if isinstance(frame, Execute):
            seen.append(int.from_bytes(frame.payload[:4], "big"))
        elif isinstance(frame, Error):
            error = frame
        else:
            assert isinstance(frame, Rank)


@everywhere
def test_s1_a_receiver_that_stops_is_evicted_with_whole_frames(rig: Rigging) -> None:
    """Also T6 over TLS: the record at the head of its queue is resent unchanged."""
    server = rig(4, "--write-timeout-s", "1")
    sender, slow, healthy = server.join(), server.join(receive_buffer=8192), server.join()
    began = time.monotonic()
    sending = flood(sender, 100)
    ranks = []
    seen = []
    evicted = 0.0
    while len(seen) < 100 or not ranks:
        frame = healthy.recv(10)
        if isinstance(frame, Execute):
            seen.append(int.from_bytes(frame.payload[:4], "big"))
        else:
            assert isinstance(frame, Rank)
            ranks.append((frame.rank, frame.members, frame.cause))
            evicted = time.monotonic() - began
            assert 1.0 <= evicted < 2.0 + 1.0
    sending.join(10)
    assert seen == list(range(100))
    assert ranks == [(1, 2, Cause.EVICTED)]
    figure("S1", f"write_timeout 1 s: evicted after ({server.ground})", f"{evicted:.2f} s")
    before, error = rest_of_stream(slow)
    assert before == list(range(len(before)))
    assert error is not None
    assert error.code == Code.SLOW


@anywhere
def test_s1_it_may_read_on_long_after(rig: Rigging) -> None:
    """The kernel holds whole frames, the ERROR and the end for it, after the server has closed the connection."""
    server = rig(4, "--write-timeout-s", "0.5", "--drain-s", "0.2")
    sender, slow = server.join(), server.join(receive_buffer=8192)
    fds = server.descriptors()
    sending = flood(sender, 100)
    until(lambda: server.descriptors() < fds, 5, "the slow peer's descriptor is still held")
    before, error = rest_of_stream(slow)
    assert before == list(range(len(before)))
    assert error is not None
    assert error.code == Code.SLOW
    sending.join(10)


def test_s1_a_process_stopped_by_sigstop(rig: Rigging) -> None:
    server = rig(4, "--write-timeout-s", "0.5")
    sender = server.join()
    script = (
        "import socket, sys\n"
        f"s = socket.create_connection(({server.host!r}, {server.port}))\n"
        "s.sendall(bytes.fromhex('0000000801010000000000 00'.replace(' ', '')))\n"
        "print(len(s.recv(100)), flush=True)\n"
        "while s.recv(65536): pass\n"
        "print('end', flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        healthy = server.join()
        os.kill(child.pid, signal.SIGSTOP)
        sending = flood(sender, 150)
        assert numbers(healthy, 150) == list(range(150))
        sending.join(10)
        os.kill(child.pid, signal.SIGCONT)
        assert child.stdout.readline() == b"end\n"
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


@anywhere
def test_s2_a_receiver_at_a_kibibyte_a_second(rig: Rigging) -> None:
    server = rig(4, "--write-timeout-s", "1")
    sender, slow, healthy = server.join(), server.join(receive_buffer=8192), server.join()
    stop = threading.Event()

    def sip() -> None:
        while not stop.wait(0.1):
            try:
                if not slow.sock.recv(102):
                    return
            except OSError:
                return

    sipping = threading.Thread(target=sip)
    sipping.start()
    began = time.monotonic()
    sending = flood(sender, 100)
    try:
        assert numbers(healthy, 100) == list(range(100))
        took = time.monotonic() - began
        assert 0.9 < took < 4.0
        figure("S2", "write_timeout 1 s: the healthy one has all 6.5 MB after", f"{took:.2f} s")
    finally:
        stop.set()
        sipping.join()
        sending.join(10)


@anywhere
def test_s3_several_stalled_hold_the_sender_for_one_write_timeout(rig: Rigging) -> None:
    server = rig(12, "--write-timeout-s", "1")
    sender = server.join()
    stalled = [server.join(receive_buffer=4096 << n % 3) for n in range(8)]
    healthy = server.join()
    began = time.monotonic()
    sending = flood(sender, 120)
    assert numbers(healthy, 120) == list(range(120))
    took = time.monotonic() - began
    assert took < 2.5
    figure("S3", "8 stalled, write_timeout 1 s: the sender was held for, in all", f"{took:.2f} s")
    sending.join(10)
    for each in stalled:
        _, error = rest_of_stream(each)
        assert error is None or error.code == Code.SLOW


@anywhere
def test_s4_a_peer_that_vanishes_without_a_word(rig: Rigging) -> None:
    """A silent peer is detected after two pings without an answer."""
    server = rig(4, "--ping-ms", "300")
    lost, junior = server.join(answers_pings=False), server.join()
    began = time.monotonic()
    junior.expect(Rank, rank=0, members=1, cause=Cause.LOST)
    took = time.monotonic() - began
    assert 0.6 < took < 3 * 0.3 + 1.0
    figure("S4", "ping every 0.3 s, 2 missed: found after", f"{took:.2f} s")
    lost.close()


def test_s5_half_close_after_the_last_command(rig: Rigging) -> None:
    server = rig(4)
    sender, junior = server.join(), server.join()
    sender.command(1, payload=b"last", results=True)
    sender.half_close()
    junior.expect_execute(0, b"last")
    junior.expect(Rank, rank=0, members=1, cause=Cause.LEFT)
    seen = sender.drain()
    assert [type(frame).__name__ for frame in seen] == ["Accepted"]


@anywhere
def test_s6_a_paced_sender_resets(rig: Rigging) -> None:
    """The server does not read from it but pings it, which detects the reset long before the receiver times out."""
    server = rig(4, "--write-timeout-s", "30", "--ping-ms", "500")
    sender, slow = server.join(answers_pings=False), server.join(receive_buffer=4096)
    sender.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        sender.sock.sendall(encode(Command(1, 0, 0, QUIET, 0, bytes(BIG))) * 200)
    cpu = server.cpu()
    sender.reset()
    began = time.monotonic()
    junior = server.join()
    while True:
        frame = junior.recv(5)
        if isinstance(frame, Rank) and frame.cause == Cause.LOST:
            break
    took = time.monotonic() - began
    assert took < 2.0
    spent = server.cpu() - cpu
    assert spent < 0.3, "it spins"
    figure(
        "S6",
        "ping every 0.5 s: a reset behind paused reading found after; CPU",
        f"{took:.2f} s; {spent * 1e3:.0f} ms",
    )
    slow.close()


@pytest.mark.slow
@everywhere
def test_s7_full_speed_to_healthy_receivers(rig: Rigging) -> None:
    """No member is evicted and nothing is lost; the long form sends 1 GiB."""
    total = (1 << 30 if os.environ.get("RANKMUX_FAULTS_FULL") else 96 << 20) // BIG // 3
    server = rig(8)
    sender = server.join()
    receivers = [server.join() for _ in range(3)]
    results: dict[Peer, list[int]] = {}
    began = time.monotonic()
    threads = [
        threading.Thread(target=lambda r=r: results.__setitem__(r, numbers(r, total, 120))) for r in receivers
    ]
    for thread in threads:
        thread.start()
    sending = flood(sender, total, timeout_s=120)
    sending.join(120)
    for thread in threads:
        thread.join(120)
    assert all(results[receiver] == list(range(total)) for receiver in receivers)
    rate = total * BIG * 3 / (time.monotonic() - began) / 1e6
    figure("S7", f"{total * BIG * 3 >> 20} MiB to 3 healthy receivers ({server.ground})", f"{rate:.0f} MB/s")
    sender.expect_quiet()


@anywhere
def test_s7_many_senders_at_full_speed(rig: Rigging) -> None:
    """Many senders together must not push a receiver over its hard limit either."""
    server = rig(80, "--outbox-hard-bytes", str(3 << 20))
    senders = [server.join() for _ in range(64)]
    receiver = server.join()
    sendings = []

    def send(sender: Peer) -> None:
        sender.sock.settimeout(60)
        for number in range(20):
            sender.sock.sendall(encode(Command(number, 1, 64, QUIET, 0, bytes(32_768))))

    for sender in senders:
        sendings.append(threading.Thread(target=send, args=(sender,)))
        sendings[-1].start()
    time.sleep(0.2)
    assert len(numbers(receiver, 64 * 20)) == 64 * 20
    for sending in sendings:
        sending.join(20)


@anywhere
def test_slow_consumer_evict_does_not_pace(rig: Rigging) -> None:
    server = rig(4, "--slow-consumer", "evict")
    sender, slow, healthy = server.join(), server.join(receive_buffer=4096), server.join()
    began = time.monotonic()
    for number in range(100):  # in step with the healthy one, so that it is never behind
        payload = number.to_bytes(4, "big") + bytes(16_380)
        sender.sock.sendall(encode(Command(number, 0, 0, QUIET, 0, payload)))
        assert numbers(healthy, 1) == [number]
    assert time.monotonic() - began < 5.0  # pacing would have taken the 10 s of write_timeout_s
    _, error = rest_of_stream(slow)
    assert error is not None
    assert error.code == Code.SLOW


@anywhere
def test_all_outboxes_together_have_a_limit(rig: Rigging) -> None:
    """The longest queue is evicted first."""
    server = rig(
        8,
        "--outboxes-total-bytes",
        str(2 << 20),
        "--outbox-soft-bytes",
        str(64 << 20),
        "--outbox-hard-bytes",
        str(64 << 20),
    )
    sender, most, less = server.join(), server.join(receive_buffer=4096), server.join(receive_buffer=1 << 18)
    for number in range(60):
        sender.command(number, 1, 1, bytes(BIG), quiet=True)
        if not number % 10:
            sender.command(number, 1, 2, bytes(1000), quiet=True)
    until(lambda: "owe" in server.log() or "outboxes" in server.log(), 5, "nobody was evicted")
    _, error = rest_of_stream(most)
    assert error is not None
    assert error.code == Code.SLOW
    less.send(Leave())


@everywhere
def test_the_others_keep_their_pace(rig: Rigging) -> None:
    """A slow receiver delays its sender; a member that sends only to others is not affected."""
    server = rig(8, "--write-timeout-s", "1")
    slow_sender, slow = server.join(), server.join(receive_buffer=4096)
    heir = (
        server.join()
    )  # has the rank of the slow one once that is evicted, and gets the rest of the commands
    done = threading.Event()
    reading = threading.Thread(target=lambda: _drain(heir, done))
    reading.start()
    for number in range(10):
        slow_sender.command(number, 1, 1, bytes(BIG), quiet=True)
    sender = server.join()
    witness = Witness(sender, [server.join(), server.join()])
    sending = threading.Thread(target=lambda: _fill(slow_sender))
    sending.start()
    time.sleep(1.0)
    sending.join(10)
    witness.finish()
    done.set()
    reading.join()
    assert witness.keeps(0.2), witness.ms()
    figure("S1-S3", f"p99 of members who send to others than the slow one ({server.ground})", witness.ms())
    slow.close()


@pytest.mark.slow
@everywhere
def test_the_memory_of_what_was_owed_goes_back(rig: Rigging) -> None:
    """One command of 12 MiB exceeds the hard limit of a member that does not read; U4 holds after both have left."""
    server = rig(4, "--max-payload", str(16 << 20), "--write-timeout-s", "1")
    sender, slow = server.join(), server.join(receive_buffer=4096)
    sender.sock.settimeout(10)
    sender.sock.sendall(encode(Command(1, 0, 0, QUIET, 0, bytes(12 << 20))))
    sender.wait_for_total(1)
    slow.close()


def _drain(reader: Peer, done: threading.Event) -> None:
    while not done.is_set():
        with suppress(SilenceError):
            reader.recv(0.2)


def _fill(sender: Peer) -> None:
    sender.sock.settimeout(10)
    for number in range(60):
        sender.sock.sendall(encode(Command(number, 1, 1, QUIET, 0, bytes(BIG))))
