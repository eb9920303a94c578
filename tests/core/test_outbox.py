"""The outbox against plain lists of frames: none lost, duplicated or torn, and shared bytes held once."""

from __future__ import annotations

from itertools import accumulate, pairwise
from sys import getsizeof
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rankmux.core import backlog
from rankmux.core.outbox import Outbox
from rankmux.core.room.deliveries import Piece

from ..support.strategies import with_length

FRAMES = st.lists(st.binary(min_size=1, max_size=40).map(with_length), max_size=6)
PEERS = st.integers(0, 3)


class Model:
    """The queue of one peer: whole frames, of which the first `begun` bytes have been sent."""

    def __init__(self, now: float) -> None:
        self.frames: list[bytes] = []
        self.begun = 0
        self.offered = 0  # bytes after `begun` that must be sent next
        self.over = False
        self.full = False
        self.moved_at = now

    @property
    def owed(self) -> bytes:
        return b"".join(self.frames)[self.begun :]

    def took(self, sent: int, now: float) -> None:
        self.begun += sent
        self.moved_at = now
        while self.frames and self.begun >= len(self.frames[0]):
            self.begun -= len(self.frames.pop(0))


class OutboxMachine(RuleBasedStateMachine):
    """Turns in which some peers fall behind, and peers that take some of their queued bytes."""

    @initialize(soft=st.integers(1, 300), more=st.integers(0, 300), block=st.sampled_from([1, 64, 65_536]))
    def open(self, soft, more, block):
        self.patch = mock.patch.object(backlog, "_BLOCK_BYTES", block)
        self.patch.start()
        self.block = block
        self.outbox = Outbox(soft, soft + more)
        self.model: dict[int, Model] = {}
        self.now = 0.0

    def teardown(self):
        if not hasattr(self, "patch"):
            return
        try:
            for peer in list(self.model):
                while peer in self.model:
                    self.take(peer, 1 << 20, 1 << 20)
            self.outbox.settle()
            assert (self.outbox.held_bytes, self.outbox.size, self.outbox.queues) == (0, 0, {})
        finally:
            self.patch.stop()

    @rule(data=st.data(), shared=FRAMES, peers=st.lists(PEERS, min_size=1, max_size=4, unique=True))
    def turn(self, data, shared, peers):
        """Each of `peers` has a backlog of a prefix of `shared`, with private frames in between."""
        self.now += 1
        executes = bytearray(b"".join(shared))
        ends = list(accumulate(map(len, shared), initial=0))
        position = self.outbox.share(executes) if executes else 0
        for peer in peers:
            pieces: list[Piece] = []
            frames: list[bytes] = []
            for start, end in pairwise(ends[: data.draw(st.integers(0, len(ends)))]):
                for own in data.draw(
                    st.lists(st.binary(min_size=1, max_size=9).map(with_length), max_size=1)
                ):
                    pieces.append(own)
                    frames.append(own)
                if pieces and isinstance(pieces[-1], tuple) and data.draw(st.booleans()):
                    pieces[-1] = (pieces[-1][0], end)
                else:
                    pieces.append((start, end))
                frames.append(bytes(executes[start:end]))
            tail = data.draw(FRAMES)
            if tail:
                pieces.append(bytearray().join(tail) if data.draw(st.booleans()) else b"".join(tail))
                frames += tail
            fresh = peer not in self.model
            model = self.model.setdefault(peer, Model(self.now))
            model.frames += frames
            sent = data.draw(st.integers(0, len(model.owed))) if fresh else 0
            moved_at = model.moved_at
            model.took(sent, moved_at)
            model.over |= len(model.owed) > self.outbox.soft
            model.full |= len(model.owed) > (self.outbox.soft + self.outbox.hard) // 2
            within = self.outbox.put(peer, pieces, position, sent, self.now)
            assert within == (len(model.owed) <= self.outbox.hard)
            if not model.owed:
                del self.model[peer]

    @precondition(lambda self: self.model)
    @rule(peer=PEERS, limit=st.integers(1, 400), sent=st.integers(0, 400))
    def take(self, peer, limit, sent):
        if peer not in self.model:
            return
        self.now += 1
        model = self.model[peer]
        for _ in range(2):  # the same bytes each time
            views = self.outbox.views(peer, limit)
            offered = b"".join(views)
            for view in views:
                view.release()
            assert offered
            assert offered == model.owed[: len(offered)]
            assert len(offered) <= limit
        assert len(offered) == min(limit, len(model.owed)) or len(views) >= 64 or self.block < 64
        sent = min(sent, len(offered))
        self.outbox.queues[peer].offered = model.offered = 0
        assert self.outbox.advance(peer, sent, self.now) == (sent == len(model.owed))
        if sent:
            model.took(sent, self.now)
        model.over &= len(model.owed) > self.outbox.soft // 2
        model.full &= model.over
        if not model.owed:
            del self.model[peer]

    @precondition(lambda self: self.model)
    @rule(peer=PEERS, limit=st.integers(1, 100))
    def offer(self, peer, limit):
        """Offer bytes that are not taken but must be sent next, as TLS requires."""
        if peer in self.model:
            model = self.model[peer]
            model.offered = min(limit, len(model.owed))
            self.outbox.queues[peer].offered = model.offered

    @precondition(lambda self: self.model)
    @rule(peer=PEERS)
    def cut(self, peer):
        """Only a frame that is partly sent, or was offered, is still sent."""
        if peer not in self.model:
            assert self.outbox.cut(peer) == 0
            return
        model = self.model[peer]
        before = len(model.owed)
        starts = accumulate(map(len, model.frames), initial=0)
        under_way = sum(start < model.begun + model.offered for start in starts)
        model.frames = model.frames[:under_way]
        model.over = model.full = False
        assert self.outbox.cut(peer) == before - len(model.owed)
        if not model.owed:
            del self.model[peer]

    @precondition(lambda self: self.model)
    @rule(peer=PEERS)
    def drop(self, peer):
        model = self.model.pop(peer, None)
        assert self.outbox.drop(peer) == (len(model.owed) if model else 0)

    @rule()
    def end_of_a_turn(self):
        self.outbox.settle()

    @rule()
    def trim(self):
        self.outbox.trim()

    @invariant()
    def agrees(self):
        outbox = self.outbox
        owed = {peer: len(model.owed) for peer, model in self.model.items()}
        assert {peer: queue.size for peer, queue in outbox.queues.items()} == owed
        assert {peer: queue.moved_at for peer, queue in outbox.queues.items()} == {
            peer: model.moved_at for peer, model in self.model.items()
        }
        assert outbox.size == sum(owed.values())
        over = {peer for peer, model in self.model.items() if model.over}
        assert outbox.over == over
        assert outbox.full == {peer for peer, model in self.model.items() if model.full}
        assert {peer for peer, queue in outbox.queues.items() if queue.over_at is not None} == over
        if owed:
            assert owed[outbox.largest()] == max(owed.values())


TestOutboxAgainstLists = OutboxMachine.TestCase
TestOutboxAgainstLists.settings = settings(stateful_step_count=40)


def taken(outbox: Outbox, peer: int, limit: int = 1 << 20) -> bytes:
    """Take all queued bytes of `peer`."""
    octets = b""
    while peer in outbox.queues:
        views = outbox.views(peer, limit)
        octets += b"".join(views)
        size = sum(map(len, views))
        for view in views:
            view.release()
        outbox.advance(peer, size, 0.0)
    return octets


def test_a_range_cut_short_by_the_limit_is_the_last():
    """Bytes after a range that was not offered whole must not overtake its rest."""
    outbox = Outbox(1 << 20, 1 << 20)
    position = outbox.share(bytearray(with_length(bytes(200)) * 2))
    outbox.put(1, [(0, 408), with_length(b"own")], position, 0, 0.0)
    (view,) = outbox.views(1, 100)
    assert len(view) == 100
    view.release()
    assert taken(outbox, 1, 100) == with_length(bytes(200)) * 2 + with_length(b"own")


def test_shared_bytes_are_held_once():
    """Rank 0 sends 64 KiB x 100 to 1,000 stalled members: one copy, not a thousand."""
    outbox = Outbox(1 << 30, 1 << 30)
    frame = with_length(bytes(65_536))
    for turn in range(100):
        position = outbox.share(bytearray(frame))
        for peer in range(1000):
            outbox.put(peer, [(0, len(frame))], position, 0, float(turn))
    assert outbox.size == 100_000 * len(frame)
    assert outbox.held_bytes < 101 * len(frame) + 1000 * 200
    assert all(len(queue.pieces) == 1 for queue in outbox.queues.values()), "adjoining ranges are one"
    for peer in range(999):
        outbox.drop(peer)
    outbox.advance(999, 50 * len(frame), 0.0)
    outbox.trim()
    assert outbox.held_bytes <= 51 * len(frame) + 1000
    assert taken(outbox, 999) == frame * 50
    outbox.settle()
    assert outbox.held_bytes == 0


def grown(size: int) -> bytearray:
    """A bytearray that grew step by step, and so has spare capacity."""
    octets = bytearray()
    while len(octets) < size or getsizeof(octets) < 1.05 * size:
        octets += with_length(bytes(96))
    return octets


def test_private_bytes_are_kept_without_a_copy():
    """No second copy, and its memory counts in full, including the spare capacity of a bytearray."""
    answers, frame = grown(100_000), with_length(bytes(50_000))
    outbox = Outbox(1 << 20, 1 << 20)
    outbox.put(1, [frame, answers], 0, 10, 0.0)
    assert [piece is own for piece, own in zip(outbox.queues[1].pieces, (frame, answers), strict=True)] == [
        True
    ] * 2
    assert outbox.held_bytes >= getsizeof(answers) + getsizeof(frame)
    assert outbox.cut(1) == len(answers)
    assert outbox.queues[1].pieces[0] is frame, "the frame under way is the whole piece"
    assert getsizeof(frame) <= outbox.held_bytes < getsizeof(frame) + 200
    assert taken(outbox, 1) == frame[10:]
    assert outbox.held_bytes == 0


def test_shared_bytes_count_in_full():
    executes = grown(1_000_000)
    outbox = Outbox(1 << 20, 1 << 20)
    for peer in (1, 2):
        outbox.put(peer, [(0, len(executes))], outbox.share(executes), 0, 0.0)
        assert peer * getsizeof(executes) <= outbox.held_bytes < peer * (getsizeof(executes) + 200)
    assert outbox.drop(1) == outbox.drop(2) == len(executes)
    outbox.settle()
    assert outbox.held_bytes == 0


def test_many_small_turns_do_not_pile_up():
    """One peer is always a turn behind: the bytes held do not grow with the number of turns."""
    outbox = Outbox(1 << 20, 1 << 20)
    frame = with_length(bytes(1000))
    most = 0
    for turn in range(5000):
        position = outbox.share(bytearray(frame))
        outbox.put(turn % 2, [(0, len(frame))], position, 0, 0.0)
        if turn:
            assert taken(outbox, (turn - 1) % 2) == frame
        most = max(most, outbox.held_bytes)
    assert most < 10 * 65_536


def test_soft_and_hard_limits():
    outbox = Outbox(100, 200)
    assert outbox.put(1, [bytes(100)], 0, 0, 1.0)
    assert (outbox.queues[1].over_at, outbox.over) == (None, set())
    assert outbox.put(1, [bytes(1)], 0, 0, 2.0)
    assert (outbox.queues[1].over_at, outbox.over) == (2.0, {1})
    assert outbox.put(1, [bytes(99)], 0, 0, 3.0)
    assert outbox.queues[1].over_at == 2.0, "since when, not until when"
    assert not outbox.put(1, [bytes(1)], 0, 0, 4.0)
    outbox.advance(1, 150, 5.0)
    assert (outbox.queues[1].over_at, outbox.over) == (2.0, {1}), "half of the limit must be free"
    outbox.advance(1, 1, 6.0)
    assert (outbox.queues[1].over_at, outbox.over) == (None, set())
    assert outbox.queues[1].moved_at == 6.0
    outbox.advance(1, 0, 7.0)
    assert outbox.queues[1].moved_at == 6.0, "nothing moved"


@pytest.mark.parametrize("skip", range(31))
def test_sent_bytes_are_skipped(skip):
    outbox = Outbox(1000, 1000)
    executes = bytearray(with_length(b"0123456") + with_length(b"abcdefg"))
    position = outbox.share(executes)
    pieces: list[Piece] = [(0, 11), with_length(b"ow"), (11, 22), b"tai"]
    whole = bytes(executes[:11]) + with_length(b"ow") + bytes(executes[11:]) + b"tai"
    outbox.put(1, pieces, position, skip, 0.0)
    assert taken(outbox, 1) == whole[skip:]


def test_all_sent_is_no_queue():
    outbox = Outbox(1000, 1000)
    position = outbox.share(bytearray(8))
    assert outbox.put(1, [(0, 4), b"abcd"], position, 8, 0.0)
    assert outbox.put(2, [], position, 0, 0.0)
    assert (outbox.queues, outbox.size) == ({}, 0)


def test_the_turns_buffer_may_be_used_again():
    """A small buffer is copied; a large one is kept as it is, and the room makes a new one each turn."""
    outbox = Outbox(1000, 1000)
    executes = bytearray(with_length(b"first"))
    outbox.put(1, [(0, 9)], outbox.share(executes), 0, 0.0)
    executes[:] = b"x" * 9
    assert taken(outbox, 1) == with_length(b"first")


def test_bytes_between_two_ranges_are_not_sent():
    """A peer with a prefix of one turn's frames that is also behind in the next does not get the rest of the first."""
    outbox = Outbox(1000, 1000)
    outbox.put(1, [(0, 3)], outbox.share(bytearray(b"oneREST")), 0, 0.0)
    outbox.put(1, [(0, 3)], outbox.share(bytearray(b"twoREST")), 0, 0.0)
    views = outbox.views(1, 1000)
    assert b"".join(views) == b"onetwo"
    for view in views:
        view.release()
