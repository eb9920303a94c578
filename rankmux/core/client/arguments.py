"""What callers of a client pass, judged and turned into what the wire takes: targets, payloads, times, tokens.

Shared by the drivers and the command line. Whatever is wrong raises ArgumentError, before anything is sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ...errors import ArgumentError
from ..wire.codes import U32_MAX, Target

__all__ = ["Payload", "To", "Token", "check_options", "payload_of", "target_of", "token_of", "ttl_ms_of"]

To = str | int
"""Who executes a command: `"all"`, `"next"`, `"least"`, or a rank."""

Payload = bytes | bytearray | memoryview | str
"""Text goes out as UTF-8."""

Token = bytes | str | Callable[[], bytes | str] | None
"""A callable is asked at each connection, so that a client that reconnects shows the token of that moment."""

_NAMED = {"all": Target.ALL, "next": Target.NEXT, "least": Target.LEAST}


def target_of(to: To) -> tuple[Target, int]:
    """The target and its arg (section 5)."""
    if isinstance(to, str) and to in _NAMED:
        return _NAMED[to], 0
    if isinstance(to, int) and not isinstance(to, bool) and 0 <= to <= U32_MAX:
        return Target.ONE, to
    raise ArgumentError("to", to, "'all', 'next', 'least' or a rank is expected")


def payload_of(payload: Payload) -> bytes:
    """The bytes of a payload."""
    if isinstance(payload, str):
        return _encoded("payload", payload)
    if isinstance(payload, bytes | bytearray | memoryview):
        return bytes(payload)
    raise ArgumentError("payload", type(payload).__name__, "bytes or text is expected")


def ttl_ms_of(timeout_s: float | None) -> int:
    """Seconds as a ttl_ms, rounded up; None is 0, what the server has as its default."""
    if timeout_s is None:
        return 0
    _check_seconds(timeout_s)
    return min(math.ceil(timeout_s * 1000), U32_MAX)


def token_of(token: Token) -> bytes:
    """The bytes of a token, asked for now if it is a callable."""
    if callable(token):
        token = token()
    if token is None:
        return b""
    if not isinstance(token, str | bytes):
        raise ArgumentError("token", type(token).__name__, "bytes or text is expected")
    return _encoded("token", token) if isinstance(token, str) else token


def check_options(host: str, port: int, timeout_s: float, **functions: object) -> None:
    """Judge what a client is made with; `functions` may be None. Raises ArgumentError."""
    if not isinstance(host, str):
        raise ArgumentError("host", host, "a name or an address is expected")
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
        raise ArgumentError("port", port, "a number from 1 to 65535 is expected")
    _check_seconds(timeout_s)
    for name, function in functions.items():
        if function is not None and not callable(function):
            raise ArgumentError(name, function, "a function is expected")


def _check_seconds(timeout_s: float) -> None:
    if not isinstance(timeout_s, int | float) or not 0 < timeout_s <= U32_MAX / 1000:
        raise ArgumentError(
            "timeout", timeout_s, f"more than 0 and at most {U32_MAX // 1000} seconds are expected"
        )


def _encoded(name: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        pass  # its error would carry the text, which may be a token
    raise ArgumentError(name, "text", "it cannot be written as UTF-8; bytes may be anything")
