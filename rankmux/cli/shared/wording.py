"""Wording of rankmux-client: its complaints, and text of others as a line for people.

Everything that others sent is shown with unprintable characters escaped, so that nobody else writes on the terminal.
It knows no connection.
"""

from __future__ import annotations

import sys

from ...errors import (
    ArgumentError,
    AuthError,
    CannotConnect,
    ConnectionLost,
    FullError,
    ProtocolViolation,
    ServerError,
)
from ...system.printable import escaped
from .streams import Unwritable, put

__all__ = [
    "PROGRAM",
    "brief",
    "complain",
    "counted",
    "line_breaks",
    "printed",
    "shown",
    "unwritten",
    "why",
]

PROGRAM = "rankmux-client"

_BRIEF_MAX = 80
_BREAKS = frozenset("\0\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029\udc85")
"""What `str.splitlines` knows, and what ends a string in C. U+DC85 stands for the byte 85, a line break in Latin-1."""

# output


def complain(text: str) -> None:
    """Write a line on standard error. A standard error that takes none changes nothing."""
    try:  # noqa: SIM105 - `contextlib` would cost `send` a millisecond
        put(sys.stderr, f"{PROGRAM}: {escaped(text)}\n")
    except Unwritable:
        pass


def printed(text: str) -> int:
    """Write `text` on standard output; the exit code."""
    try:
        put(sys.stdout, text)
    except Unwritable as error:
        unwritten(error)
        return 1
    return 0


def unwritten(error: Unwritable) -> None:
    """Complain about a standard output that takes no more, unless its reader has closed it."""
    if not error.reader_gone:
        complain(f"cannot write to standard output: {error}")


# pieces of text


def shown(payload: bytes) -> str:
    """The payload as one printable line."""
    return escaped(payload.decode(errors="backslashreplace"))


def line_breaks(text: str) -> list[str]:
    """Everything in `text` that some reader takes for the end of a line: more than a newline, and NUL."""
    return [character for character in text if character in _BREAKS]


def brief(payload: bytes) -> str:
    """The beginning of a command, on one line."""
    text = shown(payload[: _BRIEF_MAX + 1])
    return text if len(text) <= _BRIEF_MAX else text[: _BRIEF_MAX - 1] + "…"


def counted(members: object) -> str:
    """`1 member`, `2 members`."""
    return "1 member" if members == 1 else f"{members} members"


_CURES = {
    "authority": "name the certificate of its authority with --tls-ca",
    "certificate": "give one with --tls-cert and --tls-key",
    "name": "connect to one of these names, or give it with --tls-name",
    "names": "the server needs one with this subjectAltName, or give one that it has with --tls-name",
    "plain": "leave out --tls and --tls-ca (and RANKMUX_TLS_CA)",
    "tls": "use --tls, or --tls-ca with the file of its authority",
    "tls?": "is it a rankmux server? If it speaks TLS, use --tls",
}
"""What may help, by the key of CannotConnect, with our flags."""


_FLAGS = {"name": "--name", "keep_file": "--keep-file", "keep_s": "--keep", "token": "--token-file"}
"""The flags behind arguments of a client."""


def _hint(error: ServerError) -> str:
    if isinstance(error, AuthError):
        # The code is the same for tokens and certificates, the words are not.
        if "certificate" not in error.text:
            return "; set the token with --token-file"
        return "; show another one with --tls-cert, or allow the name in the server's --tls-client-names"
    if isinstance(error, FullError):
        setting = "--observers-max" if "observers" in error.text else "--seats"
        return f"; try again later, or raise the server's {setting}"
    return ""


def why(error: Exception) -> str:
    """The reason for a missing connection, on one line."""
    if isinstance(error, ServerError):
        return f"the server closed the connection: {escaped(error.text)}{_hint(error)}"
    if isinstance(error, CannotConnect) and error.cure:
        return f"{escaped(error.reason)}: {_CURES[error.cure]}"
    if isinstance(error, ArgumentError) and error.name in _FLAGS:
        return escaped(f"{_FLAGS[error.name]} is {error.value!r}: {error.expected}")
    if isinstance(error, ProtocolViolation):
        return f"this is not a rankmux server, or a broken one: {escaped(str(error))}"
    return escaped(error.reason if isinstance(error, ConnectionLost) else str(error))
