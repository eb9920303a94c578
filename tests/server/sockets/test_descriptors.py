"""The tables by descriptor: they grow, and a closed descriptor has no owner."""

from __future__ import annotations

import errno
import select
from collections.abc import Iterable

import pytest

from rankmux.server.sockets.descriptors import READ_DIRECT, WRITE_DIRECT, Descriptors
from rankmux.system.reactor import HUNG_UP, READABLE, WRITABLE


class Sock:
    def recv_into(self, buffer: memoryview) -> int:
        return 0

    def send(self, data: memoryview | bytes) -> int:
        return len(data)

    def sendmsg(self, views: Iterable[memoryview]) -> int:
        return sum(map(len, views))


def test_the_masks_are_epolls():
    assert (READABLE, WRITABLE) == (select.EPOLLIN, select.EPOLLOUT)
    assert HUNG_UP == select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
    assert READ_DIRECT & WRITE_DIRECT == 0


@pytest.mark.parametrize("fds", [[0], [3, 4, 5], [1000], [5, 70_000, 6]])
def test_the_tables_are_as_long_as_needed_and_as_each_other(fds):
    links = Descriptors()
    for fd in fds:
        links.reserve(fd)
        lengths = {len(table) for table in (links.modes, links.tickets, links.heard, links.sockets)}
        assert len(lengths) == 1
        assert lengths.pop() > fd
        assert (links.modes[fd], links.tickets[fd]) == (0, 0)


def test_growing_keeps_what_is_there():
    links, sock = Descriptors(), Sock()
    links.open(3, sock, 1.5)
    links.modes[3], links.tickets[3] = READ_DIRECT, 2**64 - 1
    links.reserve(9000)
    assert (links.modes[3], links.tickets[3], links.heard[3]) == (READ_DIRECT, 2**64 - 1, 1.5)
    assert links.sockets[3] is sock


def test_a_descriptor_used_again_starts_anew():
    links, first, second = Descriptors(), Sock(), Sock()
    links.open(3, first, 1.0)
    links.modes[3], links.tickets[3] = READ_DIRECT | WRITE_DIRECT, 7
    links.close(3)
    assert (links.modes[3], links.tickets[3]) == (0, 0)
    octets = memoryview(bytearray(1))
    for call in (
        lambda sock: sock.send(octets),
        lambda sock: sock.sendmsg([octets]),
        lambda sock: sock.recv_into(octets),
    ):
        with pytest.raises(OSError, match="closed") as caught:
            call(links.sockets[3])
        assert caught.value.errno == errno.EBADF
    links.open(3, second, 2.0)
    assert (links.modes[3], links.tickets[3], links.heard[3]) == (0, 0, 2.0)
    assert links.sockets[3] is second
