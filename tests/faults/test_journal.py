"""The session of a client that logs what it sends and receives."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rankmux.core.client.keep import KeptSeat

from ..protocol.frames import Code, Error, Execute, How, Welcome, encode
from .crew_member import HEAD
from .journal import MEMBER, Journal

WELCOME = Welcome(
    version=1,
    instance=1,
    ticket=5,
    seq=8,
    rank=1,
    members=2,
    capacity=9,
    max_payload=4096,
    ping_ms=2000,
    resume=bytes([How.NEW]) + (4000).to_bytes(4),
)


@pytest.fixture
def member() -> Iterator[SimpleNamespace]:
    made = SimpleNamespace(
        ident="c5.0",
        connections=0,
        number=0,
        received={},
        journal=None,
        ended_ms=0,
        crew=SimpleNamespace(lines=[]),
    )
    token = MEMBER.set(cast("Any", made))
    yield made
    MEMBER.reset(token)


def connect(kept: KeptSeat, *frames: object) -> Journal:
    journal = Journal("a", kept=kept)
    journal.data_to_send()
    for frame in frames:
        journal.receive_data(encode(frame))  # type: ignore[arg-type]
    journal.events()
    return journal


def test_a_server_that_refuses_to_have_it_back_ends_no_command_that_waits(member: SimpleNamespace) -> None:
    kept = KeptSeat(4000, bytes(range(16)), time.monotonic)
    execute = Execute(seq=9, sender_rank=0, flags=0, ttl_ms=0, payload=HEAD.pack(4, 1, 0, 0))
    first = connect(kept, WELCOME, execute)
    first.receive_eof()
    first.events()
    assert member.received == {9: first}
    connect(kept, Error(code=Code.SHUTDOWN, text="it goes"))
    assert member.received == {9: first}
