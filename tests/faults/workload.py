"""The clients of the history checker that speak the protocol themselves, all in one thread: see `crew.py`."""

from __future__ import annotations

import selectors
import socket
import struct
from pathlib import Path
from typing import Any

from ..protocol.frames import OBSERVE, WATCH, Leave, Who
from .crew import KEEPS_MS, RATE_S, Crew, run_crew
from .crew_member import Kept, Member


class RawCrew(Crew[Member]):
    """Members with a socket each, which send and receive frames."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seats = inherited(self.before)
        self.who_at = self.leave_at = self.yield_at = self.now + 1.0

    def serve(self, member: Member, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            member.push()
        if mask & selectors.EVENT_READ:
            member.read()

    def join(self) -> None:
        self.connect(self.seat())

    def work(self) -> None:
        joined = [member for member in self.members if member.seated]
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
        self.members.append(Member(self, self.new_ident(), kept, flags))

    def leave(self, member: Member) -> None:
        member.send(Leave())
        member.log("L", member.number)
        member.leaving = True

    def apply_fault(self, what: str, seconds: str = "0") -> None:
        super().apply_fault(what, seconds)
        if what == "settle" and self.mood != "tried" and self.members:
            self.members[0].send(Who(1, 0, 2000))

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
    if lines and not lines[-1].endswith("\n"):
        lines.pop()  # it was killed in the middle of it
    for line in lines:
        ident, kind, *values = line.split()
        if kind == "H":
            kept[ident] = Kept(int(values[0]).to_bytes(16), int(values[1]), number=int(values[4]) + 100_000)
        elif kind == "S" and ident in kept:
            kept[ident].number = int(values[0]) + 100_000  # the last ones are not in the log
    latest = {seat.secret: seat for seat in kept.values()}
    return list(latest.values())[-4:]


if __name__ == "__main__":
    run_crew(RawCrew)
