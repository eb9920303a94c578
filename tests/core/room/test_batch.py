"""Stream decoding on both twins: whole, byte by byte, at every split point, with trailing bytes, and arbitrary bytes.

The expected outcome is computed frame by frame, by the slow path of `wire` and `verdicts`.
"""

from __future__ import annotations

import importlib
import itertools
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux._twin import TWIN
from rankmux.codes import ErrorCode, FrameType, Status, Target
from rankmux.core.client.decoder import FrameDecoder
from rankmux.core.room.batch import BATON_WRITE, OBSERVERS
from rankmux.core.wire.violations import bad_length, member_frame, observer_frame
from rankmux.errors import ProtocolViolation
from rankmux.wire import Cancel, Command, Hello, Leave, Ping, Pong, Result, SetBaton, Welcome, Who, Yield

from ...support.client_sessions import taken as frames_of
from ...support.strategies import chunkings, streams, to_set, with_length
from ...support.twins import MODULES, PURE, TWINS

TICKET = OBSERVERS - 5
OBSERVER = OBSERVERS + 5
Taken = tuple[list[Any], list[Any], list[Any], int]
"""Commands, results, other events, the number of consumed bytes."""


def comparable(event: Any) -> Any:
    """Frames with their type (a Ping equals a Pong), breaches by code and text."""
    if isinstance(event, ProtocolViolation):
        return "breach", event.code, event.text
    return type(event).__name__, event


def expected_cut(data: bytes, max_length: int) -> tuple[list[tuple[int, bytes]], int, Any]:
    frames, cursor = [], 0
    while len(data) - cursor >= 4:
        length = int.from_bytes(data[cursor : cursor + 4])
        if length == 0 or length > max_length:
            return frames, cursor, comparable(bad_length(length, max_length))
        if len(data) < cursor + 4 + length:
            break
        frames.append((data[cursor + 4], data[cursor + 5 : cursor + 4 + length]))
        cursor += 4 + length
    return frames, cursor, None


def expected_feed(data: bytes, max_payload: int, ticket: int = TICKET) -> Taken:
    judge = observer_frame if ticket >= OBSERVERS else member_frame
    commands, results, events = [], [], []
    frames, taken, breach = expected_cut(data, max_payload + 64)
    for type_, body in frames:
        try:
            frame = judge(type_, body, max_payload)
        except ProtocolViolation as error:
            return commands, results, [*events, comparable(error)], len(data)
        match frame:
            case Command():
                commands.append((ticket, *frame))
            case SetBaton():
                commands.append((ticket, frame.id, BATON_WRITE, 0, 0, 0, frame.payload))
            case Result():
                results.append((ticket, *frame))
            case Leave():
                return commands, results, [*events, comparable(frame)], len(data)
            case Pong():
                pass
            case _:
                events.append(comparable(frame))
    if breach:
        return commands, results, [*events, breach], len(data)
    return commands, results, events, taken


def turn_by_turn(batch: Any, ticket: int, data: bytes) -> tuple[int, list[Any]]:
    """Feed all of `data`: the frames after a YIELD are taken in the next turn."""
    total, events = 0, []
    while True:
        taken, found = batch.feed(ticket, data[total:])
        total += taken
        events += map(comparable, found)
        if not events or events[-1][0] != "Yield" or not taken:
            return total, events


def feed(framing: ModuleType, chunks: list[bytes], max_payload: int, ticket: int = TICKET) -> Taken:
    """Feed the chunks as a session does: unconsumed bytes are fed again, followed by more."""
    batch = framing.Batch(max_payload)
    events: list[Any] = []
    held, total = b"", 0
    for chunk in chunks:
        held += chunk
        if events and events[-1][0] in ("breach", "Leave"):
            total += len(chunk)
            continue
        taken, found = turn_by_turn(batch, ticket, held)
        events += found
        held = held[taken:]
        total += taken
    commands, results = batch.entries()
    assert len(batch) == len(commands) + len(results)
    return commands, results, events, total


def decoded(chunks: list[bytes], max_length: int) -> tuple[list[tuple[int, bytes]], Any]:
    decoder, frames = FrameDecoder(max_length), []
    for chunk in chunks:
        more, breach = frames_of(decoder, chunk)
        frames += more
        if breach:
            return frames, comparable(breach)
    return frames, None


def single(stream: bytes) -> list[bytes]:
    return [stream[i : i + 1] for i in range(len(stream))]


@given(data=st.data())
def test_feed_any_stream_in_any_chunks(framing, data):
    stream = data.draw(streams())
    max_payload = data.draw(st.sampled_from([1, 20, 40, 65_536]))
    ticket = data.draw(st.sampled_from([TICKET, TICKET, OBSERVER]))
    expected = expected_feed(stream, max_payload, ticket)
    for chunks in ([stream], single(stream), data.draw(chunkings(stream))):
        assert feed(framing, chunks, max_payload, ticket) == expected


@given(stream=st.binary(max_size=200))
def test_feed_any_bytes(framing, stream):
    expected = expected_feed(stream, 65_536)
    for chunks in ([stream], single(stream)):
        assert feed(framing, chunks, 65_536) == expected


SMALL = b"".join(
    frame.encode()
    for frame in (
        Command(7, Target.ALL, 0, 1, 5000, b"print"),
        Result(42, Status.OK, b"done"),
        Ping(b"hi"),
        Pong(b"unasked"),
        Who(9, 0, 100),
        Command(8, Target.ONE, 2, 0, 0, b""),
        to_set(9, [3, 2**63], 5, 1, b"some"),
        Cancel(9),
    )
)
ENDINGS = {
    "nothing": b"",
    "part of a length": b"\0\0",
    "part of a frame": Result(43, Status.PART, b"more").encode()[:9],
    "LEAVE and more": Leave().encode() + SMALL,
    "length 0 and more": bytes(4) + SMALL,
    "too long and more": b"\xff\xff\xff\xff" + SMALL,
    "a second HELLO": Hello().encode(),
    "a CANCEL too short": with_length(b"\x04\0\0\0"),
    "YIELD, a baton and more": Yield(4).encode() + SetBaton(5, b"note").encode() + SMALL,
    "an unknown type": with_length(b"\x0b\0\0\0\1"),
    "the other direction": Welcome(1, 2, 3, 4, 5, 6, 7, 8).encode(),
    "an unknown target": with_length(b"\x02" + bytes(4) + b"\x05" + bytes(9)),
    "a SET of none": with_length(b"\x02" + bytes(4) + b"\x04" + bytes(9) + b"x"),
    "a SET with a ticket cut off": to_set(9, [3, 4]).encode()[:-1].replace(b"\x1f", b"\x1e", 1),
    "a SET of more than fits": with_length(b"\x02" + bytes(4) + b"\x04\xff\xff\xff\xff" + bytes(13)),
    "a SET that names one twice": with_length(b"\x02" + bytes(4) + b"\x04\0\0\0\x02" + bytes(5 + 16)),
    "a SET that falls": with_length(
        b"\x02" + bytes(4) + b"\x04\0\0\0\x02" + bytes(5) + b"\x01" + bytes(14) + b"\x01"
    ),
    "TIED alone": Command(9, Target.ALL, 0, 4, 0, b"").encode(),
    "TIED and QUIET": to_set(9, [3], 6).encode(),
    "an arg that is not 0": with_length(b"\x02" + bytes(8) + b"\x01" + bytes(5)),
    "a reserved flag": with_length(b"\x02" + bytes(9) + b"\x09" + bytes(4)),
    "a server's status": with_length(b"\x03" + bytes(8) + b"\x03"),
    "a COMMAND too short": with_length(b"\x02" + bytes(13)),
    "a RESULT too short": with_length(b"\x03" + bytes(8)),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_split_point(framing, ending):
    stream = SMALL + ENDINGS[ending]
    expected = expected_feed(stream, 65_536)
    assert expected[0][:3] == [
        (TICKET, 7, 0, 0, 1, 5000, b"print"),
        (TICKET, 8, 1, 2, 0, 0, b""),
        (TICKET, 9, 4, 2, 5, 1, bytes(7) + b"\x03\x80" + bytes(7) + b"some"),
    ]
    assert expected[2][2] == ("Cancel", (9,))
    for at in range(len(stream) + 1):
        assert feed(framing, [stream[:at], stream[at:]], 65_536) == expected
    cut = expected_cut(stream, 65_600)
    for at in range(len(stream) + 1):
        assert decoded([stream[:at], stream[at:]], 65_600) == (cut[0], cut[2])


def test_every_pair_of_split_points(framing):
    stream = SMALL[:80] + bytes(4)
    expected = expected_feed(stream, 65_536)
    for a, b in itertools.combinations(range(len(stream) + 1), 2):
        assert feed(framing, [stream[:a], stream[a:b], stream[b:]], 65_536) == expected


@pytest.mark.parametrize("max_payload", [1, 100, 65_536])
def test_a_length_is_judged_by_its_four_bytes(framing, max_payload):
    bound = max_payload + 64
    for length, code in [
        (0, ErrorCode.PROTOCOL),
        (bound + 1, ErrorCode.TOO_BIG),
        (0xFFFF_FFDA, ErrorCode.TOO_BIG),
    ]:
        octets = length.to_bytes(4)
        taken, (breach,) = framing.Batch(max_payload).feed(1, octets)
        assert (taken, breach.code) == (4, code)
        frames, breach = frames_of(FrameDecoder(bound), octets)
        assert (frames, breach.code) == ([], code)
        assert framing.Batch(max_payload).feed(1, octets[:3]) == (0, [])
        assert frames_of(FrameDecoder(bound), octets[:3]) == ([], None)
    octets = bound.to_bytes(4)
    assert framing.Batch(max_payload).feed(1, octets) == (0, [])
    assert frames_of(FrameDecoder(bound), octets) == ([], None)
    whole = octets + bytes(bound)
    assert frames_of(FrameDecoder(bound), whole) == ([(0, bytes(bound - 1))], None)


@pytest.mark.parametrize("max_payload", [1, 100, 65_536])
def test_payloads_at_their_bound(framing, max_payload):
    """A RESULT over max_payload ends the connection, a COMMAND is accepted and refused later."""
    batch = framing.Batch(max_payload)
    at, over = bytes(max_payload), bytes(max_payload + 1)
    for frame in (Result(1, Status.OK, at), Command(1, 0, 0, 0, 0, at), Command(2, 0, 0, 0, 0, over)):
        octets = frame.encode()
        assert batch.feed(1, octets) == (len(octets), [])
    commands, results = batch.entries()
    assert [command[-1] for command in commands] == [at, over]
    assert results == [(1, 1, 0, at)]
    _, (breach,) = batch.feed(1, Result(1, Status.OK, over).encode())
    assert breach.code == ErrorCode.TOO_BIG
    assert len(batch) == 3


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_types_of_input_that_may_be_fed(framing, kind):
    batch = framing.Batch(100)
    assert batch.feed(1, kind(SMALL + b"\0"))[0] == len(SMALL)
    assert batch.feed(1, kind(b"")) == (0, [])


def test_the_batch_keeps_no_reference_to_its_input(framing):
    """The buffer is used again for the next peer."""
    batch = framing.Batch(100)
    buffer = bytearray(SMALL)
    _, events = batch.feed(1, memoryview(buffer))
    frames, _ = frames_of(FrameDecoder(100), buffer)
    buffer[:] = bytes(len(buffer))
    buffer.clear()
    commands, results = batch.entries()
    named = bytes(7) + b"\x03\x80" + bytes(7) + b"some"
    assert [c[-1] for c in commands] + [r[-1] for r in results] == [b"print", b"", named, b"done"]
    assert events == [Ping(b"hi"), Who(9, 0, 100), Cancel(9)]
    assert frames[2] == (FrameType.PING, b"hi")


def test_a_batch_holds_all_members_of_a_turn_until_cleared(framing):
    batch = framing.Batch(100)
    for ticket in (5, 3, 5):
        batch.feed(ticket, Command(ticket, 0, 0, 0, 0, b"x" * ticket).encode())
        batch.feed(ticket, Result(ticket, 0, b"y" * ticket).encode() + b"\0\0\0")
    commands, results = batch.entries()
    assert [(c[0], c[-1]) for c in commands] == [(5, b"xxxxx"), (3, b"xxx"), (5, b"xxxxx")]
    assert [(r[0], r[-1]) for r in results] == [(5, b"yyyyy"), (3, b"yyy"), (5, b"yyyyy")]
    assert (len(batch), batch.max_payload) == (6, 100)
    batch.clear()
    assert (len(batch), batch.entries()) == (0, ([], []))
    batch.feed(9, Command(1, 0, 0, 0, 0, b"").encode())
    assert batch.entries() == ([(9, 1, 0, 0, 0, 0, b"")], [])


def test_ten_thousand_in_one_piece(framing):
    batch = framing.Batch(100)
    octets = b"".join(Command(i, 0, 0, 0, 0, i.to_bytes(4)).encode() for i in range(10_000))
    assert batch.feed(1, octets) == (len(octets), [])
    assert [int.from_bytes(c[-1]) for c in batch.entries()[0]] == list(range(10_000))


def test_the_largest_numbers(framing):
    batch = framing.Batch(100)
    batch.feed(2**63 - 1, Command(2**32 - 1, 1, 2**32 - 1, 7, 2**32 - 1, b"").encode())
    batch.feed(2**63 - 1, to_set(1, [2**64 - 2, 2**64 - 1]).encode())
    batch.feed(2**63 - 1, Result(2**64 - 1, 16, b"").encode())
    commands, results = batch.entries()
    assert commands == [
        (2**63 - 1, 2**32 - 1, 1, 2**32 - 1, 7, 2**32 - 1, b""),
        (2**63 - 1, 1, 4, 2, 0, 0, b"\xff" * 7 + b"\xfe" + b"\xff" * 8),
    ]
    assert results == [(2**63 - 1, 2**64 - 1, 16, b"")]


@pytest.mark.parametrize(
    "frame",
    [
        Command(1, Target.ALL, 0, 0, 0, b"x"),
        to_set(1, [1]),
        Result(1, Status.OK, b""),
        Cancel(1),
        Yield(1),
        SetBaton(1, b""),
        Hello(),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_an_observer_may_not_send(framing, frame):
    batch = framing.Batch(100)
    pings = Ping(b"x").encode()
    taken, (ping, breach) = batch.feed(OBSERVER, pings + frame.encode() + pings)
    assert (taken, ping) == (len(pings) * 2 + len(frame.encode()), Ping(b"x"))
    assert (type(breach), breach.code) == (ProtocolViolation, ErrorCode.PROTOCOL)
    assert not batch


def test_breaches_are_the_same_class(framing):
    _, (breach,) = framing.Batch(1).feed(1, bytes(4))
    assert type(breach) is ProtocolViolation


# The decoder of a single stream, with the active twin.


def test_the_twin_that_was_asked_for_runs():
    """Every definition is from the same twin."""
    (twin,) = [twin for twin in TWINS if twin.__name__ == TWIN]
    chosen = {}
    for name in MODULES:
        chosen.update(vars(importlib.import_module(f"rankmux.{name}")))
    for name in PURE.__dict__.keys() - ModuleType("").__dict__.keys():
        assert chosen[name] is getattr(twin, name)


@given(data=st.data())
def test_decoder_in_any_chunks(data):
    stream = data.draw(streams())
    max_length = data.draw(st.sampled_from([1, 15, 40, 65_600]))
    expected, taken, breach = expected_cut(stream, max_length)
    for chunks in ([stream], single(stream), data.draw(chunkings(stream))):
        assert decoded(chunks, max_length) == (expected, breach)
    decoder = FrameDecoder(max_length)
    if not breach:
        frames_of(decoder, stream)
        assert decoder.pending == len(stream) - taken


def test_decoder_holds_the_bytes_received_not_the_length_announced():
    decoder = FrameDecoder(65_600)
    for octets in single(with_length(bytes(3000))[:-1]):
        assert frames_of(decoder, octets) == ([], None)
    assert decoder.pending == 3003
    assert frames_of(decoder, b"") == ([], None)
    assert frames_of(decoder, b"\0\0\0") == ([(0, bytes(2999))], None)
    assert decoder.pending == 2


def work_of(frames: list[tuple[int, bytes]]) -> int:
    """COMMAND and RESULT count as one, a COMMAND with RESULTS as four, all others as eight (docs/reliability.md).

    A COMMAND to SET counts one more for each ticket.
    """
    work = 0
    for type_, body in frames:
        if type_ == FrameType.COMMAND:
            work += 4 if body[9] & 1 else 1
            work += int.from_bytes(body[5:9]) if body[4] == Target.SET else 0
        else:
            work += 1 if type_ == FrameType.RESULT else 8
    return work


@given(data=st.data())
def test_a_turn_takes_no_more_than_it_has_room_for(framing, data):
    """Frames are taken while the budgets of work, bytes and share last; in the end all of them, in order."""
    stream = data.draw(streams())
    expected = expected_feed(stream, 40)
    batch = framing.Batch(40)
    events: list[Any] = []
    held = stream
    for _ in range(len(stream) + 1):
        work, size, shared, listed = (data.draw(st.integers(1, 30)) for _ in range(4))
        share = data.draw(st.integers(1, 30))
        batch.allow(work, size, shared, listed, 50)
        taken, found = batch.feed(TICKET, held, share)
        events += map(comparable, found)
        frames, taken_frames, breach = expected_cut(held[:taken], 104)
        broken = bool(events and events[-1][0] in ("breach", "Leave"))
        if not broken:
            assert breach is None
            assert taken_frames == taken, "whole frames"
            assert (batch.work_left, batch.bytes_left) == (work - work_of(frames), size - taken)
            assert work_of(frames[:-1]) < min(share, work)
            before = to_all = 0
            for type_, body in frames:
                assert before < size or type_ not in (FrameType.COMMAND, FrameType.RESULT)
                before += 5 + len(body)
                if type_ == FrameType.COMMAND and body[4] in (Target.ALL, Target.SET):
                    assert to_all < shared
                    named = 50 if body[4] == Target.ALL else min(50, int.from_bytes(body[5:9]))
                    to_all += (5 + len(body)) * named // 50
            assert batch.shared_left == shared - to_all
        held = held[taken:]
        whole = bool(expected_cut(held, 104)[0])
        if broken or not whole:
            break
        assert frames, "the first one always"
    if not broken:
        batch.allow(1 << 40, 1 << 40, 1 << 40, 1 << 40, 50)
        taken, found = turn_by_turn(batch, TICKET, held)
        events += found
        held = held[taken:]
    assert (*batch.entries(), events, len(stream) - len(held)) == expected


def test_a_query_waits_for_a_turn_that_may_list_so_many(framing):
    """Listed members count for all connections together; a query that has to wait delays the frames after it."""
    batch = framing.Batch(100)
    stream = Who(1, 0, 20).encode() + Who(2, 45, 100).encode() + Ping(b"").encode()
    batch.allow(100, 1000, 1000, 21, 50)
    assert batch.feed(1, stream) == (17, [Who(1, 0, 20)])
    assert batch.listed_left == 0
    assert batch.feed(1, stream[17:]) == (0, [])
    assert batch.feed(2, Who(7, 0, 0).encode()) == (0, [])
    assert batch.feed(2, Ping(b"").encode()) == (5, [Ping(b"")])
    batch.allow(100, 1000, 1000, 1, 50)
    assert batch.feed(1, stream[17:]) == (22, [Who(2, 45, 100), Ping(b"")])
    assert batch.listed_left == 1 - 1 - 5, "of 50 members 5 are listed"


def test_a_set_costs_one_for_each_name(framing):
    """One of a thousand names costs a thousand; its bytes count by the part of the room that is sent them."""
    batch = framing.Batch(65_536)
    to_all, some = Command(1, Target.ALL, 0, 0, 0, b"x").encode(), to_set(2, range(1, 1001)).encode()
    batch.allow(1500, 1 << 20, 1 << 20, 10, 2000)
    assert batch.feed(1, some + some + some + to_all) == (2 * len(some), [])
    assert batch.work_left == 1500 - 2 * 1001
    assert batch.shared_left == (1 << 20) - 2 * (len(some) // 2)
    assert batch.bytes_left == (1 << 20) - 2 * len(some)
    batch.allow(1 << 20, 1 << 20, len(some) // 2, 10, 2000)
    assert batch.feed(1, some + some) == (len(some), []), "as much as every member may be sent"
    batch.allow(1 << 20, 1 << 20, 1 << 20, 10, 0)
    assert batch.feed(1, some) == (len(some), [])
    assert batch.shared_left == 1 << 20, "nobody is there"


@pytest.mark.parametrize("behind", [Ping(b"x"), Command(1, Target.ALL, 0, 0, 0, b""), Cancel(1)])
def test_frames_after_a_yield_belong_to_the_next_turn(framing, behind):
    batch = framing.Batch(100)
    stream = Ping(b"").encode() + Yield(7).encode() + behind.encode()
    taken, events = batch.feed(1, stream)
    assert (taken, events) == (14, [Ping(b""), Yield(7)])
    assert not batch


def test_a_leave_right_after_a_yield_is_of_the_same_turn(framing):
    batch = framing.Batch(100)
    stream = Yield(7).encode() + Leave().encode() + Ping(b"").encode()
    assert batch.feed(1, stream) == (len(stream), [Yield(7), Leave()])
    assert batch.feed(2, stream[:-6]) == (9, [Yield(7)]), "it is not whole yet"


def test_a_baton_keeps_its_place_among_the_commands(framing):
    """It counts as any frame that is no command, and is one of the batch; encoded and decoded it stays in its place."""
    batch = framing.Batch(100)
    commands = [
        Command(1, Target.ALL, 0, 0, 0, b"a"),
        SetBaton(2, b"note"),
        Command(3, Target.ALL, 0, 0, 0, b"b"),
    ]
    stream = b"".join(frame.encode() for frame in commands)
    batch.allow(100, 1000, 1000, 10, 1)
    assert batch.feed(1, stream) == (len(stream), [])
    entries = batch.entries()
    assert entries[0][1] == (1, 2, BATON_WRITE, 0, 0, 0, b"note")
    assert (len(batch), batch.work_left, batch.bytes_left) == (3, 100 - 10, 1000 - len(stream))
    other = framing.Batch(100)
    other.decode(batch.encode())
    assert other.entries() == entries
    batch.allow(100, 0, 1000, 10, 1)
    baton = SetBaton(2, b"").encode()
    assert batch.feed(1, baton) == (len(baton), []), "it is for nobody else yet"


def test_a_turn_without_room_takes_nothing(framing):
    batch = framing.Batch(100)
    stream = Command(1, 0, 0, 0, 0, b"x").encode()
    for room in (0, -3):
        batch.allow(room, 100, 100, 10, 1)
        assert batch.feed(1, stream) == batch.feed(1, bytes(4)) == (0, [])
    batch.allow(100, 0, 100, 10, 1)
    result = Result(7, Status.OK, b"").encode()
    assert batch.feed(1, stream) == batch.feed(1, result) == (0, [])
    assert batch.feed(1, Ping(b"").encode() + result) == (5, [Ping(b"")]), "which is nobody else's"
    batch.allow(1, 1, 1, 1, 1)
    assert batch.feed(1, stream) == (len(stream), []), "the last one may go over it"


@given(streams=st.data())
def test_the_frames_of_a_batch_are_those_that_were_fed(framing, streams):
    """Results first; a COMMAND to ONE has the rank that it names."""
    frames = st.one_of(
        st.builds(
            Command,
            st.integers(0, 9),
            st.just(Target.ALL),
            st.just(0),
            st.integers(0, 3),
            st.integers(0, 9),
            st.binary(max_size=9),
        ),
        st.builds(
            Command,
            st.integers(0, 9),
            st.just(Target.ONE),
            st.integers(0, 2**32 - 1),
            st.just(0),
            st.just(0),
            st.binary(max_size=9),
        ),
        st.builds(Result, st.integers(0, 2**64 - 1), st.just(Status.OK), st.binary(max_size=9)),
        st.builds(SetBaton, st.integers(0, 9), st.binary(max_size=9)),
    )
    fed = streams.draw(st.lists(st.tuples(st.integers(1, 3), frames), max_size=9))
    batch = framing.Batch(1000)
    for ticket, frame in fed:
        batch.feed(ticket, frame.encode())
    results = [each for each in fed if isinstance(each[1], Result)]
    others = [each for each in fed if not isinstance(each[1], Result)]
    assert batch.frames() == [
        (ticket, frame.encode(), frame.arg if getattr(frame, "target", None) == Target.ONE else -1)
        for ticket, frame in results + others
    ]
