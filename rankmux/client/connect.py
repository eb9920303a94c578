"""Connecting to a server and joining its room, blocking.

It opens the socket, with TLS if the address asks for it, and runs the session until WELCOME has come.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from ..core.client.backoff import concerns_one_server
from ..core.client.events import Ended
from ..core.client.inbox import Inbox
from ..core.client.session import ClientSession
from ..errors import ConnectionLost, RankmuxError
from .address import Address
from .dialing import (
    Dialer,
    handshake_steps,
    names_of,
    place_of_unix,
    places_of,
    prepared,
    with_any_name,
)
from .failures import (
    TLS_ERRORS,
    client_closed,
    has_another_name,
    no_token,
    no_welcome,
    tls_failed,
    unreachable,
)
from .limits import SLEEP_MAX_S
from .link import StreamLink
from .membership import JoinOptions
from .stream import Stream

__all__ = ["Canceller", "connected_socket", "drain", "joined_link"]


class Canceller(NamedTuple):
    """A socket that is readable when `cancelled()` may have become true."""

    woken: socket.socket
    cancelled: Callable[[], bool]


def drain(sock: socket.socket) -> None:
    """Take all that a non-blocking socket has received."""
    with suppress(BlockingIOError):
        while sock.recv(4096):
            pass


class _Waits:
    """Waits for sockets until a deadline. Raises ConnectionLost when it is cancelled."""

    def __init__(self, timeout_s: float, canceller: Canceller | None, clock: Callable[[], float]) -> None:
        self._until_s = clock() + timeout_s
        self._canceller = canceller
        self._clock = clock

    def wait(self, interests: dict[Any, int], wait_s: float | None) -> set[Any]:
        """Those that are ready, after `wait_s` at most. Raises TimeoutError once the time is over."""
        remaining_s = self._until_s - self._clock()
        if remaining_s <= 0:
            raise TimeoutError("timed out")
        # A poll needs no descriptor of its own, which there may be none of.
        with getattr(selectors, "PollSelector", selectors.SelectSelector)() as poller:
            for sock, interest in interests.items():
                poller.register(sock, interest)
            if self._canceller is not None:
                poller.register(self._canceller.woken, selectors.EVENT_READ)
            ready = poller.select(min(remaining_s, SLEEP_MAX_S if wait_s is None else wait_s))
        found: set[Any] = {key.fileobj for key, mask in ready if mask & selectors.EVENT_READ}
        if self._canceller is not None and self._canceller.woken in found:
            drain(self._canceller.woken)
            if self._canceller.cancelled():
                raise client_closed()
        return found


def connected_socket(
    address: Address,
    timeout_s: float,
    canceller: Canceller | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> socket.socket:
    """A non-blocking socket connected to `address`, its TLS handshake done. Raises ConnectionLost."""
    waits = _Waits(timeout_s, canceller, clock)
    try:
        sock = _dialed(address, waits, clock)
    except (OSError, UnicodeError) as error:
        raise unreachable(address, error) from error
    try:
        sock = prepared(sock, address)
        for interest in handshake_steps(sock):
            waits.wait({sock: interest}, None)
    except TLS_ERRORS as error:
        sock.close()
        names: list[str] = []
        if has_another_name(error) and (other := with_any_name(address)) is not None:
            with suppress(ConnectionLost), connected_socket(other, timeout_s, canceller, clock) as another:
                names = names_of(another)
        raise tls_failed(address, error, names) from error
    except BaseException:
        sock.close()
        raise
    return sock


def _dialed(address: Address, waits: _Waits, clock: Callable[[], float]) -> socket.socket:
    if address.unix is not None:
        places = [place_of_unix(address)]
    else:
        places = places_of([*socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)])
    dialer = Dialer(places, clock)
    try:
        while (sock := dialer.step()) is None:
            try:
                waits.wait(dict.fromkeys(dialer.sockets, selectors.EVENT_WRITE), dialer.wait_s())
            except TimeoutError as error:
                raise dialer.reason() from error
        return sock
    finally:
        dialer.close()


def _session(options: JoinOptions, again: bool) -> ClientSession:
    try:
        return options.session()
    except RankmuxError:
        raise
    except Exception as error:
        if again:
            raise no_token(error) from error
        raise


def joined_link(
    options: JoinOptions,
    clock: Callable[[], float],
    canceller: Canceller | None = None,
    until_s: float | None = None,
) -> tuple[StreamLink, Inbox]:
    """A connection that has its WELCOME, and its inbox: to the first server of the room that takes us.

    Takes the timeout twice at most for each of them, and ends at `until_s`. Raises ConnectionLost, ServerError or
    ProtocolViolation. An error of the token's callable is raised as it is, but with a `canceller`, which is given when
    a connection is restored, as ConnectionLost.
    """
    for _ in range(1, len(options.addresses)):
        try:
            return _joined_to_one(options, clock, canceller, until_s)
        except RankmuxError as error:
            if not concerns_one_server(error) or (canceller is not None and canceller.cancelled()):
                raise
            options.addresses.turn()
    return _joined_to_one(options, clock, canceller, until_s)


def _joined_to_one(
    options: JoinOptions,
    clock: Callable[[], float],
    canceller: Canceller | None,
    until_s: float | None,
) -> tuple[StreamLink, Inbox]:
    def time_left_s() -> float:
        return options.timeout_s if until_s is None else max(0.0, min(options.timeout_s, until_s - clock()))

    session = _session(options, again=canceller is not None)
    sock = connected_socket(options.address, time_left_s(), canceller, clock)
    link = StreamLink(session, Stream(sock), clock)
    inbox = Inbox(session)
    waits = _Waits(time_left_s(), canceller, clock)
    try:
        readable = False
        while True:
            link.run(readable)
            for event in link.events():
                inbox.apply(event, clock())
                if isinstance(event, Ended) and event.error is not None:
                    raise event.error
            if session.state.open:
                return link, inbox
            interest = selectors.EVENT_READ | (selectors.EVENT_WRITE * link.wants_write)
            try:
                ready = waits.wait({link: interest}, 0.0 if link.wants_read_now else None)
            except TimeoutError as error:
                raise no_welcome(options.address, options.timeout_s) from error
            readable = link.wants_read_now or link in ready
    except BaseException:
        link.close()
        raise
