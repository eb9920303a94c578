"""The number of connections from each host, of those that have been counted. Knows no connection."""

from __future__ import annotations

__all__ = ["HostCounts"]


class HostCounts:
    """Counts connections, which it knows by a key, by their hosts."""

    __slots__ = ("_counts", "_hosts")

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._hosts: dict[int, str] = {}

    def __getitem__(self, host: str) -> int:
        return self._counts.get(host, 0)

    def add(self, key: int, host: str) -> int:
        """Count the connection `key`, which is not counted yet; the number of those from its host."""
        self._hosts[key] = (
            host  # first: for want of memory it may be counted no further, and is discarded then
        )
        count = self._counts[host] = self[host] + 1
        return count

    def discard(self, key: int) -> None:
        """Count the connection `key` no more, if it is counted."""
        host = self._hosts.pop(key, None)
        if host is None:
            return
        count = self[host] - 1
        if count > 0:
            self._counts[host] = count
        else:
            self._counts.pop(host, None)

    def clear(self) -> None:
        """Count none any more."""
        self._counts.clear()
        self._hosts.clear()
