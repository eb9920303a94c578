"""The clients of the history checker: one process with several members, which log one line per frame.

Faults come on its standard input (`reset`, `slow 1.5`, `flood`, ...); it draws the victims and all other choices
from its seed, and replaces members that have ended. It checks nothing; `checker.py` judges the logs.
"""

from __future__ import annotations

import os
import random
import selectors
import socket
import struct
import sys
import time
from pathlib import Path

from ..protocol.frames import OBSERVE, WATCH, Leave, Ping, Who
from .crew_member import Kept, Member

RATE_S = 0.35
LATE_S = 0.15
KEEPS_MS = (200, 1000, 4000, 10_000)


class Crew:
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
        """`addresses`: all servers. `before` is the log of a crew that was killed: its secrets are used again."""
        self.addresses, self.name, self.calm, self.mood = addresses, name, mood == "calm", mood
        self.seats = inherited(before)
        self.random = random.Random(seed)
        self.selector = selectors.DefaultSelector()
        self.members: list[Member] = []
        self.lines: list[str] = []
        self.now = time.monotonic()
        self.rejoin_at = [self.now + n / 20 for n in range(size)]
        self.quiet = False
        self.number = 0
        self.awake_since = self.now  # it was not stopped since then
        self.who_at = self.leave_at = self.yield_at = self.now + 1.0
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.set_blocking(0, False)
        self.selector.register(0, selectors.EVENT_READ, None)

    def run(self) -> None:
        looked = time.monotonic()
        while True:
            for key, mask in self.selector.select(0.02):
                self.now = time.monotonic()
                member = key.data
                if member is None:
                    if not self.read_input():
                        return
                elif member in self.members:
                    if mask & selectors.EVENT_WRITE:
                        member.push()
                    if mask & selectors.EVENT_READ:
                        member.read()
            before, self.now = looked, time.monotonic()
            looked = self.now
            if self.now > before + LATE_S:
                self.wake(before)
            self.work()
            if self.lines:
                os.write(self.file, "".join(self.lines).encode())  # whole lines, even if we are killed
                self.lines.clear()

    def wake(self, since: float) -> None:
        """It has been stopped since then, or had no CPU: its members' beliefs date from then."""
        for member in self.members:
            member.stop_believing(since)
            member.fall_behind(since, self.now)
            member.heard = self.now
        self.awake_since = self.now

    def work(self) -> None:
        due = [at for at in self.rejoin_at if at <= self.now]
        if due and not self.quiet:
            self.rejoin_at = [at for at in self.rejoin_at if at > self.now]
            for _ in due:
                self.connect(self.seat())
        joined = [m for m in self.members if m.ticket and not m.leaving]
        if self.mood == "watch" and not self.quiet and self.now >= self.who_at:
            self.who_at = self.now + 0.1
            for member in self.members:
                member.send(Who(1, 0, 2000))
        for member in joined:
            while not self.quiet and self.now >= member.next_at and len(member.outgoing) < 1 << 20:
                member.next_at = max(member.next_at, self.now - 1) + self.random.expovariate(1 / RATE_S)
                member.command()
            if not self.quiet and member.rank == 0 and self.random.random() < 0.06:
                self.random.choice((member.write_baton, member.write_baton, member.give_up))()
        if self.calm and joined and not self.quiet:
            if self.now >= self.who_at:
                self.who_at = self.now + 0.2
                self.random.choice(joined).send(Who(1, 0, 2000))
            if self.now >= self.yield_at:
                self.yield_at = self.now + 1.0
                self.random.choice(joined).give_up()
            if self.now >= self.leave_at:
                self.leave_at = self.now + self.random.uniform(2, 6)
                self.leave(self.random.choice(joined))
        for member in list(self.members):
            if member.outgoing:
                member.push()
            member.watch()
            member.believe()
            if len(self.addresses) > 1:
                member.expect_life()

    def seat(self) -> Kept | None:
        """Draw the seat for a new connection: one to return to, a new one with a keep, or one without."""
        draw = self.random
        if self.mood == "watch":
            return None
        if self.seats and draw.random() < 0.8:
            kept = self.seats.pop(draw.randrange(len(self.seats)))
            if draw.random() < 0.3:  # as a restarted program, which knows only the secret
                kept.last_seq = 0
                kept.owed.clear()
            return kept
        return Kept(draw.randbytes(16), draw.choice(KEEPS_MS)) if draw.random() < 0.6 else None

    def connect(self, kept: Kept | None) -> None:
        flags = OBSERVE | WATCH if self.mood == "watch" else WATCH if self.random.random() < 0.2 else 0
        self.members.append(Member(self, f"{self.name}.{self.number}", kept, flags))
        self.number += 1

    def leave(self, member: Member) -> None:
        member.send(Leave())
        member.log("L", member.number)
        member.leaving = True

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
                member.send(Ping(b"settled"))
            if self.mood != "tried" and self.members:
                self.members[0].send(Who(1, 0, 2000))
        elif what == "count":
            os.write(1, b"%d %d\n" % (len(self.members), sum(m.settled for m in self.members)))
        else:
            victims = [member for member in self.members if member.ticket and not member.leaving]
            if victims:
                self.strike(self.random.choice(victims), what, float(seconds))

    def strike(self, member: Member, what: str, seconds: float) -> None:
        if what == "reset":
            member.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            member.end("our reset")
        elif what == "yield":
            member.give_up()
        elif what == "baton":
            member.write_baton()
        elif what == "takeover":
            if member.kept is not None and member.kept.holder is member:
                self.connect(member.kept)
        elif what == "slow":
            member.deaf_until = self.now + seconds
            member.fall_behind(self.now, member.deaf_until)
        elif what == "trickle":
            member.trickle_until = self.now + seconds
            member.fall_behind(self.now, member.trickle_until)
        elif what == "flood":
            for _ in range(150):
                member.command(self.random.choice((100, 16_000)))
        elif what == "garbage":
            member.outgoing += self.random.randbytes(self.random.randrange(1, 300))
        elif what == "leave":
            self.leave(member)
        elif what == "half-close":
            member.sock.setblocking(True)
            member.sock.settimeout(0.3)
            try:
                member.sock.sendall(member.outgoing)
                member.sock.shutdown(socket.SHUT_WR)
                member.log("L", member.number)
            except TimeoutError:
                pass
            except OSError:  # the read end would report "end of stream" from now on
                member.broken = True
            member.outgoing.clear()
            member.leaving = True
            member.sock.setblocking(False)
        else:
            raise AssertionError(what)


def inherited(log: str) -> list[Kept]:
    """The latest seats of the crew that wrote this log; "-" is none."""
    kept: dict[str, Kept] = {}
    lines = Path(log).read_text().splitlines(keepends=True) if log != "-" else []
    for line in lines:
        ident, kind, *values = line.split()
        if line.endswith("\n") and kind == "H":
            kept[ident] = Kept(int(values[0]).to_bytes(16), int(values[1]), number=int(values[4]) + 100_000)
        elif line.endswith("\n") and kind == "S" and ident in kept:
            kept[ident].number = int(values[0]) + 100_000  # the last ones are not in the log
    latest = {seat.secret: seat for seat in kept.values()}
    return list(latest.values())[-4:]


def main() -> None:
    servers, seed, name, path, size, mood, before = sys.argv[1:]
    Path(path).touch()
    addresses = [(host, int(port)) for host, _, port in (text.rpartition(":") for text in servers.split(","))]
    Crew(addresses, seed, name, path, int(size), mood, before).run()


if __name__ == "__main__":
    main()
