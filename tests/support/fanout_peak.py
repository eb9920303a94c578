"""The peak memory use of delivering one turn, measured in a separate process.

    python -m tests.support.fanout_peak TWIN RING TURN

sends the turn to sockets that take only part of it, queues the rest, and prints by how many bytes the most resident
memory grew meanwhile.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from array import array
from collections.abc import Callable
from pathlib import Path

from rankmux.core.outbox import Outbox
from rankmux.core.room.deliveries import RANK_FRAME_BYTES, Deliveries
from rankmux.server.sockets.descriptors import READ_DIRECT, WRITE_DIRECT, Descriptors

from .twins import TWINS

MEMBERS = 200
PREFIX_BYTES = 13 << 20
PAYLOAD_MAX = 16 << 20


def with_answers() -> Deliveries:
    """Each member sends a command to all its juniors, and receives the frames of its seniors and an ACCEPTED."""
    deliveries = Deliveries()
    deliveries.executes = bytearray(PREFIX_BYTES)
    for rank in range(MEMBERS):
        deliveries.steps.append((rank, PREFIX_BYTES * (rank + 1) // MEMBERS))
        deliveries.answer(deliveries.accepted, rank, bytes(25))
    return deliveries


def with_splices() -> Deliveries:
    """One sender fills the prefix; each of the others gets a frame for it alone in the middle."""
    deliveries = Deliveries()
    deliveries.executes = bytearray(PREFIX_BYTES)
    deliveries.steps = [(0, PREFIX_BYTES)]
    for rank in range(1, MEMBERS):
        deliveries.directed[rank] = [(PREFIX_BYTES // 2, bytes(100))]
    return deliveries


def with_a_departure() -> Deliveries:
    """The sender of the prefix departs: all others move up."""
    deliveries = Deliveries()
    deliveries.executes = bytearray(PREFIX_BYTES)
    deliveries.steps = [(0, PREFIX_BYTES)]
    deliveries.departed = [0]
    deliveries.rank_frames = bytearray(RANK_FRAME_BYTES * (MEMBERS - 1))
    return deliveries


def with_the_largest_payloads() -> Deliveries:
    """A prefix, a directed frame and answers of two kinds, each with the largest possible payload."""
    deliveries = with_splices()
    deliveries.executes = bytearray(PAYLOAD_MAX)
    deliveries.steps = [(0, PAYLOAD_MAX)]
    deliveries.directed = {1: [(0, bytes(PAYLOAD_MAX))]}
    deliveries.routed.update({0: bytearray(PAYLOAD_MAX), 2: bytearray(PAYLOAD_MAX)})
    deliveries.accepted.update({rank: bytearray(25) for rank in range(MEMBERS)})
    return deliveries


TURNS: dict[str, Callable[[], Deliveries]] = {
    "answers": with_answers,
    "splices": with_splices,
    "departure": with_a_departure,
    "largest": with_the_largest_payloads,
}


def growth(twin: str, ring: bool, turn: str) -> int:
    """The number that this module prints as a program."""
    command = [sys.executable, "-m", "tests.support.fanout_peak", twin, str(int(ring)), turn]
    root = Path(__file__).parents[2]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout)


def _peak_bytes() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def _measure(twin: str, ring: str, turn: str) -> int:
    kernel = next(module for module in TWINS if module.__name__ == twin)
    tables = Descriptors()
    pairs = [socket.socketpair() for _ in range(MEMBERS)]
    for near, _ in pairs:
        near.setblocking(False)
        tables.open(near.fileno(), near, 0.0)
        tables.modes[near.fileno()] = READ_DIRECT | WRITE_DIRECT
    handles = array("i", [near.fileno() for near, _ in pairs])
    tickets = array("Q", range(MEMBERS))
    outbox = Outbox(1 << 30, 1 << 30)
    deliveries = TURNS[turn]()
    before = _peak_bytes()
    behind = kernel.flush(deliveries, tickets, handles, tables, kernel.Ring(ring == "1", 0))
    assert len(behind) > MEMBERS // 2
    position = outbox.share(deliveries.executes)
    for rank, sent, error in behind:
        assert not error
        outbox.put(rank, deliveries.pieces(rank, tickets[rank]), position, sent, 0.0)
    return _peak_bytes() - before


if __name__ == "__main__":
    print(_measure(*sys.argv[1:]))
