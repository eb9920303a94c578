from __future__ import annotations

import pytest

from rankmux.server.admin.http import REQUEST_MAX_BYTES, Answer, Exchange, Request, text_answer

GET = b"GET /room.json?first=3&sort=load HTTP/1.1\r\nHost: 127.0.0.1:7118\r\n\r\n"


def test_a_request_is_returned_once_it_is_complete():
    exchange = Exchange(True)
    said = [exchange.receive_data(GET[i : i + 1]) for i in range(len(GET))]
    assert said[:-1] == [None] * (len(GET) - 1)
    assert said[-1] == Request("GET", "/room.json", {"first": "3", "sort": "load"})


def test_the_connection_goes_on_after_an_answer():
    exchange = Exchange(True)
    for _ in range(3):
        assert isinstance(exchange.receive_data(GET), Request)
        sent = exchange.send(text_answer(200, "ok"))
        assert sent.startswith(b"HTTP/1.1 200")
        assert sent.endswith(b"\r\n\r\nok\n")
        assert not exchange.closing


def test_a_pipelined_request_is_returned_after_the_answer_before():
    exchange = Exchange(True)
    assert isinstance(exchange.receive_data(GET + GET.replace(b"room", b"live")), Request)
    exchange.send(text_answer(200, "ok"))
    assert exchange.next_request() == Request("GET", "/live.json", {"first": "3", "sort": "load"})
    exchange.send(text_answer(200, "ok"))
    assert exchange.next_request() is None


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"PUT / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", 403),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /?" + b"&".join(b"a" for _ in range(99)) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http://[x/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /" + b"x" * REQUEST_MAX_BYTES, 431),
        (b"GET / HTTP/1.1\r\nHost: rooms.example\r\n\r\n", 421),
    ],
)
def test_an_invalid_request_is_refused_and_ends_the_connection(data, status):
    exchange = Exchange(True)
    said = exchange.receive_data(data)
    assert isinstance(said, Answer)
    assert said.status == status
    sent = exchange.send(said)
    assert sent.startswith(b"HTTP/1.1 %d" % status)
    assert b"Connection: close" in sent
    assert exchange.closing


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:7118", "127.0.0.1", "[::1]:7118", "192.0.2.7:80"])
def test_local_names(host):
    exchange = Exchange(True)
    assert isinstance(exchange.receive_data(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()), Request)


def test_any_name_where_that_was_asked_for():
    exchange = Exchange(False)
    assert isinstance(exchange.receive_data(b"GET / HTTP/1.1\r\nHost: rooms.example\r\n\r\n"), Request)


@pytest.mark.parametrize(
    "head", [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"]
)
def test_connection_close_is_respected(head):
    exchange = Exchange(False)
    assert isinstance(exchange.receive_data(head), Request)
    exchange.send(text_answer(200, "ok"))
    assert exchange.closing


def test_post_where_it_is_allowed():
    exchange = Exchange(True, may_act=True)
    post = b"POST /kick?ticket=3 HTTP/1.1\r\nHost: localhost\r\n"
    assert exchange.receive_data(post + b"Content-Length: 0\r\n\r\n") == Request(
        "POST", "/kick", {"ticket": "3"}
    )
    sent = exchange.send(Answer(204, "text/plain", b""))
    assert sent.startswith(b"HTTP/1.1 204")
    assert not exchange.closing, "and it goes on"
    refused = exchange.receive_data(post + b"Content-Length: 3\r\n\r\nabc")
    assert isinstance(refused, Answer)
    assert (refused.status, exchange.closing) == (413, True)
