"""The hot loops' tables of connections, indexed by file descriptor. No protocol and no system call.

The kernel hands out descriptors densely, so a table for 20,000 of them is small and a look-up needs no hashing.
`kernel/receive` and `kernel/fanout` read and write these tables in place.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from errno import EBADF
from typing import Protocol

__all__ = ["READ_DIRECT", "WATCHES", "WRITE_DIRECT", "Descriptors", "DirectSocket"]

READ_DIRECT = 1
"""A member on a plain socket: the hot loop may read it."""
WRITE_DIRECT = 2
"""A plain socket with an empty queue: the hot loop may send to it."""
WATCHES = 4
"""A member that wants CHANGED."""


class DirectSocket(Protocol):
    """The calls that the pure twin makes."""

    def recv_into(self, buffer: memoryview, /) -> int:
        """As of socket.socket."""

    def send(self, data: memoryview | bytes, /) -> int:
        """As of socket.socket."""

    def sendmsg(self, views: Iterable[memoryview], /) -> int:
        """As of socket.socket."""


class _Closed:
    """The placeholder for a descriptor without a connection."""

    def recv_into(self, _: memoryview, /) -> int:
        raise OSError(EBADF, "this connection is closed")

    def send(self, _: memoryview | bytes, /) -> int:
        raise OSError(EBADF, "this connection is closed")

    def sendmsg(self, _: Iterable[memoryview], /) -> int:
        raise OSError(EBADF, "this connection is closed")


_CLOSED = _Closed()


class Descriptors:
    """The tables.

    `modes[fd]`          READ_DIRECT, WRITE_DIRECT and WATCHES, or 0
    `tickets[fd]`        the member's ticket, an observer's number, 0 for none
    `heard[fd]`          when bytes last came, in seconds
    `sockets[fd]`        for the pure twin
    `partials[fd]`       bytes that were read and not taken: of a frame that is not whole yet, or frames that wait for a
                         turn with room for them; before the seat, bytes behind HELLO
    `partial_since[fd]`  when a member's incomplete frame began; without the members that are not read from
    `backlog`            the descriptors of members that have bytes to be taken before more is read, longest wait first
    `yielding`           the descriptors of members that sent YIELD: what comes behind it is read in the next turn
    `ends[fd]`           the end of a stream behind its backlog: an errno, 0 for an orderly end
    """

    __slots__ = (
        "backlog",
        "ends",
        "heard",
        "modes",
        "partial_since",
        "partials",
        "sockets",
        "tickets",
        "yielding",
    )

    def __init__(self) -> None:
        self.modes = bytearray()
        self.tickets = array("Q")
        self.heard = array("d")
        self.sockets: list[DirectSocket] = []
        self.partials: dict[int, bytearray] = {}
        self.partial_since: dict[int, float] = {}
        self.backlog: dict[int, None] = {}
        self.ends: dict[int, int] = {}
        self.yielding: set[int] = set()

    def reserve(self, fd: int) -> None:
        """Make the tables long enough for `fd`, which may be among the ready ones."""
        more = fd + 1 - len(self.modes)
        if more > 0:
            more = max(more, len(self.modes) // 8, 64)
            self.tickets.frombytes(bytes(more * self.tickets.itemsize))
            self.heard.frombytes(bytes(more * self.heard.itemsize))
            self.sockets.extend([_CLOSED] * more)
            self.modes.extend(
                bytes(more)
            )  # the last one, by which all are judged: there may be no memory for one

    def open(self, fd: int, sock: DirectSocket, now: float) -> None:
        """Enter a connection that is not a member yet."""
        if fd >= len(self.modes):
            self.reserve(fd)
        self.modes[fd] = 0
        self.tickets[fd] = 0
        self.heard[fd] = now
        self.sockets[fd] = sock

    def drop_partial(self, fd: int) -> None:
        """Forget the bytes that were read and not taken."""
        self.partials.pop(fd, None)
        self.partial_since.pop(fd, None)
        self.backlog.pop(fd, None)
        self.ends.pop(fd, None)

    def close(self, fd: int) -> None:
        """Remove the connection; the kernel may reuse its descriptor from now on."""
        self.modes[fd] = 0
        self.tickets[fd] = 0
        self.sockets[fd] = _CLOSED
        self.drop_partial(fd)
