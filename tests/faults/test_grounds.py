"""A short course of faults on each of the eighteen grounds: transport by selector by twin."""

from __future__ import annotations

import pytest

from ..protocol.frames import (
    QUIET,
    Accepted,
    Cause,
    Code,
    Command,
    Done,
    Execute,
    Hello,
    Rank,
    Routed,
    Status,
    Welcome,
    encode,
)
from .conftest import ALL, Rigging
from .test_slow_peers import BIG, flood, numbers, rest_of_stream
from .witness import expect_end


@pytest.mark.parametrize("ground", ALL, ids=str)
def test_the_core_of_the_rows(rig: Rigging) -> None:
    """F1, F2, F5, F10, H4, R1, S1, C1 to C4, and results; then U1 to U6."""
    server = rig(6, "--write-timeout-s", "0.5")
    first, second, third = server.line(3)

    for octet in encode(Command(1, 0, 0, 0, 0, b"drip")):  # F1
        first.raw(bytes([octet]))
    for peer in (second, third):
        peer.expect_execute(0, b"drip")
    first.expect(Accepted, id=1, executors=2)

    first.raw(b"".join(encode(Command(n, 1, 2, QUIET, 0, n.to_bytes(4, "big"))) for n in range(2000)))  # F2
    assert numbers(third, 2000) == list(range(2000))
    second.expect_quiet()

    early, bad = server.connect(), server.join()
    early.send(Command(1), Hello())  # H4
    early.expect_error(Code.PROTOCOL, reset_ok=True)
    bad.raw(b"\xff\xff\xff\xff")  # F5
    expect_end(bad, Code.TOO_BIG)

    old = server.join()
    with (
        server.one_turn()
    ):  # F10, C1, C3: lost in mid-frame while frames are sent to it, when the next one has already joined
        first.command(2, payload=b"while one goes", quiet=True)
        old.raw(encode(Command(1, 0, 0, 0, 0, b"cut"))[:-2])
        old.reset()
    new = server.connect()
    new.send(Hello())
    welcome = new.expect(Welcome)
    if welcome.rank == 4:  # the reset is read a turn later
        new.expect(Rank, rank=3, cause=Cause.LOST)
    for peer in (second, third):
        peer.expect_execute(0, b"while one goes")
    new.expect_quiet()

    filling = server.line(2)
    full = server.connect()
    full.send(Hello())  # R1
    full.expect_error(Code.FULL)
    for peer in reversed(filling):
        peer.leave()
        peer.expect_close()
    first.wait_for_total(4)

    second.command(7, payload=b"work", results=True)  # a result of one executor, while the other leaves
    seq = third.expect(Execute, payload=b"work").seq
    new.expect(Execute, payload=b"work")
    third.result(seq, Status.OK, b"done")
    new.reset()
    second.expect(Accepted, id=7, executors=2)
    assert {second.expect(Routed, id=7).status for _ in range(2)} == {Status.OK, Status.LEFT}
    second.expect(Done, id=7, ok=1, left=1)

    slow = server.join(receive_buffer=8192)
    sending = flood(second, 30)  # S1
    assert numbers(third, 30) == list(range(30))
    sending.join(10)
    first.wait_for_total(3)
    before, error = rest_of_stream(slow)
    assert before == list(range(len(before)))
    assert error is not None
    assert error.code == Code.SLOW
    assert len(before) * BIG < 30 * BIG

    with server.one_turn():  # C4, C2: rank 0 leaves with commands in the server's input
        first.raw(b"".join(encode(Command(n, 0, 0, QUIET, 0, n.to_bytes(4, "big"))) for n in range(50)))
        first.reset()
    for rank, peer in enumerate((second, third)):
        assert numbers(peer, 50) == list(range(50))
        peer.expect(Rank, rank=rank, members=2, cause=Cause.LOST)
