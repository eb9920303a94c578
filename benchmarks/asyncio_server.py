"""A typical asyncio server of the same protocol, which writes each message to each peer.

It has HELLO, COMMAND to ALL and ONE, LEAVE, PING and the ranks; no results, limits or timeouts.

Usage: python -m benchmarks.asyncio_server SEATS [uvloop]
"""

from __future__ import annotations

import asyncio
import struct
import sys
from typing import cast

HELLO, COMMAND, PING, PONG, LEAVE = 0x01, 0x02, 0x06, 0x07, 0x08
WELCOME, EXECUTE, RANK, ACCEPTED, REFUSED = 0x81, 0x82, 0x83, 0x84, 0x85
TO_ALL, TO_ONE = 0, 1
QUIET = 2
NO_TARGET, NOT_LOWER, NO_SUCH_RANK = 1, 2, 3
CAUSE_LEFT, CAUSE_LOST = 1, 2
BACKLOG = 4096

COMMAND_BODY = struct.Struct("!IBIBI")
EXECUTE_BODY = struct.Struct("!QIBI")


def frame(kind: int, body: bytes) -> bytes:
    return struct.pack("!IB", 1 + len(body), kind) + body


class Room:
    def __init__(self, seats: int) -> None:
        self.seats = seats
        self.members: list[Peer] = []
        self.ticket = 0
        self.seq = 0

    def join(self, peer: Peer) -> None:
        self.ticket += 1
        self.seq += 1
        peer.rank = len(self.members)
        self.members.append(peer)
        welcome = struct.pack(
            "!BQQQIIIIIH",
            1,
            1,
            self.ticket,
            self.seq,
            peer.rank,
            len(self.members),
            self.seats,
            65536,
            10000,
            0,
        )
        peer.write(frame(WELCOME, welcome))

    def leave(self, peer: Peer, cause: int) -> None:
        self.seq += 1
        del self.members[peer.rank]
        for rank in range(peer.rank, len(self.members)):
            member = self.members[rank]
            member.rank = rank
            member.write(frame(RANK, struct.pack("!QIIB", self.seq, rank, len(self.members), cause)))

    def command(self, sender: Peer, body: memoryview) -> None:
        number, target, rank, flags, ttl_ms = COMMAND_BODY.unpack_from(body)
        executors = self.members[sender.rank + 1 :] if target == TO_ALL else self.members[rank : rank + 1]
        if target == TO_ONE and rank <= sender.rank:
            sender.write(frame(REFUSED, struct.pack("!IH", number, NOT_LOWER)))
            return
        if not executors:
            sender.write(
                frame(REFUSED, struct.pack("!IH", number, NO_TARGET if target == TO_ALL else NO_SUCH_RANK))
            )
            return
        self.seq += 1
        head = EXECUTE_BODY.pack(self.seq, sender.rank, 0, ttl_ms)
        message = frame(EXECUTE, head + body[COMMAND_BODY.size :])
        for executor in executors:
            executor.write(message)
        if not flags & QUIET:
            rejected = sender.rank if target == TO_ALL else 0
            sender.write(
                frame(ACCEPTED, struct.pack("!IQIII", number, self.seq, len(executors), rejected, 0))
            )


class Peer(asyncio.Protocol):
    __slots__ = ("buffer", "rank", "room", "transport", "write")

    def __init__(self, room: Room) -> None:
        self.room = room
        self.rank = -1
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's transport does not inherit from it
        self.write = self.transport.write

    def connection_lost(self, exc: Exception | None) -> None:
        if self.rank >= 0:
            self.room.leave(self, CAUSE_LOST if exc else CAUSE_LEFT)

    def data_received(self, data: bytes) -> None:
        if self.buffer:
            data = self.buffer + data
        view = memoryview(data)
        at = 0
        while len(data) - at >= 5:
            end = at + 4 + int.from_bytes(view[at : at + 4], "big")
            if end > len(data):
                break
            self.take_frame(view[at + 4], view[at + 5 : end])
            at = end
        self.buffer = data[at:]

    def take_frame(self, kind: int, body: memoryview) -> None:
        if kind == COMMAND:
            self.room.command(self, body)
        elif kind == HELLO:
            self.room.join(self)
        elif kind == PING:
            self.write(frame(PONG, bytes(body)))
        elif kind == LEAVE:
            self.transport.close()


async def serve(seats: int) -> None:
    room = Room(seats)
    server = await asyncio.get_running_loop().create_server(
        lambda: Peer(room), "127.0.0.1", 0, backlog=BACKLOG
    )
    port = server.sockets[0].getsockname()[1]
    print(f"listening on 127.0.0.1:{port} for {seats} clients", flush=True)
    await server.serve_forever()


def main() -> None:
    seats = int(sys.argv[1])
    if "uvloop" in sys.argv[2:]:
        import uvloop

        uvloop.run(serve(seats))
    else:
        asyncio.run(serve(seats))


if __name__ == "__main__":
    main()
