"""The admin endpoint as an operator uses it: one HTTP request over a Unix or TCP socket."""

from __future__ import annotations

import http.client
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .peer import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Iterator


def socket_path() -> Iterator[str]:
    """A short path for a Unix socket, in a directory that exists while the generator is not exhausted."""
    with tempfile.TemporaryDirectory() as directory:
        yield str(Path(directory) / "admin")


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=DEADLINE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(DEADLINE_S)
        self.sock.connect(self._path)


def request(where: str | tuple[str, int], method: str, target: str, body: bytes | None = None) -> int:
    """Send one request to a Unix socket's path or a (host, port); its status."""
    return fetch(where, method, target, body)[0]


def fetch(
    where: str | tuple[str, int], method: str, target: str, body: bytes | None = None
) -> tuple[int, bytes]:
    """As `request`; the status, and the body of the answer."""
    connection = _Unix(where) if isinstance(where, str) else http.client.HTTPConnection(*where, DEADLINE_S)
    try:
        connection.request(method, target, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def kick(where: str, ticket: object) -> int:
    """Ask to throw out the member with this ticket; the status."""
    return request(where, "POST", f"/kick?ticket={ticket}")
