"""The exceptions of rankmux, one tree, split by who is at fault.

    RankmuxError
    ├── LocalError               our own caller broke a rule; nothing was sent, nothing changed
    │   ├── ConfigError          a setting: which key, which value, what is allowed
    │   │   └── AddressInUse     ... an address that somebody listens on already
    │   ├── ArgumentError        an argument of a public call (also a ValueError)
    │   ├── PayloadTooBig        a payload over the connection's max_payload
    │   └── StateError           a step that the connection's state does not allow
    ├── RemoteError              the peer is at fault, or said no
    │   ├── ProtocolViolation    it broke a rule of the wire (PROTOCOL section 3.3)
    │   ├── ServerError          the server sent ERROR and closed (section 7)
    │   │   └── AuthError        ... because the token was not the right one
    │   └── CommandRefused       the server sent REFUSED (section 5)
    └── ConnectionLost           the connection ended under us; what was under way is unknown

An exception stores facts as attributes and forms its text in `__str__`. This module imports nothing of rankmux.
"""

from __future__ import annotations

__all__ = [
    "AddressInUse",
    "ArgumentError",
    "AuthError",
    "CommandRefused",
    "ConfigError",
    "ConnectionLost",
    "LocalError",
    "PayloadTooBig",
    "ProtocolViolation",
    "RankmuxError",
    "RemoteError",
    "ServerError",
    "StateError",
]


class RankmuxError(Exception):
    """The root of everything that rankmux raises on purpose."""


class LocalError(RankmuxError):
    """Our own caller broke a rule. Nothing was sent and nothing changed."""


class ConfigError(LocalError):
    """A setting is wrong: `key` names it as its user wrote it, `value` is what stood there."""

    def __init__(self, key: str, value: object, expected: str) -> None:
        super().__init__(key, value, expected)
        self.key = key
        self.value = value
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.key} is {self.value!r}: {self.expected}"


class AddressInUse(ConfigError):
    """An address to listen on is right, and somebody listens there already."""


class ArgumentError(LocalError, ValueError):
    """An argument of a public call is not what it has to be."""

    def __init__(self, name: str, value: object, expected: str) -> None:
        super().__init__(name, value, expected)
        self.name = name
        self.value = value
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.name} is {self.value!r}: {self.expected}"


class PayloadTooBig(LocalError):
    """A payload of `size` bytes where the connection allows `limit` (WELCOME's max_payload)."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(size, limit)
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        advice = "send less, or raise its --max-payload"
        return f"the payload is {self.size} bytes, the server allows {self.limit}: {advice}"


class StateError(LocalError):
    """A step that is not allowed in this state; the state is as it was."""

    def __init__(self, step: str, state: str) -> None:
        super().__init__(step, state)
        self.step = step
        self.state = state

    def __str__(self) -> str:
        return f"{self.step} is not possible while {self.state}"


class RemoteError(RankmuxError):
    """The peer is at fault, or said no."""


class ProtocolViolation(RemoteError):
    """The peer's bytes break the protocol. `code` is what an ERROR frame would carry (section 7)."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return self.text


class ServerError(RemoteError):
    """The server sent ERROR `code` (section 7) with `text`, and closed."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return f"the server ended the connection: {self.text} (code {self.code})"


class AuthError(ServerError):
    """The server did not accept the token."""


class CommandRefused(RemoteError):
    """The server sent REFUSED `code` (section 5) for the command `id`; nobody got it."""

    def __init__(self, id: int, code: int, text: str) -> None:  # noqa: A002 as the protocol names it
        super().__init__(id, code, text)
        self.id = id
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return f"the command was refused: {self.text} (code {self.code})"


class ConnectionLost(RankmuxError):
    """The connection ended. Whether a command under way was carried out is not known; it is never sent again."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the connection is gone: {self.reason}"
