"""The addresses that a host means, and their sockets. Knows no setting.

A name such as `localhost` may mean several addresses, of IPv4 and of IPv6. All of them are listened on, with one port.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, TypeVar

from ...errors import AddressInUse, CannotListen
from ...system.json_lines import tagged
from ...system.reasons import socket_reason

__all__ = ["listen_on", "text_address"]

_ATTEMPTS = 20  # with port 0: a port that is free on one address may be taken on another
_REASONS = {
    errno.EADDRNOTAVAIL: "this machine does not have that address",
    errno.EACCES: "permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE, choose a higher one",
}
_ABSENT = frozenset((errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT))

_Socket = TypeVar("_Socket", bound=socket.socket)

log = logging.getLogger("rankmux.listener")


def text_address(address: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """`127.0.0.1:7117`, `[::1]:7117`."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listen_on(
    key: str,
    host: str,
    port: int,
    check: Callable[[str], None],
    make: Callable[[int, int, int], _Socket],
    backlog: int,
) -> list[_Socket]:
    """Sockets that listen on every address that `host` means, after `check` has accepted all of these.

    With port 0, all get the same free port. `make` makes a socket from its family, type and protocol. An address that
    this machine does not have is left out with a warning if there are others. Raises ConfigError, which names `key`.
    """
    where = text_address((host, port))
    if not host:
        raise CannotListen(key, f":{port}", "the host is empty; 0.0.0.0 or :: are all addresses")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise CannotListen(key, where, _plain(error)) from None
    except ValueError:  # not encodable (UnicodeError), or a NUL in it
        raise CannotListen(key, where, "not a valid name") from None
    kinds = list(
        dict.fromkeys((family, type_, protocol, address) for family, type_, protocol, _, address in found)
    )
    for family, *_, address in kinds:
        check(str(address[0]))
        if _is_of_many(family, address):
            raise CannotListen(
                key, where, "that is the address of many machines; expected one of this machine's"
            )
    for attempt in range(_ATTEMPTS):
        try:
            return _open(key, where, kinds, make, backlog)
        except AddressInUse:
            if port or attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _is_of_many(family: int, address: Any) -> bool:
    """Whether it is a multicast or broadcast address: one can listen there, and nobody can connect."""
    if ip_address(str(address[0]).partition("%")[0]).is_multicast:
        return True
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address[0], 9, *address[2:]))  # it sends nothing
    except PermissionError:  # only with SO_BROADCAST
        return True
    except OSError:  # no network leads there
        return False
    return False


def _open(
    key: str, where: str, kinds: list[Any], make: Callable[[int, int, int], _Socket], backlog: int
) -> list[_Socket]:
    made: list[_Socket] = []
    absent: list[tuple[str, OSError]] = []
    try:
        for family, type_, protocol, address in kinds:
            same_port = (address[0], made[0].getsockname()[1] if made else address[1], *address[2:])
            try:
                sock = make(family, type_, protocol)
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent.append((text_address(same_port), error))
                continue
            made.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if len(kinds) > 1 and family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                sock.bind(same_port)
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent.append((text_address(same_port), error))
                made.pop().close()
                continue
            sock.listen(backlog)
            sock.setblocking(False)
    except OSError as error:
        for sock in made:
            sock.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(key, where) from None
        raise CannotListen(key, where, _plain(error)) from None
    if not made:
        raise CannotListen(key, where, _plain(absent[0][1]))
    for one, why in absent:
        facts = tagged("address_skipped", where=one, error=_plain(why))
        log.warning("not listening on %s: %s", one, _plain(why), extra=facts)
    return made


def _plain(error: OSError) -> str:
    """The reason in plain English."""
    own = None if isinstance(error, socket.gaierror) else _REASONS.get(error.errno or 0)
    return own or socket_reason(error)
