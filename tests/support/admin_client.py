"""A server with an admin endpoint, in the test's own thread: HTTP clients act between its turns."""

from __future__ import annotations

import http.client
import io
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from rankmux.server.server import Server
from rankmux.wire import Hello

DEADLINE_S = 10.0


def turns_until(server: Server, done: Callable[[], Any]) -> None:
    """Run turns until `done` is true, which must happen soon."""
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline, "it did not come to that"
        server.step(0.01)


@contextmanager
def watched(**settings: object) -> Iterator[Server]:
    """A server on free ports, with an admin endpoint."""
    server = Server(**{"port": 0, "admin": "0", "first_ticket": 1, "log_level": "error", **settings})
    try:
        yield server
    finally:
        server.close()


def join(server: Server, name: str) -> socket.socket:
    """A member that reads only when the test asks it to."""
    sock = socket.create_connection(server.address, timeout=DEADLINE_S)
    before = len(server.room)
    sock.sendall(Hello(name).encode())
    turns_until(server, lambda: len(server.room) > before)
    return sock


def dial(server: Server) -> socket.socket:
    """A raw connection to the admin endpoint."""
    where = server.admin_where[0]
    if where.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(where.removeprefix("unix:"))
    else:
        parts = urlsplit(where)
        sock = socket.create_connection((parts.hostname, parts.port), timeout=DEADLINE_S)
    sock.settimeout(DEADLINE_S)
    return sock


class _Recorded(io.BytesIO):
    def makefile(self, *_: object, **__: object) -> _Recorded:
        return self


def receive(server: Server, sock: socket.socket) -> http.client.HTTPResponse:
    """The next complete response; the server runs meanwhile."""
    sock.setblocking(False)
    data = b""

    def whole() -> bool:
        nonlocal data
        try:
            while more := sock.recv(1 << 16):
                data += more
        except BlockingIOError:
            pass
        else:
            return True
        head, _, body = data.partition(b"\r\n\r\n")
        lines = [
            line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        ]
        return bool(lines) and len(body) >= int(lines[0])

    turns_until(server, whole)
    sock.settimeout(DEADLINE_S)
    assert data, "no answer"
    response = http.client.HTTPResponse(_Recorded(data))  # type: ignore[arg-type]
    response.begin()
    return response


def get(server: Server, path: str, *headers: str) -> tuple[int, str]:
    """Status and body of one GET."""
    with dial(server) as sock:
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers, "", ""]
        sock.sendall("\r\n".join(lines).encode())
        response = receive(server, sock)
        return response.status, response.read().decode()


def get_json(server: Server, path: str) -> Any:
    """The decoded JSON body of a path."""
    status, body = get(server, path)
    assert status == 200, body
    return json.loads(body)
