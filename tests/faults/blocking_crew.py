"""The clients of the history checker that are `rankmux.Client`, each in a thread of its own: see `crew.py`.

The lines of a connection are made of the events of its session. What the client makes of them is held against them: the
commands that it runs, and the rank that it has.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rankmux import Client
from rankmux.client import membership
from rankmux.client.receipt import ReceivedCommand
from rankmux.core.client.received import Rejected
from rankmux.errors import RankmuxError

from .believer import Believer
from .crew import KEEPS_MS, RATE_S, SIZES, Crew, run_crew
from .crew_member import HEAD, REJOIN_S, filler
from .journal import HERE, Journal

TIMEOUT_S = 5.0


class BlockingMember(Believer):
    """One client, with all its connections. Everything but beliefs is done in its own thread.

    `keep_file` is that of its seat, None without a keep. `journal` is that of its newest connection. `received` has the
    commands that have come and were not run yet: the journal of each by its seq.
    """

    crew: BlockingCrew

    def __init__(self, crew: BlockingCrew, ident: str, keep_file: Path | None) -> None:
        super().__init__(crew, ident)
        self.keep_file = keep_file
        self.keep_s = crew.random.choice(KEEPS_MS) / 1000
        self.client: Client | None = None
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

    def run(self) -> None:
        HERE.member = self
        keep = {} if self.keep_file is None else {"keep_s": self.keep_s, "keep_file": self.keep_file}
        addresses = [f"{host}:{port}" for host, port in self.crew.addresses]
        with suppress(RankmuxError):
            self.client = Client(
                addresses,
                name=self.ident,
                handler=self.execute,
                timeout=TIMEOUT_S,
                reconnect=True,
                **keep,  # type: ignore[arg-type]
            )
            with self.client as client:
                while not client.closed:
                    self._step(client)
        self.crew.left.append(self)

    def _step(self, client: Client) -> None:
        """One order, or one command, or nothing but reading. Raises the reason once it is lost for good."""
        if self.crew.now < self.deaf_until:
            time.sleep(0.02)
            return
        client.poll(0.02)
        with suppress(RankmuxError, TimeoutError):  # its journal has it, and the next call reconnects
            if self.orders:
                self._obey(client, self.orders.popleft())
            elif not self.crew.quiet and self.crew.now >= self._next_at and not self._yields:
                draw = self.crew.random
                self._next_at = max(self._next_at, self.crew.now - 1) + draw.expovariate(1 / RATE_S)
                if client.rank == 0 and draw.random() < 0.06:
                    self._obey(client, draw.choice(("baton", "baton", "yield")))
                elif draw.random() < 0.05:
                    client.who()
                else:
                    self._command(client, draw.choice(SIZES), quiet=draw.random() < 0.4)

    @property
    def _yields(self) -> bool:
        """Whether its ticket is about to change."""
        return self.journal is not None and self.journal.yielding is not None

    def _obey(self, client: Client, what: str) -> None:
        draw = self.crew.random
        if what == "settle":
            self._settle(client)
        elif what == "yield" and not self._yields:
            client.step_down(draw.choice((0.0, 0.2)))
        elif what == "baton":
            client.set_baton(draw.randbytes(draw.choice((8, 300))))
        elif what == "flood":
            for _ in range(150):
                self._command(client, draw.choice((100, 16_000)), quiet=True)
        elif what == "leave":
            client.close()
        elif what == "return":
            client.close(leave=False)

    def _settle(self, client: Client) -> None:
        self.orders.append("settle")  # unless it is done
        client.count()
        client.poll()
        self.orders.pop()
        if self.received:
            self.log("V", f"it never ran the commands {sorted(self.received)[:5]}")
        assert self.journal is not None
        self.journal.log("Z", client.ticket, client.rank)
        self.settled = True

    def _command(self, client: Client, size: int, *, quiet: bool) -> None:
        """Send one to a random target; its journal makes the payload. Some end early, by CANCEL."""
        draw = self.crew.random
        target: Any = draw.choice((*["all"] * 3, "next", "least", draw.randrange(60), None))
        near = client.ticket or 0
        tickets = None
        if target is None:
            named = (max(1, near + n) for n in draw.sample(range(-3, 60), draw.randint(1, 6)))
            target, tickets = "all", sorted(set(named))
        receipt = client.command(
            bytes(size),
            target,
            tickets=tickets,
            quiet=quiet,
            results=(results := draw.random() < 0.4),
            tied=results and draw.random() < 0.3,
            timeout=draw.randrange(500, 3000) / 1000,
        )
        if results and draw.random() < 0.3:
            receipt.cancel()
        elif results and draw.random() < 0.5:
            receipt.gather(draw.random())

    def execute(self, command: ReceivedCommand) -> bytes:
        """Its handler. A command that it has run before counts as one of the newest connection."""
        journal = self.received.pop(command.seq, self.journal)
        assert journal is not None
        journal.log("Q", command.seq, command.sender_rank, command.rank)
        head = command.payload[: HEAD.size]
        if command.payload != head + filler(head, len(command.payload) - HEAD.size):
            self.log("V", f"a torn payload in seq {command.seq}")
        draw = self.crew.random.random()
        if draw < 0.1:
            time.sleep(self.crew.random.choice((0.02, 0.3)))
            command.emit(b"some")
        if draw > 0.95:
            raise Rejected("not now")
        return b"done"


class BlockingCrew(Crew[BlockingMember]):
    """Clients in threads. `left` are the members whose thread has ended."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.left: deque[BlockingMember] = deque()
        self.keep_files = sorted(Path(self.before).parent.glob(f"{Path(self.before).stem}.*.seat"))[-4:]

    def join(self) -> None:
        """A program comes back to its seat, or a new one comes, with a keep or without."""
        draw, ident = self.random, self.new_ident()
        if self.keep_files and draw.random() < 0.8:
            keep_file: Path | None = self.keep_files.pop(draw.randrange(len(self.keep_files)))
        else:
            keep_file = Path(self.path).with_name(f"{ident}.seat") if draw.random() < 0.6 else None
        member = BlockingMember(self, ident, keep_file)
        self.members.append(member)
        threading.Thread(target=member.run, daemon=True).start()

    def work(self) -> None:
        while self.left:
            member = self.left.popleft()
            member.stop_believing(self.now)
            self.members.remove(member)
            if member.keep_file is not None:
                self.keep_files.append(member.keep_file)
            self.rejoin_at.append(self.now + self.random.uniform(*REJOIN_S))

    def strike(self, member: BlockingMember, what: str, seconds: float) -> None:
        """What only a peer can do that speaks the protocol itself becomes the end of its program."""
        if what in ("slow", "trickle"):
            member.deaf_until = self.now + seconds
            member.fall_behind(self.now, member.deaf_until)
        elif what in ("yield", "baton", "flood", "leave"):
            member.orders.append(what)
        else:
            member.orders.append("leave" if what == "half-close" or member.keep_file is None else "return")


class NotRun(logging.Handler):
    """Hears from a client that it has let a command expire."""

    def emit(self, record: logging.LogRecord) -> None:
        if "was not run" in record.msg and isinstance(record.args, tuple):
            HERE.member.received.pop(record.args[0], None)


if __name__ == "__main__":
    logging.getLogger("rankmux.client").addHandler(NotRun())
    with patch.object(membership, "ClientSession", Journal):
        run_crew(BlockingCrew)
