"""Flags that name the server and the client's credentials, and the client options that follow from them."""

from __future__ import annotations

import argparse
import os

from ...core.wire.limits import DEFAULT_PORT, NAME_MAX_BYTES
from ...errors import ArgumentError, ConfigError
from ...variables import value_of
from .flags import seconds

TYPE_CHECKING = False  # as of `typing`, whose import would cost `send` five milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable
    from ssl import SSLContext
    from typing import Any

__all__ = ["add_connection_flags", "client_options", "token_reader"]

_TIMEOUT_MAX_S = 86_400


def add_connection_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags. What they leave open comes from variables; those that name a server yield to flags that do."""
    group = parser.add_argument_group("connection")
    group.add_argument(
        "--host",
        default=_Variable(value_of(os.environ, "RANKMUX_HOST") or "127.0.0.1"),
        help="the server's address; those of a cluster with commas between them, each with :PORT if it has one of "
        "its own (default: %(default)s; or RANKMUX_HOST)",
    )
    group.add_argument(
        "--port",
        type=_port,
        default=_Variable(value_of(os.environ, "RANKMUX_PORT") or DEFAULT_PORT),
        help="the server's port (default: %(default)s; or RANKMUX_PORT)",
    )
    group.add_argument(
        "--unix",
        metavar="PATH",
        help="connect to this Unix socket instead (or RANKMUX_UNIX, if neither --host nor --port is given)",
    )
    group.add_argument(
        "--name",
        help="name shown to the other members, at most 64 bytes (default: USER@HOST, of this process)",
    )
    group.add_argument(
        "--token-file",
        metavar="FILE",
        default=_Variable(path) if (path := value_of(os.environ, "RANKMUX_TOKEN_FILE")) else None,
        help="file with the token that the server requires (or RANKMUX_TOKEN_FILE)",
    )
    group.add_argument(
        "--connect-timeout",
        type=_timeout,
        default=10.0,
        metavar="S",
        help="give up connecting after this many seconds (default: %(default)g)",
    )
    tls = parser.add_argument_group("TLS")
    tls.add_argument(
        "--tls", action="store_true", help="use TLS and trust the system's certificate authorities"
    )
    tls.add_argument(
        "--tls-ca",
        metavar="FILE",
        default=_Variable(path) if (path := value_of(os.environ, "RANKMUX_TLS_CA")) else None,
        help="use TLS and trust the certificates in this PEM file (or RANKMUX_TLS_CA, but for --unix)",
    )
    tls.add_argument(
        "--tls-cert", metavar="FILE", help="client certificate (PEM), for a server that requires one"
    )
    tls.add_argument(
        "--tls-key", metavar="FILE", help="private key of the client certificate (PEM), if in a separate file"
    )
    tls.add_argument(
        "--tls-name", metavar="NAME", help="name in the server's certificate, if it differs from the host"
    )


class _Variable(str):
    """A value from the environment, or a default: no flag was given, and none is to blame for it."""

    __slots__ = ()


class _VariablePort(int):
    """A port from there."""

    __slots__ = ()


def _port(text: str) -> int | _Variable:
    valid = text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535
    if isinstance(text, _Variable):
        return _VariablePort(text) if valid else text  # argparse would blame --port; see `client_options`
    if valid:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}: expected a port from 1 to 65535")


def _timeout(text: str) -> float:
    return seconds(text, _TIMEOUT_MAX_S)


def client_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments for `rankmux.Client` and `rankmux.aio.Client`, without a timeout. Raises ConfigError."""
    from ...client.address import addresses_of

    if isinstance(arguments.port, _Variable):
        raise ConfigError("RANKMUX_PORT", str(arguments.port), "expected a port from 1 to 65535")
    unix = _unix(arguments)
    context = None
    ca = None if unix and isinstance(arguments.tls_ca, _Variable) else arguments.tls_ca
    if arguments.tls or ca or arguments.tls_cert:
        context = _tls_context(ca, arguments.tls_cert, arguments.tls_key)
    elif arguments.tls_name:  # to send in the clear is not what it was given for
        raise ConfigError("--tls-name", arguments.tls_name, "it needs --tls or --tls-ca beside it")
    if arguments.tls_key and not arguments.tls_cert:
        raise ConfigError("--tls-key", arguments.tls_key, "it needs --tls-cert beside it")
    try:
        addresses_of(arguments.host, arguments.port)
    except ArgumentError as error:
        key = "RANKMUX_HOST" if isinstance(arguments.host, _Variable) else "--host"
        raise ConfigError(key, error.value, error.expected) from None
    where = {"host": str(arguments.host), "port": int(arguments.port)}  # the system takes no subclasses
    return {
        **({"unix": unix} if unix else where),
        "ssl_context": context,
        "server_hostname": arguments.tls_name,
        "name": _own_name() if arguments.name is None else arguments.name,
        "token": token_reader(arguments.token_file),
    }


def _unix(arguments: argparse.Namespace) -> str | None:
    """The path of the server's socket, None if it is to be reached by TCP."""
    named = not (isinstance(arguments.host, _Variable) and isinstance(arguments.port, _VariablePort))
    if arguments.unix is None:
        return None if named else value_of(os.environ, "RANKMUX_UNIX")
    if not arguments.unix:
        raise ConfigError("--unix", arguments.unix, "expected the path of the server's socket")
    if named:
        raise ConfigError("--unix", arguments.unix, "expected it without --host and --port")
    return str(arguments.unix)


def _own_name() -> str:
    """`USER@HOST`; empty where that is no name."""
    import pwd

    from ...core.wire.client_frames import valid_name

    user = os.getuid()
    try:
        name = f"{pwd.getpwuid(user).pw_name}@{os.uname().nodename}"
    except KeyError:  # a container may know nobody by name
        name = f"{user}@{os.uname().nodename}"
    name = name.encode(errors="replace")[:NAME_MAX_BYTES].decode(errors="ignore")
    return name if valid_name(name) else ""


def _tls_context(ca: str | None, certificate: str | None, key: str | None) -> SSLContext:
    import ssl

    from ...system.pem import authorities_fault, chain_fault, no_password

    ca_from = "RANKMUX_TLS_CA" if isinstance(ca, _Variable) else "--tls-ca"
    for flag, file in ((ca_from, ca), ("--tls-cert", certificate), ("--tls-key", key)):
        _check(flag, file)
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as error:
        raise ConfigError(ca_from, ca, authorities_fault(ca or "", error)) from error
    if certificate:
        try:
            context.load_cert_chain(certificate, key, no_password)
        except (OSError, ValueError) as error:
            of_key, fault = chain_fault(certificate, key or "", error)
            flag, file = ("--tls-key", key) if of_key else ("--tls-cert", certificate)
            raise ConfigError(flag, file, fault) from error
    return context


def _check(flag: str, file: str | None) -> None:
    """Raise ConfigError for a file that OpenSSL, which reads it, would wait for, or explain badly."""
    if file:
        from ...system.reasons import file_reason
        from ...system.small_files import PEM_MAX_BYTES, check_small

        try:
            check_small(file, PEM_MAX_BYTES, pipes=True)
        except (OSError, ValueError) as error:
            raise ConfigError(flag, file, f"cannot read the file: {file_reason(error)}") from error


def token_reader(path: str | None) -> Callable[[], bytes]:
    """A function that reads the token from its file at each call, the first of two. It raises ConfigError.

    A pipe can be read only once, so its token is kept.
    """
    kept: list[bytes] = []

    def read() -> bytes:
        if path is None:
            return b""
        if kept:
            return kept[0]
        from ...tokens import read_token_file

        key = "RANKMUX_TOKEN_FILE" if isinstance(path, _Variable) else "--token-file"
        token = read_token_file(key, path, private=False, pipes=True)[0]
        if not os.path.isfile(path):
            kept.append(token)
        return token

    return read
