"""`flush` of both twins over real sockets, by system calls and, in the extension, a ring: short writes, resets."""

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

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.server.sockets.descriptors import READ_DIRECT, WRITE_DIRECT

from ...support.laid import Laid, laid_turns
from ...support.linked import Members
from ...support.sockets import nothing_to_read, read, reset, tcp_pairs, wait_for
from ...support.twins import PURE

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
def test_each_member_gets_its_frames(sender, laid):
    with flushers(sender, laid.members) as m:
        assert m.flush(laid) == []
        for rank, far in enumerate(m.far):
            expected = laid.expected(rank)
            assert read(far, len(expected)) == expected
            assert nothing_to_read(far)


@given(laid=laid_turns(6), queued=st.sets(st.integers(0, 5)))
def test_a_peer_with_a_queue_is_skipped(sender, laid, queued):
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
    "changes": Laid(4, [(0, None, b"all")], [0], {1: b"own"}, [(2, b"stop")], [BIG], {1, 2, 3}),
}


@pytest.mark.parametrize("name", BIG_TURNS)
def test_a_short_write_returns_the_bytes_sent(sender, name):
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
        Laid(4, [(0, None, b"for all")], [0], {}, [], [b"changed"], range(4)),
        Laid(4, [(0, None, b"for all")], [0], {2: b"own"}, [(2, b"stop")], [b"change", b"d"], [0, 2]),
    ],
    ids=["shared", "directed", "everything", "watched", "watched by some"],
)
def test_a_reset_in_mid_fan_out_affects_only_that_peer(sender, laid):
    with flushers(sender, 4) as m:
        reset(m.far[2])
        wait_for(m.near[2], select.POLLERR | select.POLLHUP)
        assert m.flush(laid) == [(2, 0, errno.ECONNRESET)]
        assert m.flush(laid) == [(2, 0, errno.EPIPE)]
        for rank in (0, 1, 3):
            expected = laid.expected(rank) * 2
            assert read(m.far[rank], len(expected)) == expected
            assert nothing_to_read(m.far[rank])


def test_a_departed_member_still_gets_its_commands(sender):
    laid = Laid(3, [(0, None, b"last"), (1, None, b"words")], [0, 2], {2: b"answer"})
    with flushers(sender, 3) as m:
        assert m.flush(laid) == []
        assert nothing_to_read(m.far[0])
        assert read(m.far[1], 26) == b"last" + laid.rank_frame(1)
        assert read(m.far[2], 15) == b"lastwordsanswer"


def test_members_on_other_servers_are_skipped(sender):
    """A handle of -1 is not a descriptor, nor the last entry of a table."""
    laid = Laid(4, [(0, None, b"all"), (0, 2, b"one"), (0, 3, b"two")], [], {2: b"answer"})
    with flushers(sender, 4) as m:
        handles = array("i", m.fds)
        handles[1] = handles[2] = -1
        m.links.modes[len(m.links.modes) - 1] = WRITE_DIRECT
        assert sender[0].flush(laid.deliveries(), laid.tickets, handles, m.links, m.ring) == []
        assert read(m.far[3], 6) == b"alltwo"
        assert nothing_to_read(m.far[1])
        assert nothing_to_read(m.far[2])


def test_a_watcher_gets_changed_after_its_rank(sender):
    """Other members get no CHANGED; the prefix of the last sender ends before it."""
    laid = Laid(
        4, [(0, None, b"first"), (2, None, b"last")], [1], {3: b"answer"}, [], [b"changed", b"again"], [0, 3]
    )
    with flushers(sender, 4) as m:
        assert m.flush(laid) == []
        assert read(m.far[0], 12) == b"changedagain"
        assert read(m.far[1], 5) == b"first"
        assert read(m.far[2], 27) == b"first" + laid.rank_frame(2)
        assert read(m.far[3], 49) == b"firstlast" + laid.rank_frame(3) + b"changedagainanswer"
        assert all(nothing_to_read(far) for far in m.far)


def test_nothing_stays_locked(sender):
    """The turn's buffer may grow again, or be kept, after everything is sent."""
    laid = Laid(2, [(0, None, b"x"), (0, 1, b"y")], [], {})
    with flushers(sender, 2) as m:
        deliveries, handles = laid.deliveries(), array("i", m.fds)
        assert sender[0].flush(deliveries, laid.tickets, handles, m.links, m.ring) == []
        deliveries.executes += b"more"
        deliveries.executes.clear()
        m.links.modes.extend(bytes(1000))


# The ring.


def rings() -> list[int]:
    """The descriptors of this process that are rings."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            if "io_uring" in os.readlink(f"/proc/self/fd/{name}"):
                found.append(int(name))
    return found


def has_io_uring() -> bool:
    """Whether the kernel provides a ring: io_uring_setup with SINGLE_ISSUER and DEFER_TASKRUN."""
    libc = ctypes.CDLL(None, use_errno=True)
    parameters = (ctypes.c_uint32 * 30)()
    parameters[2] = 1 << 12 | 1 << 13
    fd = libc.syscall(425, 8, parameters)
    if fd >= 0:
        os.close(fd)
    return bool(fd >= 0)


ALL = Laid(4, [(0, None, b"for all")], [], {})


def test_a_ring_is_opened_where_there_is_one(framing):
    expected = framing is not PURE and sys.platform == "linux" and has_io_uring()
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


def test_no_ring_where_it_is_turned_off(framing):
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
    """Each round has a broken peer, one whose socket is full, and one that has a queue."""
    count = 2100
    laid = Laid(count, [(0, None, b"x" * 3000), (0, 7, b"for 7"), (1, None, b"y" * 3000)], [0], {20: b"own"})
    with flushers(sender, 3) as m:
        broken, good, full = m.near
        full.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        while select.select([], [full], [], 0.1)[1]:  # until the far end accepts no more bytes
            with suppress(BlockingIOError):
                while full.send(bytes(1000)):
                    pass
        reset(m.far[0])
        wait_for(broken, select.POLLERR | select.POLLHUP)
        broken.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        handles = array("i", [good.fileno()] * count)
        odd = {5: broken, 6: full, 1030: full, 1031: broken, 2050: broken, 2060: full}
        for rank, sock in odd.items():
            handles[rank] = sock.fileno()
        good.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 << 20)
        m.far[1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
        received = bytearray()
        reading = threading.Thread(target=lambda: received.extend(read(m.far[1], total)))
        expected = b"".join(laid.expected(rank) for rank in range(count) if rank not in odd)
        total = len(expected)
        reading.start()
        deliveries = laid.deliveries()
        behind = m.framing.flush(deliveries, laid.tickets, handles, m.links, m.ring)
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
