"""What all forms of rankmux-client share: the flags that say where the server is, the exit codes, the way in.

It knows nothing of commands or terminals.
"""

from __future__ import annotations

import argparse
import os
import ssl
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

from ...client.address import Address
from ...core.wire.codes import DEFAULT_PORT
from ...errors import ConfigError

__all__ = ["Exit", "add_connection_flags", "address_of", "token_reader"]


class Exit(IntEnum):
    """The exit codes of rankmux-client."""

    OK = 0
    FAILED = 1
    USAGE = 2
    TIMED_OUT = 3
    REFUSED = 4
    NOT_CONNECTED = 5
    INTERRUPTED = 130

    @classmethod
    def of(cls, *, failed: int, rejected: int, expired: int, left: int) -> Exit:
        """That for a command of which so many executors ended in these ways; the others ended well."""
        if rejected:
            return cls.REFUSED
        if expired:
            return cls.TIMED_OUT
        return cls.FAILED if failed or left else cls.OK


def add_connection_flags(parser: argparse.ArgumentParser, timeout_flag: str = "--timeout") -> None:
    """Where the server is, and how it knows us. Raises ConfigError on an environment variable that makes no sense."""
    group = parser.add_argument_group("connection")
    environment = os.environ
    group.add_argument(
        "--host",
        default=environment.get("RANKMUX_HOST", "127.0.0.1"),
        help="the server's address (default: %(default)s; or RANKMUX_HOST)",
    )
    group.add_argument(
        "--port",
        type=_port,
        default=environment.get("RANKMUX_PORT", str(DEFAULT_PORT)),
        help="the server's port (default: %(default)s; or RANKMUX_PORT)",
    )
    group.add_argument("--unix", metavar="PATH", help="connect to this Unix socket instead")
    group.add_argument("--name", default="", help="shown to the others, at most 64 bytes")
    group.add_argument(
        "--token-file",
        metavar="FILE",
        default=environment.get("RANKMUX_TOKEN_FILE") or None,
        help="file with the token that the server asks for (or RANKMUX_TOKEN_FILE)",
    )
    group.add_argument(
        timeout_flag,
        type=_seconds,
        default=10.0,
        metavar="S",
        help="seconds until connecting is given up (default: %(default)g)",
    )
    tls = parser.add_argument_group("TLS")
    tls.add_argument("--tls", action="store_true", help="use TLS, and trust whom the system trusts")
    tls.add_argument("--tls-ca", metavar="FILE", help="use TLS, and trust the certificates in this PEM file")
    tls.add_argument(
        "--tls-cert", metavar="FILE", help="our own certificate (PEM), for a server that asks for one"
    )
    tls.add_argument(
        "--tls-key", metavar="FILE", help="its private key (PEM), if that is in a file of its own"
    )
    tls.add_argument(
        "--tls-name", metavar="NAME", help="the name in the server's certificate, if it is not the host"
    )


def _port(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}: a port from 1 to 65535 is expected")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r}: seconds are expected, more than 0 and at most 86400")
    return seconds


def address_of(arguments: argparse.Namespace) -> Address:
    """The server's address, from the flags. Raises ConfigError."""
    context = None
    if arguments.tls or arguments.tls_ca or arguments.tls_cert:
        context = _tls_context(arguments)
    elif arguments.tls_name:  # who names a certificate does not want to speak in the clear
        raise ConfigError("--tls-name", arguments.tls_name, "it needs --tls or --tls-ca beside it")
    if arguments.tls_key and not arguments.tls_cert:
        raise ConfigError("--tls-key", arguments.tls_key, "it needs --tls-cert beside it")
    return Address(arguments.host, arguments.port, arguments.unix, context, arguments.tls_name)


def _tls_context(arguments: argparse.Namespace) -> ssl.SSLContext:
    flag, file = "--tls-ca", arguments.tls_ca
    try:
        context = ssl.create_default_context(cafile=arguments.tls_ca)
        if arguments.tls_cert:
            flag, file = "--tls-cert", arguments.tls_cert
            context.load_cert_chain(arguments.tls_cert, arguments.tls_key)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            flag, file, f"a PEM file that can be read is expected ({error.strerror or error})"
        ) from error
    return context


def token_reader(arguments: argparse.Namespace) -> Callable[[], bytes]:
    """Reads the token anew each time that it is called, without the white space around it. Raises ConfigError."""
    path = arguments.token_file

    def read() -> bytes:
        if path is None:
            return b""
        try:
            token = Path(path).read_bytes().strip()
        except OSError as error:
            expected = f"a file that can be read is expected ({error.strerror})"
            raise ConfigError("--token-file", path, expected) from error
        if not token:
            raise ConfigError(
                "--token-file", path, "a file with a token in it is expected, this one is empty"
            )
        return token

    return read
