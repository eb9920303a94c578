"""One process of several members, of either kind, which log a line for each thing that befalls them.

Faults come on its standard input (`reset`, `slow 1.5`, `flood`, ...); it draws the victims and all other choices
from its seed, and replaces members that have ended. It checks nothing; `checker.py` judges the logs.
"""

from __future__ import annotations

import os
import random
import selectors
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from .believer import Believer

__all__ = ["KEEPS_MS", "LATE_S", "RATE_S", "SIZES", "Crew", "run_crew"]

RATE_S = 0.35
LATE_S = 0.15
KEEPS_MS = (200, 1000, 4000, 10_000)
SIZES = (0, 20, 20, 60, 60, 60, 200, 200, 2000, 20_000)

M = TypeVar("M", bound=Believer)


class Crew(ABC, Generic[M]):
    """The process: its members and its faults."""

    def __init__(
        self,
        addresses: list[tuple[str, int]],
        seed: str,
        name: str,
        path: str,
        size: int,
        mood: str,
        before: str,
    ) -> None:
        """`addresses`: all servers. `before` is the log of a crew that was killed: its seats are used again."""
        self.addresses, self.name, self.path, self.mood, self.before = addresses, name, path, mood, before
        self.random = random.Random(seed)
        self.selector = selectors.DefaultSelector()
        self.members: list[M] = []
        self.lines: list[str] = []
        self.now = time.monotonic()
        self.rejoin_at = [self.now + n / 20 for n in range(size)]
        self.quiet = False
        self.number = 0
        self.awake_since = self.now  # it was not stopped since then
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.set_blocking(0, False)
        self.selector.register(0, selectors.EVENT_READ, None)

    @property
    def calm(self) -> bool:
        """Whether its members only leave cleanly."""
        return self.mood == "calm"

    def run(self) -> None:
        looked = time.monotonic()
        while True:
            for key, mask in self.selector.select(0.02):
                self.now = time.monotonic()
                if key.data is None:
                    if not self.read_input():
                        return
                elif key.data in self.members:
                    self.serve(key.data, mask)
            before, self.now = looked, time.monotonic()
            looked = self.now
            if self.now > before + LATE_S:
                self.wake(before)
            due = [at for at in self.rejoin_at if at <= self.now]
            if due and not self.quiet:
                self.rejoin_at = [at for at in self.rejoin_at if at > self.now]
                for _ in due:
                    self.join()
            self.work()
            for member in self.members:
                member.believe()
            count = len(self.lines)  # other threads may add some
            if count:
                os.write(
                    self.file, "".join(self.lines[:count]).encode()
                )  # whole lines, even if we are killed
                del self.lines[:count]

    def wake(self, since: float) -> None:
        """It has been stopped since then, or had no CPU: its members' beliefs date from then."""
        for member in self.members:
            member.stop_believing(since)
            member.fall_behind(since, self.now)
            member.heard = self.now
        self.awake_since = self.now

    def new_ident(self) -> str:
        """The name of a new member."""
        self.number += 1
        return f"{self.name}.{self.number - 1}"

    def read_input(self) -> bool:
        """Process the orchestrator's lines of input; False after the end of them."""
        told = os.read(0, 65_536).decode()
        for line in told.splitlines():
            self.apply_fault(*line.split())
        return bool(told)

    def apply_fault(self, what: str, seconds: str = "0") -> None:
        if what == "quiet":
            self.quiet = True
            for member in self.members:
                member.deaf_until = member.trickle_until = 0.0
        elif what == "settle":
            for member in self.members:
                member.settle()
        elif what == "count":
            os.write(1, b"%d %d\n" % (len(self.members), sum(m.settled for m in self.members)))
        else:
            victims = [member for member in self.members if member.seated]
            if victims:
                self.strike(self.random.choice(victims), what, float(seconds))

    def serve(self, member: M, mask: int) -> None:
        """The socket of `member` is ready, where they are served by the selector."""

    @abstractmethod
    def join(self) -> None:
        """Have a member come, or come back."""

    @abstractmethod
    def work(self) -> None:
        """All that is due."""

    @abstractmethod
    def strike(self, member: M, what: str, seconds: float) -> None:
        """Have a fault befall a member that has a seat."""


def run_crew(kind: Callable[..., Crew[M]]) -> None:
    """Run the crew that the command line describes."""
    servers, seed, name, path, size, mood, before = sys.argv[1:]
    Path(path).touch()
    addresses = [(host, int(port)) for host, _, port in (text.rpartition(":") for text in servers.split(","))]
    kind(addresses, seed, name, path, int(size), mood, before).run()
