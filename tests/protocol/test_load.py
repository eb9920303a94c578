"""Ten members at full speed: each sees its subset of one sequence, and no frame is lost or duplicated."""

from __future__ import annotations

import selectors
import struct
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from .frames import QUIET, Accepted, Command, Execute, Refusal, Refused, Target, decode, encode, split

if TYPE_CHECKING:
    from .conftest import Serve
    from .peer import Peer

MEMBERS = 10
COMMANDS = 10_000
DEADLINE_S = 90.0

EXECUTE = struct.Struct(">IBQIBI")
ACCEPTED = struct.Struct(">IBIQIII")


def command(rank: int, number: int) -> Command:
    """All targets in turn, every other command QUIET; the payload names the sender and the number."""
    target = Target(number % 4)
    juniors = MEMBERS - 1 - rank
    arg = rank + 1 + number // 4 % max(1, juniors) if target == Target.ONE else 0
    flags = QUIET if number // 4 % 2 else 0
    return Command(number, target, arg, flags, 0, struct.pack(">HI", rank, number))


def reaches(sent: Command, rank: int) -> range:
    """The ranks of the executors; all loads are 0, so LEAST is NEXT."""
    if sent.target == Target.ALL:
        return range(rank + 1, MEMBERS)
    return range(sent.arg, sent.arg + 1) if sent.target == Target.ONE else range(rank + 1, rank + 2)


class Exchange:
    """Sends each peer's bytes and keeps the frames it receives, until each has the expected number."""

    def __init__(self, peers: list[Peer], streams: list[bytes], frames: list[int]) -> None:
        self.received = [bytearray() for _ in peers]
        self._peers = peers
        self._left = [memoryview(stream) for stream in streams]
        self._wanted = frames
        self._counted_to = [0] * len(peers)

    def run(self) -> None:
        """Send and receive everything."""
        deadline = time.monotonic() + DEADLINE_S
        both = selectors.EVENT_READ | selectors.EVENT_WRITE
        with selectors.DefaultSelector() as selector:
            for number, peer in enumerate(self._peers):
                peer.sock.setblocking(False)
                selector.register(peer.sock, both, number)
            while any(wanted > 0 for wanted in self._wanted):
                assert time.monotonic() < deadline, f"frames still missing: {self._wanted}"
                for key, events in selector.select(1.0):
                    if events & selectors.EVENT_READ:
                        self._receive(key.data)
                    if events & selectors.EVENT_WRITE and not self._send(key.data):
                        selector.modify(key.fileobj, selectors.EVENT_READ, key.data)

    def _send(self, number: int) -> bool:
        left = self._left[number]
        try:
            left = left[self._peers[number].sock.send(left[:65_536]) :]
        except BlockingIOError:
            return True
        self._left[number] = left
        return bool(left)

    def _receive(self, number: int) -> None:
        chunk = self._peers[number].sock.recv(1 << 18)
        assert chunk, f"the connection of rank {number} was closed"
        buffer = self.received[number]
        buffer += chunk
        at = self._counted_to[number]
        while at + 4 <= len(buffer):
            end = at + 4 + int.from_bytes(buffer[at : at + 4], "big")
            if end > len(buffer):
                break
            self._wanted[number] -= 1
            at = end
        self._counted_to[number] = at


@pytest.mark.slow
def test_ten_times_ten_thousand_commands_at_once(serve: Serve) -> None:
    peers = serve(MEMBERS).line(MEMBERS)
    base = peers[-1].joined.seq
    sent = [[command(rank, number) for number in range(COMMANDS)] for rank in range(MEMBERS)]
    expected: list[list[bytes]] = [[] for _ in range(MEMBERS)]
    for rank, commands in enumerate(sent[:-1]):
        for each in commands:
            for executor in reaches(each, rank):
                expected[executor].append(each.payload)
    loud = [[each for each in commands if not each.flags] for commands in sent]
    frames = [len(expected[rank]) + len(loud[rank]) for rank in range(MEMBERS - 1)]
    frames.append(len(expected[-1]) + COMMANDS)

    exchange = Exchange(peers, [b"".join(map(encode, commands)) for commands in sent], frames)
    exchange.run()

    seq_of: dict[bytes, int] = {}
    accepted: list[dict[int, int]] = []
    for rank, peer in enumerate(peers):
        payloads: list[bytes] = []
        answers: dict[int, int] = {}
        refused: list[int] = []
        last = base
        for wire in split(bytes(exchange.received[rank])):
            if wire[4] == Execute.kind:
                _, _, seq, sender, flags, ttl_ms = EXECUTE.unpack_from(wire)
                payload = wire[EXECUTE.size :]
                assert seq > last, f"rank {rank} saw {seq} after {last}"
                assert (flags, ttl_ms) == (0, 0)
                assert sender == int.from_bytes(payload[:2], "big")
                assert seq_of.setdefault(payload, seq) == seq, "one command with two numbers"
                payloads.append(payload)
                last = seq
            elif wire[4] == Accepted.kind:
                _, _, ident, seq, executors, rejected, _ = ACCEPTED.unpack(wire)
                command_sent = sent[rank][ident]
                assert executors == len(reaches(command_sent, rank))
                assert rejected == (rank if command_sent.target == Target.ALL else 0)
                assert ident not in answers
                answers[ident] = seq
            else:
                frame = decode(wire)
                assert isinstance(frame, Refused), frame
                one = sent[rank][frame.id].target == Target.ONE
                assert frame.code == (Refusal.NO_SUCH_RANK if one else Refusal.NO_TARGET)
                refused.append(frame.id)
        assert Counter(payloads) == Counter(expected[rank]), f"rank {rank} lost or doubled a command"
        for sender in range(rank):
            head = struct.pack(">H", sender)
            own = [payload for payload in payloads if payload[:2] == head]
            assert own == sorted(own), f"rank {rank} saw rank {sender}'s commands out of order"
        assert list(answers) == [each.id for each in loud[rank] if rank < MEMBERS - 1]
        assert refused == (list(range(COMMANDS)) if rank == MEMBERS - 1 else [])
        accepted.append(answers)
        peer.expect_quiet()
    for rank, answers in enumerate(accepted):
        for ident, seq in answers.items():
            assert seq_of[sent[rank][ident].payload] == seq
    dispatched = COMMANDS * (MEMBERS - 1)
    assert sorted(seq_of.values()) == list(range(base + 1, base + 1 + dispatched))
