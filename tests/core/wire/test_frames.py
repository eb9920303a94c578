"""The layout of every frame: the protocol's vectors both ways, round trips, and arbitrary bytes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rankmux.codes import (
    CLIENT_FRAMES,
    NO_RANK,
    SERVER_FRAMES,
    Cause,
    Change,
    ErrorCode,
    FrameType,
    Status,
    Target,
)
from rankmux.errors import ProtocolViolation
from rankmux.wire import (
    Accepted,
    Baton,
    Cancel,
    Changed,
    Command,
    Done,
    ErrorFrame,
    Execute,
    Hello,
    Keep,
    Leave,
    MemberInfo,
    Members,
    Ping,
    Pong,
    Rank,
    Refused,
    Result,
    Routed,
    SetBaton,
    Stop,
    Welcome,
    Who,
    Yield,
    Yielded,
    decode,
    valid_name,
)

from ...support.strategies import FRAMES, mangled, with_length

ANY = CLIENT_FRAMES | SERVER_FRAMES

RETURNED = (
    "00000035810101020304050607080000000000000003000000000000000b00000002000000030000000a00010000000027100005"
    "010000ea60"
)
VECTORS = [
    (Hello("ada"), "0000000b0101000361646100000000"),
    (
        Hello("ada", flags=2, keep=Keep(60_000, 42, bytes(range(16)))),
        "00000027010102036164610000001c0000ea60000000000000002a000102030405060708090a0b0c0d0e0f",
    ),
    (Command(7, Target.ALL, 0, 1, 5000, b"print"), "000000140200000007000000000001000013887072696e74"),
    (Command(8, Target.ONE, 2, 0, 0, b"debug"), "000000140200000008010000000200000000006465627567"),
    (
        Command(9, Target.SET, 2, 5, 5000, struct.pack("!QQ", 3, 5) + b"print"),
        "00000024020000000904000000020500001388000000000000000300000000000000057072696e74",
    ),
    (Cancel(7), "000000050400000007"),
    (Yield(10), "00000005090000000a"),
    (SetBaton(11, b"v2"), "000000070a0000000b7632"),
    (Result(42, Status.OK, b"done"), "0000000e03000000000000002a00646f6e65"),
    (Ping(b"hi"), "00000003066869"),
    (Leave(), "0000000108"),
    (Who(9, 0, 100), "0000000d05000000090000000000000064"),
    (
        Welcome(0x0102030405060708, 3, 11, 2, 3, 10, 65536, 10000),
        "00000030810101020304050607080000000000000003000000000000000b00000002000000030000000a00010000000027100000",
    ),
    (
        Welcome(0x0102030405060708, 3, 11, 2, 3, 10, 65536, 10000, returned=True, keep_ms=60_000),
        RETURNED,
    ),
    (
        Welcome(0x0102030405060708, 0, 11, NO_RANK, 3, 10, 65536, 10000),
        "00000030810101020304050607080000000000000000000000000000000bffffffff000000030000000a00010000000027100000",
    ),
    (Execute(42, 0, 1, 5000, b"print"), "0000001782000000000000002a0000000001000013887072696e74"),
    (Rank(43, 1, 2, Cause.LOST), "0000001283000000000000002b000000010000000202"),
    (Accepted(7, 42, 2, 0), "000000198400000007000000000000002a000000020000000000000000"),
    (
        Refused(8, 2, "rank 2 is not below you"),
        "0000001e8500000008000272616e6b2032206973206e6f742062656c6f7720796f75",
    ),
    (Routed(7, 3, 2, Status.OK, b"done"), "00000016860000000700000000000000030000000200646f6e65"),
    (Routed(7, 3, 2, Status.CANCELLED, b""), "00000012860000000700000000000000030000000205"),
    (Done(7, 1, 0, 0, 0, 1), "0000001d8700000007000000010000000000000000000000000000000100000000"),
    (
        Members(9, 43, 1, (MemberInfo(0, 1, 0, "ada", "127.0.0.1:40000"),)),
        "000000388800000009000000000000002b0000000100010000000000000000000000010000000000036164610f"
        + b"127.0.0.1:40000".hex(),
    ),
    (Stop(42), "000000098a000000000000002a"),
    (Yielded(10, 45, 4, 2, 3), "0000001d8b0000000a000000000000002d00000000000000040000000200000003"),
    (Baton(46, 1, b"v2"), "000000138c000000000000002e00000000000000017632"),
    (
        Changed(43, Change.LOST, 2, 1, 2, "bob"),
        "0000001e8d000000000000002b030000000000000002000000010000000203626f62",
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
def test_round_trip(frame):
    whole = frame.encode()
    assert int.from_bytes(whole[:4]) == len(whole) - 4
    decoded = decode(whole[4], whole[5:], ANY)
    assert (type(decoded), decoded) == (type(frame), frame)


@given(mangled() | st.binary(max_size=80))
@example(b"\x81" + struct.pack("!BQQQIIIIIHBI", 1, *range(8), 5, 1, 0))
@example(b"\x01\x02")  # another version may have any layout
def test_any_bytes_are_a_frame_or_a_breach(content):
    try:
        frame = decode(content[0] if content else 0, content[1:], ANY)
    except ProtocolViolation as error:
        breach = error
    else:
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
    FrameType.SET_BATON: 4,
    FrameType.BATON: 16,
    FrameType.CHANGED: 26,
}
EXACT_SIZES = {
    FrameType.WHO: 12,
    FrameType.RANK: 17,
    FrameType.ACCEPTED: 24,
    FrameType.DONE: 28,
    FrameType.LEAVE: 0,
    FrameType.CANCEL: 4,
    FrameType.YIELD: 4,
    FrameType.STOP: 8,
    FrameType.YIELDED: 28,
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
    ("HELLO with flag 4", FrameType.HELLO, "01 04 00 0000 0000", ErrorCode.PROTOCOL),
    ("HELLO with all flags", FrameType.HELLO, "01 ff 00 0000 0000", ErrorCode.PROTOCOL),
    ("HELLO that keeps 1 byte", FrameType.HELLO, "01 00 00 0000 0001 61", ErrorCode.PROTOCOL),
    ("HELLO with no secret", FrameType.HELLO, "01 00 00 0000 000c" + "00" * 12, ErrorCode.PROTOCOL),
    ("HELLO with a secret of 15", FrameType.HELLO, "01 00 00 0000 001b" + "00" * 27, ErrorCode.PROTOCOL),
    ("HELLO with a secret of 33", FrameType.HELLO, "01 00 00 0000 002d" + "00" * 45, ErrorCode.PROTOCOL),
    (
        "HELLO of an observer that keeps",
        FrameType.HELLO,
        "01 01 00 0000 001c" + "00" * 28,
        ErrorCode.PROTOCOL,
    ),
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
    ("COMMAND to target 5", FrameType.COMMAND, "00000001 05 00000000 00 00000000", ErrorCode.PROTOCOL),
    ("SET of none", FrameType.COMMAND, "00000001 04 00000000 00 00000000", ErrorCode.PROTOCOL),
    (
        "SET of none with payload",
        FrameType.COMMAND,
        "00000001 04 00000000 00 00000000 61",
        ErrorCode.PROTOCOL,
    ),
    (
        "SET cut in its tickets",
        FrameType.COMMAND,
        "00000001 04 00000002 00 00000000 0000000000000001 00000000000002",
        ErrorCode.PROTOCOL,
    ),
    (
        "SET of more than any frame holds",
        FrameType.COMMAND,
        "00000001 04 ffffffff 00 00000000 0000000000000001",
        ErrorCode.PROTOCOL,
    ),
    (
        "SET that names one twice",
        FrameType.COMMAND,
        "00000001 04 00000002 00 00000000 0000000000000001 0000000000000001",
        ErrorCode.PROTOCOL,
    ),
    (
        "SET that falls, if read the other way round it rises",
        FrameType.COMMAND,
        "00000001 04 00000002 00 00000000 0100000000000000 0000000000000002",
        ErrorCode.PROTOCOL,
    ),
    ("COMMAND to ALL with arg", FrameType.COMMAND, "00000001 00 00000001 00 00000000", ErrorCode.PROTOCOL),
    ("COMMAND to NEXT with arg", FrameType.COMMAND, "00000001 02 00000001 00 00000000", ErrorCode.PROTOCOL),
    ("COMMAND to LEAST with arg", FrameType.COMMAND, "00000001 03 01000000 00 00000000", ErrorCode.PROTOCOL),
    ("COMMAND with flag 8", FrameType.COMMAND, "00000001 00 00000000 08 00000000", ErrorCode.PROTOCOL),
    (
        "COMMAND TIED without RESULTS",
        FrameType.COMMAND,
        "00000001 00 00000000 04 00000000",
        ErrorCode.PROTOCOL,
    ),
    ("COMMAND TIED and QUIET", FrameType.COMMAND, "00000001 00 00000000 06 00000000", ErrorCode.PROTOCOL),
    ("COMMAND with flag 128", FrameType.COMMAND, "00000001 01 00000000 83 00000000", ErrorCode.PROTOCOL),
    ("RESULT EXPIRED", FrameType.RESULT, "0000000000000001 03", ErrorCode.PROTOCOL),
    ("RESULT LEFT", FrameType.RESULT, "0000000000000001 04", ErrorCode.PROTOCOL),
    ("RESULT CANCELLED", FrameType.RESULT, "0000000000000001 05", ErrorCode.PROTOCOL),
    ("RESULT 17", FrameType.RESULT, "0000000000000001 11", ErrorCode.PROTOCOL),
    ("PING of 65", FrameType.PING, "00" * 65, ErrorCode.PROTOCOL),
    ("PONG of 65", FrameType.PONG, "00" * 65, ErrorCode.PROTOCOL),
    ("LEAVE with a body", FrameType.LEAVE, "00", ErrorCode.PROTOCOL),
    ("EXECUTE with a flag", FrameType.EXECUTE, "00" * 12 + "02" + "00" * 4, ErrorCode.PROTOCOL),
    ("RANK without cause", FrameType.RANK, "00" * 17, ErrorCode.PROTOCOL),
    ("RANK with cause 5", FrameType.RANK, "00" * 16 + "05", ErrorCode.PROTOCOL),
    ("ROUTED with status 6", FrameType.ROUTED, "00" * 16 + "06", ErrorCode.PROTOCOL),
    ("REFUSED not UTF-8", FrameType.REFUSED, "00" * 6 + "ff", ErrorCode.PROTOCOL),
    ("ERROR not UTF-8", FrameType.ERROR, "0001 c3", ErrorCode.PROTOCOL),
    ("MEMBERS without its member", FrameType.MEMBERS, "00" * 16 + "0001", ErrorCode.PROTOCOL),
    ("MEMBERS with more", FrameType.MEMBERS, "00" * 16 + "0000" + "00", ErrorCode.PROTOCOL),
    (
        "MEMBERS name past the end",
        FrameType.MEMBERS,
        "00" * 16 + "0001" + "00" * 17 + "05 00",
        ErrorCode.PROTOCOL,
    ),
    (
        "MEMBERS with state 2",
        FrameType.MEMBERS,
        "00" * 16 + "0001" + "00" * 16 + "02 00 00",
        ErrorCode.PROTOCOL,
    ),
    (
        "MEMBERS address past the end",
        FrameType.MEMBERS,
        "00" * 16 + "0001" + "00" * 18 + "05 00",
        ErrorCode.PROTOCOL,
    ),
    ("WELCOME of another version", FrameType.WELCOME, "02" + "00" * 46, ErrorCode.UNSUPPORTED),
    ("WELCOME resume past the end", FrameType.WELCOME, "01" + "00" * 45 + "05", ErrorCode.PROTOCOL),
    ("WELCOME resume of 1", FrameType.WELCOME, "01" + "00" * 45 + "01" + "00", ErrorCode.PROTOCOL),
    ("WELCOME resume of 6", FrameType.WELCOME, "01" + "00" * 45 + "06" + "00" * 6, ErrorCode.PROTOCOL),
    ("WELCOME returned 2", FrameType.WELCOME, "01" + "00" * 45 + "05 02 00000000", ErrorCode.PROTOCOL),
    ("CHANGED 0", FrameType.CHANGED, "00" * 26, ErrorCode.PROTOCOL),
    ("CHANGED 8", FrameType.CHANGED, "00" * 8 + "08" + "00" * 17, ErrorCode.PROTOCOL),
    ("CHANGED name past the end", FrameType.CHANGED, "00" * 8 + "01" + "00" * 16 + "01", ErrorCode.PROTOCOL),
    ("CHANGED name not UTF-8", FrameType.CHANGED, "00" * 8 + "01" + "00" * 16 + "01 ff", ErrorCode.PROTOCOL),
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
    keep = Keep(2**32 - 1, 2**64 - 1, bytes(32))
    for frame in (
        Hello("é" * 32, bytes(1024), flags=2, keep=keep),
        Ping(bytes(64)),
        Pong(bytes(64)),
        command,
    ):
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


def test_secrets_are_not_shown():
    hello = Hello("ada", b"token", keep=Keep(1, 2, b"0123456789abcdef"))
    assert "token'" not in repr(hello)
    assert "0123" not in repr(hello) + str(hello.keep)
