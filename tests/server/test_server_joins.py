"""The work of a join, counted in calls of Python functions instead of timed."""

from __future__ import annotations

import socket
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from types import FrameType

import pytest

from rankmux._twin import TWIN
from rankmux.core.wire.frames import Hello
from rankmux.server.server import Server

BURST = 64
CALLS_MAX = 10 if TWIN == "extension" else 50


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(port=0, seats=2 * BURST)
    yield server
    server.close()


def calls_of_joins(server: Server, stack: ExitStack) -> Counter[str]:
    """How often the server calls each function while a burst of clients joins."""
    for _ in range(BURST):
        client = stack.enter_context(socket.create_connection(server.address))
        client.sendall(Hello().encode())
    members = len(server.room) + BURST
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            calls[frame.f_code.co_qualname] += 1

    sys.setprofile(count)
    try:
        while len(server.room) < members:
            server.step(1.0)
    finally:
        sys.setprofile(None)
    return calls


def test_a_join_makes_few_calls(server: Server) -> None:
    with ExitStack() as stack:
        calls_of_joins(server, stack)  # the tables grow
        calls = calls_of_joins(server, stack)
    assert calls["Enum.__hash__"] == 0, "it is Python code, and called for each look-up"
    assert calls.total() / BURST <= CALLS_MAX, calls.most_common()
