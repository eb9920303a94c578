"""TLS through memory, against the TLS of the standard library: any records, any limits, ends and errors."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.server.sockets.tls_socket import TlsSocket
from rankmux.server.sockets.transport import PlainSocket
from rankmux.system.reactor import READABLE, WRITABLE

from ...attack.key_updates import KeyUpdates
from ...faults.certificates import Certificates


class Peer:
    """The client's end; the test holds its ciphertext."""

    def __init__(self, context: ssl.SSLContext, sock: socket.socket) -> None:
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def records(self, *payloads: bytes) -> bytes:
        """The ciphertext, one record for each message."""
        for payload in payloads:
            assert self.tls.write(payload) == len(payload)
        return self.outgoing.read()

    def take(self) -> None:
        with suppress(BlockingIOError):
            self.incoming.write(self.sock.recv(1 << 20))

    def read(self) -> bytes:
        self.take()
        found = b""
        with suppress(ssl.SSLWantReadError):
            while True:
                found += self.tls.read(1 << 16)
        return found


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    certificates = Certificates(tmp_path_factory.mktemp("certificates"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificates.server)
    return server, certificates.client_context()


@contextmanager
def raw(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> Iterator[tuple[TlsSocket, Peer]]:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as far:
        far.connect(listener.getsockname())
        near = PlainSocket(fileno=listener.accept()[0].detach())
        for sock in (near, far):
            sock.setblocking(False)
        tls = TlsSocket(near, contexts[0])
        try:
            yield tls, Peer(contexts[1], far)
        finally:
            tls.close()


@contextmanager
def pair(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> Iterator[tuple[TlsSocket, Peer]]:
    with raw(contexts) as (tls, peer):
        while tls.handshaking or peer.tls.version() is None or peer.outgoing.pending:
            with suppress(ssl.SSLWantReadError):
                peer.tls.do_handshake()
            peer.sock.sendall(peer.outgoing.read())
            if tls.handshaking:
                tls.handshake()
            peer.take()
        yield tls, peer


@contextmanager
def fails_with(code: int) -> Iterator[None]:
    with pytest.raises(OSError, match=r"\w") as caught:
        yield
    assert caught.value.errno == code


def everything(tls: TlsSocket, expected: int) -> bytes:
    found = b""
    while len(found) < expected:
        data, _ = tls.read(1 << 16, 1 << 16)
        found += data or b""
    return found


@given(
    payloads=st.lists(st.integers(1, 300) | st.sampled_from([16_384]), min_size=1, max_size=30),
    size=st.sampled_from([1, 100, 4096, 65_536]),
    share=st.integers(1, 100),
)
def test_any_records_within_any_limits(contexts, payloads, size, share):
    """All bytes in order, no call over its limits; `pending` reports input that no selector reports."""
    sent = [bytes([i]) * length for i, length in enumerate(payloads)]
    expected = b"".join(sent)[: 40_000 if size > 1 else 2000]
    with pair(contexts) as (tls, peer):
        peer.sock.setblocking(True)
        peer.sock.sendall(peer.records(*sent))
        found, done = b"", 0
        while len(found) < len(expected):
            data, work = tls.read(size, share)
            assert work <= max(share + 20, 24)
            assert data is None or 0 < len(data) <= size
            found += data or b""
            done += work
        assert found[: len(expected)] == expected
        assert done <= 4 * len(payloads) + 24 * 4, "session tickets are records without data"
        if len(found) < sum(payloads):
            assert tls.pending() or tls._received or size > 1


def test_small_records_are_a_bounded_part_of_a_turn(contexts):
    """Each record costs as much as four commands: the call ends in time, and reports that there is more."""
    with pair(contexts) as (tls, peer):
        everything(tls, 0)
        peer.sock.sendall(peer.records(*[b"x"] * 100))
        data, work = tls.read(1000, 100)
        assert data is not None
        assert 4 * len(data) == work <= 124
        assert tls.pending()
        assert everything(tls, 100 - len(data)) == b"x" * (100 - len(data))
        assert tls.read(1000, 100) == (None, 0)
        assert not tls.pending()


def test_records_without_data_cost_more(contexts):
    """A KeyUpdate makes both ends derive keys."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as far:
        far.connect(listener.getsockname())
        near = PlainSocket(fileno=listener.accept()[0].detach())
        near.setblocking(False)
        tls = TlsSocket(near, contexts[0])
        with ThreadPoolExecutor(1) as pool:
            made = pool.submit(KeyUpdates, far, 0.0)
            while tls.handshaking:
                tls.handshake()
            updates = made.result()
        try:
            far.sendall(updates.more())
            done = [tls.read(1000, 240) for _ in range(20)]
            assert {data for data, _ in done} == {None}
            assert all(work <= 264 for _, work in done)
            assert sum(work for _, work in done) >= 10 * 240
            assert tls.pending()
        finally:
            updates.free()
            tls.close()


def test_a_record_is_opened_when_it_is_whole(contexts):
    with pair(contexts) as (tls, peer):
        record = peer.records(b"hello")
        for i in range(len(record) - 1):
            peer.sock.sendall(record[i : i + 1])
            assert tls.read(100, 10) == (None, 0)
            assert not tls.pending(), "nothing to do until more comes"
        peer.sock.sendall(record[-1:])
        assert everything(tls, 5) == b"hello"


@pytest.mark.parametrize(
    "octets", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x02\x00", b"\x17\x03\x03\xff\xff", b"\x80\x2e\x01"]
)
def test_bytes_that_are_no_tls_fail_at_once(contexts, octets):
    with raw(contexts) as (tls, peer):
        peer.sock.sendall(octets + bytes(100))
        with fails_with(errno.EPROTO):
            while tls.handshake() == READABLE:
                pass


def test_a_handshake_in_records_of_a_byte_goes_on_in_steps(contexts):
    with raw(contexts) as (tls, peer):
        with suppress(ssl.SSLWantReadError):
            peer.tls.do_handshake()
        hello = peer.outgoing.read()
        body = hello[5:]
        peer.sock.sendall(b"".join(hello[:3] + b"\0\1" + body[i : i + 1] for i in range(len(body))))
        steps = 1
        while tls.handshake() == READABLE and tls.pending():
            steps += 1
        assert steps >= len(body) // 64
        peer.take()
        with suppress(ssl.SSLWantReadError):
            peer.tls.do_handshake()
        peer.sock.sendall(peer.outgoing.read())
        assert tls.handshake() == 0


def test_a_send_that_was_not_taken_is_repeated(contexts):
    """No byte counts as sent until the kernel has its whole record; the bytes then arrive unchanged."""
    with pair(contexts) as (tls, peer):
        tls.set_send_buffer(4096)
        sent = found = b""
        held = b""
        for number in range(2000):
            held = bytes([number % 251]) * 16_384
            try:
                assert tls.send(held) == len(held)
            except BlockingIOError:
                break
            sent += held
        assert tls.write_on == WRITABLE
        for _ in range(10_000):
            found += peer.read()
            with suppress(BlockingIOError):
                assert tls.send(held) == len(held)
                sent += held
                break
        while len(found) < len(sent):
            found += peer.read()
        assert found == sent


def test_the_end_comes_after_the_data(contexts):
    with pair(contexts) as (tls, peer):
        with suppress(ssl.SSLWantReadError):
            octets = peer.records(b"last")
            peer.tls.unwrap()
        peer.sock.sendall(octets + peer.outgoing.read())
        assert everything(tls, 4) == b"last"
        while not tls.pending():
            assert tls.read(100, 10) == (None, 0), "close_notify is on its way"
        assert tls.read(100, 10)[0] == b""
        assert tls.read(100, 10)[0] == b""


def test_a_stream_that_just_stops_is_an_end(contexts):
    with pair(contexts) as (tls, peer):
        peer.sock.sendall(peer.records(b"last"))
        peer.sock.shutdown(socket.SHUT_WR)
        assert everything(tls, 4) == b"last"
        assert tls.read(100, 10)[0] == b""


def test_an_error_comes_after_the_data(contexts):
    with pair(contexts) as (tls, peer):
        octets = peer.records(b"good", b"bad")
        peer.sock.sendall(octets[:-1] + bytes([octets[-1] ^ 1]))
        assert tls.read(100, 10)[0] == b"good"
        assert tls.pending()
        with fails_with(errno.EPROTO):
            tls.read(100, 10)


def test_a_reset_is_a_reset(contexts):
    with pair(contexts) as (tls, peer):
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.sock.close()
        with fails_with(errno.ECONNRESET):
            while tls.read(100, 10) == (None, 0):
                pass


def test_bytes_after_our_end_are_discarded(contexts):
    with pair(contexts) as (tls, peer):
        tls.shutdown(socket.SHUT_WR)
        peer.take()
        assert peer.tls.read(10) == b"", "close_notify"
        peer.sock.sendall(peer.records(b"late"))
        assert len(everything(tls, 10)) > 4, "not decrypted"
        peer.sock.close()
        while tls.read(1000, 10) != (b"", 0):
            pass
