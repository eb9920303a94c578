"""Loopback connections for tests: access to both ends, resets that have arrived, readiness without sleeping."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

DEADLINE_S = 30.0
HUNG_UP = select.POLLHUP | select.POLLERR | select.POLLRDHUP


@contextmanager
def tcp_pairs(
    count: int, *, send_buffer: int = 0, receive_buffer: int = 0
) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """`count` connections as (our end, non-blocking; the far end, blocking with a deadline). All get closed."""
    with socket.socket() as listener:
        if send_buffer:  # accepted sockets inherit it
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        pairs = []
        try:
            for _ in range(count):
                far = socket.socket()
                if receive_buffer:
                    far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
                far.settimeout(DEADLINE_S)
                far.connect(listener.getsockname())
                near, _ = listener.accept()
                near.setblocking(False)
                pairs.append((near, far))
            yield pairs
        finally:
            for near, far in pairs:
                near.close()
                far.close()


def reset(sock: socket.socket) -> None:
    """Close so that the other end gets a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def wait_for(sock: socket.socket, events: int) -> None:
    """Wait until one of the poll `events` is reported."""
    poll = select.poll()
    poll.register(sock, events)
    assert poll.poll(DEADLINE_S * 1000), "nothing happened"


def wait_for_bytes(sock: socket.socket, size: int) -> None:
    """Wait until `size` bytes can be read at once."""
    previous, sock_timeout = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT), sock.gettimeout()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
    wait_for(sock, select.POLLIN)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, previous)
    assert sock.gettimeout() == sock_timeout


def read(sock: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes, or less when the stream ends."""
    octets = b""
    while len(octets) < size and (more := sock.recv(size - len(octets))):
        octets += more
    return octets


def nothing_to_read(sock: socket.socket) -> bool:
    """Whether no byte has arrived, nor the end of the stream."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return not poll.poll(0)
