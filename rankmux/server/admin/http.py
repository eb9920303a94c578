"""One HTTP connection without I/O: bytes in → at most one request, an answer → bytes out. Without bodies.

A thin layer over h11 (the extra `rankmux[admin]`). Knows no sockets and no routes.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

import h11

__all__ = ["REQUEST_MAX_BYTES", "Answer", "Exchange", "Pending", "Request", "text_answer"]

REQUEST_MAX_BYTES = 8192
"""The maximum size of a request's line and headers."""

_ALWAYS = (
    (b"Cache-Control", b"no-store"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
)


class Request(NamedTuple):
    """A request: GET (also for HEAD) or POST. If a name occurs twice in the query, the last value counts."""

    method: str
    path: str
    query: dict[str, str]


class Answer(NamedTuple):
    """The answer to a request."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


Pending = Callable[[], Answer | None]
"""Asked once a turn for an answer that waits for something; None until it has come."""


def text_answer(status: int, text: str, *headers: tuple[bytes, bytes]) -> Answer:
    """A line of plain text."""
    return Answer(status, "text/plain; charset=utf-8", text.encode() + b"\n", headers)


class Exchange:
    """The requests and answers of one connection, in alternation: each request must be answered before the next.

    `local_names_only`: refuse a request whose Host is neither an address nor localhost, against DNS rebinding.
    `may_act`: take POST too.
    """

    __slots__ = ("_connection", "_head", "_local_names_only", "_may_act", "closing")

    def __init__(self, local_names_only: bool, *, may_act: bool = False) -> None:
        self._may_act = may_act
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=REQUEST_MAX_BYTES)
        self._local_names_only = local_names_only
        self._head = False
        self.closing = False  # no more requests; close after the current answer

    def receive_data(self, data: bytes) -> Request | Answer | None:
        """Take bytes from the peer; an Answer means that they were no valid request, and is to be sent."""
        try:
            self._connection.receive_data(data)
        except h11.RemoteProtocolError:
            return self._refuse(text_answer(400, "not an HTTP request"))
        return self.next_request()

    def next_request(self) -> Request | Answer | None:
        """The next request already received, if any."""
        try:
            event = self._connection.next_event()
            if not isinstance(event, h11.Request):
                return None
            behind = self._connection.next_event()
        except h11.RemoteProtocolError as error:
            return self._refuse(text_answer(error.error_status_hint, "invalid request"))
        self._head = event.method == b"HEAD"
        if event.method == b"POST" and not self._may_act:
            text = "this address is for looking; to act, use the Unix socket of admin_unix"
            return self._refuse(text_answer(403, text))
        if event.method not in (b"GET", b"HEAD", b"POST"):
            allowed = b"GET, HEAD, POST" if self._may_act else b"GET, HEAD"
            return self._refuse(
                text_answer(405, f"only {allowed.decode()} is supported", (b"Allow", allowed))
            )
        if not isinstance(behind, h11.EndOfMessage):
            return self._refuse(text_answer(413, "a request must not have a body"))
        host = dict(event.headers).get(b"host")
        if self._local_names_only and host is not None and not _is_local(host):
            return self._refuse(text_answer(421, "the Host header must be an address or localhost"))
        try:
            target = urlsplit(event.target.decode("ascii"))
            query = dict(parse_qsl(target.query, keep_blank_values=True, max_num_fields=16))
        except ValueError:
            return self._refuse(text_answer(400, "invalid request target"))
        method = "GET" if self._head else event.method.decode("ascii")
        return Request(method, target.path, query)

    def send(self, answer: Answer) -> bytes:
        """The bytes of `answer`; afterwards `closing` says whether the connection ends."""
        headers = [
            (b"Content-Type", answer.content_type.encode()),
            *_ALWAYS,
            *answer.headers,
        ]
        if answer.status != 204:  # which has no body
            headers.append((b"Content-Length", b"%d" % len(answer.body)))
        if self.closing:
            headers.append((b"Connection", b"close"))
        connection = self._connection
        pieces = [
            connection.send(h11.Response(status_code=answer.status, headers=headers)),
            b"" if self._head else connection.send(h11.Data(data=answer.body)),
            connection.send(h11.EndOfMessage()),
        ]
        if connection.our_state is h11.DONE and connection.their_state is h11.DONE and not self.closing:
            connection.start_next_cycle()
        else:
            self.closing = True
        return b"".join(piece for piece in pieces if piece)

    def _refuse(self, answer: Answer) -> Answer:
        self.closing = True
        return answer


def _is_local(host: bytes) -> bool:
    name = host.decode("latin-1").strip()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    if name.lower() == "localhost":
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
