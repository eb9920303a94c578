"""The leak check: `python -m tests.faults.leaks --connections 1000000`.

Batches of connections end in every possible way, drawn from a seed, with commands and results in flight.
Between batches, with one resident member, the server's descriptors and its memory are read: the number of descriptors
must be back at its start, and what is allocated must not grow with the connections, after a warm-up.
Neither must resident bytes (least squares), but these rise for a while in any case: allocators and caches fill up.
"""

from __future__ import annotations

import argparse
import random
import socket
import ssl
import struct
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ..protocol.frames import (
    RESULTS,
    Command,
    Done,
    Execute,
    Hello,
    Leave,
    Ping,
    Pong,
    Refused,
    Result,
    encode,
)
from ..protocol.peer import Peer
from ..support.patience import until
from .allocations import InUse
from .certificates import Certificates
from .rig import BACK_S, Ground, Rig

SEATS = 40
BATCH = 48  # more than there are seats
WARM_UP = 5_000
SAMPLES = 20
LAST_CLOSES = 1000  # the server keeps them
BLOCKS_PER_1000 = 0.5  # a leak of one object for each 1,000 connections breaks it
MALLOC_BYTES_PER_1000 = 96.0  # as 64 bytes that C does not free do, for each 500
RESIDENT_BYTES_PER_1000 = 1024.0  # over a million of them
RESIDENT_GROWTH = 1 << 20  # over fewer
# The C library keeps freed chunks for each thread, and counts them as in use.
EXACT = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
TOKEN = b"the token of the leak check"
FLAGS = ("--ping-ms", "3600000", "--handshake-timeout-s", "20", "--tls-handshake-timeout-s", "20")
HELLO = encode(Hello(token=TOKEN))
LEAVE = encode(Leave())
TO_ALL = encode(Command(1, 0, 0, RESULTS, 0, b"what is under way " * 10))
RESET = struct.pack("ii", 1, 0)
WAYS = {  # the ways to end, in percent of the connections
    "leaves": 30,
    "closes": 20,
    "resets": 15,
    "half-closes": 8,
    "resets at once": 7,
    "is torn off in a frame": 5,
    "breaks the rules": 4,
    "has the wrong token": 4,
    "sends no HELLO": 4,
    "sends half a HELLO": 3,
}
FIRST = {  # the bytes sent on connecting
    "resets at once": HELLO + TO_ALL,
    "has the wrong token": encode(Hello(token=b"a guess")),
    "breaks the rules": HELLO + bytes(4),
    "sends no HELLO": b"",
    "sends half a HELLO": HELLO[:9],
}


@dataclass(frozen=True)
class Memory:
    in_use: InUse
    resident: int  # bytes


@dataclass
class Figures:
    """The measurement: `samples` are (connections so far, memory); `went` counts connections by end."""

    connections: int = 0
    seconds: float = 0.0
    descriptors: int = 0
    samples: list[tuple[int, Memory]] = field(default_factory=list)
    went: Counter[str] = field(default_factory=Counter)
    done: int = 0
    closes: dict[str, int] = field(default_factory=dict)

    @property
    def blocks(self) -> float:
        """How many blocks of Python's allocator 1,000 connections add."""
        return rise([(count, memory.in_use.blocks) for count, memory in self.samples]) * 1000

    @property
    def malloc_bytes(self) -> float:
        """How many bytes of the C library's allocator they add."""
        return rise([(count, memory.in_use.malloc_bytes) for count, memory in self.samples]) * 1000

    @property
    def resident(self) -> float:
        """How many resident bytes they add."""
        return slope([(count, memory.resident) for count, memory in self.samples]) * 1000

    @property
    def growth(self) -> int:
        """Resident bytes at the end more than after the warm-up."""
        return self.samples[-1][1].resident - self.samples[0][1].resident

    def __str__(self) -> str:
        first, last = self.samples[0][1].resident, self.samples[-1][1].resident
        return (
            f"{self.connections} connections in {self.seconds:.0f} s, {self.done} commands settled; "
            f"descriptors {self.descriptors:+d}; per 1,000: {self.blocks:+.2f} blocks, {self.malloc_bytes:+.0f} bytes "
            f"of malloc, {self.resident:+.0f} resident bytes; {first >> 10} KiB resident after the warm-up, "
            f"{last >> 10} at the end\ncloses: {self.closes}"
        )


def slope(samples: list[tuple[int, int]]) -> float:
    """The slope of the least-squares line through (x, y)."""
    middle_x = sum(x for x, _ in samples) / len(samples)
    middle_y = sum(y for _, y in samples) / len(samples)
    spread = sum((x - middle_x) ** 2 for x, _ in samples)
    return sum((x - middle_x) * (y - middle_y) for x, y in samples) / spread


def rise(samples: list[tuple[int, int]]) -> float:
    """By how much the least y of each third exceeds that of the third before, for each x: the smaller of the two.

    A dict is larger at times, depending on the latest batches, and a table that a crowd has filled stays
    larger; a leak is never returned, and grows.
    """
    third = len(samples) // 3
    parts = [samples[:third], samples[third : 2 * third], samples[2 * third :]]
    least = [min(y for _, y in part) for part in parts]
    return min((least[i + 1] - least[i]) / (parts[i + 1][0][0] - parts[i][0][0]) for i in range(2))


def resident(pid: int) -> int:
    """Resident bytes, counted page by page: /proc/PID/statm lacks the counts that each CPU has not merged yet."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no Rss in smaps_rollup")


class Crowd:
    """Opens and ends batches of connections to `server`; a resident of rank 0 stays and sends them commands."""

    def __init__(self, server: Rig, seed: int) -> None:
        self.went: Counter[str] = Counter()
        self.done = 0
        self._server = server
        self._draw = random.Random(seed)
        self._context = self._client_context(server)
        self._resident: Peer = server.join("resident")
        self._ids = 0

    def batch(self) -> int:
        """Run one batch until all of its connections have ended; returns their number."""
        ways = self._draw.choices(list(WAYS), list(WAYS.values()), k=BATCH)
        here = [(way, self._connect(FIRST.get(way, HELLO))) for way in ways]
        members = [(way, sock) for way, sock in here if way not in FIRST and _kind(sock) == 0x81]
        seated = {sock for _, sock in members}
        self._ids += 1
        self._resident.command(self._ids, payload=bytes(100), results=True)
        for number, (_, sock) in enumerate(members):
            if number % 3:
                sock.sendall(TO_ALL)  # some await results when juniors leave, some leave before it is read
            if number % 4 == 0:
                _answer(sock)
        for way, sock in here:
            if sock in seated or way in FIRST:
                self._go(way, sock)
            else:
                self.went["finds no seat"] += 1
                sock.close()
        self._settle()
        return len(here)

    def alike(self, count: int) -> None:
        """`count` connections that end alike, one after the other.

        The server's list of last closes then has the same size in each sample: the size of an entry depends on its
        reason, and on the turn that it shares with others.
        """
        for _ in range(count):
            with socket.create_connection((self._server.host, self._server.port), 20) as sock:
                sock.shutdown(socket.SHUT_WR)
                _read_out(sock)

    def _connect(self, first: bytes) -> socket.socket:
        sock = socket.create_connection((self._server.host, self._server.port), 20)
        if self._context is not None:
            sock = self._context.wrap_socket(sock, server_hostname="localhost")
        if first:
            sock.sendall(first)
        return sock

    def _go(self, way: str, sock: socket.socket) -> None:
        self.went[way] += 1
        match way:
            case "leaves":
                sock.sendall(LEAVE)
                if self._draw.random() < 0.5:
                    _read_out(sock)
            case "half-closes":
                if not isinstance(sock, ssl.SSLSocket):  # whose shutdown would cut the TLS off
                    sock.shutdown(socket.SHUT_WR)
                    _read_out(sock)
            case "is torn off in a frame":
                sock.sendall(TO_ALL[:-3])
            case "resets" | "resets at once":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            case "breaks the rules" | "has the wrong token":
                _read_out(sock)
        sock.close()

    def _settle(self) -> None:
        """Wait until the resident's command is done, whatever the outcome of its executors."""
        while True:
            frame = self._resident.recv(20)
            if isinstance(frame, Done | Refused) and frame.id == self._ids:
                self.done += isinstance(frame, Done)
                return

    @staticmethod
    def _client_context(server: Rig) -> ssl.SSLContext | None:
        if server.ground.transport == "plain":
            return None
        assert server.certificates is not None
        mtls = server.ground.transport == "mtls"
        return server.certificates.client_context(server.certificates.client if mtls else None)


def _kind(sock: socket.socket) -> int:
    """Read the first frame; returns its type."""
    head = _exactly(sock, 5)
    _exactly(sock, int.from_bytes(head[:4], "big") - 1)
    return head[4]


def _exactly(sock: socket.socket, size: int) -> bytes:
    octets = b""
    while len(octets) < size:
        more = sock.recv(size - len(octets))
        assert more, "the server ended a connection that it should not have"
        octets += more
    return octets


def _answer(sock: socket.socket) -> None:
    """Skip to the next command, and answer it."""
    while True:
        head = _exactly(sock, 5)
        body = _exactly(sock, int.from_bytes(head[:4], "big") - 1)
        if head[4] == Execute.kind:
            sock.sendall(encode(Result(int.from_bytes(body[:8], "big"), 0, b"done")))
            return
        if head[4] == Ping.kind:
            sock.sendall(encode(Pong(body)))


def _read_out(sock: socket.socket) -> None:
    try:
        while sock.recv(65_536):
            pass
    except ConnectionResetError:
        pass


def check(
    connections: int,
    seed: int = 1,
    *,
    transport: str = "plain",
    certificates: Certificates | None = None,
    warm_up: int = WARM_UP,
    long: bool = False,
) -> Figures:
    """Run the check. Raises AssertionError on a leak, or when U1, U2, U4, U5 or U6 does not hold.

    The `long` one prints its progress, and judges the slope of resident bytes; the short one their growth.
    """
    server = Rig(
        SEATS,
        *FLAGS,
        ground=Ground(transport),
        certificates=certificates,
        extra={"RANKMUX_TOKEN": TOKEN.decode(), **EXACT},
        token=TOKEN,
        module="tests.faults.allocations",
    )
    try:
        figures = _measure(server, Crowd(server, seed), connections, warm_up, long)
        server.finish_keeping_the_log()
        figures.closes = server.closes()
    finally:
        server.finish()
    assert figures.descriptors == 0, figures
    assert figures.blocks < BLOCKS_PER_1000, f"{figures}\n{figures.samples}"
    assert figures.malloc_bytes < MALLOC_BYTES_PER_1000, f"{figures}\n{figures.samples}"
    if long:
        assert figures.resident < RESIDENT_BYTES_PER_1000, figures
    else:
        assert figures.growth < RESIDENT_GROWTH, figures
    return figures


def _measure(server: Rig, crowd: Crowd, connections: int, warm_up: int, told: bool) -> Figures:
    figures = Figures()
    every = max(BATCH, (connections - warm_up) // SAMPLES)
    before = server.descriptors_before + 1  # the resident's
    until(lambda: server.descriptors() <= before, BACK_S, "somebody else is there")
    began = time.monotonic()
    due = warm_up
    while figures.connections < connections:
        figures.connections += crowd.batch()
        if figures.connections < due:
            continue
        crowd.alike(LAST_CLOSES)
        until(lambda: server.descriptors() <= before, BACK_S, "descriptors are left behind")
        figures.samples.append((figures.connections, Memory(server.in_use(), resident(server.pid))))
        due = figures.connections + every
        if told and len(figures.samples) % 5 == 1:
            print(f"{figures.connections}: {figures.samples[-1][1]}", flush=True)
    until(lambda: server.descriptors() <= before, BACK_S, "descriptors are left behind")
    figures.descriptors = server.descriptors() - before
    figures.seconds = time.monotonic() - began
    figures.went, figures.done = crowd.went, crowd.done
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--transport", choices=["plain", "tls", "mtls"], default="plain")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plain = arguments.transport == "plain"
        try:
            figures = check(
                arguments.connections,
                arguments.seed,
                transport=arguments.transport,
                certificates=None if plain else Certificates(Path(folder)),
                warm_up=min(WARM_UP, arguments.connections // 5),
                long=True,
            )
        except AssertionError as failure:
            print(failure)
            return 1
    print(figures)
    print(f"went: {dict(figures.went.most_common())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
