"""The snapshots of a room: when one is due, and how a server begins with one."""

from __future__ import annotations

from ...core.cluster import snapshot
from ...core.cluster.entries import RESTORE
from ...core.cluster.fold import Fold
from ...errors import LogBroken, SnapshotError
from .log import Log, Opened

__all__ = ["Snapshots"]

_EVERY_ENTRIES = 10_000
_EVERY_BYTES = 16 << 20


class Snapshots:
    """`_seq` is the entry that the last one is of that this server made, or began with."""

    def __init__(self, fold: Fold, log: Log) -> None:
        self._seq = self._began = 0
        self._bytes = 0
        self._fold = fold
        self._log = log

    def read(self, size: int) -> None:
        """An entry of that many bytes was read."""
        self._bytes += size

    @property
    def due(self) -> bool:
        """Whether much was read since the last one, or the log lacks one."""
        much = self._fold.seq - self._seq >= _EVERY_ENTRIES or self._bytes >= _EVERY_BYTES
        return much or self._log.lacking

    @property
    def kept(self) -> int:
        """The entry of the newest one that is stored, as far as this server knows."""
        return max(self._began, self._log.stored)

    def store(self) -> None:
        """Have one kept. For one server of the room."""
        self._seq, self._bytes = self._fold.seq, 0
        self._log.store(self._seq, snapshot.dump(self._fold))

    def load(self, opened: Opened) -> None:
        """Begin with the one that came with `opened`. Raises LogBroken."""
        seq = opened.snapshot_seq
        self._fold.clear()
        try:
            snapshot.load(self._fold, opened.snapshot)
        except SnapshotError as error:
            raise LogBroken(f"the snapshot of entry {seq} cannot be used ({error.why}): {RESTORE}") from None
        if self._fold.seq != seq:
            raise LogBroken(
                f"the snapshot of entry {seq} is that of entry {self._fold.seq} of another room: {RESTORE}"
            )
        self._seq, self._began, self._bytes = seq, seq, 0
