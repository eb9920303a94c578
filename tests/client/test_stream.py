"""The transports: TCP, TLS over TCP, a Unix socket. A relay in the test stands in front of the server."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from rankmux import Client, Status
from rankmux.client.address import Address
from rankmux.client.connect import connected_socket
from rankmux.client.stream import Stream
from rankmux.errors import ConnectionLost
from rankmux.server.server import Server

PATIENCE_S = 20.0


@pytest.fixture
def stage(connect: Callable[..., Client]) -> Iterator[ExitStack]:
    """Clients on it are closed before the driver's loop is."""
    with ExitStack() as stack:
        yield stack


class Relay:
    """Accepts connections on `listener`, and relays their bytes to and from a server."""

    def __init__(
        self, listener: socket.socket, server: Server, context: ssl.SSLContext | None = None
    ) -> None:
        self.address = listener.getsockname()
        self._listener = listener
        self._server = server
        self._context = context
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._relay, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _relay(self, sock: socket.socket) -> None:
        with sock, suppress(OSError):
            near = sock if self._context is None else self._context.wrap_socket(sock, server_side=True)
            with near, socket.create_connection(self._server.address) as far:
                up = threading.Thread(target=self._pump, args=(near, far), daemon=True)
                up.start()
                self._pump(far, near)
                with suppress(OSError):
                    near.shutdown(socket.SHUT_RDWR)
                up.join(PATIENCE_S)

    @staticmethod
    def _pump(source: socket.socket, drain: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                drain.sendall(data)
            drain.shutdown(socket.SHUT_WR)


@pytest.fixture
def server(stage: ExitStack) -> Server:
    return stage.enter_context(Server(port=0, seats=10))


@pytest.fixture
def tls(
    stage: ExitStack,
    server: Server,
    certificate: tuple[Path, Path],
    connect: Callable[..., Client],
) -> Callable[..., Client]:
    """Makes clients over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    relay = stage.enter_context(Relay(socket.create_server(("127.0.0.1", 0)), server, context))
    trusting = ssl.create_default_context(cafile=str(certificate[0]))

    def join(**options: object) -> Client:
        settings = {"ssl_context": trusting, "timeout": PATIENCE_S, **options}
        return stage.enter_context(connect(*relay.address, **settings))

    return join


@pytest.fixture
def unix(
    stage: ExitStack, server: Server, tmp_path: Path, connect: Callable[..., Client]
) -> Callable[..., Client]:
    """Makes clients over a Unix socket."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    listener.listen()
    stage.enter_context(Relay(listener, server))
    return lambda **options: stage.enter_context(connect(unix=tmp_path / "socket", **options))


@pytest.mark.parametrize("way", ["tls", "unix"])
def test_everything_works_over_it(request, way, connect):
    join = request.getfixturevalue(way)
    ada, bob = join(name="ada"), join(name="bob")
    assert (ada.rank, bob.rank) == (0, 1)

    def handler(command: object) -> bytes:
        return b"".join(bytes((byte,)) for byte in reversed(command.payload))

    thread = threading.Thread(target=bob.serve, args=(handler,))
    thread.start()
    payload = bytes(range(256)) * 256
    receipts = [ada.command(payload, results=True, quiet=True, timeout=PATIENCE_S) for _ in range(50)]
    for receipt in receipts:  # 3 MiB each way, with more than a TLS record at a time
        assert [(r.status, r.payload) for r in receipt] == [(Status.OK, payload[::-1])]
    ada.close()
    assert bob.wait_for_rank(0, PATIENCE_S)
    bob.close()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


@pytest.mark.slow
def test_many_small_frames_in_one_record(tls):
    """Decrypted TLS data that has not been read does not make a socket readable."""
    ada, bob = tls(), tls()
    ran: list[bytes] = []
    for number in range(3000):
        ada.command(b"%d" % number, quiet=True)
    receipt = ada.command("last", quiet=True, results=True)
    thread = threading.Thread(target=bob.serve, args=(lambda command: ran.append(command.payload),))
    thread.start()
    assert receipt.wait(PATIENCE_S).ok == 1
    bob.close()
    thread.join(PATIENCE_S)
    assert ran == [*(b"%d" % number for number in range(3000)), b"last"]


def test_a_certificate_that_is_not_trusted(tls):
    with pytest.raises(ConnectionLost, match=r"not by an authority trusted here"):
        tls(ssl_context=ssl.create_default_context())


def test_a_certificate_with_another_name(tls):
    with pytest.raises(ConnectionLost, match=r"is not for rankmux\.example, it is for localhost"):
        tls(server_hostname="rankmux.example")
    assert tls(server_hostname="localhost").rank == 0


def test_tls_to_a_server_that_speaks_none(server, connect):
    with pytest.raises(ConnectionLost, match="speaks plain TCP"):
        connect(*server.address, ssl_context=ssl.create_default_context(), timeout=PATIENCE_S)


def test_a_unix_socket_that_is_not_there(tmp_path, connect):
    with pytest.raises(ConnectionLost, match=r"cannot connect to .*no-socket: there is no such socket"):
        connect(unix=tmp_path / "no-socket")


def test_addresses():
    assert str(Address()) == "127.0.0.1:7117"
    assert str(Address("::1", 80)) == "[::1]:80"
    assert str(Address(unix=Path("/run/rankmux"))) == "/run/rankmux"


def test_what_could_not_be_sent_is_tried_again_as_it_was():
    """T6: with other bytes at the head, OpenSSL would mix them up on the wire."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stream = Stream(ours)
        sent = b""
        while stream.send(bytes(50_000)):
            sent += bytes(50_000)
        head = stream.head
        assert stream.waits_for_write
        assert not stream.send(b"")
        assert stream.head == head
        theirs.setblocking(False)
        received = 0
        while stream.waits_for_write:
            received += len(theirs.recv(1 << 20))
            stream.send(b"")
        with suppress(BlockingIOError):
            while True:
                received += len(theirs.recv(1 << 20))
        assert received == len(sent) + 50_000
        stream.close()
        stream.close()
        assert stream.fileno() == -1


def test_tls_that_takes_no_more_for_now(certificate):
    """T5, T6: OpenSSL reports "not now", and gets the same bytes again until they are sent, in order."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    read_on = threading.Event()
    received = bytearray()

    def serve() -> None:
        sock, _ = listener.accept()
        with context.wrap_socket(sock, server_side=True) as near:
            assert read_on.wait(PATIENCE_S)
            while data := near.recv(65536):
                received.extend(data)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        trusting = ssl.create_default_context(cafile=str(certificate[0]))
        address = Address(*listener.getsockname(), ssl_context=trusting)
        stream = Stream(connected_socket(address, PATIENCE_S))
        sent = bytearray()
        while not stream.waits_for_write:
            chunk = len(sent).to_bytes(8) * 6000
            stream.send(chunk)
            sent += chunk
        assert not stream.send(b"")
        read_on.set()
        while stream.waits_for_write:
            select.select([], [stream], [], PATIENCE_S)
            stream.send(b"")
        assert stream.receive() is None
        stream.close()
        thread.join(PATIENCE_S)
    assert received == sent


def test_readiness_may_wait_for_more_bytes():
    """Without that, as with Unix sockets, it only shows early; the end shows in any case."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stream = Stream(socket.create_connection(listener.getsockname()))
        peer, _ = listener.accept()
    with peer:
        stream.wake_at(100)
        peer.sendall(bytes(99))
        assert select.select([stream], [], [], 0.05)[0] == []
        peer.sendall(bytes(1))
        assert select.select([stream], [], [], PATIENCE_S)[0] == [stream]
        assert stream.receive() == bytes(100)
        peer.sendall(bytes(1))
        assert select.select([stream], [], [], 0.05)[0] == []
        stream.wake_at(1)
        assert select.select([stream], [], [], PATIENCE_S)[0] == [stream]
        assert stream.receive() == bytes(1)
        stream.wake_at(100)
    assert select.select([stream], [], [], PATIENCE_S)[0] == [stream]
    assert stream.receive() == b""
    stream.close()
    stream.wake_at(1)
