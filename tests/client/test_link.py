"""A session on a stream: the timing of writes, silence, errors of the socket. The clock is a number."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

import pytest

from rankmux.client.link import StreamLink
from rankmux.client.stream import Stream
from rankmux.codes import ErrorCode
from rankmux.core.client.events import Ended, Welcomed
from rankmux.core.client.session import ClientSession, ClientState
from rankmux.errors import ConnectionLost, ServerError
from rankmux.wire import ErrorFrame, Hello, Ping, Pong

from ..support.fake_server import WELCOME


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(10)
        yield ours, theirs


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def theirs(pair: tuple[socket.socket, socket.socket]) -> socket.socket:
    return pair[1]


@pytest.fixture
def link(pair: tuple[socket.socket, socket.socket], clock: Clock) -> StreamLink:
    """Welcomed, with a ping interval of 10 s."""
    link = StreamLink(ClientSession(), Stream(pair[0]), clock)
    link.run(False)
    assert pair[1].recv(1000) == Hello().encode()
    pair[1].sendall(WELCOME.encode())
    link.run(True)
    assert isinstance(link.events()[0], Welcomed)
    return link


def last_error(link: StreamLink) -> Exception | None:
    *_, last = link.events()
    assert isinstance(last, Ended)
    assert link.ended
    return last.error


def test_a_ping_is_answered_in_the_same_run(link, theirs):
    theirs.sendall(Ping(b"a").encode())
    link.run(True)
    assert theirs.recv(1000) == Pong(b"a").encode()


def test_no_input_gives_no_event(link):
    link.run(True)
    assert link.events() == []
    assert not link.ended


def test_output_that_the_socket_does_not_take_is_kept(link, theirs):
    whole = b""
    while not link.stream.waits_for_write:
        link.session.send_command(bytes(60_000))
        link.flush()
    assert link.wants_write
    for _ in range(3):
        link.session.send_command(b"more")
    received = b""
    theirs.setblocking(False)
    while link.wants_write:
        received += theirs.recv(1 << 20)
        link.flush()
    while True:
        try:
            received += theirs.recv(1 << 20)
        except BlockingIOError:
            break
    whole = received
    sizes = []
    while whole:
        size = 4 + int.from_bytes(whole[:4])
        sizes.append(size)
        whole = whole[size:]
    assert set(sizes[:-3]) == {60_000 + 19}
    assert sizes[-3:] == [4 + 19] * 3


def test_silence_is_pinged_and_then_ends_it(link, theirs, clock):
    clock.now += 4
    assert link.patience_s() == pytest.approx(6)
    link.run(False)
    clock.now += 6
    assert link.patience_s() == 0
    link.run(False)
    assert theirs.recv(1000) == Ping(b"").encode()
    assert link.patience_s() == pytest.approx(10)
    clock.now += 10
    link.run(False)
    assert theirs.recv(1000) == Ping(b"").encode()
    clock.now += 9.9
    link.run(False)
    assert not link.ended
    clock.now += 0.1
    link.run(False)
    assert isinstance(last_error(link), ConnectionLost)
    assert link.patience_s() is None


def test_any_byte_is_a_sign_of_life(link, theirs, clock):
    for _ in range(5):
        clock.now += 10
        link.run(False)
        assert theirs.recv(1000) == Ping(b"").encode()
        theirs.sendall(Pong(b"").encode())
        link.run(True)
    assert not link.ended


def test_after_a_pause_it_reads_before_it_judges_silence(link, theirs, clock):
    """A program that computed for an hour, or a laptop that slept (G4): input that has arrived meanwhile counts."""
    clock.now += 3600
    theirs.sendall(Ping(b"are you there").encode())
    assert link.patience_s() == 0
    link.run(True)
    assert link.patience_s() == pytest.approx(10)
    assert not link.ended


def test_while_it_does_not_read_it_pings_and_judges_no_silence(link, theirs, clock):
    """It does not read the server's PINGs either; it sends one PING in each interval as a sign of life."""
    theirs.sendall(Ping(b"?").encode())
    for _ in range(20):
        clock.now += 9
        link.run_paused()
        assert link.patience_s() == pytest.approx(1)
        clock.now += 1
        assert link.patience_s() == 0
        link.run_paused()
        assert theirs.recv(1000) == Ping(b"").encode()
    clock.now += 1000
    link.run_paused()
    assert theirs.recv(1000) == Ping(b"").encode()
    theirs.sendall(Pong(b"").encode() * 21)
    link.run(True)
    assert theirs.recv(1000) == Pong(b"?").encode()
    assert not link.ended
    assert link.patience_s() == pytest.approx(10)


@pytest.mark.parametrize(
    ("ping_ms", "interval_s"),
    [(400, 0.4), (10, 0.01), (1, 0.01), (3_600_000, 3600), (2**31, 3600), (2**32 - 1, 3600)],
)
def test_its_silence_limit_is_that_of_the_server(pair, clock, ping_ms, interval_s):
    """Three intervals of silence end the connection, as on the server."""
    link = StreamLink(ClientSession(), Stream(pair[0]), clock)
    pair[1].sendall(WELCOME._replace(ping_ms=ping_ms).encode())
    link.run(True)
    assert link.patience_s() == pytest.approx(interval_s)
    for _ in range(3):
        assert not link.ended
        clock.now += interval_s * 1.001
        link.run(False)
    assert link.ended


@pytest.mark.parametrize("silent", [True, False])
def test_a_copy_of_the_descriptor_keeps_the_connection_after_a_silence_only(link, clock, theirs, silent):
    """A server may receive our bytes while we receive none; a copy of the socket holds the seat until programs end."""
    theirs.setblocking(False)
    with socket.socket(fileno=os.dup(link.fileno())):
        for _ in range(3):
            clock.now += 10.01 if silent else 0.0
            link.run(False)
        assert link.ended is silent
        link.close()
        open_still = False
        try:
            while theirs.recv(4096):
                pass
        except BlockingIOError:
            open_still = True
        assert open_still is silent
    assert theirs.recv(1) == b""


def test_a_server_that_asks_for_no_pings_is_not_pinged(pair, clock):
    link = StreamLink(ClientSession(), Stream(pair[0]), clock)
    pair[1].sendall(WELCOME._replace(ping_ms=0).encode())
    link.run(True)
    assert link.patience_s() is None


def test_an_error_from_the_server_precedes_our_errno(link, theirs):
    """It sent ERROR and closed, with bytes of ours unread: our send fails, and the ERROR is still in the socket."""
    theirs.sendall(ErrorFrame(ErrorCode.SLOW, "too slow").encode())
    theirs.shutdown(socket.SHUT_RDWR)
    theirs.close()
    link.session.send_command(b"x")
    link.flush()
    error = last_error(link)
    assert isinstance(error, ServerError)
    assert error.code == ErrorCode.SLOW


def test_a_reset_is_reported_by_name(clock):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    link = StreamLink(ClientSession(), Stream(ours), clock)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    link.run(True)
    error = last_error(link)
    assert isinstance(error, ConnectionLost)
    assert error.reason == "Connection reset by peer"
    link.run(True)
    assert link.events() == []
    link.close()
    link.close()
    assert link.fileno() == -1


def test_the_end_of_the_stream(link, theirs):
    theirs.close()
    link.run(True)
    assert isinstance(last_error(link), ConnectionLost)
    assert link.session.state is ClientState.ENDED
    assert not link.wants_write
