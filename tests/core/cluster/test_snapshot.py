"""The state of a fold as bytes: equal on servers that read the same, and enough to go on from."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock
from zlib import crc32

import pytest

from rankmux.codes import Cause, CommandFlag, Status, Target
from rankmux.core.cluster.fold import Fold
from rankmux.core.cluster.snapshot import dump, load
from rankmux.core.cluster.turns import TurnBody
from rankmux.core.room import line
from rankmux.core.room import room as module
from rankmux.errors import LogBroken, SnapshotError
from rankmux.wire import Command, Result

from ...support.scribe import RULES, Log, Scribe, a_fold, join, read
from ...support.twins import TWINS
from .test_fold import run


@contextmanager
def played_by(twin: Any) -> Iterator[Fold]:
    """A fold whose room, ledger and batch are that twin's, as long as it is read here."""
    with (
        mock.patch.multiple(module, Ledger=twin.Ledger, dispatch=twin.dispatch),
        mock.patch.object(line, "rank_frames", twin.rank_frames),
    ):
        yield a_fold(batch=twin.Batch(RULES.max_payload))


class Drawn:
    """Three servers that write what is drawn: some of it twice, late, or never."""

    def __init__(self, seed: int, fold: Fold) -> None:
        self.draw = random.Random(seed)
        self.fold = fold
        self.next = 100
        self.scribes = [Scribe(fold, self._incarnation()) for _ in range(3)]
        self.serials = 0
        self.old: list[bytes] = []
        self.clock_ms = 1000

    def _incarnation(self) -> int:
        self.next += 1
        return self.next

    def entry(self) -> bytes:
        draw, fold = self.draw, self.fold
        if fold.genesis is None:
            return self.scribes[0].genesis()
        self.clock_ms += draw.choice([0, 1, 500, 3000])
        at = draw.randrange(3)
        scribe = self.scribes[at]
        scribe.clock_ms = self.clock_ms - draw.choice([0, 0, 700])
        roll = draw.random()
        if self.old and roll < 0.1:
            return draw.choice(self.old[-6:])
        if scribe.incarnation not in fold.up:
            if scribe.incarnation in fold.dead:
                scribe = self.scribes[at] = Scribe(fold, self._incarnation())
            scribe.n = 0
            data = scribe.up()
        elif roll < 0.13:
            data = scribe.bye()
        elif roll < 0.2:
            other = draw.choice(list(fold.up))
            data = scribe.down(other, fold.up[other].n - draw.choice([0, 0, 1]))
        else:
            if roll < 0.24:
                scribe.n += 1  # the one before is lost
            data = scribe.turn(self._turn(scribe))
        scribe.n = max(scribe.n, 0)
        self.old.append(data)
        return data

    def settled(self) -> None:
        """Writers go on behind what counted."""
        for scribe in self.scribes:
            if scribe.incarnation in self.fold.up:
                scribe.n = self.fold.up[scribe.incarnation].n

    def _turn(self, scribe: Scribe) -> TurnBody:
        draw = self.draw
        tickets = list(self.fold.room.ranks.tickets)
        serials = [*self.fold.up[scribe.incarnation].tickets, 9999]
        body = TurnBody(judge=draw.random() < 0.7)
        some: Any = lambda: [draw.choice(serials) for _ in range(draw.choice([0, 0, 0, 1]))]  # noqa: E731
        body.departures = [(serial, draw.choice([Cause.LEFT, Cause.LOST])) for serial in some()]
        body.absences, body.slow = some(), some()
        body.yields = [(serial, 1) for serial in some()]
        body.cancels = [(serial, draw.randrange(4)) for serial in some()]
        body.kicks = [draw.choice([*tickets, 1])] if draw.random() < 0.03 else []
        for at in range(draw.choice([0, 0, 1, 2])):
            self.serials += 1
            secret = bytes([draw.randrange(5)]) * 32 if draw.random() < 0.5 else b""
            one = join(f"m{self.serials}", secret, 4000 if secret else 0)
            one.handle = -2 - at
            body.joins.append((self.serials, one))
        for serial in serials:
            if draw.random() < 0.5:
                flags = draw.choice([0, CommandFlag.RESULTS, CommandFlag.RESULTS | CommandFlag.TIED])
                target = draw.choice([Target.ALL, Target.NEXT, Target.LEAST])
                frames: list[Any] = [
                    Command(draw.randrange(4), target, 0, flags, draw.choice([0, 900]), b"x")
                ]
                if draw.random() < 0.6:
                    seq = self.fold.room.seq - draw.randrange(4)
                    frames.insert(0, Result(max(seq, 0), draw.choice([Status.OK, Status.FAILED]), b"r"))
                body.frames += run(serial, *frames)
        return body


def played(seed: int, folds: list[Fold], entries: int) -> list[bytes]:
    drawn, log = Drawn(seed, folds[0]), Log(*folds)
    for _ in range(entries):
        log.add(drawn.entry())
        drawn.settled()
    return log.entries


@pytest.mark.parametrize("seed", range(12))
def test_folds_that_read_the_same_are_the_same(seed: int) -> None:
    """Whichever twin runs; and one that began with a snapshot in the middle goes on alike."""
    fold = a_fold()
    entries, digest = played(seed, [fold], 150), dump(fold)
    for twin in TWINS:
        for begin in (0, 1, 40, 90, 149):
            with played_by(twin) as early:
                for seq, data in enumerate(entries[:begin], 1):
                    read(early, seq, data)
            with played_by(twin) as late:
                if begin:
                    load(late, dump(early))
                    assert dump(late) == dump(early)
                for seq, data in enumerate(entries[begin:], begin + 1):
                    read(late, seq, data)
            assert dump(late) == digest


def test_each_damaged_byte_is_found() -> None:
    fold = a_fold()
    played(3, [fold], 60)
    data = dump(fold)
    for at in range(0, len(data), 7):
        with pytest.raises(SnapshotError):
            load(a_fold(), data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    for size in range(0, len(data), 11):
        with pytest.raises(SnapshotError):
            load(a_fold(), data[:size])


def test_other_rules_are_refused() -> None:
    fold = a_fold()
    played(1, [fold], 20)
    with pytest.raises(LogBroken, match="seats is 9, and 8 in the room"):
        load(a_fold(RULES._replace(seats=9)), dump(fold))


def test_a_newer_format_is_refused() -> None:
    fold = a_fold()
    played(1, [fold], 20)
    newer = b"\2" + dump(fold)[1:-4]
    with pytest.raises(SnapshotError, match="format"):
        load(a_fold(), newer + crc32(newer).to_bytes(4))


def test_a_newer_version_is_refused() -> None:
    fold = a_fold(spoken=2)
    log, scribe = Log(fold), Scribe(fold, 1)
    for entry in (scribe.genesis(), scribe.up(spoken=2), scribe.version(2)):
        log.add(entry)
    load(a_fold(spoken=2), dump(fold))
    with pytest.raises(SnapshotError, match="version"):
        load(a_fold(spoken=1), dump(fold))


def test_what_others_saw_before_the_snapshot_is_not_compared() -> None:
    fold = a_fold()
    entries = played(2, [fold], 50)
    late = a_fold()
    early = a_fold()
    for seq, data in enumerate(entries[:30], 1):
        read(early, seq, data)
    load(late, dump(early))
    old = Scribe(early, 4711).turn(seen=12, chain=1)
    assert late.read(31, old).turn is None
    with pytest.raises(LogBroken, match="read another log up to entry 30"):
        late.read(32, Scribe(early, 4711).turn(seen=30, chain=1))
