"""Rows C: joins and departures, and their effect on the others. (C2, C8, C9 in detail: tests/protocol.)"""

from __future__ import annotations

import socket
import time
from contextlib import suppress

import pytest

from ..protocol.frames import QUIET, Cause, Command, Execute, Hello, Rank, Refusal, Refused, Welcome, encode
from ..protocol.peer import ClosedError, Peer, SilenceError
from . import nemesis as history
from .conftest import FULL, Rigging, anywhere, everywhere
from .test_resources import many_files  # noqa: F401 - a fixture
from .witness import Witness, figure


def to_all(number: int, size: int = 20) -> bytes:
    return encode(Command(number, 0, 0, QUIET, 0, number.to_bytes(4, "big") + bytes(size)))


def executed(peer: Peer) -> list[int]:
    """The numbers of the commands received before the answer to a PING."""
    return [int.from_bytes(f.payload[:4], "big") for f in peer.settle() if isinstance(f, Execute)]


@anywhere
def test_c1_targets_reset_inside_the_dispatch(rig: Rigging) -> None:
    """Commands of a turn go to connections that are already reset: the other members receive all of them."""
    server = rig(24)
    for round_ in range(5):
        sender, *targets = server.line(12)
        gone = targets[round_ % 2 :: 3]
        with server.one_turn():
            sender.raw(b"".join(map(to_all, range(20))))
            for peer in gone:
                peer.reset()
        for peer in targets:
            if peer not in gone:
                assert executed(peer) == list(range(20))
        server.vacate()


@anywhere
def test_c2_some_of_many_leave_in_one_turn(rig: Rigging) -> None:
    """Each member whose rank changes receives one RANK, with the final rank; the others receive none."""
    server = rig(40)
    members = server.line(30)
    gone = members[5:25:3]
    began = time.monotonic()
    with server.one_turn():
        for peer in gone:
            peer.leave()
    left = [peer for peer in members if peer not in gone]
    for rank, peer in enumerate(left):
        frames = [frame for frame in peer.settle() if isinstance(frame, Rank)]
        if rank < 5:
            assert not frames
        else:
            assert [(f.rank, f.members) for f in frames] == [(rank, len(left))]
    figure(
        "C2",
        "7 of 30 leave in a turn: all the others know after",
        f"{(time.monotonic() - began) * 1e3:.0f} ms",
    )


@everywhere
def test_c3_a_descriptor_is_used_again_in_the_same_turn(rig: Rigging) -> None:
    """A new connection on the descriptor of an old one gets only bytes meant for it, from the first on."""
    server = rig(12)
    sender = server.join()
    for round_ in range(15):
        old = server.join(f"old {round_}")
        server.pause()
        sender.raw(to_all(round_, 2000))
        old.raw(encode(Command(5, 0, 0, 0, 0, b"cut"))[:-2])
        old.reset()
        server.resume()
        new = server.connect()
        new.send(Hello(name=f"new {round_}"))
        welcome = new.expect(Welcome)
        if welcome.rank == 2:  # after a partial frame, the reset is read a turn later
            new.expect(Rank, rank=1, cause=Cause.LOST)
        assert welcome.rank in (1, 2)
        new.expect_quiet()
        new.leave()
        new.expect_close()
        sender.settle()


@everywhere
def test_c4_rank_0_dies_with_commands_in_the_servers_input(rig: Rigging) -> None:
    """Its commands are sent first, with its former rank; then all move up."""
    server = rig(8)
    for how in ("reset", "close"):
        first, *others = server.line(4)
        with server.one_turn():
            first.raw(b"".join(map(to_all, range(200))))
            first.reset() if how == "reset" else first.close()
        for rank, peer in enumerate(others):
            for number in range(200):
                frame = peer.expect(Execute, sender_rank=0)
                assert frame.payload[:4] == number.to_bytes(4, "big")
            peer.expect(Rank, rank=rank, members=3, cause=Cause.LOST if how == "reset" else Cause.LEFT)
        server.vacate()


@anywhere
def test_c5_a_sender_resets_right_after_a_frame(rig: Rigging) -> None:
    """Either all its targets receive it, or none."""
    server = rig(40)
    senders, targets, probe = server.line(30), server.line(5), server.join()
    for number, sender in enumerate(senders):
        sender.raw(to_all(number, 100 * number))
        sender.reset()
    probe.wait_for_total(6)
    seen = [executed(peer) for peer in targets]
    assert all(one == seen[0] for one in seen)
    assert seen[0] == sorted(seen[0])


@anywhere
def test_c6_the_only_member_commands(rig: Rigging) -> None:
    server = rig(4)
    only = server.join()
    for target in (0, 2, 3):
        only.command(target, target, quiet=True)
        assert only.expect(Refused, id=target).code == Refusal.NO_TARGET
    only.command(9, 1, 0)
    assert only.expect(Refused, id=9).code == Refusal.NOT_LOWER


@pytest.mark.slow
def test_c7_churn_and_a_history(capsys: pytest.CaptureFixture[str]) -> None:
    """500 joins and leaves per second (fewer on a slow machine); all logs are checked."""
    seconds = 60.0 if FULL else 5.0
    kept = history.check(seconds, 7, churn_per_s=500, faults=False)
    said = capsys.readouterr().out
    assert not kept.violations, kept.violations[:10]
    assert kept.deliveries > 200 * seconds
    churned = int(said.rpartition("churn ")[2].split()[0])
    assert churned > 100 * seconds
    figure(
        "C7",
        f"{churned} came and went in {seconds:g} s; checked",
        f"{kept.deliveries} deliveries, 0 violations",
    )


@anywhere
def test_c8_one_leaves_and_one_comes_in_the_same_turn(rig: Rigging) -> None:
    server = rig(5)
    for _ in range(10):
        members = server.line(5)
        late = server.connect()
        late.sock.settimeout(5)
        with server.one_turn():
            members[2].leave()
            late.send(Hello(name="late"))
        assert late.expect(Welcome).rank == 4
        server.vacate()


@pytest.mark.slow
def test_c9_half_of_many_vanish_at_once(rig: Rigging, many_files: None) -> None:  # noqa: F811
    """1,000 here, 10,000 in tests/protocol/test_scale.py; one sweep, and the rest are notified within 2 s."""
    count = 1000
    server = rig(count + 10, "--ping-ms", "60000")
    members = server.line(count)
    each = (server.rss() - server.rss_before) / count
    figure("memory", f"an idle member, of {count}", f"{each / 1024:.1f} KiB")
    gone, left = members[::2], members[1::2]
    rss = server.rss()
    with server.one_turn():
        for peer in gone:
            peer.reset()
    began = time.monotonic()
    for rank, peer in enumerate(left):
        assert peer.expect(Rank).rank <= rank * 2 + 1
    took = time.monotonic() - began
    assert took < 2.0
    left[-1].wait_for_total(len(left))
    figure(
        "C9",
        f"{len(gone)} of {count} reset at once: the rest know after; memory",
        f"{took:.2f} s; {(server.rss() - rss) >> 10} KiB",
    )


@anywhere
def test_resets_at_every_moment(rig: Rigging) -> None:
    """Members that reset while they connect, send HELLO, commands or results; the witness loses nothing."""
    server = rig(64)
    witness = Witness(server.join(), [server.join(), server.join()])
    stages = [
        b"",
        encode(Hello())[:5],
        encode(Hello()),
        encode(Hello()) + to_all(1),
        encode(Hello()) + to_all(1)[:9],
    ]
    for number in range(150):
        peer = server.connect()
        peer.raw(stages[number % len(stages)])
        if number % 2:
            with suppress(SilenceError, ClosedError):
                peer.recv(0.005)
        peer.reset() if number % 3 else peer.close()
    with socket.socket() as sock:  # a connection that is reset before it is accepted
        sock.connect((server.host, server.port))
    witness.finish()
    assert witness.keeps(0.2), witness.ms()
