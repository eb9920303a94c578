"""The options of a client as keyword arguments, for type checkers."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from ssl import SSLContext
from typing import TypedDict

from ..core.client.arguments import Token
from ..core.client.events import Promoted
from ..errors import RankmuxError
from .callbacks import Handler

__all__ = ["ClientSettings"]


class ClientSettings(TypedDict, total=False):
    """The keyword arguments of `rankmux.Client`, all optional: `def join(**settings: Unpack[ClientSettings])`."""

    name: str
    token: Token
    unix: str | PathLike[str] | None
    ssl_context: SSLContext | None
    server_hostname: str | None
    timeout: float
    handler: Handler | None
    on_promoted: Callable[[Promoted], object] | None
    on_joined: Callable[[int], object] | None
    on_lost: Callable[[RankmuxError], object] | None
    reconnect: bool
    observe: bool
    watch: bool
    keep_s: float | None
    keep_file: str | PathLike[str] | None
    on_absent: Callable[[RankmuxError], object] | None
    on_back: Callable[[int], object] | None
    on_seat_lost: Callable[[int], object] | None
