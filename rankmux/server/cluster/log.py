"""The log that the servers of a room share, as one of them sees it: append entries, read all in one order.

An append is a wish: the entry may be stored late, twice or not at all, and only reading it back tells. What is read is
certain: every server reads the same bytes under the same sequence number, without a gap. `courier` is the real one.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

__all__ = ["Failed", "Log", "LogEvent", "Opened", "Read"]


class Opened(NamedTuple):
    """The log can be read. The first event behind each `Log.open`, and behind each break that the log mended itself.

    `created`       names this log: another one of the same name, made later, has another
    `last`          the last sequence number at this moment, 0 of an empty log
    `entry_max`     the most bytes of one entry
    `at_ms`         the time of this moment by the log's own clock; 0 if it does not tell
    `snapshot_seq`  the state behind that sequence number follows as `snapshot`; 0 and b"" where reading goes on without
    `latest`        the entry that was read last, as it is stored now; b"" where it is not there, or was not needed
    """

    created: str
    last: int
    entry_max: int
    snapshot_seq: int = 0
    snapshot: bytes = b""
    at_ms: int = 0
    latest: bytes = b""


class Read(NamedTuple):
    """An entry of the log; `seq` rises by one from entry to entry, from the one behind the snapshot on.

    `stored_ms`: when it was stored, by the log's own clock.
    """

    seq: int
    entry: bytes
    stored_ms: int = 0


class Failed(NamedTuple):
    """The log cannot be used: what was wrong, what was expected, what to do. The server ends."""

    text: str


LogEvent = Opened | Read | Failed


class Log(Protocol):
    """No method waits; times are seconds of the server's clock.

    `restarts`  how often it had to be started again
    `newest`    the last entry that is known to be stored
    `stored`    the entry of the newest snapshot that was stored from here
    `lacking`   nobody can begin without a snapshot that is newer than those that are stored
    """

    restarts: int
    newest: int
    stored: int
    lacking: bool

    def open(self, applied: int, now: float) -> None:
        """Read everything behind the sequence number `applied`; 0: from the newest snapshot on, if there is one."""

    def append(self, entry: bytes, *, first: bool = False) -> None:
        """Have `entry` stored behind everything else; a `first` one only while the log is empty."""

    def store(self, seq: int, snapshot: bytes) -> None:
        """Keep the state behind `seq`. Entries that no kept snapshot needs may be dropped."""

    def poll(self, now: float) -> list[LogEvent]:
        """What has come since the last call, in its order. Bounded; the rest comes in the next call."""

    def patience(self, now: float) -> float:
        """The seconds after which `poll` has something to do though no descriptor is ready; inf for none."""

    def close(self) -> None:
        """Give up what is under way, and all that was opened."""
