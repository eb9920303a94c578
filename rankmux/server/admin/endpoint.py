"""The admin endpoint: HTTP on the server's loop, with limits on its connections and on its time per turn.

It never delays a member. Sockets and limits are here, HTTP is in `http`, the answers are in `routes`.
"""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Callable

from ...config import Config
from ...system.json_lines import tagged
from ...system.reactor import READABLE, WRITABLE, Reactor
from .control import Operator
from .http import Answer, Exchange, Pending, Request, text_answer
from .routes import Routes, Work
from .sockets import AdminSocket, open_admin_sockets
from .status import ServerStatus

__all__ = ["CONNECTIONS_MAX", "Admin"]

CONNECTIONS_MAX = 32
"""The maximum number of connections. One more replaces the connection that has been idle longest, if any is idle."""

_TURN_S = 0.0005  # time per turn; a step that has begun is finished, so it may take a bit longer
_READ_BYTES = 4096
_REQUEST_TIMEOUT_S = 5.0  # from the first byte of a request to its last
_IDLE_TIMEOUT_S = 30.0
_ANSWER_TIMEOUT_S = 10.0  # without a byte accepted by the peer
_SWEEP_S = 1.0
# Connections beyond the maximum that are answered 503; any more are closed without an answer.
_REFUSED_MAX = 8
_PAUSE_S = 1.0  # after the system has run out of descriptors

log = logging.getLogger("rankmux.admin")


class _Channel:
    """One connection.

    `idle`: no request has begun.
    `work`: the answer in preparation.
    `pending`: what the answer waits for.
    `out`: the rest of the answer being sent.
    `only_figures`: see Routes.
    """

    __slots__ = (
        "deadline",
        "exchange",
        "fd",
        "idle",
        "only_figures",
        "out",
        "pending",
        "pipelined",
        "sock",
        "work",
    )

    def __init__(self, sock: socket.socket, exchange: Exchange, now: float, *, only_figures: bool) -> None:
        self.sock = sock
        self.only_figures = only_figures
        self.fd = sock.fileno()
        self.exchange = exchange
        self.work: Work | None = None
        self.pending: Pending | None = None
        self.pipelined: Request | Answer | None = None  # received before the last answer was sent
        self.out = memoryview(b"")
        self.idle = True
        self.deadline = now + _REQUEST_TIMEOUT_S


class Admin:
    """Listens on the addresses in `config` and on the socket passed as `handed`. Raises ConfigError.

    Those who come by a Unix socket may act on `operator`.

    Call `turn` once a turn, with the ready descriptors. `busy`: there is something to do without waiting.
    """

    def __init__(
        self,
        config: Config,
        status: ServerStatus,
        operator: Operator,
        reactor: Reactor,
        handed: socket.socket | None = None,
    ) -> None:
        self._reactor = reactor
        self._routes = Routes(status, operator)
        self._ready: set[int] = set()
        self._working: deque[_Channel] = deque()
        self._waiting: list[_Channel] = []
        self._channels: dict[int, _Channel] = {}
        self._sweeping = False
        self._listeners = {one.sock.fileno(): one for one in open_admin_sockets(config, handed)}
        self.requests = 0
        for fd in self._listeners:
            reactor.watch(fd, READABLE)

    @property
    def where(self) -> list[str]:
        """The addresses: `http://127.0.0.1:7118/`, `unix:/run/rankmux/admin.sock`."""
        return [one.where for one in self._listeners.values()]

    @property
    def busy(self) -> bool:
        """Whether the last turn left work that need not wait for a descriptor."""
        return bool(self._working)

    def __len__(self) -> int:
        return len(self._channels)

    def turn(self, ready: list[int], now: float) -> None:
        """Serve the `ready` descriptors, those of ours, for a short time; those not reached come up again."""
        self._ready.update(fd for fd in ready if fd in self._channels or fd in self._listeners)
        if not (self._ready or self._working or self._waiting):
            return
        clock = self._reactor.clock
        until = clock() + _TURN_S
        while self._ready:
            self._guarded(self._serve, self._ready.pop(), now)
            if clock() >= until:
                break
        self._ready.clear()
        while self._working:
            self._guarded(self._work, self._working.popleft().fd, now)
            if clock() >= until:
                break
        waiting, self._waiting = self._waiting, []
        for channel in waiting:
            self._guarded(self._ask, channel.fd, now)

    def close(self) -> None:
        """Close all sockets."""
        for channel in list(self._channels.values()):
            self._drop(channel)
        for fd, one in self._listeners.items():
            self._reactor.watch(fd, 0)
            one.close()
        self._listeners.clear()

    def _guarded(self, step: Callable[[int, float], None], fd: int, now: float) -> None:
        """Run `step`; a bug in it ends this connection and nothing else."""
        try:
            step(fd, now)
        except Exception as error:
            facts = tagged("mistake", where="admin")
            log.error("bug in the admin endpoint; its connection was closed", exc_info=error, extra=facts)
            if (channel := self._channels.get(fd)) is not None:
                self._drop(channel)

    # Connections.

    def _accept(self, fd: int, listener: AdminSocket, now: float) -> None:
        try:
            sock, _ = listener.sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return
        except OSError as error:
            facts = tagged("admin_accept_paused", error=error.strerror)
            log.warning("admin endpoint: accepting paused: %s", error.strerror, extra=facts)
            self._reactor.watch(fd, 0)
            self._reactor.call_at(now + _PAUSE_S, lambda _: self._listen_again(fd))
            return
        try:
            sock.setblocking(False)
            exchange = Exchange(listener.local_names_only, may_act=listener.is_private)
            channel = _Channel(sock, exchange, now, only_figures=listener.only_figures)
            self._reactor.watch(channel.fd, READABLE)
        except OSError:
            sock.close()
            return
        self._channels[channel.fd] = channel
        if len(self._channels) > CONNECTIONS_MAX + _REFUSED_MAX:
            self._drop(channel)
        elif len(self._channels) > CONNECTIONS_MAX and not self._make_room(channel):
            channel.exchange.closing = True
            self._send(channel, text_answer(503, "too many connections"), now)
        self._sweep_later(now)

    def _make_room(self, newcomer: _Channel) -> bool:
        idle = [channel for channel in self._channels.values() if channel.idle and channel is not newcomer]
        if idle:
            self._drop(min(idle, key=lambda channel: channel.deadline))
        return bool(idle)

    def _listen_again(self, fd: int) -> None:
        if fd in self._listeners:
            self._reactor.watch(fd, READABLE)

    def _drop(self, channel: _Channel) -> None:
        if self._channels.pop(channel.fd, None) is not None:
            self._reactor.watch(channel.fd, 0)
            channel.sock.close()

    def _sweep_later(self, now: float) -> None:
        if not self._sweeping:
            self._sweeping = True
            self._reactor.call_at(now + _SWEEP_S, self._sweep)

    def _sweep(self, now: float) -> None:
        self._sweeping = False
        for channel in [
            c
            for c in self._channels.values()
            if now >= c.deadline and c.work is None and c.pending is None and c.pipelined is None
        ]:
            self._drop(channel)
        if self._channels:
            self._sweep_later(now)

    # Requests and answers.

    def _serve(self, fd: int, now: float) -> None:
        channel = self._channels.get(fd)
        if channel is None:
            if fd in self._listeners:
                self._accept(fd, self._listeners[fd], now)
        elif channel.out:
            self._flush(channel, now)
        elif channel.work is None and channel.pending is None and channel.pipelined is None:
            self._read(channel, now)

    def _read(self, channel: _Channel, now: float) -> None:
        try:
            data = channel.sock.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data or channel.exchange.closing:  # once closing, only the end of the stream matters
            if not data:
                self._drop(channel)
            return
        if channel.idle:
            channel.idle = False
            channel.deadline = now + _REQUEST_TIMEOUT_S
        self._respond(channel, channel.exchange.receive_data(data), now)

    def _respond(self, channel: _Channel, received: Request | Answer | None, now: float) -> None:
        if received is None:
            return
        if isinstance(received, Request):
            self.requests += 1
            answer = self._routes.answer(received, only_figures=channel.only_figures)
        else:
            answer = received
        if isinstance(answer, Answer):
            self._send(channel, answer, now)
            return
        self._reactor.watch(channel.fd, 0)
        if callable(answer):
            channel.pending = answer
            self._ask(channel.fd, now)
        else:
            channel.work = answer
            self._working.append(channel)

    def _ask(self, fd: int, now: float) -> None:
        """Whether what the answer waits for has come. Asked once a turn: a turn comes when it does."""
        channel = self._channels.get(fd)
        if channel is None or channel.pending is None:
            return
        answer = channel.pending()
        if answer is None:
            self._waiting.append(channel)
        else:
            channel.pending = None
            self._send(channel, answer, now)

    def _work(self, fd: int, now: float) -> None:
        channel = self._channels.get(fd)
        if channel is None:
            return
        if channel.work is None:
            pipelined, channel.pipelined = channel.pipelined, None
            self._respond(channel, pipelined, now)
            return
        answer = next(channel.work)
        if answer is None:
            self._working.append(channel)
        else:
            channel.work = None
            self._send(channel, answer, now)

    def _send(self, channel: _Channel, answer: Answer, now: float) -> None:
        channel.idle = False
        channel.deadline = now + _ANSWER_TIMEOUT_S
        channel.out = memoryview(channel.exchange.send(answer))
        self._flush(channel, now)

    def _flush(self, channel: _Channel, now: float) -> None:
        try:
            sent = channel.sock.send(channel.out)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._drop(channel)
            return
        if sent:
            channel.out = channel.out[sent:]
            channel.deadline = now + _ANSWER_TIMEOUT_S
        if channel.out:
            self._reactor.watch(channel.fd, WRITABLE)
            return
        self._reactor.watch(channel.fd, READABLE)
        if channel.exchange.closing:
            self._shut(channel, now)
            return
        channel.idle = True
        channel.deadline = now + _IDLE_TIMEOUT_S
        channel.pipelined = channel.exchange.next_request()
        if channel.pipelined is not None:
            channel.idle = False
            self._working.append(channel)

    def _shut(self, channel: _Channel, now: float) -> None:
        """Half-close and wait for the peer's end, so that a reset does not overtake the answer."""
        channel.deadline = now + _SWEEP_S
        try:
            channel.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(channel)
