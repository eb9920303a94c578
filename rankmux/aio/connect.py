"""Connecting to a server from an asyncio loop: TCP, TLS over it, or a Unix socket.

It knows addresses and transports, and nothing of the bytes. A numeric host needs no thread; a name goes through the
loop's resolver.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from os import fspath
from typing import Any

from ..client.address import Address
from ..client.failures import TLS_ERRORS, tls_failed, unreachable

__all__ = ["open_transport"]


_NEXT_ADDRESS_S = 0.25  # until the next address of a name is tried beside the one before it


async def open_transport(address: Address, protocol: asyncio.Protocol, timeout_s: float) -> None:
    """Connect `protocol` to `address`, its TLS handshake done. Raises ConnectionLost."""
    try:
        async with asyncio.timeout(timeout_s) as limit:
            sock = await _connected(address)
    except (OSError, UnicodeError) as error:
        raise unreachable(address, TimeoutError("timed out") if limit.expired() else error) from error
    loop = asyncio.get_running_loop()
    tls: dict[str, Any] = {}
    if address.ssl_context is not None:
        name = address.server_hostname or address.host
        tls = {"ssl": address.ssl_context, "server_hostname": name, "ssl_handshake_timeout": timeout_s}
    try:
        if address.unix is None:
            await loop.create_connection(lambda: protocol, sock=sock, **tls)
        else:
            await loop.create_unix_connection(lambda: protocol, sock=sock, **tls)
    except TLS_ERRORS as error:
        sock.close()
        raise tls_failed(address, error) if tls else unreachable(address, error) from error
    except BaseException:
        sock.close()
        raise


async def _connected(address: Address) -> socket.socket:
    if address.unix is not None:
        return await _connect(socket.AF_UNIX, fspath(address.unix))
    places = [(family, to) for family, _, _, _, to in await _look_up(address.host, address.port)]
    if not places:
        raise OSError("the name has no address")
    sock = await _first_connected(places)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


async def _first_connected(places: list[tuple[int, Any]]) -> socket.socket:
    """The first connection to any of `places`, each tried a little after the one before it, or when that failed.

    So an address that drops packets does not keep the others from being tried (RFC 8305). Raises the last OSError.
    """
    attempts: set[asyncio.Task[socket.socket]] = set()
    left = iter(places)
    following = next(left, None)
    refused: BaseException | None = None
    try:
        while True:
            if following is not None:
                attempts.add(asyncio.get_running_loop().create_task(_connect(*following)))
                following = next(left, None)
            running = [attempt for attempt in attempts if not attempt.done()]
            if not running:
                raise refused or OSError("no address was tried")
            patience_s = None if following is None else _NEXT_ADDRESS_S
            done, _ = await asyncio.wait(running, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
            for attempt in done:
                refused = attempt.exception()
                if refused is None:
                    attempts.discard(attempt)
                    return attempt.result()
    finally:
        for attempt in attempts:
            attempt.cancel()
        for late in await asyncio.gather(*attempts, return_exceptions=True):
            if isinstance(late, socket.socket):
                late.close()


async def _look_up(host: str, port: int) -> list[tuple[Any, ...]]:
    with suppress(socket.gaierror):
        return [*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)]
    return [*await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)]


async def _connect(family: int, to: Any) -> socket.socket:
    sock = socket.socket(family)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, to)
    except BaseException:
        sock.close()
        raise
    return sock
