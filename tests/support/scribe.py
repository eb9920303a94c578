"""A server of a cluster, reduced to its entries: writes those that a test asks for, valid or not."""

from __future__ import annotations

from typing import Any

from rankmux.core.cluster.entries import Down, Entry, Genesis, Kind, Rules, Up, pack_version
from rankmux.core.cluster.fold import Fold, Reading
from rankmux.core.cluster.turns import TurnBody
from rankmux.core.room.batch import Batch
from rankmux.core.room.room import Room
from rankmux.core.room.turn import Join, Outcome

__all__ = ["RULES", "Log", "Scribe", "a_fold", "join"]

RULES = Rules(8, 1000, 4, 40, 60_000, 60_000, 44, 12_000, 15_000, "main")


def a_fold(rules: Rules = RULES, batch: Any = None, spoken: int = 1) -> Fold:
    room = Room(
        rules.seats,
        rules.max_payload,
        rules.waiting_max,
        rules.result_ttl_ms,
        rules.waiting_total_max,
        told_max_bytes=rules.told_max_bytes,
    )
    return Fold(room, Batch(rules.max_payload) if batch is None else batch, rules, spoken)


def join(name: str, secret: bytes = b"", keep_ms: int = 0) -> Join:
    return Join(-2, name, f"{name}:1", secret, keep_ms)


class Log:
    """The entries, and the folds that read each at once."""

    def __init__(self, *folds: Fold) -> None:
        self.entries: list[bytes] = []
        self.folds = folds

    def add(self, data: bytes) -> tuple[Reading, Outcome | None]:
        """Have every fold read it; returns the result of the first."""
        self.entries.append(data)
        found = [read(fold, len(self.entries), data) for fold in self.folds]
        return found[0]


def read(fold: Fold, seq: int, data: bytes) -> tuple[Reading, Outcome | None]:
    """Read an entry, and have the room apply it."""
    reading = fold.read(seq, data)
    if reading.turn is None:
        return reading, None
    outcome = fold.room.apply(reading.turn)
    fold.batch.clear()
    fold.applied(outcome)
    return reading, outcome


class Scribe:
    """Writes for one incarnation, after the entries that `fold` has read. `n` is that of its last entry."""

    def __init__(self, fold: Fold, incarnation: int) -> None:
        self.fold = fold
        self.incarnation = incarnation
        self.n = 0
        self.clock_ms = 0

    def entry(self, kind: Kind, body: bytes = b"", **other: Any) -> bytes:
        """The next entry, with some fields as given instead."""
        if "n" not in other and kind is not Kind.GENESIS:
            self.n += 1
        entry = Entry(kind, 1, self.incarnation, self.n, self.clock_ms, self.fold.seq, self.fold.chain, body)
        return entry._replace(**other).pack()

    def genesis(self, rules: Rules = RULES, first_ticket: int = 1) -> bytes:
        return self.entry(Kind.GENESIS, Genesis(77, first_ticket, rules).pack())

    def up(self, spoken: int = 1, **other: Any) -> bytes:
        return self.entry(Kind.UP, Up(spoken, f"server {self.incarnation}").pack(), **other)

    def turn(self, body: TurnBody | None = None, **other: Any) -> bytes:
        return self.entry(Kind.TURN, (body or TurnBody()).pack(), **other)

    def down(self, incarnation: int, n: int) -> bytes:
        return self.entry(Kind.DOWN, Down(incarnation, n).pack())

    def bye(self) -> bytes:
        return self.entry(Kind.BYE)

    def version(self, version: int) -> bytes:
        return self.entry(Kind.VERSION, pack_version(version))
