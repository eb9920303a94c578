"""Hypothesis strategies: every frame of the protocol, and streams of frames, valid, unusual and broken."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import strategies as st

from rankmux.codes import CLIENT_STATUSES, VERSION, Cause, Change, HelloFlag, Status, Target
from rankmux.wire import (
    Accepted,
    Baton,
    Cancel,
    Changed,
    Command,
    Done,
    ErrorFrame,
    Execute,
    Frame,
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
    valid_name,
)


def to_set(
    id_: int, tickets: Iterable[int], flags: int = 0, ttl_ms: int = 0, payload: bytes = b""
) -> Command:
    """A COMMAND to the members with these tickets."""
    named = sorted(tickets)
    octets = b"".join(ticket.to_bytes(8) for ticket in named)
    return Command(id_, Target.SET, len(named), flags, ttl_ms, octets + payload)


U8 = st.integers(0, 0xFF)
U16 = st.integers(0, 0xFFFF)
U32 = st.one_of(st.integers(0, 9), st.integers(0, 0xFFFF_FFFF))
U64 = st.one_of(st.integers(0, 9), st.integers(0, 0xFFFF_FFFF_FFFF_FFFF))
PAYLOADS = st.binary(max_size=40)
TEXTS = st.text(max_size=20)
NAMES = st.one_of(st.sampled_from(["", "ada", "x" * 64, "Zoë 1"]), st.text(max_size=16).filter(valid_name))
OPAQUE = st.one_of(st.binary(max_size=4), st.binary(min_size=64, max_size=64))

COMMAND_FLAGS = st.sampled_from([0, 1, 2, 3, 5, 7])
SECRETS = st.binary(min_size=16, max_size=32)
KEEPS = st.none() | st.builds(Keep, U32, U64, SECRETS)
HELLOS = st.builds(
    Hello, NAMES, st.binary(max_size=30), st.just(VERSION), st.sampled_from([0, int(HelloFlag.WATCH)]), KEEPS
)
OBSERVING_HELLOS = st.builds(Hello, NAMES, st.just(b""), st.just(VERSION), st.sampled_from([1, 3]), st.none())
ALL_COMMANDS = st.builds(
    Command,
    U32,
    st.sampled_from([Target.ALL, Target.NEXT, Target.LEAST]),
    st.just(0),
    COMMAND_FLAGS,
    U32,
    PAYLOADS,
)
ONE_COMMANDS = st.builds(Command, U32, st.just(Target.ONE), U32, COMMAND_FLAGS, U32, PAYLOADS)
SET_COMMANDS = st.builds(
    to_set, U32, st.lists(U64, min_size=1, max_size=5, unique=True), COMMAND_FLAGS, U32, PAYLOADS
)
COMMANDS = ALL_COMMANDS | ONE_COMMANDS | SET_COMMANDS
RESULTS = st.builds(Result, U64, st.sampled_from(sorted(CLIENT_STATUSES)), PAYLOADS)
WHOS = st.builds(Who, U32, U32, U32)
PINGS = st.builds(Ping, OPAQUE)
PONGS = st.builds(Pong, OPAQUE)
LEAVES = st.just(Leave())
CANCELS = st.builds(Cancel, U32)
YIELDS = st.builds(Yield, U32)
BATON_WRITES = st.builds(SetBaton, U32, PAYLOADS)
WELCOMES = st.builds(
    lambda keep, *numbers: Welcome(*numbers, *keep),
    st.just((False, None)) | st.tuples(st.booleans(), U32),
    *(U64, U64, U64, U32, U32, U32, U32, U32),
)
EXECUTES = st.builds(Execute, U64, U32, st.integers(0, 1), U32, PAYLOADS)
RANKS = st.builds(Rank, U64, U32, U32, st.sampled_from(sorted(Cause)))
ACCEPTEDS = st.builds(Accepted, U32, U64, U32, U32, U32)
REFUSEDS = st.builds(Refused, U32, U16, TEXTS)
ROUTEDS = st.builds(Routed, U32, U64, U32, st.sampled_from(sorted(Status)), PAYLOADS)
DONES = st.builds(Done, U32, U32, U32, U32, U32, U32, U32)
MEMBER_LISTS = st.builds(
    Members,
    U32,
    U64,
    U32,
    st.lists(st.builds(MemberInfo, U32, U64, U32, TEXTS, TEXTS, st.booleans()), max_size=3).map(tuple),
)
ERRORS = st.builds(ErrorFrame, U16, TEXTS)
STOPS = st.builds(Stop, U64)
YIELDEDS = st.builds(Yielded, U32, U64, U64, U32, U32)
BATONS = st.builds(Baton, U64, U64, PAYLOADS)
CHANGEDS = st.builds(Changed, U64, st.sampled_from(sorted(Change)), U64, U32, U32, TEXTS)

CLIENT_FRAMES = st.one_of(
    COMMANDS, RESULTS, WHOS, PINGS, PONGS, CANCELS, YIELDS, BATON_WRITES, HELLOS | OBSERVING_HELLOS, LEAVES
)
SERVER_FRAMES = st.one_of(
    *(PINGS, PONGS, WELCOMES, EXECUTES, RANKS, ACCEPTEDS, REFUSEDS, ROUTEDS, DONES, MEMBER_LISTS, ERRORS),
    *(STOPS, YIELDEDS, BATONS, CHANGEDS),
)
FRAMES: st.SearchStrategy[Frame] = CLIENT_FRAMES | SERVER_FRAMES


@st.composite
def mangled(draw: st.DrawFn, frames: st.SearchStrategy[Frame] = FRAMES) -> bytes:
    """The bytes of a frame after its length, with some removed, inserted or overwritten."""
    octets = bytearray(draw(frames).encode()[4:])
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(octets)))
        upto = draw(st.integers(at, min(at + 4, len(octets))))
        octets[at:upto] = draw(st.binary(max_size=4))
    return bytes(octets)


def with_length(content: bytes) -> bytes:
    """`content` (type byte and body) as a frame."""
    return len(content).to_bytes(4) + content


@st.composite
def streams(draw: st.DrawFn, frames: st.SearchStrategy[Frame] = CLIENT_FRAMES) -> bytes:
    """The input from one peer: valid frames, some mangled ones or absurd lengths, and at the end a partial frame."""
    good = frames.map(lambda frame: frame.encode())
    odd = mangled(frames).map(with_length)
    wild = st.one_of(
        st.integers(0, 0xFFFF_FFFF), st.sampled_from([0, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFDA, 0xFFFF_FFFF])
    ).map(lambda length: length.to_bytes(4))
    rare = st.one_of(good, good, good, good, good, good, odd, wild)
    parts = draw(st.lists(rare, max_size=8))
    tail = draw(
        st.one_of(st.just(b""), good.map(lambda octets: octets[: len(octets) // 2]), st.binary(max_size=7))
    )
    return b"".join(parts) + tail


@st.composite
def chunkings(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """`stream` split into pieces."""
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
