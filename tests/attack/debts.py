"""Members that await very many results, which all expire or whose executors all vanish."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable

from ..protocol.frames import RESULTS, Command, Status, Target, encode
from .floods import Crowd, Stream, join

ACCEPTED, ROUTED, DONE, ERROR = 0x84, 0x86, 0x87, 0x89
ACCEPTED_BYTES, ROUTED_BYTES, DONE_BYTES = 29, 22, 33


class Creditor(Stream):
    """A member that keeps its input, with the time of each part, and counts the frames afterwards."""

    def __init__(self, sock: socket.socket, octets: bytes) -> None:
        super().__init__(sock, iter([octets, b""]).__next__)
        self._parts: list[tuple[float, bytes]] = []

    def take(self, data: bytes) -> None:
        self._parts.append((time.monotonic(), data))

    def count(self, tally: Tally) -> None:
        """Add every received frame to `tally`."""
        stream = b"".join(data for _, data in self._parts)
        times = iter(self._parts)
        when, end, at = 0.0, 0, 0
        while at + 4 <= len(stream):
            size = 4 + int.from_bytes(stream[at : at + 4], "big")
            if at + size > len(stream):
                return
            while end < at + size:
                when, data = next(times)
                end += len(data)
            tally.add(stream[at + 4], stream, at, when)
            at += size


class Tally:
    """The frames of all creditors: the number of each kind, and the time of the last one."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {"accepted": 0, "expired": 0, "left": 0, "done": 0, "other": 0}
        self.last: dict[str, float] = {}
        self.ended: set[bytes] = set()
        self.errors: set[int] = set()

    def add(self, kind: int, stream: bytes, at: int, when: float) -> None:
        name = {ACCEPTED: "accepted", DONE: "done"}.get(kind, "other")
        if kind == ROUTED:
            status = stream[at + ROUTED_BYTES - 1]
            name = {Status.EXPIRED: "expired", Status.LEFT: "left"}.get(Status(status), "other")
            if name == "left":
                self.ended.add(stream[at + 5 : at + 17])  # id and ticket
        elif kind == ERROR:
            self.errors.add(int.from_bytes(stream[at + 5 : at + 7], "big"))
        self.counts[name] += 1
        self.last[name] = max(when, self.last.get(name, 0.0))


class Debts(Crowd):
    """Creditors and others, finished when every creditor has received `owed` bytes."""

    def __init__(self, creditors: list[Creditor], others: list[Stream], owed: int) -> None:
        super().__init__([*creditors, *others])
        self._creditors = creditors
        self._others = others
        self._owed = owed

    def finished(self) -> bool:
        return all(one not in self.streams or one.received >= self._owed for one in self._creditors)

    def report(self) -> dict[str, object]:
        tally = Tally()
        for creditor in self._creditors:
            creditor.count(tally)
        last = tally.last
        return {
            **super().report(),
            **tally.counts,
            "unique": len(tally.ended),
            "errors": sorted(tally.errors),
            "expired_after_s": last.get("expired", 0.0) - last.get("accepted", 0.0),
            "all_after_s": max(last.values(), default=0.0) - self._began,
        }


def expiring(host: str, port: int, members: int, commands: int, ttl_ms: int) -> Crowd:
    """Members that each send commands to one executor, the last in line, which reads and never answers.

    The innocent member is the first in line.
    """
    rank = 1 + members
    octets = b"".join(
        encode(Command(number, Target.ONE, rank, RESULTS, ttl_ms)) for number in range(commands)
    )
    creditors = [Creditor(join(host, port), octets) for _ in range(members)]
    executor = Stream(join(host, port), lambda: b"")
    return Debts(creditors, [executor], commands * (ACCEPTED_BYTES + ROUTED_BYTES + DONE_BYTES))


class Departure(Debts):
    """The others reset their connections when it begins."""

    def go(self) -> None:
        super().go()
        for stream in self._others:
            self.streams.remove(stream)
            self._selector.unregister(stream.sock)
            stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.close()


def departing(host: str, port: int, executors: int, commands: int) -> Crowd:
    """A member with commands to all, and the executors of all its pending results, which vanish."""
    sock = join(host, port)
    others = [Stream(join(host, port), lambda: b"") for _ in range(executors)]
    for number in range(commands):
        sock.sendall(encode(Command(number, Target.ALL, 0, RESULTS, 60_000)))
    left = commands * ACCEPTED_BYTES
    while left:
        data = sock.recv(left)
        assert data, "the server closed"
        left -= len(data)
    return Departure([Creditor(sock, b"")], others, commands * (executors * ROUTED_BYTES + DONE_BYTES))


DEBTS: dict[str, Callable[..., Crowd]] = {"expiring": expiring, "departing": departing}
