"""`flush` sends the pieces of a turn in place: any turn, any number of pieces, and no memory per receiver."""

from __future__ import annotations

import socket
from array import array
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ...support.fanout_peak import TURNS, growth
from ...support.laid import Laid, laid_turns
from ...support.linked import Members
from ...support.sockets import nothing_to_read, read, tcp_pairs

SMALL = 8192  # bytes of a socket's buffers
IOV_MAX = 1024


def check(framing: ModuleType, ring: bool, laid: Laid, **buffers: int) -> list[int]:
    """Each receiver gets a prefix of its bytes, of the length that `flush` reports; returns these lengths."""
    with tcp_pairs(laid.members, **buffers) as pairs:
        members = Members(framing, pairs, ring)
        try:
            sent = [len(laid.expected(rank)) for rank in range(laid.members)]
            for rank, count, error in members.flush(laid):
                assert error == 0
                assert count < sent[rank]
                sent[rank] = count
        finally:
            members.ring.close()
        for rank, far in enumerate(members.far):
            assert read(far, sent[rank]) == laid.expected(rank)[: sent[rank]]
            assert nothing_to_read(far)
    return sent


@pytest.mark.parametrize("ring", [False, True], ids=["calls", "ring"])
@given(laid=laid_turns(6), times=st.integers(1, 4000))
def test_any_turn_to_sockets_that_take_part_of_it(framing, ring, laid, times):
    laid.frames = [(sender, receiver, octets * times) for sender, receiver, octets in laid.frames]
    laid.own_tails = {rank: octets * times for rank, octets in laid.own_tails.items()}
    check(framing, ring, laid, send_buffer=SMALL, receive_buffer=SMALL)


def interleaved(pieces: int, size: int) -> Laid:
    """A turn with the given number of pieces, of `size` bytes each, for rank 1, and every second of them for rank 2."""
    frames: list[tuple[int, int | None, bytes]] = []
    for number in range(pieces):
        octets = (b"%d" % (number % 10)).ljust(size, b".")
        frames.append((0, None if number % 2 else 1, octets))
    return Laid(3, frames, [], {})


@pytest.mark.parametrize("ring", [False, True], ids=["calls", "ring"])
@pytest.mark.parametrize("pieces", [IOV_MAX - 1, IOV_MAX, IOV_MAX + 1, 2 * IOV_MAX, 3 * IOV_MAX + 1])
def test_more_pieces_than_one_call_takes(framing, ring, pieces):
    laid = interleaved(pieces, 6)
    assert len(laid.deliveries().pieces(1, laid.tickets[1])) == pieces
    assert check(framing, ring, laid) == [len(laid.expected(rank)) for rank in range(3)]


@pytest.mark.parametrize("ring", [False, True], ids=["calls", "ring"])
@given(pieces=st.integers(IOV_MAX + 1, 3 * IOV_MAX), size=st.integers(1, 60))
def test_more_pieces_than_one_call_takes_to_a_socket_that_takes_part(framing, ring, pieces, size):
    check(framing, ring, interleaved(pieces, size), send_buffer=SMALL, receive_buffer=SMALL)


def test_a_socket_that_is_full_after_some_calls(framing):
    """The last call sends nothing, all others everything: a Unix socket takes a small message whole or not at all."""
    laid = interleaved(16 * IOV_MAX, 2)
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        members = Members(framing, [(near, far)])
        handles = array("i", [-1, near.fileno(), -1])
        ((rank, sent, error),) = framing.flush(
            laid.deliveries(), laid.tickets, handles, members.links, members.ring
        )
        assert (rank, error) == (1, 0)
        assert sent > 0
        assert sent % (2 * IOV_MAX) == 0
        assert read(far, sent) == laid.expected(1)[:sent]
        assert nothing_to_read(far)


@pytest.mark.parametrize("ring", [False, True], ids=["calls", "ring"])
@pytest.mark.parametrize("turn", TURNS)
def test_delivering_takes_no_memory_per_receiver(framing, ring, turn):
    assert growth(framing.__name__, ring, turn) < 2 << 20
