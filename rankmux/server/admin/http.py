"""One HTTP connection without I/O: bytes in → at most one request, an answer → bytes out. GET only, no bodies taken.

h11 (the extra `rankmux[admin]`) knows HTTP; here stands only what is asked of it. Knows no sockets and no routes.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

import h11

__all__ = ["REQUEST_MAX_BYTES", "Answer", "Exchange", "Request", "text_answer"]

REQUEST_MAX_BYTES = 8192
"""A request's line and headers at most."""

_ALWAYS = (
    (b"Cache-Control", b"no-store"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
)


class Request(NamedTuple):
    """What was asked for. Of a name that is given twice in the query the last counts."""

    path: str
    query: dict[str, str]


class Answer(NamedTuple):
    """What is said to it."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


def text_answer(status: int, text: str, *headers: tuple[bytes, bytes]) -> Answer:
    """A line of text for who reads the answer himself."""
    return Answer(status, "text/plain; charset=utf-8", text.encode() + b"\n", headers)


class Exchange:
    """One connection's requests and answers, in turns: a request is given out, then it wants an answer.

    `local_names_only`: a request that names its server otherwise than by an address or as localhost is refused. A page
    from elsewhere whose name has been made to point here comes no further.
    """

    __slots__ = ("_connection", "_head", "_local_names_only", "closing")

    def __init__(self, local_names_only: bool) -> None:
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=REQUEST_MAX_BYTES)
        self._local_names_only = local_names_only
        self._head = False
        self.closing = False  # nothing is read any more, and after the bytes under way it is over

    def receive_data(self, data: bytes) -> Request | Answer | None:
        """Take what the other side sent. An Answer is what a request that is none gets."""
        try:
            self._connection.receive_data(data)
        except h11.RemoteProtocolError:
            return self._refuse(text_answer(400, "this is no request"))
        return self.next_request()

    def next_request(self) -> Request | Answer | None:
        """What was there already behind the request that has been answered."""
        try:
            event = self._connection.next_event()
            if not isinstance(event, h11.Request):
                return None
            behind = self._connection.next_event()
        except h11.RemoteProtocolError as error:
            return self._refuse(text_answer(error.error_status_hint, "the request is not understood"))
        self._head = event.method == b"HEAD"
        if event.method != b"GET":
            return self._refuse(text_answer(405, "GET is all there is", (b"Allow", b"GET")))
        if not isinstance(behind, h11.EndOfMessage):
            return self._refuse(text_answer(413, "a request with a body is not taken"))
        host = dict(event.headers).get(b"host")
        if self._local_names_only and host is not None and not _is_local(host):
            return self._refuse(text_answer(421, "this server is known here by its address or as localhost"))
        try:
            target = urlsplit(event.target.decode("ascii"))
            query = dict(parse_qsl(target.query, keep_blank_values=True, max_num_fields=16))
        except ValueError:
            return self._refuse(text_answer(400, "the address is not understood"))
        return Request(target.path, query)

    def send(self, answer: Answer) -> bytes:
        """The bytes of `answer`; whether more requests may follow is in `closing`."""
        headers = [
            (b"Content-Type", answer.content_type.encode()),
            (b"Content-Length", b"%d" % len(answer.body)),
            *_ALWAYS,
            *answer.headers,
        ]
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
