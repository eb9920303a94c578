"""`receive` and `flush` of both twins over real sockets: budgets, ends, resets, short writes."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import sys
import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux import _framing_py as pure
from rankmux.errors import ProtocolViolation
from rankmux.links import HUNG_UP, READ_DIRECT, READABLE, WRITABLE, WRITE_DIRECT, Links
from rankmux.wire import Command, Leave, Ping, Result

from .laid import Laid, laid_turns
from .sockets import nothing_to_read, read, reset, tcp_pairs, wait_for, wait_for_bytes
from .strategies import streams
from .test_framing import comparable, expected_feed


class Members:
    """Connections as the server holds them; `far[i]` is the end of the member with ticket 10 + i."""

    def __init__(
        self, framing: ModuleType, pairs: list[tuple[socket.socket, socket.socket]], ring: bool = False
    ) -> None:
        self.framing = framing
        self.ring = framing.Ring(ring, 0)
        self.links = Links()
        self.near = [near for near, _ in pairs]
        self.far = [far for _, far in pairs]
        self.fds = [near.fileno() for near in self.near]
        for i, near in enumerate(self.near):
            self.links.open(near.fileno(), near, 1.0)
            self.links.tickets[near.fileno()] = 10 + i
            self.links.modes[near.fileno()] = READ_DIRECT | WRITE_DIRECT
        self.batch = framing.Batch(1000)

    def receive(
        self, *masks: int, read_budget: int = 4096, turn_budget: int = 1 << 20, now: float = 5.0
    ) -> Any:
        """Events and others by the index of the member, and how many were dealt with; breaches made comparable."""
        ready = list(zip(self.fds, masks, strict=False))
        events, others, dealt = self.framing.receive(
            self.batch, ready, self.links, now, read_budget, turn_budget
        )
        named = [(self.fds.index(fd), e if isinstance(e, bytes | int) else comparable(e)) for fd, e in events]
        return named, [(self.fds.index(fd), mask) for fd, mask in others], dealt

    def flush(self, laid: Laid) -> list[tuple[int, int, int]]:
        peers = array("i", self.fds[: laid.members])
        behind: list[tuple[int, int, int]] = self.framing.flush(
            laid.deliveries(), laid.tickets, peers, laid.tails, self.links, self.ring
        )
        return behind

    def send(self, index: int, octets: bytes) -> None:
        """From the far end, until it has arrived."""
        self.far[index].sendall(octets)
        if octets:
            wait_for_bytes(self.near[index], len(octets))


@contextmanager
def members(framing: ModuleType, count: int, **buffers: int) -> Iterator[Members]:
    with tcp_pairs(count, **buffers) as pairs:
        yield Members(framing, pairs)


def command(id_: int, payload: bytes = b"") -> bytes:
    return Command(id_, 0, 0, 0, 0, payload).encode()


# Receiving.


def test_each_ones_bytes_go_under_its_ticket(framing):
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


def test_who_is_not_direct_is_left_to_others(framing):
    with members(framing, 3) as m:
        for i in range(3):
            m.send(i, command(i))
        m.links.modes[m.fds[1]] = WRITE_DIRECT
        masks = READABLE | WRITABLE, READABLE | WRITABLE, WRITABLE
        assert m.receive(*masks) == ([], [(0, WRITABLE), (1, READABLE | WRITABLE), (2, WRITABLE)], 3)
        assert [entry[0] for entry in m.batch.entries()[0]] == [10]


def test_a_partial_frame_comes_back(framing):
    with members(framing, 2) as m:
        octets = command(1) + command(2, b"xyz")
        m.send(0, octets[:-2])
        m.send(1, octets[:2])
        events, _, _ = m.receive(READABLE, READABLE)
        assert events == [(0, octets[19:-2]), (1, octets[:2])]
        assert len(m.batch) == 1


def test_a_breach_takes_all_that_came(framing):
    with members(framing, 2) as m:
        m.send(0, command(1) + bytes(4) + command(2))
        m.send(1, command(3))
        events, _, _ = m.receive(READABLE | HUNG_UP, READABLE)
        assert [(who, what[:2]) for who, what in events] == [(0, ("breach", 1))]
        assert [entry[1] for entry in m.batch.entries()[0]] == [1, 3]


def test_the_budget_of_one(framing):
    with members(framing, 2) as m:
        octets = b"".join(command(i) for i in range(10))
        m.send(0, octets)
        m.send(1, command(99))
        events, _, dealt = m.receive(READABLE, READABLE, read_budget=50)
        assert (events, dealt) == ([(0, octets[38:50])], 2)
        assert [entry[1] for entry in m.batch.entries()[0]] == [0, 1, 99]


def test_the_budget_holds_for_who_hung_up_too(framing):
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
    """What is whole is taken, the rest comes back; the end of the stream with it, or when that is read again."""
    with members(framing, 1) as m:
        m.send(0, command(1) + b"\0\0")
        m.far[0].close()
        wait_for(m.near[0], select.POLLRDHUP)
        events, _, _ = m.receive(READABLE | HUNG_UP)
        assert events in ([(0, b"\0\0")], [(0, b"\0\0"), (0, 0)])
        assert m.receive(READABLE | HUNG_UP)[0] == [(0, 0)]
        assert len(m.batch) == 1


def test_bytes_before_a_reset_count(framing):
    with members(framing, 2) as m:
        m.send(0, command(1) + command(2))
        reset(m.far[0])
        wait_for(m.near[0], select.POLLERR | select.POLLHUP)
        m.send(1, command(3))
        assert m.receive(READABLE | HUNG_UP, READABLE) == ([(0, errno.ECONNRESET)], [], 2)
        assert [entry[1] for entry in m.batch.entries()[0]] == [1, 2, 3]


def test_nothing_there_is_nothing(framing):
    with members(framing, 1) as m:
        assert m.receive(READABLE) == ([], [], 1)
        assert m.receive() == ([], [], 0)
        assert m.links.heard[m.fds[0]] == 1.0


def test_behind_leave_nothing_is_read(framing):
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
        for i, stream in enumerate(sent):
            m.send(i, stream)
            more_commands, more_results, events, taken = expected_feed(stream, 40)
            commands += [(10 + i, *entry[1:]) for entry in more_commands]
            results += [(10 + i, *entry[1:]) for entry in more_results]
            expected_events += [(i, event) for event in events]
            if taken < len(stream):
                expected_events.append((i, stream[taken:]))
        assert m.receive(*[READABLE] * len(sent)) == (expected_events, [], len(sent))
        assert m.batch.entries() == (commands, results)


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


def test_two_servers_in_one_process_do_not_mix():
    """`recv_into` lets other threads run. (The compiled twin reads each batch into its own memory.)"""
    batches = [pure.Batch(100), pure.Batch(100)]
    links = [Links(), Links()]
    links[1].open(0, Interrupted(command(2, b"other"), lambda: None), 0.0)
    links[0].open(0, Interrupted(command(1, b"first"), lambda: receive(1)), 0.0)

    def receive(server: int) -> None:
        links[server].modes[0] = READ_DIRECT
        links[server].tickets[0] = server + 1
        pure.receive(batches[server], [(0, READABLE)], links[server], 1.0, 4096, 4096)

    receive(0)
    assert [batch.entries()[0] for batch in batches] == [
        [(1, 1, 0, 0, 0, 0, b"first")],
        [(2, 2, 0, 0, 0, 0, b"other")],
    ]


# Sending: as a call for each, and, by the extension, through a ring.


Sender = tuple[ModuleType, bool]


@pytest.fixture(scope="session", params=[False, True], ids=["calls", "ring"])
def sender(request: pytest.FixtureRequest, framing: ModuleType) -> Sender:
    return framing, request.param


@contextmanager
def flushers(sender: Sender, count: int, **buffers: int) -> Iterator[Members]:
    framing, ring = sender
    with tcp_pairs(count, **buffers) as pairs:
        made = Members(framing, pairs, ring)
        try:
            yield made
        finally:
            made.ring.close()


@given(laid=laid_turns(6))
def test_everybody_gets_what_is_theirs(sender, laid):
    with flushers(sender, laid.members) as m:
        assert m.flush(laid) == []
        for rank, far in enumerate(m.far):
            expected = laid.expected(rank)
            assert read(far, len(expected)) == expected
            assert nothing_to_read(far)


@given(laid=laid_turns(6), queued=st.sets(st.integers(0, 5)))
def test_who_has_a_queue_is_passed_over(sender, laid, queued):
    with flushers(sender, laid.members) as m:
        for rank in queued:
            if rank < laid.members:
                m.links.modes[m.fds[rank]] = READ_DIRECT
        owed = [rank for rank in range(laid.members) if laid.expected(rank)]
        assert m.flush(laid) == [(rank, 0, 0) for rank in owed if rank in queued]
        for rank, far in enumerate(m.far):
            expected = laid.expected(rank) if rank not in queued else b""
            assert read(far, len(expected)) == expected
            assert nothing_to_read(far)


BIG = bytes(range(256)) * 16_384  # 4 MiB
BIG_TURNS = {
    "shared": Laid(4, [(0, None, BIG)], [], {}),
    "directed": Laid(4, [(0, None, b"a"), (0, 1, BIG), (0, 2, BIG), (0, 3, BIG), (0, None, b"b")], [], {}),
    "departure": Laid(4, [(0, None, BIG)], [0], {}),
    "answers": Laid(4, [], [], dict.fromkeys(range(1, 4), BIG)),
}


@pytest.mark.parametrize("name", BIG_TURNS)
def test_a_short_write_tells_how_much_went_out(sender, name):
    laid = BIG_TURNS[name]
    with flushers(sender, 4, send_buffer=8192, receive_buffer=8192) as m:
        behind = m.flush(laid)
        assert [rank for rank, _, _ in behind] == [1, 2, 3]
        for rank, sent, error in behind:
            assert error == 0
            assert 0 < sent < len(BIG)
            assert read(m.far[rank], sent) == laid.expected(rank)[:sent]
            assert nothing_to_read(m.far[rank])


def test_no_room_at_all(sender):
    with flushers(sender, 2, send_buffer=8192, receive_buffer=8192) as m:
        filled = []
        while not filled or filled[-1]:
            ((rank, sent, error),) = m.flush(Laid(2, [(0, None, BIG)], [], {}))
            assert (rank, error) == (1, 0)
            filled.append(sent)
        for sent in filled:
            assert read(m.far[1], sent) == BIG[:sent]
        assert m.flush(Laid(2, [(0, None, b"x")], [], {})) == []
        assert read(m.far[1], 1) == b"x"


@pytest.mark.parametrize(
    "laid",
    [
        Laid(4, [(0, None, b"for all")], [], {}),
        Laid(4, [(0, 1, b"1"), (0, 2, b"2"), (0, 3, b"3")], [], {}),
        Laid(4, [(0, None, b"for all")], [0], dict.fromkeys(range(4), b"own")),
    ],
    ids=["shared", "directed", "everything"],
)
def test_a_reset_in_mid_fan_out_is_that_ones_alone(sender, laid):
    with flushers(sender, 4) as m:
        reset(m.far[2])
        wait_for(m.near[2], select.POLLERR | select.POLLHUP)
        assert m.flush(laid) == [(2, 0, errno.ECONNRESET)]
        assert m.flush(laid) == [(2, 0, errno.EPIPE)]
        for rank in (0, 1, 3):
            expected = laid.expected(rank) * 2
            assert read(m.far[rank], len(expected)) == expected
            assert nothing_to_read(m.far[rank])


def test_who_departed_still_gets_its_commands(sender):
    laid = Laid(3, [(0, None, b"last"), (1, None, b"words")], [0, 2], {2: b"answer"})
    with flushers(sender, 3) as m:
        assert m.flush(laid) == []
        assert nothing_to_read(m.far[0])
        assert read(m.far[1], 26) == b"last" + laid.rank_frame(1)
        assert read(m.far[2], 15) == b"lastwordsanswer"


def test_nothing_stays_locked(sender):
    """The turn's buffer may grow again, or be kept, once all is sent."""
    laid = Laid(2, [(0, None, b"x"), (0, 1, b"y")], [], {})
    with flushers(sender, 2) as m:
        deliveries, peers = laid.deliveries(), array("i", m.fds)
        assert sender[0].flush(deliveries, laid.tickets, peers, {}, m.links, m.ring) == []
        deliveries.executes += b"more"
        deliveries.executes.clear()
        m.links.modes.extend(bytes(1000))


def test_breaches_are_the_same_class(framing):
    _, (breach,) = framing.Batch(1).feed(1, bytes(4))
    assert type(breach) is ProtocolViolation


# The ring.


def rings() -> list[int]:
    """The descriptors of this process that are rings."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            if "io_uring" in os.readlink(f"/proc/self/fd/{name}"):
                found.append(int(name))
    return found


def rings_are_to_be_had() -> bool:
    """Whether the kernel gives us one: io_uring_setup with SINGLE_ISSUER and DEFER_TASKRUN."""
    libc = ctypes.CDLL(None, use_errno=True)
    parameters = (ctypes.c_uint32 * 30)()
    parameters[2] = 1 << 12 | 1 << 13
    fd = libc.syscall(425, 8, parameters)
    if fd >= 0:
        os.close(fd)
    return bool(fd >= 0)


ALL = Laid(4, [(0, None, b"for all")], [], {})


def test_a_ring_is_opened_where_there_is_one(framing):
    expected = framing is not pure and sys.platform == "linux" and rings_are_to_be_had()
    with flushers((framing, True), 4) as m:
        assert not m.ring.open
        assert m.flush(ALL) == []
        assert m.ring.open == expected == bool(rings())
        m.ring.close()
        assert not m.ring.open
        assert rings() == []
        assert m.flush(ALL) == []
        assert rings() == []
        assert [read(far, 14) for far in m.far[1:]] == [b"for all" * 2] * 3


def test_who_does_not_want_a_ring_has_none(framing):
    with flushers((framing, False), 4) as m:
        m.flush(ALL)
        assert not m.ring.open
        assert rings() == []


def test_a_small_room_needs_none(framing):
    with flushers((framing, True), 4) as m:
        m.ring = framing.Ring(True, 5)
        m.flush(ALL)
        assert not m.ring.open


def test_more_than_a_ring_holds(sender):
    """With a peer that is broken, one that is full, and one that has a queue, in each round of it."""
    count = 2100
    laid = Laid(count, [(0, None, b"x" * 3000), (0, 7, b"for 7"), (1, None, b"y" * 3000)], [0], {20: b"own"})
    with flushers(sender, 3) as m:
        broken, good, full = m.near
        full.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        while select.select([], [full], [], 0.1)[1]:  # until the far end takes nothing more
            with suppress(BlockingIOError):
                while full.send(bytes(1000)):
                    pass
        reset(m.far[0])
        wait_for(broken, select.POLLERR | select.POLLHUP)
        broken.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        peers = array("i", [good.fileno()] * count)
        odd = {5: broken, 6: full, 1030: full, 1031: broken, 2050: broken, 2060: full}
        for rank, sock in odd.items():
            peers[rank] = sock.fileno()
        good.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 << 20)
        m.far[1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
        received = bytearray()
        reading = threading.Thread(target=lambda: received.extend(read(m.far[1], total)))
        expected = b"".join(laid.expected(rank) for rank in range(count) if rank not in odd)
        total = len(expected)
        reading.start()
        deliveries = laid.deliveries()
        behind = m.framing.flush(deliveries, laid.tickets, peers, laid.tails, m.links, m.ring)
        good.shutdown(socket.SHUT_WR)
        reading.join()
        assert [b for b in behind if b[0] in odd] == [
            (rank, 0, errno.EPIPE if sock is broken else 0) for rank, sock in sorted(odd.items())
        ]
        assert behind == sorted(behind)
        missing = {rank: sent for rank, sent, _ in behind if rank not in odd}
        for rank, sent in missing.items():
            assert 0 <= sent < len(laid.expected(rank))
        owed = [laid.expected(rank)[: missing.get(rank)] for rank in range(count) if rank not in odd]
        assert bytes(received) == b"".join(owed)


def test_a_ring_of_another_thread_is_given_up(framing):
    with flushers((framing, True), 4) as m:
        other = threading.Thread(target=m.flush, args=(ALL,))
        other.start()
        other.join()
        assert m.flush(ALL) == []
        assert not m.ring.open
        assert [read(far, 14) for far in m.far[1:]] == [b"for all" * 2] * 3
        assert all(nothing_to_read(far) for far in m.far)


def test_a_ring_that_breaks_is_given_up(framing):
    with flushers((framing, True), 4) as m:
        m.flush(ALL)
        with Path("/dev/null").open("rb") as nothing:
            for fd in rings():
                os.dup2(nothing.fileno(), fd)
            assert m.flush(ALL) == []
        assert not m.ring.open
        assert [read(far, 14) for far in m.far[1:]] == [b"for all" * 2] * 3
