"""The other side of a load, which is not measured: it speaks each protocol in bare bytes.

    python -m benchmarks.clients.others ROLE PROTOCOL PORT COUNT

`feeder` joins, writes `ready`, and sends COUNT messages after a line of input; `sink` reads and discards; `crew` is
COUNT members that answer each command with 4 bytes. All run until they are killed.
"""

from __future__ import annotations

import os
import resource
import selectors
import socket
import struct
import sys

from benchmarks.clients.measured import PAYLOAD, SUBJECT
from rankmux import wire
from rankmux.codes import CommandFlag, ExecuteFlag, FrameType, Status, Target

_CHUNK = 256  # messages in a send
_AT_ONCE = 64  # members of a crew that join

_HELLO = wire.Hello("").encode()
_NATS_HELLO = b'CONNECT {"verbose":false}\r\n'


def _message(protocol: str) -> bytes:
    match protocol:
        case "rankmux":
            return wire.Command(0x8000_0000, Target.ALL, 0, CommandFlag.QUIET, 0, PAYLOAD).encode()
        case "redis":
            return b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (
                len(SUBJECT),
                SUBJECT.encode(),
                len(PAYLOAD),
                PAYLOAD,
            )
        case _:
            return b"PUB %s %d\r\n%s\r\n" % (SUBJECT.encode(), len(PAYLOAD), PAYLOAD)


def _joined(protocol: str, port: int, *, listens: bool) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if protocol == "rankmux":
        sock.sendall(_HELLO)
        sock.recv(4096)
    elif protocol == "nats":
        sock.recv(65536)
        sock.sendall(_NATS_HELLO + (f"SUB {SUBJECT} 1\r\n".encode() if listens else b"") + b"PING\r\n")
        while not sock.recv(4096).endswith(b"PONG\r\n"):
            pass
    return sock


def _feed(protocol: str, port: int, count: int) -> None:
    sock = _joined(protocol, port, listens=False)
    chunk = _message(protocol) * _CHUNK
    print("ready", flush=True)
    sys.stdin.readline()
    sock.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
        left, head = count, b""
        while True:
            for _, mask in selector.select():
                if mask & selectors.EVENT_READ and not sock.recv(262_144):
                    return
                if mask & selectors.EVENT_WRITE:
                    if not head and left:
                        size = min(left, _CHUNK)
                        head, left = chunk[: len(chunk) // _CHUNK * size], left - size
                    head = head[sock.send(head) :]
                    if not head and not left:
                        selector.modify(sock, selectors.EVENT_READ)


def _sink(protocol: str, port: int, _count: int) -> None:
    sock = _joined(protocol, port, listens=True)
    print("ready", flush=True)
    buffer = bytearray(1 << 20)
    while sock.recv_into(buffer):
        pass


def _crew(_protocol: str, port: int, count: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    selector = selectors.DefaultSelector()
    while count:
        several = min(count, _AT_ONCE)
        count -= several
        for sock in [_joined("rankmux", port, listens=True) for _ in range(several)]:
            selector.register(sock, selectors.EVENT_READ, bytearray())
    print("ready", flush=True)
    head = struct.Struct(">IB")
    while True:
        for key, _ in selector.select():
            sock, buffer = key.fileobj, key.data
            assert isinstance(sock, socket.socket)
            buffer += sock.recv(65536)
            while len(buffer) >= head.size and len(buffer) >= 4 + head.unpack_from(buffer)[0]:
                length, type_ = head.unpack_from(buffer)
                if type_ == FrameType.EXECUTE:
                    frame = wire.Execute.decode(bytes(buffer[head.size : 4 + length]))
                    if frame.flags & ExecuteFlag.RESULT_WANTED:
                        sock.send(wire.Result(frame.seq, Status.OK, b"done").encode())
                elif type_ == FrameType.PING:
                    sock.send(wire.Pong(bytes(buffer[head.size : 4 + length])).encode())
                del buffer[: 4 + length]


def main() -> None:
    """Play one role until killed."""
    role, protocol, port, count = sys.argv[1:]
    try:
        {"feeder": _feed, "sink": _sink, "crew": _crew}[role](protocol, int(port), int(count))
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)  # the server ended first


if __name__ == "__main__":
    main()
