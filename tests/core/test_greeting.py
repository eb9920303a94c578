"""HELLO at the start of a stream: whole, in pieces, with bytes after it; and invalid bytes in its place."""

from __future__ import annotations

import pytest

from rankmux.codes import ErrorCode
from rankmux.core.greeting import HELLO_MAX_BYTES, greet
from rankmux.errors import ProtocolViolation
from rankmux.wire import Command, Hello, Leave, Ping, Welcome

from ..support.strategies import with_length

HELLO = Hello("ada", b"secret").encode()


@pytest.mark.parametrize("behind", [b"", b"\0", Command(1, 0, 0, 0, 0, b"x").encode(), bytes(10)])
def test_it_is_whole_or_it_is_not_there(behind: bytes) -> None:
    stream = HELLO + behind
    for size in range(len(stream) + 1):
        taken, frame = greet(stream[:size], HELLO_MAX_BYTES)
        if size < len(HELLO):
            assert (taken, frame) == (0, None)
        else:
            assert (taken, frame) == (len(HELLO), Hello("ada", b"secret"))


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (bytes(4), ErrorCode.PROTOCOL),
        (b"\xff\xff\xff\xff", ErrorCode.TOO_BIG),
        (b"\x7f\xff\xff\xff", ErrorCode.TOO_BIG),
        ((HELLO_MAX_BYTES + 1).to_bytes(4), ErrorCode.TOO_BIG),
        (b"GET / HTTP/1.1\r\n", ErrorCode.TOO_BIG),
        (b"\x16\x03\x01\x02\x00\x01", ErrorCode.TOO_BIG),  # TLS
        (Command(1, 0, 0, 0, 0, b"").encode()[:5], ErrorCode.PROTOCOL),
        (Ping(b"").encode(), ErrorCode.PROTOCOL),
        (Leave().encode(), ErrorCode.PROTOCOL),
        (Welcome(*range(8)).encode()[:5], ErrorCode.UNSUPPORTED),
        (with_length(b"\x04")[:5], ErrorCode.PROTOCOL),
        (with_length(b"\x0b")[:5], ErrorCode.UNSUPPORTED),
        (with_length(b"\x01\x02"), ErrorCode.UNSUPPORTED),
        (with_length(b"\x01\x01\x00\x00\x00\x09"), ErrorCode.PROTOCOL),
    ],
)
def test_a_violation_is_reported_at_the_earliest_byte(octets: bytes, code: ErrorCode) -> None:
    """The bytes after it do not matter, and no later input is processed."""
    for stream in (octets, octets + HELLO):
        taken, frame = greet(stream, HELLO_MAX_BYTES)
        assert isinstance(frame, ProtocolViolation)
        assert (taken, frame.code) == (len(stream), code)
    for size in range(len(octets)):
        taken, frame = greet(octets[:size], HELLO_MAX_BYTES)
        if frame is not None:
            assert isinstance(frame, ProtocolViolation)
            assert frame.code == code
            assert taken == size


def test_the_length_that_is_allowed() -> None:
    assert greet(HELLO_MAX_BYTES.to_bytes(4) + b"\x01", HELLO_MAX_BYTES) == (0, None)
    taken, frame = greet((165).to_bytes(4), 164)
    assert isinstance(frame, ProtocolViolation)
    assert (taken, frame.code) == (4, ErrorCode.TOO_BIG)
