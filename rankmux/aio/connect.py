"""Connecting to a server from an asyncio loop: TCP, TLS over it, or a Unix socket.

It knows addresses and sockets, and nothing of the bytes. A numeric host needs no thread; a name goes through the loop's
resolver.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
import time
from contextlib import suppress
from typing import Any

from ..client.address import Address
from ..client.dialing import (
    Dialer,
    Place,
    handshake_steps,
    names_of,
    place_of_unix,
    places_of,
    prepared,
    with_any_name,
)
from ..client.failures import TLS_ERRORS, has_another_name, tls_failed, unreachable
from ..errors import ConnectionLost

__all__ = ["connected_socket"]


async def connected_socket(address: Address, timeout_s: float) -> socket.socket:
    """A non-blocking socket connected to `address`, its TLS handshake done. Raises ConnectionLost."""
    dialer: Dialer | None = None
    try:
        async with asyncio.timeout(timeout_s) as limit:
            dialer = Dialer(await _places(address), time.monotonic)
            sock = await _dialed(dialer)
    except (OSError, UnicodeError) as error:
        if not limit.expired():
            raise unreachable(address, error) from error
        reason = TimeoutError("timed out") if dialer is None else dialer.reason()
        raise unreachable(address, reason) from error
    finally:
        if dialer is not None:
            dialer.close()
    try:
        sock = prepared(sock, address)
        async with asyncio.timeout(timeout_s):
            for interest in handshake_steps(sock):
                await _ready([sock], interest, None)
    except TLS_ERRORS as error:
        sock.close()
        names: list[str] = []
        if has_another_name(error) and (other := with_any_name(address)) is not None:
            with suppress(ConnectionLost), await connected_socket(other, timeout_s) as another:
                names = names_of(another)
        raise tls_failed(address, error, names) from error
    except BaseException:
        sock.close()
        raise
    return sock


async def _places(address: Address) -> list[Place]:
    if address.unix is not None:
        return [place_of_unix(address)]
    return places_of(await _look_up(address.host, address.port))


async def _dialed(dialer: Dialer) -> socket.socket:
    while (sock := dialer.step()) is None:
        await _ready(dialer.sockets, selectors.EVENT_WRITE, dialer.wait_s())
    return sock


async def _look_up(host: str, port: int) -> list[tuple[Any, ...]]:
    with suppress(socket.gaierror):
        return [*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)]
    return [*await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)]


async def _ready(socks: list[socket.socket], interest: int, wait_s: float | None) -> None:
    """Wait until one of them is readable, or writable, as `interest` says; `wait_s` at most."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    reading = interest == selectors.EVENT_READ
    timer = None if wait_s is None else loop.call_later(wait_s, wake)
    try:
        for sock in socks:
            if reading:
                loop.add_reader(sock.fileno(), wake)
            else:
                loop.add_writer(sock.fileno(), wake)
        await ready
    finally:
        for sock in socks:
            if reading:
                loop.remove_reader(sock.fileno())
            else:
                loop.remove_writer(sock.fileno())
        if timer is not None:
            timer.cancel()
