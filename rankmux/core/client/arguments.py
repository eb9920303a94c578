"""The arguments of a client's calls, checked and turned into the wire's values: payloads, times, tokens.

Shared by the drivers and the command line. A wrong one raises ArgumentError, before anything is sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from inspect import iscoroutinefunction
from typing import NamedTuple

from ...errors import ArgumentError
from ..wire.codes import U32_MAX, Target
from ..wire.frames import MemberInfo
from .targets import Destination, Names, To, destination_of

__all__ = [
    "CommandArguments",
    "Names",
    "Payload",
    "To",
    "Token",
    "batches_of",
    "check_drain",
    "check_functions",
    "check_keep",
    "check_observer",
    "check_options",
    "check_rank",
    "command_arguments",
    "payload_of",
    "token_of",
    "ttl_ms_of",
]

_BATCH_BYTES = 64 * 1024
_COMMAND_OVERHEAD_BYTES = 32  # of a COMMAND beside its payload, a little too much

Payload = bytes | bytearray | memoryview | str
"""The bytes of a command or a result; text goes out as UTF-8."""

Token = bytes | str | Callable[[], bytes | str] | None
"""A callable is called for each connection, so that a client that reconnects shows the current token."""


class CommandArguments(NamedTuple):
    """The arguments of one command. `required`: that nobody gets a broadcast is a refusal like any other."""

    payload: bytes
    to: Destination
    results: bool
    quiet: bool
    ttl_ms: int
    tied: bool = False
    required: bool = False

    @property
    def forgiving(self) -> bool:
        """Whether it may go to nobody."""
        return self.to.broadcast and not self.required

    def check_one(self, to: To, name: str | None) -> None:
        """Raise ArgumentError, about the arguments `to` and `name` of a request, unless it goes to one member."""
        chosen = self.to
        if chosen.broadcast or chosen.target is Target.ALL or (not chosen.names and len(chosen.tickets) > 1):
            if name is None:
                raise ArgumentError("to", to, "expected one member: a request has one answer")
            several = "several members have it" if chosen.names is None else "expected no wildcard"
            raise ArgumentError("name", name, f"{several}: a request has one answer")

    def looked_up(self, members: Iterable[MemberInfo], own_ticket: int | None) -> CommandArguments:
        """The same with the tickets of the members whose names match."""
        return self._replace(to=self.to.looked_up(members, own_ticket))


def command_arguments(
    payload: Payload,
    to: To,
    results: bool,
    timeout_s: float | None,
    quiet: bool,
    *,
    tickets: Iterable[int] | None = None,
    names: Names | None = None,
    tied: bool = False,
    required: bool = False,
) -> CommandArguments:
    """The arguments of a command, checked. `timeout_s` None is the server's default."""
    if tied and not results:
        raise ArgumentError("tied", tied, "expected it only with results=True")
    destination = destination_of(to, tickets, names)
    return CommandArguments(
        payload_of(payload), destination, results, quiet, ttl_ms_of(timeout_s), tied, required
    )


def batches_of(payloads: Iterable[Payload]) -> Iterator[list[bytes]]:
    """The bytes of payloads, in lists of some 64 KiB, which are sent at once. Raises ArgumentError."""
    if isinstance(payloads, Payload):  # its characters or numbers are no payloads
        raise ArgumentError("payloads", payloads, "expected several; command sends one")
    batch: list[bytes] = []
    size = 0
    for payload in payloads:
        data = payload_of(payload)
        batch.append(data)
        size += len(data) + _COMMAND_OVERHEAD_BYTES
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def payload_of(payload: Payload) -> bytes:
    """The bytes of a payload."""
    if type(payload) is bytes:
        return payload
    if isinstance(payload, str):
        return _encoded("payload", payload)
    if isinstance(payload, bytes | bytearray | memoryview):
        return bytes(payload)
    raise ArgumentError("payload", payload, "expected bytes or text")


def ttl_ms_of(timeout_s: float | None) -> int:
    """Seconds as a ttl_ms, rounded up; None is 0, the server's default."""
    if timeout_s is None:
        return 0
    _check_seconds(timeout_s)
    return min(math.ceil(timeout_s * 1000), U32_MAX)


def token_of(token: Token) -> bytes:
    """The bytes of a token; a callable is called now."""
    if callable(token):
        token = token()
    if token is None:
        return b""
    if not isinstance(token, str | bytes):
        raise ArgumentError("token", type(token), "expected bytes or text")  # the value is nobody's business
    return _encoded("token", token) if isinstance(token, str) else token


def check_options(host: str | Sequence[str], port: int, token: Token, timeout_s: float) -> None:
    """Check arguments of a client's constructor; a token that is callable is not called. Raises ArgumentError."""
    if not isinstance(host, str) and not (
        isinstance(host, Sequence) and all(isinstance(one, str) for one in host)
    ):
        raise ArgumentError("host", host, "expected a name or an address, or several")
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
        raise ArgumentError("port", port, "expected a number from 1 to 65535")
    if not callable(token):
        token_of(token)
    _check_seconds(timeout_s)


def check_functions(*, awaited: bool, **functions: object) -> None:
    """Check functions, each of which may be None; only where they are `awaited` may they be coroutine functions.

    Raises ArgumentError.
    """
    for name, function in functions.items():
        if function is not None and not callable(function):
            raise ArgumentError(name, function, "expected a function")
        if not awaited and iscoroutinefunction(function):
            raise ArgumentError(
                name, function, "expected a plain function, as only rankmux.aio awaits coroutines"
            )


def check_observer(**functions: object) -> None:
    """Check that an observer is given none of the functions that are called for members only. Raises ArgumentError."""
    for name, function in functions.items():
        if function is not None:
            raise ArgumentError(name, function, "an observer has no seat: expected it only without observe")


def check_rank(rank: int) -> None:
    """Check a rank that a member waits for. Raises ArgumentError."""
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 0:
        raise ArgumentError("rank", rank, "expected a number, at least 0")


def check_drain(drain_s: float) -> None:
    """Check the time that handlers may take before a member steps down. Raises ArgumentError."""
    if not isinstance(drain_s, int | float) or not drain_s >= 0:
        raise ArgumentError("drain_s", drain_s, "expected a number of seconds, at least 0")


def check_keep(keep_s: float | None, observe: bool, keep_file: object) -> None:
    """Check the options of a seat that is kept. Raises ArgumentError."""
    if keep_s is not None:
        _check_seconds(keep_s, "keep_s")
        if observe:
            raise ArgumentError("keep_s", keep_s, "an observer has no seat to keep")
    elif keep_file is not None:
        raise ArgumentError("keep_file", keep_file, "expected it only with keep_s")


def _check_seconds(seconds: float, name: str = "timeout") -> None:
    if not isinstance(seconds, int | float) or not 0 < seconds <= U32_MAX / 1000:
        raise ArgumentError(name, seconds, f"expected more than 0 and at most {U32_MAX // 1000} seconds")


def _encoded(name: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        pass  # that error would carry the text, which may be a token
    raise ArgumentError(name, "text", "it cannot be written as UTF-8; bytes may be anything")
