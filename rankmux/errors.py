"""The exceptions of rankmux, one tree, split by who is at fault.

    RankmuxError
    ├── LocalError               the caller broke a rule; nothing was sent and nothing changed
    │   ├── ConfigError          a setting with a wrong value
    │   │   ├── UnknownSetting   ... with a name that does not exist
    │   │   ├── ConfigErrors     ... several of them
    │   │   └── CannotListen     ... with an address that cannot be listened on
    │   │       └── AddressInUse     ... because it is taken
    │   ├── ArgumentError        an argument of a public call (also a ValueError)
    │   ├── PayloadTooBig        a payload over the connection's max_payload
    │   ├── SnapshotError        bytes that are no dump of a room (also a ValueError)
    │   └── StateError           a step that the connection's state does not allow
    ├── RemoteError              the peer is at fault, or refused
    │   ├── ProtocolViolation    a broken rule of the protocol (section 3.3)
    │   ├── ServerError          an ERROR from the server, which then closed (section 7)
    │   │   ├── AuthError        ... for a wrong token, or a certificate that may not join
    │   │   └── FullError        ... as no seat is free
    │   ├── CommandRefused       a REFUSED from the server (section 5)
    │   └── LogBroken            the log that servers share is not the one that it was, or not for this server
    └── ConnectionLost           the end of the connection; the outcome of pending commands is unknown
        ├── CannotConnect        ... which there was none of yet
        └── ResultsLost          ... of one command that waited for results

An exception stores facts as attributes and forms its text in `__str__`. This module imports nothing of rankmux.
"""

from __future__ import annotations

__all__ = [
    "AddressInUse",
    "ArgumentError",
    "AuthError",
    "CannotConnect",
    "CannotListen",
    "CommandRefused",
    "ConfigError",
    "ConfigErrors",
    "ConnectionLost",
    "FullError",
    "LocalError",
    "LogBroken",
    "PayloadTooBig",
    "ProtocolViolation",
    "RankmuxError",
    "RemoteError",
    "ResultsLost",
    "ServerError",
    "SnapshotError",
    "StateError",
    "UnknownSetting",
]


_SHOWN_MAX = 100
"""The characters of an argument's value that an error shows: it may be a payload of megabytes."""


class RankmuxError(Exception):
    """The base class of every exception of rankmux."""


class LocalError(RankmuxError):
    """The caller broke a rule. Nothing was sent and nothing changed."""


class ConfigError(LocalError):
    """A setting has a wrong `value`; `key` names it as the user wrote it."""

    def __init__(self, key: str, value: object, expected: str) -> None:
        super().__init__(key, value, expected)
        self.key = key
        self.value = value
        self.expected = expected

    def __str__(self) -> str:
        value = str(self.value).lower() if isinstance(self.value, bool) else repr(self.value)
        return f"{self.key} is {value}: {self.expected}"


class UnknownSetting(ConfigError):
    """There is no setting, or flag or the like as `kind` says, that is called `key`; `expected` suggests another.

    `where` says where it was read, with a space before it, if that is a file.
    """

    def __init__(
        self, key: str, value: object, expected: str, kind: str = "setting", where: str = ""
    ) -> None:
        super().__init__(key, value, expected)
        self.args = (key, value, expected, kind, where)  # the arguments that copy and pickle pass
        self.kind = kind
        self.where = where

    def __str__(self) -> str:
        return f'unknown {self.kind} "{self.key}"{self.where}; {self.expected}'


class ConfigErrors(ConfigError):
    """Several settings are wrong: `errors`, of which the first gives the key and the value."""

    def __init__(self, errors: list[ConfigError]) -> None:
        super().__init__(errors[0].key, errors[0].value, errors[0].expected)
        self.args = (errors,)  # the argument that copy and pickle pass
        self.errors = errors

    def __str__(self) -> str:
        return "\n".join(map(str, self.errors))


class CannotListen(ConfigError):
    """The address `value`, of the setting `key`, cannot be listened on; `expected` is the reason."""

    def __str__(self) -> str:
        return f"cannot listen on {self.value}: {self.expected}"


class AddressInUse(CannotListen):
    """The address to listen on is taken."""

    def __init__(self, key: str, value: object) -> None:
        super().__init__(key, value, "expected a free address")
        self.args = (key, value)  # the arguments that copy and pickle pass

    def __str__(self) -> str:
        choose = "path" if "unix" in self.key else "port"
        return (
            f"{self.value} is already in use, perhaps by another rankmux-server; stop what listens there, "
            f"or choose another {choose}"
        )


class ArgumentError(LocalError, ValueError):
    """The argument `name` of a public call has a wrong `value`, of which the text shows the beginning."""

    def __init__(self, name: str, value: object, expected: str) -> None:
        super().__init__(name, value, expected)
        self.name = name
        self.value = value
        self.expected = expected

    def __str__(self) -> str:
        shown = repr(self.value)
        if len(shown) > _SHOWN_MAX:
            shown = f"{shown[:_SHOWN_MAX]}… ({len(shown)} characters)"
        return f"{self.name} is {shown}: {self.expected}"


class PayloadTooBig(LocalError):
    """A payload of `size` bytes exceeds the connection's `limit` (WELCOME's max_payload).

    `tickets` of the bytes name the executors, 8 for each, where a command is sent to members by ticket.
    """

    def __init__(self, size: int, limit: int, tickets: int = 0) -> None:
        super().__init__(size, limit, tickets)
        self.size = size
        self.limit = limit
        self.tickets = tickets

    def __str__(self) -> str:
        if self.tickets:
            payload = f"the payload and the tickets of {self.tickets // 8} members have {self.size} bytes"
            advice = "split the list into several commands, or raise the server's --max-payload"
        else:
            payload = f"the payload has {self.size} bytes"
            advice = "send less, or raise the server's --max-payload"
        return f"{payload}, the server allows {self.limit}; {advice}"


class SnapshotError(LocalError, ValueError):
    """Bytes that are no dump of a room, or of a batch; `why` says what is wrong with them."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"not a whole snapshot: {self.why}"


class StateError(LocalError):
    """The state does not allow this step, and has not changed."""

    def __init__(self, step: str, state: str) -> None:
        super().__init__(step, state)
        self.step = step
        self.state = state

    def __str__(self) -> str:
        return f"{self.step} is not possible while {self.state}"


class RemoteError(RankmuxError):
    """The peer is at fault, or refused."""


class ProtocolViolation(RemoteError):
    """The peer's bytes break the protocol. `code` is that of the ERROR frame to answer with (section 7)."""

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
    """The server did not accept the token, or the names in the client's certificate; `text` says which."""

    def __str__(self) -> str:
        if "certificate" in self.text:
            cure = "load one with a name that the server's tls_client_names allow into ssl_context"
        else:
            cure = "pass one of the server's as token, without the line break of its file"
        return f"{super().__str__()}; {cure}"


class FullError(ServerError):
    """The server has no free seat, or takes no more observers; `text` has the number. Trying later may help."""


class CommandRefused(RemoteError):
    """The server sent REFUSED `code` (section 5) for the command `id`, which no member received."""

    def __init__(self, id: int, code: int, text: str) -> None:  # noqa: A002 as the protocol names it
        super().__init__(id, code, text)
        self.id = id
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return f"the command was refused: {self.text} (code {self.code})"


class LogBroken(RemoteError):
    """A server cannot go on with the log that it shares with others; `text` says what is wrong and what to do."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return self.text


class ConnectionLost(RankmuxError):
    """The connection ended. Pending commands may or may not have been executed; they are never sent again."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the connection was lost: {self.reason}"


class CannotConnect(ConnectionLost):
    """No connection could be made; `cure` is the key of what may help, in `_CURES`, or empty."""

    def __init__(self, reason: str, cure: str = "") -> None:
        super().__init__(reason)
        self.args = (reason, cure)  # the arguments that copy and pickle pass
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.reason}: {_CURES[self.cure]}" if self.cure else self.reason


_CURES = {
    "authority": "load the certificate of its authority into ssl_context",
    "certificate": "load one into ssl_context with load_cert_chain",
    "name": "connect to one of these names, or pass it as server_hostname",
    "names": "the server needs one with this subjectAltName, or pass one that it has as server_hostname",
    "plain": "leave ssl_context out",
    "tls": "pass an ssl_context",
    "tls?": "is it a rankmux server? If it speaks TLS, pass an ssl_context",
}
"""What may help where a connection cannot be made, in terms of the arguments of a client."""


class ResultsLost(ConnectionLost):
    """A command of this client will have no more results: its connection ended, or its seat was given up.

    It may or may not have been executed; it is never sent again.
    """

    def __str__(self) -> str:
        return f"the results were lost: {self.reason}"
