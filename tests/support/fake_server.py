"""A server scripted by a test, for hostile frames and for silence, which the real server never produces."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

from rankmux.wire import Welcome

WELCOME = Welcome(
    instance=9, ticket=3, seq=11, rank=2, members=3, capacity=10, max_payload=65536, ping_ms=10_000
)


class Connection:
    """The fake server's end of a connection: it receives whole frames and sends arbitrary bytes."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._stream = sock.makefile("rb")

    def send(self, *frames: object) -> None:
        self.sock.sendall(b"".join(frame if isinstance(frame, bytes) else frame.encode() for frame in frames))

    def read(self) -> tuple[int, bytes]:
        """The next frame, as type and body; (-1, b"") at the end."""
        head = self._stream.read(5)
        if len(head) < 5:
            return -1, b""
        length, type_ = struct.unpack("!IB", head)
        return type_, self._stream.read(length - 1)

    def read_until(self, type_: int) -> bytes:
        """Read up to a frame of this type; its body."""
        while True:
            got, body = self.read()
            assert got != -1, f"the client went before it sent {type_:#x}"
            if got == type_:
                return body

    def welcome(self, **fields: int) -> None:
        """Receive HELLO, send WELCOME."""
        self.read_until(0x01)
        self.send(WELCOME._replace(**fields))

    def welcome_at_once(self) -> None:
        """Send WELCOME, after HELLO has been read."""
        self.send(WELCOME)

    def until_gone(self) -> None:
        """Read until the client has closed."""
        with suppress(OSError):
            while self.read()[0] != -1:
                pass

    def reset(self) -> None:
        """Reset the connection without LEAVE or ERROR."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._stream.close()
        self.sock.close()


class FakeServer:
    """Runs one script for each connection, one after another; the last script is used for all further ones."""

    def __init__(self, *scripts: Callable[[Connection], object]) -> None:
        self._scripts = list(scripts)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._listener.getsockname()
        self.errors: list[Exception] = []
        self.accepted = 0
        self._current: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> FakeServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        current = self._current
        if current is not None:
            with suppress(OSError):
                current.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()
        assert not self._thread.is_alive()
        if self.errors:
            raise self.errors[0]

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._current = sock
            script = self._scripts[min(self.accepted, len(self._scripts) - 1)]
            self.accepted += 1
            connection = Connection(sock)
            try:
                script(connection)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client closed
            except Exception as error:  # noqa: BLE001 - shown by the test's own thread
                self.errors.append(error)
            finally:
                self._current = None
                connection._stream.close()
                sock.close()
