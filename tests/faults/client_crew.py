"""What both crews of the package's clients share: a member with its seat and what it does next, and how they come back.

The lines of a connection are made of the events of its session (`journal.py`). What the client makes of them is held
against them: the commands that it runs, and the rank that it has.
"""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar
from unittest.mock import patch

from rankmux.client import membership
from rankmux.client.membership import Membership
from rankmux.core.client.received import ExecutedCommand

from .believer import Believer
from .crew import KEEPS_MS, RATE_S, SIZES, Crew, run_crew
from .crew_member import HEAD, REJOIN_S, filler
from .journal import MEMBER, Journal

__all__ = ["ClientCrew", "ClientMember", "run_client_crew"]

TIMEOUT_S = 5.0

C = TypeVar("C", bound=Membership)


class ClientMember(Believer, Generic[C]):
    """One client, with all its connections.

    `keep_file` is that of its seat, None without a keep. `journal` is that of its newest connection. `received` has the
    commands that have come and were not run yet: the journal of each by its seq. `orders` are what it is to do.
    """

    crew: ClientCrew[Any]

    def __init__(self, crew: ClientCrew[Any], ident: str, keep_file: Path | None) -> None:
        super().__init__(crew, ident)
        self.keep_file = keep_file
        self.keep_s = crew.random.choice(KEEPS_MS) / 1000
        self.client: C | None = None
        self.journal: Journal | None = None
        self.received: dict[int, Journal] = {}
        self.orders: deque[str] = deque()
        self.connections = self.number = 0
        self._next_at = crew.now + crew.random.random()

    @property
    def ticket(self) -> int:  # type: ignore[override]
        return 0 if self.client is None else self.client.ticket or 0

    @property
    def seated(self) -> bool:
        return self.client is not None and self.client.rank is not None

    @property
    def leads(self) -> bool:
        return self.client is not None and self.client.rank == 0 and not self._yields

    def settle(self) -> None:
        self.orders.append("settle")

    def next_number(self) -> int:
        """The number of its next command: higher than all that its seat has had, in whatever process."""
        self.number = max(self.number + 1, int(time.monotonic() * 1000))
        return self.number

    @property
    def options(self) -> dict[str, Any]:
        """Those of its client, and the addresses of all servers."""
        keep = {} if self.keep_file is None else {"keep_s": self.keep_s, "keep_file": self.keep_file}
        addresses = [f"{host}:{port}" for host, port in self.crew.addresses]
        return {"host": addresses, "name": self.ident, "timeout": TIMEOUT_S, "reconnect": True, **keep}

    @property
    def _yields(self) -> bool:
        """Whether its ticket is about to change."""
        return self.journal is not None and self.journal.yielding is not None

    def due(self) -> str:
        """What it does now: an order, or what it draws when its time has come; empty for nothing."""
        if self.orders:
            order = self.orders.popleft()
            return "" if order == "yield" and self._yields else order
        if self.crew.quiet or self.crew.now < self._next_at or self._yields:
            return ""
        draw = self.crew.random
        self._next_at = max(self._next_at, self.crew.now - 1) + draw.expovariate(1 / RATE_S)
        if self.client is not None and self.client.rank == 0 and draw.random() < 0.06:
            return draw.choice(("baton", "baton", "yield"))
        return "who" if draw.random() < 0.05 else "command"

    def draw_command(self, size: int = -1, *, quiet: bool | None = None) -> tuple[bytes, dict[str, Any]]:
        """The payload, which its journal fills in, and the arguments of a command to a random target."""
        draw = self.crew.random
        target: Any = draw.choice((*["all"] * 3, "next", "least", draw.randrange(60), None))
        tickets = None
        if target is None:
            near = self.ticket
            named = (max(1, near + n) for n in draw.sample(range(-3, 60), draw.randint(1, 6)))
            target, tickets = "all", sorted(set(named))
        results = draw.random() < 0.4
        return bytes(draw.choice(SIZES) if size < 0 else size), {
            "to": target,
            "tickets": tickets,
            "quiet": draw.random() < 0.4 if quiet is None else quiet,
            "results": results,
            "tied": results and draw.random() < 0.3,
            "timeout": draw.randrange(500, 3000) / 1000,
        }

    def log_settled(self) -> None:
        """All answers to what it has sent have come."""
        if self.received:
            self.log("V", f"it never ran the commands {sorted(self.received)[:5]}")
        assert self.journal is not None
        self.journal.log("Z", self.ticket, -1 if self.client is None else self.client.rank)
        self.settled = True

    def log_run(self, command: ExecutedCommand) -> None:
        """It runs a command. One that it has run before counts as one of the newest connection."""
        journal = self.received.pop(command.seq, self.journal)
        assert journal is not None
        journal.log("Q", command.seq, command.sender_rank, command.rank)
        head = command.payload[: HEAD.size]
        if command.payload != head + filler(head, len(command.payload) - HEAD.size):
            self.log("V", f"a torn payload in seq {command.seq}")


M = TypeVar("M", bound=ClientMember[Any])


class ClientCrew(Crew[M]):
    """Programs with one client each. `left` are the members whose client is closed."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.left: deque[M] = deque()
        self.keep_files = sorted(Path(self.before).parent.glob(f"{Path(self.before).stem}.*.seat"))[-4:]

    @abstractmethod
    def start(self, ident: str, keep_file: Path | None) -> M:
        """A new member, whose client is about to join."""

    def join(self) -> None:
        """A program comes back to its seat, or a new one comes, with a keep or without."""
        draw, ident = self.random, self.new_ident()
        if self.keep_files and draw.random() < 0.8:
            keep_file: Path | None = self.keep_files.pop(draw.randrange(len(self.keep_files)))
        else:
            keep_file = Path(self.path).with_name(f"{ident}.seat") if draw.random() < 0.6 else None
        self.members.append(self.start(ident, keep_file))

    def work(self) -> None:
        while self.left:
            member = self.left.popleft()
            member.stop_believing(self.now)
            self.members.remove(member)
            if member.keep_file is not None:
                self.keep_files.append(member.keep_file)
            self.rejoin_at.append(self.now + self.random.uniform(*REJOIN_S))

    @abstractmethod
    def deafen(self, member: M, seconds: float) -> None:
        """`member` reads nothing for that long."""

    def strike(self, member: M, what: str, seconds: float) -> None:
        """What only a peer can do that speaks the protocol itself becomes the end of its program."""
        if what in ("slow", "trickle"):
            self.deafen(member, seconds)
        elif what in ("yield", "baton", "flood", "leave"):
            member.orders.append(what)
        else:
            member.orders.append("leave" if what == "half-close" or member.keep_file is None else "return")


class _NotRun(logging.Handler):
    """Hears from a client that it has let a command expire."""

    def emit(self, record: logging.LogRecord) -> None:
        if "was not run" in record.msg and isinstance(record.args, tuple):
            MEMBER.get().received.pop(record.args[0], None)


def run_client_crew(kind: Callable[..., Crew[M]]) -> None:
    """Run the crew that the command line describes, with journals for sessions."""
    logging.getLogger("rankmux.client").addHandler(_NotRun())
    with patch.object(membership, "ClientSession", Journal):
        run_crew(kind)
