"""What a server sees of the simulated network: sockets, a listener and a selector, on descriptors of one process."""

from __future__ import annotations

import errno
import selectors
import socket
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rankmux.server.sockets.listener import ListeningSocket
from rankmux.server.sockets.transport import PlainSocket
from rankmux.system.reactor import HUNG_UP, READABLE, WRITABLE, EpollSelector

from .network import End

if TYPE_CHECKING:
    from .node import Node

__all__ = ["Asleep", "Files", "SimulatedListener", "SimulatedSelector", "SimulatedSocket"]


class Asleep(BaseException):
    """Raised out of a step of a server that would wait now."""

    def __init__(self, timeout: float | None) -> None:
        super().__init__(timeout)
        self.timeout = timeout


class Files:
    """The descriptors of a process, handed out as the kernel does: always the smallest that is free."""

    def __init__(self) -> None:
        self._open: dict[int, Any] = {}

    def open(self, file: Any) -> int:
        fd = 3
        while fd in self._open:
            fd += 1
        self._open[fd] = file
        return fd

    def close(self, fd: int) -> None:
        del self._open[fd]

    def __getitem__(self, fd: int) -> Any:
        return self._open[fd]

    def ends(self) -> list[End]:
        """The connections that are open."""
        return [file.end for file in self._open.values() if isinstance(file, SimulatedSocket)]


class _NoDescriptor:
    """A socket object without a descriptor of the real kernel."""

    __slots__ = ()

    family = socket.AF_INET
    proto = 0

    def setblocking(self, flag: bool, /) -> None:
        assert not flag


class SimulatedSocket(_NoDescriptor, PlainSocket):
    """The server's end of a connection."""

    __slots__ = ("_fd", "_node", "_reset", "end")

    def __init__(self, node: Node, end: End) -> None:
        self._node, self.end, self._reset = node, end, False
        self._fd = node.files.open(self)

    def fileno(self) -> int:
        return self._fd

    def ready(self) -> int:
        end = self.end
        return (
            (READABLE if end.readable else 0)
            | (WRITABLE if end.writable else 0)
            | (HUNG_UP if end.hung_up else 0)
        )

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        return self.end.receive(size, peek=bool(flags & socket.MSG_PEEK))

    def recv_into(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        data = self.end.receive(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def send(self, data: bytes | memoryview, /) -> int:  # type: ignore[override]
        self._node.about_to_send()
        return self.end.send(bytes(data))

    def sendmsg(self, views: Iterable[memoryview], /) -> int:  # type: ignore[override]
        self._node.about_to_send()
        return self.end.send(b"".join(views))

    def shutdown(self, how: int, /) -> None:
        assert how == socket.SHUT_WR
        self.end.shutdown()

    def setsockopt(self, level: int, option: int, value: Any, /) -> None:  # type: ignore[override]
        if (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER):
            self._reset = True

    def close(self) -> None:
        self._node.files.close(self._fd)
        self.end.close(reset=self._reset)


class SimulatedListener(_NoDescriptor, ListeningSocket):
    """Where clients connect. `waiting` are those that were not accepted yet."""

    __slots__ = ("_fd", "_node", "_port", "waiting")

    def __init__(self, node: Node, port: int) -> None:
        self._node, self._port = node, port
        self.waiting: deque[tuple[End, int]] = deque()
        self._fd = node.files.open(self)

    def fileno(self) -> int:
        return self._fd

    def ready(self) -> int:
        return READABLE if self.waiting else 0

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", self._port

    def setsockopt(self, *_: Any) -> None:  # type: ignore[override]
        """Nothing of it matters here."""

    def accept_plainly(self) -> tuple[PlainSocket, Any]:
        if not self.waiting:
            raise BlockingIOError(errno.EAGAIN, "nobody")
        end, port = self.waiting.popleft()
        end.notify = self._node.poke
        return SimulatedSocket(self._node, end), ("127.0.0.1", port)

    def close(self) -> None:
        self._node.files.close(self._fd)
        while self.waiting:
            self.waiting.popleft()[0].close(reset=True)


class _Wake(_NoDescriptor, socket.socket):
    """One end of a wake-up."""

    __slots__ = ("_fd", "_node", "_other", "_waiting")

    def __init__(self, node: Node) -> None:
        self._node, self._waiting = node, 0
        self._fd = node.files.open(self)
        self._other: _Wake = self

    def join(self, other: _Wake) -> None:
        self._other, other._other = other, self

    def fileno(self) -> int:
        return self._fd

    def ready(self) -> int:
        return READABLE if self._waiting else 0

    def send(self, data: bytes, /) -> int:  # type: ignore[override]
        self._other._waiting += len(data)
        self._node.poke()
        return len(data)

    def recv(self, size: int, /) -> bytes:  # type: ignore[override]
        if not self._waiting:
            raise BlockingIOError(errno.EAGAIN, "nothing to read")
        taken = min(size, self._waiting)
        self._waiting -= taken
        return bytes(taken)

    def close(self) -> None:
        self._node.files.close(self._fd)


class SimulatedSelector(EpollSelector):
    """A selector that never waits: it raises Asleep where epoll would."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._interests: dict[int, int] = {}
        self.awake = False  # the time that was waited for is over

    def pair(self) -> tuple[socket.socket, socket.socket]:
        reader, writer = _Wake(self._node), _Wake(self._node)
        reader.join(writer)
        return reader, writer

    def watch(self, fd: int, before: int, interest: int) -> None:
        assert self._interests.get(fd, 0) == before, "the reactor has another idea of it"
        if interest:
            assert self._node.files[fd] is not None
            self._interests[fd] = interest
        else:
            del self._interests[fd]

    def ready(self, timeout: float | None) -> list[tuple[int, int]]:
        files = self._node.files
        found = []
        for fd, interest in self._interests.items():
            mask = files[fd].ready() & (interest | HUNG_UP if interest & READABLE else interest)
            if mask:
                found.append((fd, mask))
        if not found and not self.awake and (timeout is None or timeout > 0):
            raise Asleep(timeout)
        self.awake = False
        if len(found) > 1:
            self._node.world.random.shuffle(found)
        return found

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        raise AssertionError("the reactor asks `ready`")

    def close(self) -> None:
        self._interests.clear()
