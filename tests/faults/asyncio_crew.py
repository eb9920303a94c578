"""The clients of the history checker that are `rankmux.aio.Client`, in one loop: see `client_crew.py`."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from rankmux.aio import Client, ReceivedCommand, Rejected
from rankmux.errors import RankmuxError

from .client_crew import ClientCrew, ClientMember, run_client_crew
from .journal import MEMBER

_STEP_S = 0.02


class AsyncioMember(ClientMember[Client]):
    """Everything but beliefs is done in the crew's loop. Some have a plain function for their handler."""

    async def run(self) -> None:
        MEMBER.set(self)
        draw = self.crew.random
        with suppress(RankmuxError):
            handler = draw.choice((self.execute, self.execute_at_once))
            self.client = Client(handler=handler, parallel=draw.choice((1, 3)), **self.options)
            async with self.client as client:
                serving = asyncio.create_task(client.serve())
                while not (client.closed or serving.done()):
                    with suppress(
                        RankmuxError, TimeoutError
                    ):  # its journal has it, and the client reconnects
                        await self._do(client, self.due())
                    await asyncio.sleep(_STEP_S)
                with suppress(RankmuxError):
                    await serving
        self.crew.left.append(self)

    async def _do(self, client: Client, what: str) -> None:
        draw = self.crew.random
        if what == "settle":
            await self._settle(client)
        elif what == "yield":
            await client.step_down(draw.choice((0.0, 0.2)))
        elif what == "baton":
            await client.set_baton(draw.randbytes(draw.choice((8, 300))))
        elif what == "flood":
            for _ in range(150):
                await self._command(client, draw.choice((100, 16_000)), quiet=True)
        elif what == "leave":
            await client.close()
        elif what == "return":
            await client.close(leave=False)
        elif what == "who":
            await client.who()
        elif what == "command":
            await self._command(client)

    async def _settle(self, client: Client) -> None:
        self.orders.append("settle")  # unless it is done
        await client.count()
        await asyncio.sleep(_STEP_S)
        self.orders.pop()
        self.log_settled()

    async def _command(self, client: Client, size: int = -1, *, quiet: bool | None = None) -> None:
        """Some end early, by CANCEL, or by the cancellation of what waits for them."""
        draw = self.crew.random
        payload, arguments = self.draw_command(size, quiet=quiet)
        if draw.random() < 0.05:
            with suppress(TimeoutError):
                async with asyncio.timeout(draw.choice((0.0, 0.001, 0.01))):
                    await client.command(payload, **arguments)
            return
        receipt = await client.command(payload, **arguments)
        if arguments["results"] and draw.random() < 0.3:
            receipt.cancel()
        elif arguments["results"] and draw.random() < 0.5:
            await receipt.gather(draw.random())

    async def execute(self, command: ReceivedCommand) -> bytes:
        """Its handler."""
        self.log_run(command)
        draw = self.crew.random.random()
        if draw < 0.1:
            await asyncio.sleep(self.crew.random.choice((0.02, 0.3)))
            await command.emit(b"some")
        if draw > 0.95:
            raise Rejected("not now")
        return b"done"

    def execute_at_once(self, command: ReceivedCommand) -> bytes:
        """Its handler, as a plain function."""
        self.log_run(command)
        if self.crew.random.random() > 0.95:
            raise Rejected("not now")
        return b"done"


class AsyncioCrew(ClientCrew[AsyncioMember]):
    """Clients in one loop, which has a thread of its own: the crew's beliefs are logged even while it is blocked."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def start(self, ident: str, keep_file: Path | None) -> AsyncioMember:
        member = AsyncioMember(self, ident, keep_file)
        asyncio.run_coroutine_threadsafe(member.run(), self._loop).add_done_callback(
            Future.result
        )  # logs what it raised
        return member

    def deafen(self, member: AsyncioMember, seconds: float) -> None:
        """All that share its loop hear nothing, as something blocks it."""
        until = self.now + seconds
        for deaf in self.members:
            deaf.deaf_until = until
            deaf.fall_behind(self.now, until)
        # Another one may block it by now: up to then, and not for so long behind that.
        self._loop.call_soon_threadsafe(lambda: time.sleep(max(0.0, until - time.monotonic())))


if __name__ == "__main__":
    run_client_crew(AsyncioCrew)
