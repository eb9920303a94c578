"""`receive` of both twins over real sockets: budgets, ends, resets."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from types import ModuleType
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rankmux.errors import ProtocolViolation
from rankmux.server.sockets.descriptors import READ_DIRECT, WRITE_DIRECT, Descriptors
from rankmux.system.reactor import HUNG_UP, READABLE, WRITABLE
from rankmux.wire import Command, Leave, Ping, Result

from ...core.room.test_batch import TICKET, comparable, expected_feed
from ...support.linked import Members
from ...support.sockets import reset, tcp_pairs, wait_for
from ...support.strategies import chunkings, streams
from ...support.twins import PURE


@contextmanager
def members(framing: ModuleType, count: int, **buffers: int) -> Iterator[Members]:
    with tcp_pairs(count, **buffers) as pairs:
        yield Members(framing, pairs)


def command(id_: int, payload: bytes = b"") -> bytes:
    return Command(id_, 0, 0, 0, 0, payload).encode()


def test_frames_are_entered_under_the_senders_ticket(framing):
    with members(framing, 4) as m:
        m.send(0, command(1, b"a") + Ping(b"p").encode())
        m.send(2, command(2, b"b") + Result(7, 0, b"r").encode())
        m.send(3, Leave().encode() + command(3))
        assert m.receive(*[READABLE] * 4) == ([(0, ("Ping", Ping(b"p"))), (3, ("Leave", Leave()))], [], 4)
        assert m.batch.entries() == (
            [(10, 1, 0, 0, 0, 0, b"a"), (12, 2, 0, 0, 0, 0, b"b")],
            [(12, 7, 0, b"r")],
        )
        assert [m.links.heard[fd] for fd in m.fds] == [5.0, 1.0, 5.0, 5.0]


def test_connections_that_are_not_direct_are_skipped(framing):
    with members(framing, 3) as m:
        for i in range(3):
            m.send(i, command(i))
        m.links.modes[m.fds[1]] = WRITE_DIRECT
        masks = READABLE | WRITABLE, READABLE | WRITABLE, WRITABLE
        assert m.receive(*masks) == ([], [(0, WRITABLE), (1, READABLE | WRITABLE), (2, WRITABLE)], 3)
        assert [entry[0] for entry in m.batch.entries()[0]] == [10]


def test_a_partial_frame_is_kept_until_it_is_whole(framing):
    with members(framing, 2) as m:
        octets = command(1) + command(2, b"xyz")
        m.send(0, octets[:-2])
        m.send(1, octets[:2])
        assert m.receive(READABLE, READABLE, now=5.0) == ([], [], 2)
        assert m.partials() == {0: octets[19:-2], 1: octets[:2]}
        assert len(m.batch) == 1
        m.send(0, octets[-2:-1])
        m.send(1, octets[2:30])
        assert m.receive(READABLE, READABLE, now=6.0) == ([], [], 2)
        assert m.partials() == {0: octets[19:-1], 1: octets[19:30]}
        since = {m.fds.index(fd): moment for fd, moment in m.links.partial_since.items()}
        assert since == {0: 5.0, 1: 6.0}, "a frame has its time from its first byte on"
        m.send(0, octets[-1:] + octets)
        assert m.receive(READABLE) == ([], [], 1)
        assert m.partials() == {1: octets[19:30]}
        assert set(m.links.partial_since) == {m.fds[1]}
        commands = [entry[:2] for entry in m.batch.entries()[0]]
        assert commands == [(10, 1), (11, 1), (10, 2), (10, 1), (10, 2)]


def test_a_breach_consumes_all_input(framing):
    with members(framing, 2) as m:
        m.send(0, command(1) + bytes(4) + command(2))
        m.send(1, command(3))
        events, _, _ = m.receive(READABLE | HUNG_UP, READABLE)
        assert [(who, what[:2]) for who, what in events] == [(0, ("breach", 1))]
        assert [entry[1] for entry in m.batch.entries()[0]] == [1, 3]


def test_the_budget_of_a_connection(framing):
    with members(framing, 2) as m:
        octets = b"".join(command(i) for i in range(10))
        m.send(0, octets)
        m.send(1, command(99))
        events, _, dealt = m.receive(READABLE, READABLE, read_budget=50)
        assert (events, dealt) == ([], 2)
        assert m.partials() == {0: octets[38:50]}
        assert [entry[1] for entry in m.batch.entries()[0]] == [0, 1, 99]


def test_the_budget_holds_after_a_hang_up_too(framing):
    with members(framing, 1) as m:
        octets = b"".join(command(i) for i in range(10))
        m.send(0, octets)
        m.far[0].close()
        wait_for(m.near[0], select.POLLRDHUP)
        assert m.receive(READABLE | HUNG_UP, read_budget=57) == ([], [], 1)
        assert m.receive(READABLE | HUNG_UP, read_budget=57) == ([], [], 1)
        assert m.receive(READABLE | HUNG_UP, read_budget=19 * 4) == ([], [], 1)
        assert m.receive(READABLE | HUNG_UP, read_budget=57) == ([(0, 0)], [], 1)
        assert [entry[1] for entry in m.batch.entries()[0]] == list(range(10))


def test_the_budget_of_the_turn(framing):
    with members(framing, 4) as m:
        for i in range(4):
            m.send(i, command(i))
        assert m.receive(*[READABLE] * 4, turn_budget=20) == ([], [], 2)
        assert [entry[1] for entry in m.batch.entries()[0]] == [0, 1]
        m.links.modes[m.fds[3]] = 0
        assert m.receive(0, 0, READABLE, READABLE, turn_budget=1)[1:] == ([], 3), "others wait as well"
        assert m.receive(0, 0, READABLE, READABLE, turn_budget=1)[1:] == ([(3, READABLE)], 4)


def test_the_end_of_the_stream_comes_with_the_bytes_before_it(framing):
    with members(framing, 2) as m:
        m.send(0, command(1))
        m.far[0].shutdown(socket.SHUT_WR)
        wait_for(m.near[0], select.POLLRDHUP)
        m.send(1, command(2))
        assert m.receive(READABLE | HUNG_UP, READABLE) == ([(0, 0)], [], 2)
        assert [entry[1] for entry in m.batch.entries()[0]] == [1, 2]


def test_the_end_inside_a_frame(framing):
    """Whole frames are taken, the rest is kept."""
    with members(framing, 1) as m:
        m.send(0, command(1) + b"\0\0")
        m.far[0].close()
        wait_for(m.near[0], select.POLLRDHUP)
        assert m.receive(READABLE | HUNG_UP)[0] == [(0, 0)]
        assert m.partials() == {0: b"\0\0"}
        assert len(m.batch) == 1


def test_bytes_before_a_reset_count(framing):
    with members(framing, 2) as m:
        m.send(0, command(1) + command(2))
        reset(m.far[0])
        wait_for(m.near[0], select.POLLERR | select.POLLHUP)
        m.send(1, command(3))
        assert m.receive(READABLE | HUNG_UP, READABLE) == ([(0, errno.ECONNRESET)], [], 2)
        assert [entry[1] for entry in m.batch.entries()[0]] == [1, 2, 3]


def test_no_input(framing):
    with members(framing, 1) as m:
        assert m.receive(READABLE) == ([], [], 1)
        assert m.receive() == ([], [], 0)
        assert m.links.heard[m.fds[0]] == 1.0


def test_nothing_is_read_after_leave(framing):
    with members(framing, 1) as m:
        m.send(0, Leave().encode())
        m.far[0].close()
        wait_for(m.near[0], select.POLLRDHUP)
        assert m.receive(READABLE | HUNG_UP) == ([(0, ("Leave", Leave()))], [], 1)


@given(data=st.data())
def test_any_turn_of_any_streams(framing, data):
    sent = data.draw(st.lists(streams(), min_size=1, max_size=4))
    with members(framing, len(sent)) as m:
        m.batch = framing.Batch(40)
        expected_events: list[tuple[int, Any]] = []
        commands, results = [], []
        partials: dict[int, bytes] = {}
        for i, stream in enumerate(sent):
            m.send(i, stream)
            more_commands, more_results, events, taken = expected_feed(stream, 40)
            commands += [(10 + i, *entry[1:]) for entry in more_commands]
            results += [(10 + i, *entry[1:]) for entry in more_results]
            expected_events += [(i, event) for event in events]
            if taken < len(stream):
                partials[i] = stream[taken:]
        found, others, dealt = m.receive(*[READABLE] * len(sent))
        assert (others, dealt) == ([], len(sent))
        while m.links.backlog:  # the frames after a YIELD
            for fd in list(m.links.backlog):
                behind = framing.take_in(m.batch, m.links, fd, b"", 5.0)
                found += [(m.fds.index(fd), comparable(event)) for event in behind]
        assert sorted(found, key=itemgetter(0)) == expected_events
        by_member = [sorted(entries, key=itemgetter(0)) for entries in m.batch.entries()]
        assert by_member == [commands, results]
        assert m.partials() == partials


FD = 3


def take_in(framing: ModuleType, chunks: list[bytes], max_payload: int) -> tuple[Any, list[Any], Descriptors]:
    """After a LEAVE or a violation no more input is fed."""
    batch, tables = framing.Batch(max_payload), Descriptors()
    tables.reserve(FD)
    tables.tickets[FD] = TICKET
    events: list[Any] = []
    for now, chunk in enumerate(chunks):
        found = framing.take_in(batch, tables, FD, chunk, float(now))
        while FD in tables.backlog:  # the frames after a YIELD
            found += framing.take_in(batch, tables, FD, b"", float(now))
        events += map(comparable, found)
        if found and isinstance(found[-1], Leave | ProtocolViolation):
            break
    return batch, events, tables


@given(data=st.data())
def test_a_members_stream_in_any_chunks(framing, data):
    stream = data.draw(streams())
    max_payload = data.draw(st.sampled_from([1, 20, 40, 65_536]))
    commands, results, expected, taken = expected_feed(stream, max_payload)
    for chunks in ([stream], [stream[i : i + 1] for i in range(len(stream))], data.draw(chunkings(stream))):
        batch, events, tables = take_in(framing, chunks, max_payload)
        assert events == expected
        assert batch.entries() == (commands, results)
        assert bytes(tables.partials.get(FD, b"")) == stream[taken:]
        assert (FD in tables.partial_since) == (taken < len(stream))


def test_a_long_frame_that_drips_in(framing):
    octets = Result(7, 0, bytes(100_000)).encode()
    chunks = [octets[at : at + 1000] for at in range(0, len(octets), 1000)]
    batch, events, tables = take_in(framing, chunks[:-1], 100_000)
    assert (len(batch), events, len(tables.partials[FD])) == (0, [], 1000 * (len(chunks) - 1))
    assert tables.partial_since[FD] == 0.0
    batch, events, tables = take_in(framing, chunks, 100_000)
    assert (len(batch), events, tables.partials, tables.partial_since) == (1, [], {}, {})


def test_kept_bytes_are_looked_at_without_new_ones(framing):
    """As when a seat is taken: frames followed HELLO."""
    batch, tables = framing.Batch(100), Descriptors()
    tables.reserve(FD)
    tables.tickets[FD] = TICKET
    tables.partials[FD] = bytearray(command(1) + command(2)[:5])
    assert framing.take_in(batch, tables, FD, b"", 9.0) == []
    assert [entry[:2] for entry in batch.entries()[0]] == [(TICKET, 1)]
    assert tables.partials == {FD: command(2)[:5]}
    assert tables.partial_since == {FD: 9.0}
    assert framing.take_in(batch, tables, FD, command(2)[5:] + Leave().encode() + b"x", 10.0) == [Leave()]
    assert [entry[:2] for entry in batch.entries()[0]] == [(TICKET, 1), (TICKET, 2)]
    assert tables.partials == {}


class Interrupted:
    """A socket during whose `recv_into` another server, in another thread, runs its whole `receive`."""

    def __init__(self, octets: bytes, meanwhile: Any) -> None:
        self.octets = octets
        self.meanwhile = meanwhile

    def recv_into(self, buffer: memoryview) -> int:
        buffer[: len(self.octets)] = self.octets
        self.meanwhile()
        return len(self.octets)

    def send(self, data: memoryview | bytes) -> int:
        raise AssertionError

    def sendmsg(self, views: Iterable[memoryview]) -> int:
        raise AssertionError


def test_two_servers_in_one_process_do_not_mix():
    """`recv_into` lets other threads run. (The compiled twin reads each batch into its own memory.)"""
    batches = [PURE.Batch(100), PURE.Batch(100)]
    links = [Descriptors(), Descriptors()]
    links[1].open(0, Interrupted(command(2, b"other"), lambda: None), 0.0)
    links[0].open(0, Interrupted(command(1, b"first"), lambda: receive(1)), 0.0)

    def receive(server: int) -> None:
        links[server].modes[0] = READ_DIRECT
        links[server].tickets[0] = server + 1
        PURE.receive(batches[server], [(0, READABLE)], links[server], 1.0, 4096, 4096)

    receive(0)
    assert [batch.entries()[0] for batch in batches] == [
        [(1, 1, 0, 0, 0, 0, b"first")],
        [(2, 2, 0, 0, 0, 0, b"other")],
    ]


def test_frames_over_the_share_wait_and_nothing_more_is_read(framing):
    """Kept frames come before newer ones and before the end of the stream; each member gets its share."""
    with members(framing, 2) as m:
        m.batch.allow(5, 1 << 20, 1 << 20, 1, 2)
        m.send(0, b"".join(command(id_) for id_ in range(4)))
        m.send(1, b"".join(command(id_) for id_ in range(4)))
        assert m.receive(READABLE, READABLE, share=3) == ([], [], 2)
        assert [entry[:2] for entry in m.batch.entries()[0]] == [(10, 0), (10, 1), (10, 2), (11, 0), (11, 1)]
        assert m.partials() == {0: command(3), 1: command(2) + command(3)}
        assert list(m.links.backlog) == m.fds
        assert m.links.partial_since == {}, "they are whole"
        m.send(0, command(4))
        m.batch.clear()
        m.batch.allow(5, 1 << 20, 1 << 20, 1, 2)
        assert m.receive(READABLE, share=3) == ([], [], 1)
        assert m.batch.entries()[0] == [], "not before the backlog is taken"
        assert framing.take_in(m.batch, m.links, m.fds[0], b"", 6.0, 3) == []
        assert list(m.links.backlog) == m.fds[1:]
        assert m.receive(READABLE, share=3) == ([], [], 1)
        assert [entry[:2] for entry in m.batch.entries()[0]] == [(10, 3), (10, 4)]


def test_a_turn_without_room_keeps_the_order_of_the_backlog(framing):
    """The member that was served moves to the end of the queue, the other one keeps its place."""
    with members(framing, 3) as m:
        for i in range(3):
            m.send(i, b"".join(command(id_) for id_ in range(4)))
        m.batch.allow(0, 1 << 20, 1 << 20, 1, 3)
        assert m.receive(*[READABLE] * 3, share=2) == ([], [], 3)
        assert list(m.links.backlog) == m.fds
        m.batch.allow(2, 1 << 20, 1 << 20, 1, 3)
        for fd in m.fds:
            framing.take_in(m.batch, m.links, fd, b"", 6.0, 2)
        assert list(m.links.backlog) == [m.fds[1], m.fds[2], m.fds[0]]


def test_the_end_of_a_stream_waits_for_its_frames(framing):
    with members(framing, 3) as m:
        for i in range(3):
            m.send(i, command(1) + command(2) + command(3)[:4])
        m.far[0].close()
        reset(m.far[1])
        for near in m.near[:2]:
            wait_for(near, select.POLLHUP | select.POLLRDHUP)
        m.batch.allow(1 << 20, 1 << 20, 1 << 20, 1, 3)
        assert m.receive(*[READABLE | HUNG_UP] * 2, READABLE, share=1) == ([], [], 3)
        assert m.links.ends == {m.fds[0]: 0, m.fds[1]: errno.ECONNRESET}
        for fd in m.fds:
            assert framing.take_in(m.batch, m.links, fd, b"", 6.0, 1) == []
        assert m.links.backlog == {}
        assert m.links.partial_since == dict.fromkeys(m.fds, 6.0), "what is left is part of a frame"
        m.links.drop_partial(m.fds[0])
        assert set(m.links.ends) == {m.fds[1]}


def test_a_frame_that_drips_in_counts_whole(framing):
    """Its last byte completes a frame of 900 bytes, for which the turn has no budget left."""
    with members(framing, 2) as m:
        for i in range(2):
            m.send(i, command(1, bytes(900))[:-1])
        m.receive(READABLE, READABLE)
        for i in range(2):
            m.send(i, b"\0")
        m.batch.allow(100, 800, 1000, 1, 2)
        assert m.receive(READABLE, READABLE) == ([], [], 2)
        assert [entry[0] for entry in m.batch.entries()[0]] == [10]
        assert list(m.links.backlog) == [m.fds[1]]


def test_a_breach_beyond_the_share_waits_for_its_turn(framing):
    with members(framing, 1) as m:
        m.send(0, command(1) + b"\xff\xff\xff\xff")
        assert m.receive(READABLE, share=1) == ([], [], 1)
        assert list(m.links.backlog) == m.fds
        assert [type(event) for event in framing.take_in(m.batch, m.links, m.fds[0], b"", 6.0, 1)] == [
            ProtocolViolation
        ]
        assert (m.links.backlog, m.links.partials) == ({}, {})
