"""The window: a server's entries that have not been read back, kept to be sent again, in order, until they are."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ..room.turn import Turn

__all__ = ["Window", "Written"]

_STALLED_S = 0.5
_GAP_S = 0.05


@dataclass(slots=True)
class Written:
    """An entry, composed at `at`. `local`: what members asked for that only this server answers, behind it."""

    n: int
    data: bytes
    at: float
    local: Turn | None = None

    def wait(self, turn: Turn) -> None:
        """The queries and PINGs of `turn` are answered behind this entry."""
        if self.local is None:
            self.local = turn
        else:
            self.local.queries += turn.queries
            self.local.pings += turn.pings


class Window:
    """Full with `entries_max` entries or `bytes_max` bytes; one turn's entries may go over it.

    `empty`  whether nothing is under way
    `full`   whether nothing more is to be written for now
    `since`  when the oldest entry that is under way was written; inf if there is none
    """

    def __init__(self, entries_max: int = 64, bytes_max: int = 4 << 20) -> None:
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._written: deque[Written] = deque()
        self._size = 0
        self._moved_at = 0.0  # when an entry was read back, or all were sent again
        self._changed()

    def __len__(self) -> int:
        return len(self._written)

    def _changed(self) -> None:
        """Entries came or went: every turn asks several times for what follows from that."""
        self.empty = not self._written
        self.full = len(self._written) >= self._entries_max or self._size >= self._bytes_max
        self.since = float("inf") if self.empty else self._written[0].at

    @property
    def last(self) -> Written | None:
        """The entry that was written last, if it is still under way."""
        return self._written[-1] if self._written else None

    def add(self, written: Written) -> None:
        """`written` is sent."""
        if not self._written:
            self._moved_at = written.at
        self._written.append(written)
        self._size += len(written.data)
        self._changed()

    def read_back(self, n: int, now: float) -> Written | None:
        """The entry `n` counts: it is under way no longer. None when it was not among those."""
        if not self._written or self._written[0].n != n:
            return None
        written = self._written.popleft()
        self._size -= len(written.data)
        self._moved_at = now
        self._changed()
        return written

    def again(self, now: float, *, gap: bool = False) -> list[bytes]:
        """What to send again: everything, after half a second without progress, or soon after an entry was missed."""
        if not self._written or now - self._moved_at < (_GAP_S if gap else _STALLED_S):
            return []
        self._moved_at = now
        return [written.data for written in self._written]

    def all_again(self, now: float) -> list[bytes]:
        """Everything, to be sent again: the log is another connection now."""
        self._moved_at = now
        return [written.data for written in self._written]

    def next_at(self) -> float:
        """When `again` has something to send, if nothing moves until then."""
        return float("inf") if self.empty else self._moved_at + _STALLED_S

    def take_pings(self) -> list[tuple[int, bytes]]:
        """The PINGs that wait behind entries: taken out."""
        taken: list[tuple[int, bytes]] = []
        for written in self._written:
            if written.local is not None:
                taken += written.local.pings
                written.local.pings = []
        return taken

    def forget(self, ticket: int) -> None:
        """Another connection has returned to that seat: what the one before it asked for is for nobody."""
        for written in self._written:
            if (local := written.local) is not None:
                local.queries = [asked for asked in local.queries if asked[0] != ticket]
                local.pings = [asked for asked in local.pings if asked[0] != ticket]

    def clear(self) -> None:
        """Nothing of it is wanted any more."""
        self._written.clear()
        self._size = 0
        self._changed()
