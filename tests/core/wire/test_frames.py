"""The layout of every frame: the protocol's vectors both ways, round trips, and arbitrary bytes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rankmux.codes import CLIENT_FRAMES, SERVER_FRAMES, Cause, ErrorCode, FrameType, Status, Target
from rankmux.errors import ProtocolViolation
from rankmux.wire import (
    Accepted,
    Command,
    Done,
    ErrorFrame,
    Execute,
    Hello,
    Leave,
    MemberInfo,
    Members,
    Ping,
    Pong,
    Rank,
    Refused,
    Result,
    Routed,
    Welcome,
    Who,
    decode,
    valid_name,
)

from ...support.strategies import FRAMES, mangled, with_length

ANY = CLIENT_FRAMES | SERVER_FRAMES

VECTORS = [
    (Hello("ada"), "0000000b0101000361646100000000"),
    (Command(7, Target.ALL, 0, 1, 5000, b"print"), "000000140200000007000000000001000013887072696e74"),
    (Command(8, Target.ONE, 2, 0, 0, b"debug"), "000000140200000008010000000200000000006465627567"),
    (Result(42, Status.OK, b"done"), "0000000e03000000000000002a00646f6e65"),
    (Ping(b"hi"), "00000003066869"),
    (Leave(), "0000000108"),
    (Who(9, 0, 100), "0000000d05000000090000000000000064"),
    (
        Welcome(0x0102030405060708, 3, 11, 2, 3, 10, 65536, 10000),
        "00000030810101020304050607080000000000000003000000000000000b00000002000000030000000a00010000000027100000",
    ),
    (Execute(42, 0, 1, 5000, b"print"), "0000001782000000000000002a0000000001000013887072696e74"),
    (Rank(43, 1, 2, Cause.LOST), "0000001283000000000000002b000000010000000202"),
    (Accepted(7, 42, 2, 0), "000000158400000007000000000000002a0000000200000000"),
    (
        Refused(8, 2, "rank 2 is not below you"),
        "0000001e8500000008000272616e6b2032206973206e6f742062656c6f7720796f75",
    ),
    (Routed(7, 3, 2, Status.OK, b"done"), "00000016860000000700000000000000030000000200646f6e65"),
    (Done(7, 1, 0, 0, 0, 1), "0000001987000000070000000100000000000000000000000000000001"),
    (
        Members(9, 43, 1, (MemberInfo(0, 1, 0, "ada", "127.0.0.1:40000"),)),
        "000000378800000009000000000000002b00000001000100000000000000000000000100000000036164610f"
        + b"127.0.0.1:40000".hex(),
    ),
    (ErrorFrame(5, "no seat is free"), "000000128900056e6f20736561742069732066726565"),
]


@pytest.mark.parametrize(("frame", "octets"), VECTORS, ids=lambda value: type(value).__name__)
def test_vectors(frame, octets):
    whole = bytes.fromhex(octets)
    assert frame.encode() == whole
    decoded = decode(whole[4], whole[5:], ANY)
    assert (type(decoded), decoded) == (type(frame), frame)
    assert int.from_bytes(whole[:4]) == len(whole) - 4


@given(FRAMES)
def test_what_is_encoded_is_decoded(frame):
    whole = frame.encode()
    assert int.from_bytes(whole[:4]) == len(whole) - 4
    decoded = decode(whole[4], whole[5:], ANY)
    assert (type(decoded), decoded) == (type(frame), frame)


@given(mangled() | st.binary(max_size=80))
@example(b"\x81" + struct.pack("!BQQQIIIIIH", 1, *range(8), 2) + b"xx")
@example(b"\x01\x02")  # another version may have any layout
def test_any_bytes_are_a_frame_or_a_breach(content):
    try:
        frame = decode(content[0] if content else 0, content[1:], ANY)
    except ProtocolViolation as error:
        breach = error
    else:
        if not (isinstance(frame, Welcome) and content[46:48] != b"\0\0"):  # a resume token is skipped
            assert frame.encode() == with_length(content)
        return
    assert breach.code in (ErrorCode.PROTOCOL, ErrorCode.UNSUPPORTED)
    assert str(breach)


@pytest.mark.parametrize("type_", range(256))
def test_types_by_direction(type_):
    """A type that is unknown, reserved or of the other direction is UNSUPPORTED, whatever its body."""
    for allowed in (CLIENT_FRAMES, SERVER_FRAMES):
        if type_ in allowed:
            continue
        for octets in (b"", bytes(100)):
            with pytest.raises(ProtocolViolation) as caught:
                decode(type_, octets, allowed)
            assert caught.value.code == ErrorCode.UNSUPPORTED


SIZES = {  # the fixed part of each body
    FrameType.COMMAND: 14,
    FrameType.RESULT: 9,
    FrameType.WELCOME: 47,
    FrameType.EXECUTE: 17,
    FrameType.REFUSED: 6,
    FrameType.ROUTED: 17,
    FrameType.MEMBERS: 18,
    FrameType.ERROR: 2,
}
EXACT_SIZES = {
    FrameType.WHO: 12,
    FrameType.RANK: 17,
    FrameType.ACCEPTED: 20,
    FrameType.DONE: 24,
    FrameType.LEAVE: 0,
}


@pytest.mark.parametrize("type_", [*SIZES, *EXACT_SIZES], ids=lambda type_: type_.name)
def test_bodies_too_short_or_too_long(type_):
    exact = type_ in EXACT_SIZES
    size = EXACT_SIZES[type_] if exact else SIZES[type_]
    for wrong in [*range(size), *([size + 1, size + 100] if exact else [])]:
        with pytest.raises(ProtocolViolation) as caught:
            decode(type_, b"\x01" + bytes(wrong - 1) if wrong else b"", ANY)
        assert caught.value.code == ErrorCode.PROTOCOL


BREACHES = [
    ("HELLO empty", FrameType.HELLO, "", ErrorCode.PROTOCOL),
    ("HELLO of another version", FrameType.HELLO, "02", ErrorCode.UNSUPPORTED),
    ("HELLO of version 0", FrameType.HELLO, "00 00 00 0000 0000", ErrorCode.UNSUPPORTED),
    ("HELLO with a flag", FrameType.HELLO, "01 01 00 0000 0000", ErrorCode.UNSUPPORTED),
    ("HELLO that resumes", FrameType.HELLO, "01 00 00 0000 0001 61", ErrorCode.UNSUPPORTED),
    ("HELLO too short", FrameType.HELLO, "01 00 00 0000 00", ErrorCode.PROTOCOL),
    ("HELLO too long", FrameType.HELLO, "01 00 00 0000 0000 00", ErrorCode.PROTOCOL),
    ("HELLO name past the end", FrameType.HELLO, "01 00 09 61 0000 0000", ErrorCode.PROTOCOL),
    ("HELLO token past the end", FrameType.HELLO, "01 00 00 0009 0000", ErrorCode.PROTOCOL),
    ("HELLO resume past the end", FrameType.HELLO, "01 00 00 0000 0009", ErrorCode.PROTOCOL),
    ("HELLO name of 65 bytes", FrameType.HELLO, "01 00 41" + "61" * 65 + "0000 0000", ErrorCode.PROTOCOL),
    ("HELLO name with a control", FrameType.HELLO, "01 00 01 0a 0000 0000", ErrorCode.PROTOCOL),
    ("HELLO name not UTF-8", FrameType.HELLO, "01 00 01 ff 0000 0000", ErrorCode.PROTOCOL),
    (
        "HELLO token of 1025 bytes",
        FrameType.HELLO,
        "01 00 00 0401" + "00" * 1025 + "0000",
        ErrorCode.PROTOCOL,
    ),
    ("COMMAND to target 4", FrameType.COMMAND, "00000001 04 00000000 00 00000000", ErrorCode.PROTOCOL),
    ("COMMAND to ALL with arg", FrameType.COMMAND, "00000001 00 00000001 00 00000000", ErrorCode.PROTOCOL),
    ("COMMAND to NEXT with arg", FrameType.COMMAND, "00000001 02 00000001 00 00000000", ErrorCode.PROTOCOL),
    ("COMMAND to LEAST with arg", FrameType.COMMAND, "00000001 03 01000000 00 00000000", ErrorCode.PROTOCOL),
    ("COMMAND with flag 4", FrameType.COMMAND, "00000001 00 00000000 04 00000000", ErrorCode.PROTOCOL),
    ("COMMAND with flag 128", FrameType.COMMAND, "00000001 01 00000000 83 00000000", ErrorCode.PROTOCOL),
    ("RESULT EXPIRED", FrameType.RESULT, "0000000000000001 03", ErrorCode.PROTOCOL),
    ("RESULT LEFT", FrameType.RESULT, "0000000000000001 04", ErrorCode.PROTOCOL),
    ("RESULT 17", FrameType.RESULT, "0000000000000001 11", ErrorCode.PROTOCOL),
    ("PING of 65", FrameType.PING, "00" * 65, ErrorCode.PROTOCOL),
    ("PONG of 65", FrameType.PONG, "00" * 65, ErrorCode.PROTOCOL),
    ("LEAVE with a body", FrameType.LEAVE, "00", ErrorCode.PROTOCOL),
    ("EXECUTE with a flag", FrameType.EXECUTE, "00" * 12 + "02" + "00" * 4, ErrorCode.PROTOCOL),
    ("RANK without cause", FrameType.RANK, "00" * 17, ErrorCode.PROTOCOL),
    ("RANK with cause 4", FrameType.RANK, "00" * 16 + "04", ErrorCode.PROTOCOL),
    ("ROUTED with status 5", FrameType.ROUTED, "00" * 16 + "05", ErrorCode.PROTOCOL),
    ("REFUSED not UTF-8", FrameType.REFUSED, "00" * 6 + "ff", ErrorCode.PROTOCOL),
    ("ERROR not UTF-8", FrameType.ERROR, "0001 c3", ErrorCode.PROTOCOL),
    ("MEMBERS without its member", FrameType.MEMBERS, "00" * 16 + "0001", ErrorCode.PROTOCOL),
    ("MEMBERS with more", FrameType.MEMBERS, "00" * 16 + "0000" + "00", ErrorCode.PROTOCOL),
    (
        "MEMBERS name past the end",
        FrameType.MEMBERS,
        "00" * 16 + "0001" + "00" * 16 + "05 00",
        ErrorCode.PROTOCOL,
    ),
    (
        "MEMBERS address past the end",
        FrameType.MEMBERS,
        "00" * 16 + "0001" + "00" * 17 + "05 00",
        ErrorCode.PROTOCOL,
    ),
    ("WELCOME of another version", FrameType.WELCOME, "02" + "00" * 46, ErrorCode.UNSUPPORTED),
    ("WELCOME resume past the end", FrameType.WELCOME, "01" + "00" * 45 + "01", ErrorCode.PROTOCOL),
]


@pytest.mark.parametrize(
    ("type_", "octets", "code"), [row[1:] for row in BREACHES], ids=[row[0] for row in BREACHES]
)
def test_breaches(type_, octets, code):
    with pytest.raises(ProtocolViolation) as caught:
        decode(type_, bytes.fromhex(octets), ANY)
    assert caught.value.code == code


def test_the_largest_that_is_allowed():
    command = Command(1, Target.ONE, 2**32 - 1, 3, 2**32 - 1, b"")
    for frame in (Hello("é" * 32, bytes(1024)), Ping(bytes(64)), Pong(bytes(64)), command):
        whole = frame.encode()
        assert decode(whole[4], whole[5:], CLIENT_FRAMES) == frame


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("", True),
        ("ada", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("é" * 33, False),
        ("a\nb", False),
        ("\ud800", False),
    ],
)
def test_names(name, valid):
    assert valid_name(name) is valid
