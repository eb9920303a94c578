"""Connecting to a server and joining its room, blocking.

It opens the socket, with TLS if the address asks for it, and runs the session until WELCOME has come.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from os import fspath

from ..core.client.events import Ended
from ..core.client.inbox import Inbox
from ..core.client.session import ClientState
from .address import Address
from .failures import TLS_ERRORS, no_welcome, tls_failed, unreachable
from .link import StreamLink
from .membership import JoinOptions
from .stream import Stream

__all__ = ["connected_socket", "joined_link"]


def connected_socket(address: Address, timeout_s: float | None) -> socket.socket:
    """A socket connected to `address`, its TLS handshake done. Raises ConnectionLost."""
    try:
        if address.unix is not None:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.settimeout(timeout_s)
                sock.connect(fspath(address.unix))
            except BaseException:
                sock.close()
                raise
        else:
            sock = socket.create_connection((address.host, address.port), timeout_s)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except (OSError, UnicodeError) as error:
        raise unreachable(address, error) from error
    if address.ssl_context is None:
        return sock
    try:
        return address.ssl_context.wrap_socket(sock, server_hostname=address.server_hostname or address.host)
    except TLS_ERRORS as error:
        sock.close()
        raise tls_failed(address, error) from error
    except BaseException:
        sock.close()
        raise


def joined_link(options: JoinOptions, clock: Callable[[], float]) -> tuple[StreamLink, Inbox]:
    """A connection that has its WELCOME, and its inbox; takes the timeout twice at most.

    Raises ConnectionLost, ServerError or ProtocolViolation, and an error of the token's callable.
    """
    session = options.session()
    link = StreamLink(session, Stream(connected_socket(options.address, options.timeout_s)), clock)
    inbox = Inbox(session)
    deadline_s = clock() + options.timeout_s
    try:
        with selectors.DefaultSelector() as poller:
            poller.register(link, selectors.EVENT_READ)
            readable = False
            while True:
                link.run(readable)
                for event in link.events():
                    inbox.apply(event, clock())
                    if isinstance(event, Ended) and event.error is not None:
                        raise event.error
                if session.state is ClientState.JOINED:
                    return link, inbox
                poller.modify(link, selectors.EVENT_READ | (selectors.EVENT_WRITE * link.wants_write))
                remaining_s = deadline_s - clock()
                if remaining_s <= 0:
                    raise no_welcome(options.address, options.timeout_s)
                ready = poller.select(0 if link.wants_read_now else remaining_s)
                readable = link.wants_read_now or any(mask & selectors.EVENT_READ for _, mask in ready)
    except BaseException:
        link.close()
        raise
