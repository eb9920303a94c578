"""An observer: it looks at the line of members over a connection of its own that takes no seat. It blocks."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Iterator

from ...client.client import Client
from ..shared.connection_flags import client_options
from ..shared.flags import SEAT_VARIABLE
from . import protocol
from .channel import HeldSeat

__all__ = ["Observer", "open_view"]

_LOOK_S = 1.0


class Observer:
    """Looks on at the server that `arguments` name. Raises LocalError, ConnectionLost, ServerError."""

    ticket: object = None

    def __init__(self, arguments: argparse.Namespace, *, watch: bool) -> None:
        logging.getLogger("rankmux").addHandler(logging.NullHandler())
        options = client_options(arguments)
        self._client = Client(**options, timeout=arguments.connect_timeout, observe=True, watch=watch)

    def who(self) -> list[dict[str, object]]:
        """All members. Raises ConnectionLost, ServerError, TimeoutError."""
        return [member._asdict() for member in self._client.who()]

    def watch(self) -> Iterator[list[dict[str, object]] | protocol.Header | None]:
        """All members, then each change as it comes; None after each second without one. Raises as `who`."""
        watch = self._client.watch()
        yield [member._asdict() for member in watch.members]
        while True:
            try:
                for change in watch.changes(_LOOK_S):
                    yield protocol.changed(0, change)
            except TimeoutError:
                yield None

    def close(self) -> None:
        """End the connection."""
        self._client.close()


def open_view(arguments: argparse.Namespace, *, watch: bool) -> HeldSeat | Observer:
    """The seat that --seat or RANKMUX_SEAT names, or an observer. Raises LocalError, ConnectionLost, ServerError."""
    path = arguments.seat or os.environ.get(SEAT_VARIABLE)
    return HeldSeat(path, arguments.connect_timeout) if path else Observer(arguments, watch=watch)
