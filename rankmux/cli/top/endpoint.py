"""Requests of rankmux-top to the admin endpoint: `live.json` over TCP or a Unix socket, kicks over the latter."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlencode, urlsplit

from ...errors import ArgumentError
from ...system.printable import escaped
from ...system.reasons import socket_reason, unix_reason
from ..shared.admin_socket import ANSWER_TIMEOUT_S, UnixConnection, request_kick

__all__ = ["Endpoint", "NoAnswer"]

_BODY_MAX = 64 * 1024 * 1024
_TEXT_MAX = 200  # names and addresses have less than 256 bytes
_NUMBER_MAX = 1e18
_NUMBER = int | float
_TOTALS = ["at", "uptime_s", "members", "seats", "waiting", "joins", "commands", "deliveries", "refused"]
_TOTALS += ["queued_bytes", "queued_bytes_max", "paced", "turn_s", "absent", "observers"]
_ANSWER = {
    "first": int,
    "found": int,
    "totals": dict.fromkeys(_TOTALS, _NUMBER)
    | {"instance": str, "version": str, "ready": bool, "state": str, "server": str, "servers": [str]}
    | {"results": [_NUMBER], "closed": [_NUMBER]},
    "members": [
        dict.fromkeys(
            ("rank", "ticket", "load", "queued_bytes", "age_s", "idle_s", "absent_s", "kept_s"), _NUMBER
        )
        | {"name": str, "address": str, "paced": bool, "state": str}
    ],
}
"""What is read of `live.json`: types, objects with these fields, lists or objects with values of one type."""
_FAR = 10**12  # `live.json` lists events after a number; nothing comes after this one


_NO_ENDPOINT = (
    "a server has an admin endpoint if it is started with --admin 7118 or --admin-unix PATH; "
    "then: rankmux-top 7118, rankmux-top unix:PATH"
)
_NO_HTTP = (
    "that is no admin endpoint, perhaps the address for clients; the log of the server says where it is: "
    '"admin endpoint: ..."'
)
_ONLY_FIGURES = (
    "that address has figures only (--metrics); the members are at that of --admin or --admin-unix"
)


class NoAnswer(Exception):
    """The endpoint cannot be reached, or gives no answer that makes sense. `hint`: what may help; it may be empty."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


class Endpoint:
    """The admin endpoint at `where`, over one connection, which is opened again after a loss. Raises ArgumentError."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._connection = _connection(where)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    @property
    def may_kick(self) -> bool:
        """Whether it is a Unix socket: the only one that takes more than questions."""
        return isinstance(self._connection, UnixConnection)

    def kick(self, ticket: int) -> str:
        """Throw out the member with `ticket`; empty, or why nobody was. Never sent twice. Raises NoAnswer."""
        self._connection.close()  # one that the server has closed meanwhile would cost the request
        try:
            status, text = request_kick(self._connection, ticket)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise NoAnswer(self._reason(error)) from None
        return "" if status == 204 else escaped(text) or str(status)

    def ask(
        self, first: int, count: int, sort: str, find: str = "", *, reverse: bool = False
    ) -> dict[str, Any]:
        """The members from `first` on in that order of those that `find` is in, and the totals. Raises NoAnswer."""
        wish = {"first": first, "count": count, "sort": sort, "find": find, "reverse": int(reverse)}
        path = "/live.json?" + urlencode(wish | {"after": _FAR, "closed_after": _FAR})
        for attempt in (1, 2):
            try:
                self._connection.request("GET", path)
                response = self._connection.getresponse()
                body = response.read(_BODY_MAX)
                if response.status != 200:
                    hint = _ONLY_FIGURES if response.status == 404 and b"/metrics" in body else ""
                    raise NoAnswer(f"{response.status}: {_first_line(body)}", hint)
                news = _read(body)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._connection.close()
                if attempt == 2 or not isinstance(error, (http.client.RemoteDisconnected, ConnectionError)):
                    raise NoAnswer(self._reason(error), _hint(error)) from None
            else:
                return news
        raise AssertionError

    def _reason(self, error: Exception) -> str:
        """What to say instead of an answer."""
        if isinstance(error, TimeoutError):
            reason = f"it did not answer within {ANSWER_TIMEOUT_S:g} s"
        elif isinstance(error, OSError):
            reason = unix_reason(self.path, error) if self.may_kick else socket_reason(error)
        elif isinstance(error, http.client.HTTPException):
            reason = f"that is no admin endpoint of rankmux-server: {str(error) or type(error).__name__}"
        else:
            reason = str(error) or type(error).__name__
        return escaped(reason)

    @property
    def path(self) -> str:
        """Of the Unix socket."""
        return self.where.removeprefix("unix:")


def _first_line(body: bytes) -> str:
    """Of a text; a page of HTML is of no use at a terminal."""
    text = body[:_TEXT_MAX].decode(errors="replace").strip().partition("\n")[0]
    return "a web page" if text.startswith("<") else escaped(text)


def _hint(error: Exception) -> str:
    """What may help against `error`."""
    match error:
        case ConnectionRefusedError() | FileNotFoundError():
            return _NO_ENDPOINT
        case PermissionError():
            return "only the server's user and root may open its Unix socket"
        case http.client.RemoteDisconnected() | http.client.BadStatusLine() | ConnectionResetError():
            return _NO_HTTP
        case _:
            return ""


def _read(body: bytes) -> dict[str, Any]:
    """The answer, with nothing in it that a terminal must not get. Raises NoAnswer, ValueError."""
    try:
        news: dict[str, Any] = _harmless(json.loads(body))
    except RecursionError:
        news = {}
    if not _fits(news, _ANSWER):
        raise NoAnswer("that is no rankmux server", _NO_HTTP)
    return news


def _fits(value: Any, shape: Any) -> bool:
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(_fits(value.get(key), field) for key, field in shape.items())
    if isinstance(shape, list):
        values = value.values() if isinstance(value, dict) else value
        return isinstance(value, dict | list) and all(_fits(item, shape[0]) for item in values)
    return isinstance(value, shape)


def _harmless(value: Any) -> Any:
    """`value` with texts escaped and cut, and numbers of a size that can be shown."""
    match value:
        case str():
            return escaped(value[:_TEXT_MAX])
        case bool() | None:
            return value
        case int() | float():
            if not abs(value) <= _NUMBER_MAX:  # NaN too
                raise ValueError("a number is out of range")
            return value
        case list():
            return [_harmless(item) for item in value]
        case _:
            return {_harmless(key): _harmless(item) for key, item in value.items()}


def _connection(where: str) -> http.client.HTTPConnection:
    if where.startswith(("unix:", "/")):
        return UnixConnection(where.removeprefix("unix:"))
    try:
        parts = urlsplit(where if "//" in where else f"//{where}" if ":" in where else f"//127.0.0.1:{where}")
        if parts.scheme not in ("", "http") or not parts.hostname:
            raise ValueError
        return http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=ANSWER_TIMEOUT_S)
    except ValueError:
        expected = "expected http://HOST:PORT/, HOST:PORT, a PORT of this machine, or unix:PATH"
        raise ArgumentError("WHERE", where, expected) from None
