"""Accepting: who waits, with the address and the bytes that have come already, on both twins."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import pytest

from rankmux.server.sockets.addresses import text_address
from rankmux.server.sockets.listener import ListeningSocket, Newcomer
from rankmux.server.sockets.transport import PlainSocket

from ...support.sockets import reset


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as closing:
        yield closing


def listening(
    stack: ExitStack, family: int = socket.AF_INET, where: object = ("127.0.0.1", 0)
) -> ListeningSocket:
    sock = stack.enter_context(ListeningSocket(family))
    sock.bind(where)  # type: ignore[arg-type]
    sock.listen(16)
    sock.setblocking(False)
    return sock


def client(stack: ExitStack, listener: ListeningSocket, data: bytes = b"") -> socket.socket:
    sock = stack.enter_context(socket.socket(listener.family))
    sock.connect(listener.getsockname())
    sock.sendall(data)
    return sock


def close(newcomers: list[Newcomer]) -> None:
    for sock, _, _ in newcomers:
        sock.close()


def test_each_comes_with_what_it_has_sent(framing: ModuleType, stack: ExitStack) -> None:
    listener = listening(stack)
    clients = [client(stack, listener, data) for data in (b"hello", b"", b"longer", b"ends", b"")]
    clients[3].shutdown(socket.SHUT_WR)
    clients[4].shutdown(socket.SHUT_WR)
    newcomers: list[Newcomer] = []
    assert framing.accept(listener, newcomers, 10, 4) == errno.EAGAIN
    assert [first for _, _, first in newcomers] == [b"hell", None, b"long", b"ends", b""]
    assert [address for _, address, _ in newcomers] == [text_address(sock.getsockname()) for sock in clients]
    for sock, _, _ in newcomers:
        assert isinstance(sock, PlainSocket)
        assert not sock.getblocking()
        assert not os.get_inheritable(sock.fileno())
    assert newcomers[0][0].recv(4) == b"o"
    with pytest.raises(BlockingIOError):
        newcomers[1][0].recv(4)
    close(newcomers)


def test_no_more_than_asked_for(framing: ModuleType, stack: ExitStack) -> None:
    listener = listening(stack)
    for _ in range(3):
        client(stack, listener, b"x")
    newcomers: list[Newcomer] = []
    assert framing.accept(listener, newcomers, 2, 0) == 0
    assert [first for _, _, first in newcomers] == [None, None], "0 bytes: nothing is read"
    assert framing.accept(listener, newcomers, 2, 0) == 0, "there are as many already"
    assert framing.accept(listener, newcomers, 4, 1) == errno.EAGAIN
    assert [first for _, _, first in newcomers] == [None, None, b"x"]
    close(newcomers)


def test_a_failure_is_told_by_its_number(framing: ModuleType, stack: ExitStack) -> None:
    listener = listening(stack)
    broken = client(stack, listener)
    reset(broken)
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    assert poll.poll(5000)
    newcomers: list[Newcomer] = []
    assert framing.accept(listener, newcomers, 9, 9) == errno.EAGAIN
    assert [first for _, _, first in newcomers] == [errno.ECONNRESET]
    close(newcomers)
    listener.close()
    assert framing.accept(listener, [], 9, 9) == errno.EBADF


def test_addresses_of_other_families(framing: ModuleType, stack: ExitStack, tmp_path: Path) -> None:
    try:
        sixth = listening(stack, socket.AF_INET6, ("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    unix = listening(stack, socket.AF_UNIX, str(tmp_path / "unix"))
    newcomers: list[Newcomer] = []
    one = client(stack, sixth)
    client(stack, unix)
    assert framing.accept(sixth, newcomers, 9, 9) == errno.EAGAIN
    assert framing.accept(unix, newcomers, 9, 9) == errno.EAGAIN
    assert [address for _, address, _ in newcomers] == [f"[::1]:{one.getsockname()[1]}", ""]
    close(newcomers)
