"""Attacks on the TLS layer: KeyUpdates without end, handshakes without end, and records of one byte."""

from __future__ import annotations

import itertools
import selectors
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from ..protocol.frames import QUIET, Command, Hello, encode
from .floods import LIMIT_S, PATIENCE_S, Crowd, Stream, connect
from .key_updates import KeyUpdates

PER_ADDRESS = 40  # connections without HELLO; the server refuses more than 64
DRIP_EVERY_S = 0.002
RECORD_HEAD = 5


def client_hello() -> bytes:
    """The first record of a TLS client."""
    tls, _, outgoing = _in_memory()
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def in_one_byte_records(record: bytes) -> bytes:
    """The same handshake message, one byte in each record."""
    body = record[RECORD_HEAD:]
    return b"".join(record[:3] + struct.pack(">HB", 1, octet) for octet in body)


def key_updates(host: str, port: int, members: int, stock_s: float) -> Crowd:
    """Connections that finish the handshake, then send KeyUpdates without end, those of `stock_s` at once."""

    def stream(stock_s: float = 0.0) -> Stream:
        return UpdatingStream(connect(host, port, source="127.0.0.2"), stock_s)

    return Crowd([stream(stock_s) for _ in range(members)], stream)


class UpdatingStream(Stream):
    """A connection over TLS 1.3 that sends KeyUpdates."""

    def __init__(self, sock: socket.socket, stock_s: float) -> None:
        opened_at = time.monotonic()
        self._updates = KeyUpdates(sock, stock_s)
        super().__init__(sock, self._updates.more)
        self.opened_at = opened_at

    def close(self) -> None:
        self._updates.free()
        super().close()


class Later(Crowd):
    """A crowd that connects when it begins: before, the server's deadlines would run."""

    def __init__(self, count: int, make: Callable[[], Stream]) -> None:
        super().__init__([], make)
        self._count = count
        self._make = make

    def go(self) -> None:
        for _ in range(self._count):
            with suppress(OSError):
                self.streams.append(self._make())
        super().go()


class Knock(Stream):
    """A connection that sends ClientHello and resets when the server has made its answer."""

    def take(self, data: bytes) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ConnectionAbortedError


def handshakes(host: str, port: int, addresses: int, one_byte_records: bool) -> Crowd:
    """ClientHellos, a new connection for each; or each cut into records of one byte."""
    hello = client_hello()
    octets = in_one_byte_records(hello) if one_byte_records else hello
    sources = itertools.cycle([f"127.0.0.{2 + n}" for n in range(addresses)])

    def stream() -> Stream:
        return Knock(connect(host, port, source=next(sources)), iter([octets, b""]).__next__)

    return Later(addresses * PER_ADDRESS, stream)


class Dripping(Later):
    """Half-open handshakes: each connection repeatedly sends one more byte of its ClientHello."""

    def run(self) -> None:
        selector = self._selector
        selector.register(sys.stdin, selectors.EVENT_READ)
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            for key, mask in selector.select(0):
                if key.data is None:
                    if not sys.stdin.readline():
                        return
                elif key.data in self.streams and mask & selectors.EVENT_READ:
                    self._do(key.data, selectors.EVENT_READ)
            for stream in self.streams[:]:
                self._do(stream, selectors.EVENT_WRITE)
            time.sleep(DRIP_EVERY_S)

    def _add(self, stream: Stream) -> None:
        self._selector.register(stream.sock, selectors.EVENT_READ, stream)


def drips(host: str, port: int, addresses: int) -> Crowd:
    """Connections that send their ClientHello byte by byte, each byte in a separate record."""
    hello = in_one_byte_records(client_hello())
    size = RECORD_HEAD + 1
    records = [hello[at : at + size] for at in range(0, len(hello), size)]
    sources = itertools.cycle([f"127.0.0.{2 + n}" for n in range(addresses)])

    def stream() -> Stream:
        return Stream(connect(host, port, source=next(sources)), _then_nothing(records).__next__)

    return Dripping(addresses * PER_ADDRESS, stream)


def _then_nothing(records: list[bytes]) -> Iterator[bytes]:
    yield from records
    while True:
        yield b""


def one_byte_records(host: str, port: int, members: int, commands: int, size: int) -> Crowd:
    """Members that send commands of `size` bytes, one byte in each record; all was encrypted beforehand."""
    frame = encode(Command(1, 0, 0, QUIET, 0, bytes(size))) * commands
    streams = []
    for _ in range(members):
        sock, tls, outgoing = _tls_member(host, port)
        for octet in frame:
            tls.write(bytes((octet,)))
        streams.append(Stream(sock, iter([outgoing.read(), b""]).__next__))
    return Crowd(streams)


def _tls_member(host: str, port: int) -> tuple[socket.socket, ssl.SSLObject, ssl.MemoryBIO]:
    """A member over TLS whose bytes go through memory, so that they can be encrypted ahead of time."""
    sock = connect(host, port)
    tls, incoming, outgoing = _in_memory()
    pending: list[Callable[[], object]] = [tls.do_handshake, lambda: tls.read(1000)]
    deadline = time.monotonic() + PATIENCE_S
    while pending:
        assert time.monotonic() < deadline, "no WELCOME"
        try:
            pending[0]()
        except ssl.SSLWantReadError:
            sock.sendall(outgoing.read())
            data = sock.recv(65_536)
            assert data, "the server closed"
            incoming.write(data)
            continue
        if len(pending) == 2:
            tls.write(encode(Hello()))
        del pending[0]
        sock.sendall(outgoing.read())
    return sock, tls, outgoing


def _in_memory() -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    return context.wrap_bio(incoming, outgoing), incoming, outgoing


TLS_FLOODS: dict[str, Callable[..., Crowd]] = {
    "key_updates": key_updates,
    "handshakes": handshakes,
    "drips": drips,
    "one_byte_records": one_byte_records,
}
