"""The fuzz targets: the decoder in both twins, the server's session, the client's session. Each takes arbitrary bytes.

The first bytes of the input choose limits, chunks and whether the rest is a raw stream or a list of frames whose
lengths are right (so that much gets past the first four bytes). A target raises when something is wrong.
"""

from __future__ import annotations

import random
from typing import Any

from rankmux.codes import FRAME_OVERHEAD, Status, Target
from rankmux.core.client.decoder import FrameDecoder
from rankmux.core.client.events import ClientEvent, Ended, ExecuteReceived
from rankmux.core.client.keep import KeptSeat
from rankmux.core.client.results import RoutedResult
from rankmux.core.client.runs import STATUSES
from rankmux.core.client.session import ClientSession, ClientState
from rankmux.core.greeting import HELLO_MAX_BYTES, greet
from rankmux.errors import ProtocolViolation
from rankmux.server.sockets.descriptors import Descriptors
from rankmux.wire import Hello, Leave, Welcome, Yield

from ..support.client_sessions import flat, taken
from ..support.twins import TWINS

__all__ = ["TARGETS", "client", "decoder", "session"]

TICKET = 7
FD = 3
MAX_PAYLOADS = (1, 20, 40, 300, 65_536)


def _framed(data: bytes) -> bytes:
    """`data` as frames: a byte for the length of each, 255 for what is left."""
    stream, at = bytearray(), 0
    while at < len(data):
        size = data[at] if data[at] != 255 else len(data)
        content = data[at + 1 : at + 1 + size]
        stream += len(content).to_bytes(4) + content
        at += 1 + size
    return bytes(stream)


def _chunks(stream: bytes, choice: int) -> list[bytes]:
    """`stream` in pieces: 0 byte by byte, else cut at places that `choice` draws."""
    if not choice:
        return [stream[at : at + 1] for at in range(len(stream))]
    draw = random.Random(choice)
    cuts = sorted(draw.randint(0, len(stream)) for _ in range(choice % 8))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def _plain(event: Any) -> Any:
    if isinstance(event, ProtocolViolation):
        return "breach", event.code, event.text
    return type(event).__name__, event


def _take_apart(data: bytes) -> tuple[int, int, bytes]:
    """A limit, how to cut, and the stream."""
    limit, choice, mode = data[0], data[1], data[2]
    rest = data[3:]
    return MAX_PAYLOADS[limit % len(MAX_PAYLOADS)], choice, _framed(rest) if mode & 1 else rest


def decoder(data: bytes) -> None:
    """Both twins give the same frames, the same breach and the same offset, in one piece and in any pieces."""
    if len(data) < 3:
        return
    max_payload, choice, stream = _take_apart(data)
    seen = []
    for twin in TWINS:
        seen += [_feed(twin, pieces, max_payload) for pieces in ([stream], _chunks(stream, choice))]
    assert all(one == seen[0] for one in seen), seen
    limit = max_payload + FRAME_OVERHEAD
    whole, breach = taken(FrameDecoder(limit), stream)
    one = FrameDecoder(limit)
    frames: list[tuple[int, bytes]] = []
    for piece in _chunks(stream, choice):
        more, found = taken(one, piece)
        frames += more
        if found is not None:
            assert breach is not None
            assert _plain(found) == _plain(breach)
            break
        assert one.pending <= limit + 3 + len(piece)
    assert frames == whole
    runs = [
        (
            twin.cut_executes(bytearray(stream), 0, limit, choice, 0, ExecuteReceived),
            twin.cut_results(bytearray(stream), 0, limit, RoutedResult, STATUSES),
        )
        for twin in TWINS
    ]
    assert all(one == runs[0] for one in runs), runs


def _feed(twin: Any, pieces: list[bytes], max_payload: int) -> tuple[Any, ...]:
    batch = twin.Batch(max_payload)
    events: list[Any] = []
    held = b""
    total = 0
    for piece in pieces:
        if events and events[-1][0] in ("breach", "Leave"):
            total += len(piece)
            continue
        held += piece
        yielded = True
        while yielded:  # frames after YIELD are for the next turn
            taken, found = batch.feed(TICKET, held)
            assert 0 <= taken <= len(held)
            events += map(_plain, found)
            held, total = held[taken:], total + taken
            yielded = bool(found) and isinstance(found[-1], Yield)
    commands, results = batch.entries()
    assert len(batch) == len(commands) + len(results)
    return [tuple(one) for one in commands], [tuple(one) for one in results], events, total


def session(data: bytes) -> None:
    """A connection of the server: the same events in any chunks; it holds no more than a frame and the chunk."""
    if len(data) < 4:
        return
    max_payload, choice, stream = _take_apart(data[1:])
    if data[0] & 1:
        stream = Hello("fuzz", b"token").encode() + stream
    seen = [
        _live(twin, pieces, max_payload) for twin in TWINS for pieces in ([stream], _chunks(stream, choice))
    ]
    assert all(one == seen[0] for one in seen), seen


def _live(twin: Any, pieces: list[bytes], max_payload: int) -> tuple[Any, ...]:
    """As the server reads one connection: greeted, seated at once, read on until LEAVE or a violation."""
    batch, tables = twin.Batch(max_payload), Descriptors()
    tables.reserve(FD)
    events: list[Any] = []
    greeted, over = False, False
    held = b""
    for piece in pieces:
        if over:
            break
        if not greeted:
            held += piece
            taken, frame = greet(held, min(HELLO_MAX_BYTES, max_payload + FRAME_OVERHEAD))
            held = held[taken:]
            events += [_plain(frame)] if frame is not None else []
            over = isinstance(frame, ProtocolViolation)
            if not isinstance(frame, Hello):
                assert len(held) < 4 + HELLO_MAX_BYTES, "more is held than one frame"
                continue
            greeted, tables.tickets[FD] = True, TICKET
        else:
            held = piece
        waits = True
        while waits and not over:  # frames after YIELD are for the next turn
            for event in twin.take_in(batch, tables, FD, held, 1.0):
                events.append(_plain(event))
                over = isinstance(event, ProtocolViolation | Leave)
            held, waits = b"", FD in tables.backlog
        assert len(tables.partials.get(FD, b"")) < 4 + max_payload + FRAME_OVERHEAD, (
            "more is held than one frame"
        )
    commands, results = batch.entries()
    return (
        [tuple(c) for c in commands],
        [tuple(r) for r in results],
        events,
        over,
        bytes(tables.partials.get(FD, b"")),
    )


def client(data: bytes) -> None:
    """A client against a hostile server: nothing raises, any pieces give the same, memory stays within bounds.

    The bits of the first byte: 1 it has a seat; 2 it answers an EXECUTE; 4 it watches, its seat is kept, and
    it has sent a BATON and a YIELD.
    """
    if len(data) < 4:
        return
    _, choice, stream = _take_apart(data[1:])
    seen = []
    for pieces in ([stream], _chunks(stream, choice)):
        more = bool(data[0] & 4)
        kept = KeptSeat(60_000, bytes(16), lambda: 0.0) if more else None
        one = ClientSession("fuzz", watch=more, kept=kept, max_payload_limit=1000, pending_limit=8)
        if data[0] & 1:
            keep_ms = 60_000 if more else None
            one.receive_data(Welcome(1, 5, 10, 2, 4, 8, 300, 1000, False, keep_ms).encode())
            assert one.state is ClientState.JOINED
            one.send_command(b"a", Target.ALL, results=True)
            one.send_command(b"b", Target.ONE, 3, quiet=True)
            one.send_who()
            one.send_ping(b"p")
            if more:
                one.send_baton(b"note")
                one.send_yield()
        for piece in pieces:
            one.receive_data(piece)
            assert one.output_size < 1 << 19
        if data[0] & 2 and one.state is ClientState.JOINED:
            one.try_result(11, Status.OK, bytes(1000))
        one.receive_eof()
        assert one.state is ClientState.ENDED
        assert one.seat.rank is None
        events: list[ClientEvent] = list(one.events())
        assert [type(event) for event in events].count(Ended) == 1
        assert isinstance(events[-1], Ended)
        seen.append(list(map(repr, flat(events))))
    assert seen[0] == seen[1], seen


TARGETS = {"decoder": decoder, "session": session, "client": client}
