"""Ten thousand members over real sockets."""

from __future__ import annotations

import resource
import select
import socket
import struct
import time
from typing import TYPE_CHECKING

import pytest

from .frames import (
    Accepted,
    Cause,
    Code,
    Command,
    Done,
    Execute,
    Frame,
    Hello,
    Members,
    Ping,
    Pong,
    Rank,
    Result,
    Routed,
    Seat,
    Status,
    Welcome,
    Who,
    decode,
    encode,
)
from .process import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

SEATS = 10_000
BATCH = 100  # connections that are opened before their WELCOMEs are read
DEADLINE_S = 20.0
PROMPT_S = 2.0  # within which every member must know its new rank

pytestmark = pytest.mark.slow


class Member:
    """One of the crowd: a socket, the frames received, and the rank taken from them."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = bytearray()
        self.wires: list[bytes] = []
        self.rank = -1

    def take(self) -> list[Frame]:
        """All frames since the last call, checked."""
        frames = [decode(wire) for wire in self.wires]
        self.wires.clear()
        return frames

    def take_one(self) -> Frame:
        """The only frame since the last call."""
        frames = self.take()
        assert len(frames) == 1, f"rank {self.rank}: {frames[:5]}"
        return frames[0]


class Crowd:
    """Many members in one process, read with epoll; `line` is in the order of their ranks."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.line: list[Member] = []
        self._by_fd: dict[int, Member] = {}
        self._epoll = select.epoll()

    def join(self, count: int) -> None:
        """`count` more members."""
        hello = encode(Hello())
        for start in range(0, count, BATCH):
            batch = [self._connect(hello) for _ in range(min(BATCH, count - start))]
            self.receive(batch, 1)
            for member in batch:
                welcome = member.take_one()
                assert isinstance(welcome, Welcome), welcome
                member.rank = welcome.rank
            # a HELLO that arrived after its connection was accepted may belong to a later turn
            self.line += sorted(batch, key=lambda member: member.rank)
        assert [member.rank for member in self.line] == list(range(len(self.line)))

    def receive(self, members: list[Member], count: int, seconds: float = DEADLINE_S) -> float:
        """Read until each of `members` has `count` frames; the seconds it took."""
        began = time.monotonic()
        missing = {member for member in members if len(member.wires) < count}
        while missing:
            left = began + seconds - time.monotonic()
            assert left > 0, f"{len(missing)} of {len(members)} wait for a frame"
            for fd, _ in self._epoll.poll(left, 1024):
                member = self._by_fd[fd]
                self._read(member)
                if len(member.wires) >= count:
                    missing.discard(member)
        return time.monotonic() - began

    def settle(self, members: list[Member]) -> list[list[Frame]]:
        """The frames of each member up to the PONG for a PING sent now."""
        mark = encode(Pong(b"settled"))
        for member in members:
            member.sock.sendall(encode(Ping(b"settled")))
        began = time.monotonic()
        missing = set(members)
        while missing:
            left = began + DEADLINE_S - time.monotonic()
            assert left > 0, f"{len(missing)} of {len(members)} wait for a PONG"
            for fd, _ in self._epoll.poll(left, 1024):
                member = self._by_fd[fd]
                self._read(member)
                if member.wires and member.wires[-1] == mark:
                    missing.discard(member)
        return [member.take()[:-1] for member in members]

    def drop(self, member: Member) -> None:
        """Close the connection of one member."""
        self._epoll.unregister(member.sock)
        del self._by_fd[member.sock.fileno()]
        member.sock.close()

    def close(self) -> None:
        """Close all."""
        for member in self._by_fd.values():
            member.sock.close()
        self._epoll.close()

    def _connect(self, hello: bytes) -> Member:
        sock = socket.create_connection((self.server.host, self.server.port), timeout=DEADLINE_S)
        member = Member(sock)
        self._by_fd[sock.fileno()] = member
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(hello)
        self._epoll.register(sock, select.EPOLLIN)
        return member

    def _read(self, member: Member) -> None:
        chunk = member.sock.recv(1 << 18)
        assert chunk, f"the connection of rank {member.rank} was closed"
        member.buffer += chunk
        while len(member.buffer) >= 4:
            (length,) = struct.unpack_from(">I", member.buffer)
            if len(member.buffer) < 4 + length:
                break
            member.wires.append(bytes(member.buffer[: 4 + length]))
            del member.buffer[: 4 + length]


@pytest.fixture(scope="module")
def crowd(twin: str) -> Iterator[Crowd]:
    """A server with all its seats taken; each test leaves a line without gaps."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = Server(SEATS, "--ping-ms", "120000", extension=twin == "extension")
    people = Crowd(server)
    try:
        people.join(SEATS)
        yield people
        server.check()
    finally:
        people.close()
        server.stop()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def full(crowd: Crowd) -> Crowd:
    """The crowd with every seat taken."""
    crowd.join(SEATS - len(crowd.line))
    return crowd


def test_every_member_has_a_rank(full: Crowd) -> None:
    assert [member.rank for member in full.line] == list(range(SEATS))
    assert not any(full.settle(full.line)), "a join was told to someone"


def test_one_more_member_finds_no_seat(full: Crowd) -> None:
    late = full.server.connect()
    late.send(Hello())
    late.expect_error(Code.FULL)
    assert not any(full.settle(full.line[:100] + full.line[-100:]))


def test_a_command_of_rank_0_reaches_all_the_others(full: Crowd) -> None:
    head, *juniors = full.line
    head.sock.sendall(encode(Command(1, payload=b"to all of you")))
    full.receive(juniors, 1)
    wires = {wire for member in juniors for wire in member.wires}
    assert len(wires) == 1, "an EXECUTE's bytes are the same for every receiver"
    execute = decode(wires.pop())
    assert isinstance(execute, Execute)
    assert (execute.sender_rank, execute.payload) == (0, b"to all of you")
    full.receive([head], 1)
    assert head.take_one() == Accepted(1, execute.seq, SEATS - 1, 0)
    for member in juniors:
        member.take_one()


def test_all_the_others_answer(full: Crowd) -> None:
    head, *juniors = full.line
    head.sock.sendall(encode(Command(2, flags=3)))
    full.receive(juniors, 1)
    for member in juniors:
        execute = member.take_one()
        assert isinstance(execute, Execute)
        member.sock.sendall(encode(Result(execute.seq, Status.OK, b"%d" % member.rank)))
    full.receive([head], SEATS)
    *routed, done = head.take()
    assert done == Done(2, ok=SEATS - 1)
    ends = {frame.rank: frame.payload for frame in routed if isinstance(frame, Routed)}
    assert ends == {rank: b"%d" % rank for rank in range(1, SEATS)}


def test_who_walks_through_all(full: Crowd) -> None:
    seats: list[Seat] = []
    asker = full.line[SEATS // 2]
    while len(seats) < SEATS:
        asker.sock.sendall(encode(Who(3, len(seats), SEATS)))
        full.receive([asker], 1)
        page = asker.take_one()
        assert isinstance(page, Members)
        assert page.total == SEATS
        assert page.seats
        seats += page.seats
    assert [seat.rank for seat in seats] == list(range(SEATS))
    assert len({seat.ticket for seat in seats}) == SEATS
    own = "{}:{}".format(*asker.sock.getsockname())
    assert seats[asker.rank].address == own


def test_when_rank_0_departs_all_get_their_new_rank(full: Crowd) -> None:
    head, *others = full.line
    began = time.monotonic()
    full.drop(head)
    full.line = others
    full.receive(others, 1)
    assert time.monotonic() - began < PROMPT_S
    seqs = set()
    for rank, member in enumerate(others):
        frame = member.take_one()
        assert isinstance(frame, Rank)
        assert (frame.rank, frame.members, frame.cause) == (rank, SEATS - 1, Cause.LEFT)
        seqs.add(frame.seq)
        member.rank = rank
    assert len(seqs) == 1
    assert not any(full.settle(others)), "more than one RANK"


def test_when_half_vanish_the_rest_get_one_rank_frame(full: Crowd) -> None:
    """5,000 departures in one turn; the 100 most senior members stay and receive nothing."""
    gone = [member for member in full.line[100:] if member.rank * 7 % 99 < 50][:5000]
    going = set(gone)
    stay = [member for member in full.line if member not in going]
    assert len(gone) == SEATS // 2
    moved = stay[100:]
    with full.server.one_turn():
        for member in gone:
            full.drop(member)
    full.line = stay
    began = time.monotonic()
    full.receive(moved, 1)
    assert time.monotonic() - began < PROMPT_S
    frames = full.settle(stay)
    assert not any(frames[:100]), "told to one whose rank did not change"
    seqs = set()
    for rank, (member, heard) in enumerate(zip(stay, frames, strict=True)):
        if rank != member.rank:
            assert len(heard) == 1, f"rank {member.rank} heard {heard[:5]}"
            (frame,) = heard
            assert isinstance(frame, Rank)
            assert (frame.rank, frame.members, frame.cause) == (rank, SEATS // 2, Cause.LEFT)
            seqs.add(frame.seq)
        else:
            assert not heard
        member.rank = rank
    assert len(seqs) == 1
