"""A `wait` for the leader lock that is started again whenever it ends, as a service manager would."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..protocol.process import ROOT, environment
from .cable import Cable
from .rig import EXTENSION

GRACE_S = 0.2
RESTART_S = 0.1  # from the end of a `wait` to its next start
RANK = re.compile(r"(?:Assigned|New) rank: (\d+)")


class Contender:
    """A `wait` that is started again whenever it ends."""

    def __init__(
        self, cable: Cable, program: Sequence[str], keep_s: float | None = None, keep_file: Path | None = None
    ) -> None:
        self.cable = cable
        self._program = program
        self._keep = [] if keep_s is None else ["--keep", str(keep_s), "--keep-file", str(keep_file)]
        self._task = asyncio.create_task(self._run())
        self.process: asyncio.subprocess.Process | None = None
        self.rank: int | None = None

    async def _run(self) -> None:
        settings = ["--port", str(self.cable.port), "--grace", str(GRACE_S)]
        while True:
            command = [sys.executable, "-m", "rankmux", "client", "wait", "--rank", "0"]
            self.process = await asyncio.create_subprocess_exec(
                *command,
                *settings,
                *self._keep,
                "--",
                *self._program,
                cwd=ROOT,
                env=environment(EXTENSION),
                stdin=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            assert self.process.stderr is not None
            waited = asyncio.create_task(self.process.wait())
            async for line in self.process.stderr:
                if found := RANK.match(line.decode()):
                    self.rank = int(found[1])
            await waited
            self.rank = None
            await asyncio.sleep(RESTART_S)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to `wait`, but not to its child processes."""
        assert self.process is not None
        self.process.send_signal(number)

    async def close(self) -> None:
        """End it and its program."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.terminate()
            await self.process.wait()
