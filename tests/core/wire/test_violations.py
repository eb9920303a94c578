"""The server's errors for violations: the code of each, and a text that states the numbers."""

from __future__ import annotations

import pytest

from rankmux.codes import CLIENT_FRAMES, ErrorCode, FrameType, Status, Target
from rankmux.core.wire.violations import bad_length, member_frame, observer_frame
from rankmux.errors import ProtocolViolation
from rankmux.wire import Cancel, Command, Hello, Leave, Ping, Pong, Result, SetBaton, Who, Yield

MAX_PAYLOAD = 100


@pytest.mark.parametrize(
    ("length", "code"), [(0, ErrorCode.PROTOCOL), (165, ErrorCode.TOO_BIG), (2**32 - 1, ErrorCode.TOO_BIG)]
)
def test_bad_lengths(length, code):
    breach = bad_length(length, 164)
    assert breach.code == code
    assert str(length) in str(breach)


@pytest.mark.parametrize(
    ("begin", "guess"),
    [
        (b"\x16\x03\x01\x02", " (perhaps it is TLS)"),
        (b"\x15\x03\x03\x00", " (perhaps it is TLS)"),
        (b"GET ", " (it reads 'GET ', perhaps of another protocol)"),
        (b"\x00\x01\x00\x01", ""),
        (b"GE\r\n", ""),
        (b"GET\xff", ""),
        (b"\xff\xff\xff\xff", ""),
    ],
)
def test_a_length_that_is_the_beginning_of_something_else(begin, guess):
    length = int.from_bytes(begin)
    expected = f"a frame's length is {length}{guess}, at most 164 is allowed"
    assert str(bad_length(length, 164)) == expected


@pytest.mark.parametrize(
    "frame",
    [
        Command(1, Target.ALL, 0, 0, 0, bytes(MAX_PAYLOAD + 1)),  # REFUSED, but no breach
        Result(1, Status.OK, bytes(MAX_PAYLOAD)),
        Who(1, 2, 3),
        Ping(b"x"),
        Leave(),
        Cancel(7),
        Yield(7),
        SetBaton(7, b"note"),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_what_a_member_may_send(frame):
    whole = frame.encode()
    assert member_frame(whole[4], whole[5:], MAX_PAYLOAD) == frame


@pytest.mark.parametrize(
    ("type_", "body", "code"),
    [
        (FrameType.HELLO, Hello().encode()[5:], ErrorCode.PROTOCOL),
        (FrameType.HELLO, b"", ErrorCode.PROTOCOL),
        (FrameType.RESULT, Result(1, Status.PART, bytes(MAX_PAYLOAD + 1)).encode()[5:], ErrorCode.TOO_BIG),
        (FrameType.RESULT, Result(1, Status.LEFT, bytes(MAX_PAYLOAD + 1)).encode()[5:], ErrorCode.PROTOCOL),
        (FrameType.WELCOME, bytes(47), ErrorCode.UNSUPPORTED),
        (FrameType.STOP, bytes(8), ErrorCode.UNSUPPORTED),
        (FrameType.CANCEL, bytes(3), ErrorCode.PROTOCOL),
        (FrameType.YIELD, bytes(5), ErrorCode.PROTOCOL),
        (FrameType.SET_BATON, bytes(3), ErrorCode.PROTOCOL),
        (0x0B, b"", ErrorCode.UNSUPPORTED),
        (0x00, b"", ErrorCode.UNSUPPORTED),
    ],
)
def test_what_a_member_may_not_send(type_, body, code):
    with pytest.raises(ProtocolViolation) as caught:
        member_frame(type_, body, MAX_PAYLOAD)
    assert caught.value.code == code


def test_every_client_frame_is_judged_here():
    assert set(CLIENT_FRAMES) == {FrameType(t) for t in range(1, 11)}


@pytest.mark.parametrize("type_", range(256))
def test_what_an_observer_may_send(type_):
    """WHO, PING, PONG and LEAVE as a member does; anything else is PROTOCOL, whatever its body."""
    allowed = {frame.encode()[4]: frame for frame in (Who(1, 2, 3), Ping(b"x"), Pong(b"y"), Leave())}
    if type_ in allowed:
        assert observer_frame(type_, allowed[type_].encode()[5:], MAX_PAYLOAD) == allowed[type_]
        return
    for body in (b"", bytes(20)):
        with pytest.raises(ProtocolViolation) as caught:
            observer_frame(type_, body, MAX_PAYLOAD)
        assert caught.value.code == ErrorCode.PROTOCOL
