"""A handler and a polling wait for the tests of both clients."""

from __future__ import annotations

import time
from collections.abc import Callable

from rankmux import ReceivedCommand

from ..support.drivers import PATIENCE_S


def shout(command: ReceivedCommand) -> str:
    return command.text.upper()


def until(condition: Callable[[], bool]) -> None:
    """Poll for an effect in the server, which no call can wait for."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)
