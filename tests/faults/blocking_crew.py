"""The clients of the history checker that are `rankmux.Client`, each in a thread of its own: see `client_crew.py`."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path

from rankmux import Client
from rankmux.client.receipt import ReceivedCommand
from rankmux.core.client.received import Rejected
from rankmux.errors import RankmuxError

from .client_crew import ClientCrew, ClientMember, run_client_crew
from .journal import MEMBER


class BlockingMember(ClientMember[Client]):
    """Everything but beliefs is done in its own thread."""

    def run(self) -> None:
        MEMBER.set(self)
        with suppress(RankmuxError):
            self.client = Client(handler=self.execute, **self.options)
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
            self._do(client, self.due())

    def _do(self, client: Client, what: str) -> None:
        draw = self.crew.random
        if what == "settle":
            self._settle(client)
        elif what == "yield":
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
        elif what == "who":
            client.who()
        elif what == "command":
            self._command(client)

    def _settle(self, client: Client) -> None:
        self.orders.append("settle")  # unless it is done
        client.count()
        client.poll()
        self.orders.pop()
        self.log_settled()

    def _command(self, client: Client, size: int = -1, *, quiet: bool | None = None) -> None:
        """Some end early, by CANCEL."""
        draw = self.crew.random
        payload, arguments = self.draw_command(size, quiet=quiet)
        receipt = client.command(payload, **arguments)
        if arguments["results"] and draw.random() < 0.3:
            receipt.cancel()
        elif arguments["results"] and draw.random() < 0.5:
            receipt.gather(draw.random())

    def execute(self, command: ReceivedCommand) -> bytes:
        """Its handler."""
        self.log_run(command)
        draw = self.crew.random.random()
        if draw < 0.1:
            time.sleep(self.crew.random.choice((0.02, 0.3)))
            command.emit(b"some")
        if draw > 0.95:
            raise Rejected("not now")
        return b"done"


class BlockingCrew(ClientCrew[BlockingMember]):
    """Clients in threads."""

    def start(self, ident: str, keep_file: Path | None) -> BlockingMember:
        member = BlockingMember(self, ident, keep_file)
        threading.Thread(target=member.run, daemon=True).start()
        return member

    def deafen(self, member: BlockingMember, seconds: float) -> None:
        member.deaf_until = self.now + seconds
        member.fall_behind(self.now, member.deaf_until)


if __name__ == "__main__":
    run_client_crew(BlockingCrew)
