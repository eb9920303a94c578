"""Many members that each act at the same moment, and members that only read and report the frames received."""

from __future__ import annotations

import struct
from collections.abc import Callable

from ..protocol.frames import QUIET, Command, Ping, Who, encode, encode_all
from .floods import SMALL_WINDOW, Crowd, Stream, join

EXECUTE, ERROR = 0x82, 0x89
EXECUTE_HEAD = 4 + 1 + 8 + 4 + 1 + 4  # length, type, seq, rank of the sender, flags, ttl: the payload follows


def last_bytes(host: str, port: int, members: int, size: int, reads: bool = True) -> Crowd:
    """Members that have sent a command to ALL except its last byte; the last bytes are sent together.

    Each payload begins with the number of its member.
    """
    streams = []
    for number in range(members):
        sock = join(host, port, window=0 if reads else SMALL_WINDOW)
        frame = encode(Command(1, 0, 0, QUIET, 0, number.to_bytes(4, "big") + bytes(size - 4)))
        sock.sendall(frame[:-1])
        streams.append(Stream(sock, iter([frame[-1:], b""]).__next__, reads=reads))
    return Crowd(streams)


def queries(host: str, port: int, members: int, asked: int, behind: int, reads: bool = True) -> Crowd:
    """Members that ask WHO for all, `asked` times, in the same moment, followed by about `behind` bytes of PINGs."""
    ping = encode(Ping())
    octets = encode_all(*[Who(number, 0, 10_000) for number in range(asked)]) + ping * (behind // len(ping))
    streams = []
    for number in range(members):
        sock = join(host, port, f"a name of a member, {number:06}", window=0 if reads else SMALL_WINDOW)
        streams.append(Stream(sock, iter([octets, b""]).__next__, reads=reads))
    return Crowd(streams)


class Reader(Stream):
    """A member that only reads. `numbers` are the first four bytes of each EXECUTE's payload."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(join(host, port), lambda: b"")
        self.numbers: list[int] = []
        self.seqs: list[int] = []
        self.sizes: set[int] = set()
        self.error = 0
        self._buffer = bytearray()

    def take(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 4:
            size = 4 + int.from_bytes(self._buffer[:4], "big")
            if len(self._buffer) < size:
                return
            kind = self._buffer[4]
            if kind == EXECUTE:
                seq, number = struct.unpack_from(">Q", self._buffer, 5)[0], self._buffer[EXECUTE_HEAD:][:4]
                self.seqs.append(seq)
                self.numbers.append(int.from_bytes(number, "big"))
                self.sizes.add(size - EXECUTE_HEAD)
            elif kind == ERROR:
                self.error = int.from_bytes(self._buffer[5:7], "big")
            del self._buffer[:size]

    def figures(self) -> dict[str, object]:
        return {
            "numbers": self.numbers,
            "in_order": self.seqs == sorted(set(self.seqs)),
            "sizes": sorted(self.sizes),
            "error": self.error,
            "torn": len(self._buffer),
        }


class Readers(Crowd):
    """Readers, finished when each has got `expected` commands or was closed."""

    def __init__(self, host: str, port: int, members: int, expected: int) -> None:
        self._readers = [Reader(host, port) for _ in range(members)]
        self._expected = expected
        super().__init__(list(self._readers))

    def finished(self) -> bool:
        return all(
            reader not in self.streams or len(reader.numbers) >= self._expected for reader in self._readers
        )

    def report(self) -> dict[str, object]:
        return {**super().report(), "readers": [reader.figures() for reader in self._readers]}


BURSTS: dict[str, Callable[..., Crowd]] = {"last_bytes": last_bytes, "queries": queries, "readers": Readers}
