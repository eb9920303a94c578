"""HTTP over the Unix socket of an admin endpoint: one request, and the one that throws a member out."""

from __future__ import annotations

import http.client
import socket

__all__ = ["ANSWER_TIMEOUT_S", "UnixConnection", "request", "request_kick"]

ANSWER_TIMEOUT_S = 5.0
_TEXT_MAX = 65_536


class UnixConnection(http.client.HTTPConnection):
    """A connection to the socket at `path`."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connect. Raises OSError."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_TIMEOUT_S)
        self.sock.connect(self._path)


def request_kick(connection: http.client.HTTPConnection, ticket: int) -> tuple[int, str]:
    """Ask to throw out the member with `ticket`; status and text of the answer, the text unescaped.

    The status is 204 when it was thrown out, 404 when no seat has that ticket. Raises OSError, HTTPException.
    """
    return request(connection, "POST", f"/kick?ticket={ticket}")


def request(connection: http.client.HTTPConnection, method: str, target: str) -> tuple[int, str]:
    """Send a request; status and text of the answer, the text unescaped. Raises OSError, HTTPException."""
    connection.request(method, target)
    response = connection.getresponse()
    return response.status, response.read(_TEXT_MAX).decode(errors="replace").strip()
