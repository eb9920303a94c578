"""What the server says to what is wrong: the code of each, and words that name the numbers."""

from __future__ import annotations

import pytest

from rankmux.codes import CLIENT_FRAMES, ErrorCode, FrameType, RefusedCode, Status, Target
from rankmux.core.room.refusals import refusal
from rankmux.core.wire.violations import bad_length, member_frame
from rankmux.errors import ProtocolViolation
from rankmux.wire import Command, Hello, Leave, Ping, Refused, Result, Who

MAX_PAYLOAD = 100


@pytest.mark.parametrize(
    ("length", "code"), [(0, ErrorCode.PROTOCOL), (165, ErrorCode.TOO_BIG), (2**32 - 1, ErrorCode.TOO_BIG)]
)
def test_bad_lengths(length, code):
    breach = bad_length(length, 164)
    assert breach.code == code
    assert str(length) in str(breach)


@pytest.mark.parametrize(
    "frame",
    [
        Command(1, Target.ALL, 0, 0, 0, bytes(MAX_PAYLOAD + 1)),  # REFUSED, but no breach
        Result(1, Status.OK, bytes(MAX_PAYLOAD)),
        Who(1, 2, 3),
        Ping(b"x"),
        Leave(),
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
        (0x04, b"", ErrorCode.UNSUPPORTED),
        (0x09, b"", ErrorCode.UNSUPPORTED),
        (0x00, b"", ErrorCode.UNSUPPORTED),
    ],
)
def test_what_a_member_may_not_send(type_, body, code):
    with pytest.raises(ProtocolViolation) as caught:
        member_frame(type_, body, MAX_PAYLOAD)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (RefusedCode.NO_TARGET, "nobody"),
        (RefusedCode.NOT_LOWER, "rank 41 "),
        (RefusedCode.NO_SUCH_RANK, "the last one is 42"),
        (RefusedCode.BUSY, "1024"),
        (RefusedCode.DUPLICATE, "id 7 "),
        (RefusedCode.TOO_BIG, "at most 1024"),
    ],
)
def test_refusals_say_why(code, words):
    whole = refusal(7, code, 41, 43, 2000, 1024)
    assert whole[4] == FrameType.REFUSED
    frame = Refused.decode(whole[5:])
    assert (frame.id, frame.code) == (7, code)
    assert words in frame.text


def test_the_protocols_example():
    assert refusal(8, RefusedCode.NOT_LOWER, 2, 5, 0, 0) == Refused(8, 2, "rank 2 is not below you").encode()


def test_every_client_frame_is_judged_here():
    assert set(CLIENT_FRAMES) == {FrameType.HELLO, *(FrameType(t) for t in (2, 3, 5, 6, 7, 8))}
