"""A rolling restart in rank order: workers restart one after the other, never two at the same time.

    rankmux-server &
    python examples/rolling_restart.py          # in three terminals or more; then kill -HUP the one with rank 0

Rank 0 conducts: it restarts the worker directly below, waits until all are back, and so on; itself last. A worker that
comes back is last in line, with a larger ticket than any at the start: so the restarted ones are known.

- If a worker dies meanwhile, no other is restarted until it is back; if that takes too long, the roll stops.
- If the conductor dies, the next in line knows the roll and continues it by the same rules.
- Ranks may change between looking and commanding: an order carries the ticket that it is for; other workers reject it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from contextlib import suppress
from typing import Any

from rankmux import Client, ReceivedCommand, Rejected
from rankmux.errors import CommandRefused, ConnectionLost, ServerError


class Worker:
    """One worker of the fleet. `roll`: the names of the workers, and the newest ticket to restart."""

    def __init__(self, host: str, port: int, name: str, patience_s: float) -> None:
        self.roll: dict[str, Any] | None = None
        self.asked = False  # with SIGHUP
        self.patience_s = patience_s
        self.missing: set[str] = set()
        self.since_s = 0.0  # the time since exactly these have been missing
        # A worker joins when it is ready to work: the conductor waits for that.
        self.client = Client(host, port, name=name, handler=self.handle)

    def handle(self, command: ReceivedCommand) -> None:
        """An order of the conductor. A real worker takes its work here, too."""
        order = json.loads(command.payload)
        if "roll" in order:
            self.roll = order["roll"]
        elif order.get("restart") == self.client.ticket:
            command.finish(output="restarting")
            self.client.close()
        else:
            raise Rejected(f"not for ticket {self.client.ticket}")

    def announce(self, roll: dict[str, Any] | None) -> None:
        self.roll, self.missing = roll, set()
        self.client.command(json.dumps({"roll": roll}))

    def begin(self) -> None:
        members = self.client.who()
        names = [member.name for member in members]
        if self.client.rank != 0 or self.roll or len(set(names)) < len(names):
            print("not now: this takes rank 0, no roll under way, and a name for each worker", flush=True)
        else:
            print(f"restarting {', '.join(names)}", flush=True)
            self.announce({"names": names, "newest": members[-1].ticket})

    def conduct(self, roll: dict[str, Any]) -> None:
        members = self.client.who()
        missing = set(roll["names"]) - {member.name for member in members}
        if missing != self.missing:
            self.missing, self.since_s = missing, time.monotonic()
            if missing:
                print(f"waiting for {', '.join(sorted(missing))}", flush=True)
        elif missing and time.monotonic() > self.since_s + self.patience_s:
            print(f"stopped: {', '.join(sorted(missing))} did not come back", flush=True)
            self.announce(None)
        if missing:
            return
        due = [member for member in members[1:] if member.ticket <= roll["newest"]]
        if due:
            with suppress(CommandRefused):  # that worker has just gone
                order = json.dumps({"restart": due[0].ticket})
                counts = self.client.command(order, due[0], results=True, timeout=self.patience_s).wait()
                print(f"{due[0].name}: {'restarts' if counts.ok else 'no answer; looking again'}", flush=True)
        else:
            self.client.close()  # now this one

    def run(self) -> None:
        """Run until it is this worker's turn; raises when the seat is gone."""
        while not self.client.closed:
            self.client.wait(lambda: self.client.closed, 0.1)
            if self.asked:
                self.asked = False
                self.begin()
            if self.roll and self.client.rank == 0:
                self.conduct(self.roll)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7117)
    parser.add_argument("--name", default=f"worker-{os.getpid()}", help="the same after the restart")
    parser.add_argument("--patience", type=float, default=20.0, metavar="SECONDS", help="for missing ones")
    options = parser.parse_args()
    worker = Worker(options.host, options.port, options.name, options.patience)
    signal.signal(signal.SIGHUP, lambda *_: setattr(worker, "asked", True))
    with worker.client as client:
        print(f"{client.name}: process {os.getpid()}, rank {client.rank}, ticket {client.ticket}", flush=True)
        worker.run()
    os.execv(sys.executable, sys.orig_argv)  # this program from the start: new code, new settings


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("left")
    except (ConnectionLost, ServerError, TimeoutError) as error:
        raise SystemExit(f"{error}; whatever supervises this starts it again") from None
