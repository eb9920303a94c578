"""Section 3, points 4 and 5, and the time-dependent errors: silence, slowness, shutdown of the server."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

from .frames import Accepted, Cause, Code, Error, Execute, Members, Ping, Pong, Rank, Who
from .peer import ClosedError

if TYPE_CHECKING:
    from .conftest import Serve
    from .peer import Peer

PING_MS = 200
PING_S = PING_MS / 1000


# Silence


def test_a_silent_member_is_pinged(serve: Serve) -> None:
    server = serve(2, "--ping-ms", str(PING_MS))
    peer = server.join(answers_pings=False)
    assert peer.joined.ping_ms == PING_MS
    began = time.monotonic()
    peer.expect(Ping)
    assert 0.8 * PING_S < time.monotonic() - began < 5 * PING_S


def test_a_member_that_answers_stays(serve: Serve) -> None:
    server = serve(2, "--ping-ms", str(PING_MS))
    peer = server.join(answers_pings=False)
    for _ in range(6):
        ping = peer.expect(Ping)
        peer.send(Pong(ping.opaque))
    peer.settle()


def test_anything_is_an_answer(serve: Serve) -> None:
    """Any input ends the silence, not only a PONG."""
    server = serve(2, "--ping-ms", str(PING_MS))
    peer = server.join(answers_pings=False)
    for number in range(6):
        peer.expect(Ping)
        peer.send(Who(number))
        peer.expect(Members, id=number)


def test_an_active_member_is_not_pinged(serve: Serve) -> None:
    server = serve(2, "--ping-ms", "600")
    peer = server.join(answers_pings=False)
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        peer.ping(b"here")
        peer.expect_nothing(0.1)


def test_two_pings_without_an_answer_end_it(serve: Serve) -> None:
    server = serve(3, "--ping-ms", str(PING_MS))
    silent = server.join(answers_pings=False)
    junior = server.join()
    began = time.monotonic()
    junior.expect(Rank, rank=0, members=1, cause=Cause.LOST)
    assert 1.6 * PING_S < time.monotonic() - began < 10 * PING_S
    silent.expect(Ping)
    silent.expect(Ping)
    seen = silent.drain()
    assert all(isinstance(frame, Error) and frame.code == Code.TIMEOUT for frame in seen)


def test_a_stopped_server_counts_no_silence(serve: Serve) -> None:
    """Bytes that arrived while the server was stopped are read before silence is judged."""
    server = serve(3, "--ping-ms", str(PING_MS))
    line = server.line(3)
    server.pause()
    for peer in line:
        peer.send(Ping(b"here all along"))
    time.sleep(4 * PING_S)
    server.resume()
    for peer in line:
        peer.expect(Pong, opaque=b"here all along")
        peer.expect_quiet()


# Slowness


def executed_until_slow(peer: Peer) -> list[int]:
    """The first byte of each EXECUTE up to the end of the stream, which only ERROR SLOW may precede."""
    seen: list[int] = []
    while True:
        try:
            frame = peer.recv()
        except ClosedError:
            return seen
        if isinstance(frame, Execute):
            seen.append(frame.payload[0])
        else:
            assert isinstance(frame, Error)
            assert frame.code == Code.SLOW


def test_one_who_does_not_read(serve: Serve) -> None:
    """It is evicted; the others lose nothing, and its senior is paced only until then."""
    server = serve(3, "--write-timeout-s", "1")
    sender = server.join()
    slow = server.join(receive_buffer=4096)
    healthy = server.join()
    count = 60
    began = time.monotonic()

    def send() -> None:
        sender.sock.settimeout(20)
        for number in range(count):
            sender.command(number, payload=bytes([number]) * 65_536, quiet=True)

    sending = threading.Thread(target=send)
    sending.start()
    try:
        numbers: list[int] = []
        ranks: list[Rank] = []
        while len(numbers) < count or not ranks:
            frame = healthy.recv()
            if isinstance(frame, Execute):
                assert frame.payload == frame.payload[:1] * 65_536
                numbers.append(frame.payload[0])
            else:
                assert isinstance(frame, Rank)
                ranks.append(frame)
    finally:
        sending.join(20)
    assert not sending.is_alive()
    assert time.monotonic() - began < 5.0
    assert numbers == list(range(count))
    assert [(rank.rank, rank.members, rank.cause) for rank in ranks] == [(1, 2, Cause.EVICTED)]
    seen = executed_until_slow(slow)
    assert seen == list(range(len(seen)))
    sender.expect_quiet()


# Shutdown


def test_sigterm_sends_shutdown_to_all(serve: Serve) -> None:
    """Every member receives ERROR SHUTDOWN and the end of the stream; no promotions follow, and the exit code is 0."""
    server = serve(5)
    line = server.line(4)
    line[1].command(1, payload=b"before the end")
    line[1].expect(Accepted, id=1)
    server.signal(signal.SIGTERM)
    for rank, peer in enumerate(line):
        if rank > 1:
            peer.expect_execute(1, b"before the end")
        peer.expect_error(Code.SHUTDOWN)
        peer.close()
    assert server.wait() == 0


def test_sigterm_without_members(serve: Serve) -> None:
    server = serve(5)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def test_sigterm_does_not_wait_for_silent_connections(serve: Serve) -> None:
    server = serve(5)
    silent = server.connect()
    member = server.join()
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    member.expect_error(Code.SHUTDOWN)
    assert all(isinstance(frame, Error) and frame.code == Code.SHUTDOWN for frame in silent.drain())
    member.close()
    silent.close()
    assert server.wait() == 0
    assert time.monotonic() - began < 5.0
