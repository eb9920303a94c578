"""A server's loop around a `CourierLog`, for tests: waits on real descriptors, keeps the entries read, sends again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Self

from rankmux.courier.settings import CourierSettings
from rankmux.server.cluster.courier import CourierLog
from rankmux.server.cluster.log import Failed, LogEvent, Opened, Read
from rankmux.system.reactor import Reactor

__all__ = ["LogDriver"]

WINDOW = 64
AGAIN_S = 0.5


class LogDriver:
    """Opens the log. `entries` are those read, by sequence number, without a gap from `base` on."""

    def __init__(self, urls: tuple[str, ...], room: str, *, applied: int = 0, **settings: Any) -> None:
        settings.setdefault("replicas", 1)
        self.reactor = Reactor()
        self.log = CourierLog(CourierSettings(urls, room, **settings), self.reactor.watch)
        self.opened: list[Opened] = []
        self.failed = ""
        self.base = applied
        self.entries: list[bytes] = []
        self._unread: list[bytes] = []
        self._sent: list[bytes] = []
        self._progress = 0.0
        self.log.open(applied, self.reactor.clock())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.log.close()
        self.reactor.close()

    @property
    def seq(self) -> int:
        return self.base + len(self.entries)

    def write(self, entries: list[bytes]) -> None:
        """Have them appended as a server does: a window at a time, and again while they are not read back."""
        self._unread += entries

    @property
    def idle(self) -> bool:
        """All that was written has been read back."""
        return not self._unread and not self._sent

    def turn(self, timeout: float = 0.05) -> None:
        self._send()
        self.reactor.poll(min(timeout, self.log.patience(self.reactor.clock())))
        for event in self.log.poll(self.reactor.clock()):
            self._take(event)

    def until(self, done: Callable[[], object], within_s: float = 15.0) -> None:
        until = time.monotonic() + within_s
        while not done():
            self.turn()
            if time.monotonic() > until:
                raise TimeoutError(f"{self.seq=} {self.failed=} {self.log.trouble=} {self.log.restarts=}")

    def until_open(self) -> Self:
        self.until(lambda: self.opened or self.failed)
        assert not self.failed, self.failed
        return self

    def until_failed(self, within_s: float = 15.0) -> str:
        self.until(lambda: self.failed, within_s)
        return self.failed

    def _send(self) -> None:
        now = time.monotonic()
        if not self.opened:
            return
        if self._sent and now > self._progress + AGAIN_S:
            self._progress = now
            for entry in self._sent:
                self.log.append(entry)
        if not self._sent:
            self._progress = now
        while self._unread and len(self._sent) < WINDOW:
            entry = self._unread.pop(0)
            self._sent.append(entry)
            self.log.append(entry)

    def _take(self, event: LogEvent) -> None:
        match event:
            case Opened():
                self.opened.append(event)
                if event.snapshot_seq > self.seq:
                    self.base, self.entries = event.snapshot_seq, []
            case Read(seq, entry, _):
                assert seq == self.seq + 1, f"entry {seq} behind {self.seq}"
                self.entries.append(entry)
                if entry in self._sent:
                    self._sent.remove(entry)
                    self._progress = time.monotonic()
            case Failed(text):
                self.failed = text
