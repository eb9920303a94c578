"""One server on one core and its load on another: start both, send commands to the load, read the server's clocks."""

from __future__ import annotations

import json
import re
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks import build
from benchmarks.process import Pinned, cores
from benchmarks.subjects import Subject

PAYLOAD_SIZE = 64
START_TIMEOUT_S = 20.0


class SessionError(RuntimeError):
    """The server did not start, or the load saw a wrong message."""


@dataclass(frozen=True)
class Measurement:
    """The server's cost of one command of the load, and the answer of the load."""

    unit: str
    units: int
    rounds: int
    seconds: float
    cpu_s: float
    user_share: float
    rss_growth_bytes: int
    p50_us: float
    p99_us: float
    max_us: float


class Load(Pinned):
    """The load generator, whose members are connected to `ports` in turn; `server` is the pid of one to be stopped."""

    def __init__(
        self,
        protocol: str,
        ports: Sequence[int],
        server: int,
        payload_size: int = PAYLOAD_SIZE,
        *,
        pinned: bool = True,
    ) -> None:
        numbers = [",".join(map(str, ports)), str(server), str(payload_size)]
        super().__init__(
            [build.program("load"), protocol, *numbers],
            cores().load if pinned else None,
            stdin=subprocess.PIPE,
        )

    def ask(self, command: str) -> dict[str, Any]:
        """Run `command`; returns the answer (`native/load.c` lists both)."""
        pipes = self.process
        assert pipes.stdin is not None
        assert pipes.stdout is not None
        pipes.stdin.write(f"{command}\n".encode())
        pipes.stdin.flush()
        line = pipes.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "the load has died"}
        if "error" in answer:
            raise SessionError(f"{command}: {answer['error']}")
        return answer


class Running:
    """A server alone on its core; a context manager. `extra` are further flags for it."""

    def __init__(self, subject: Subject, seats: int, extra: Sequence[str] = ()) -> None:
        self.subject = subject
        self.seats = seats
        self.extra = extra
        self.port = 0
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rankmux-bench-")))
            self._log = stack.enter_context(open(directory / "stderr", "w+b"))
            port = 0 if self.subject.announces else _free_port()
            self.server = stack.enter_context(
                Pinned(
                    [*self.subject.command(self.seats, port, directory), *self.extra],
                    cores().server,
                    environment=self.subject.environment,
                    directory=build.ROOT,
                    stderr=self._log,
                )
            )
            self.port = self._announced_port() if self.subject.announces else self._answering(port)
            self._begin(stack)
            self._cleanup = stack.pop_all()
        return self

    def _begin(self, stack: ExitStack) -> None:
        """The other processes beside the server."""

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def _announced_port(self) -> int:
        stdout = self.server.process.stdout
        assert stdout is not None
        ready, _, _ = select.select([stdout], [], [], START_TIMEOUT_S)
        found = re.search(rb"listening on .*:(\d+) for", stdout.readline()) if ready else None
        if found is None:
            raise SessionError(f"{self.subject.name} did not start{self._complaint()}")
        return int(found[1])

    def _answering(self, port: int) -> int:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.server.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return port
            except OSError:
                time.sleep(0.02)
        raise SessionError(f"{self.subject.name} did not start{self._complaint()}")

    def _complaint(self) -> str:
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip()[-1000:]
        return f"\nthe server said: {said}" if said else ""


class Session(Running):
    """A server and its load."""

    def _begin(self, stack: ExitStack) -> None:
        self._load = stack.enter_context(Load(self.subject.protocol, [self.port], self.server.pid))

    def ask(self, command: str) -> dict[str, Any]:
        """Have the load run `command`; returns its answer (`native/load.c` lists both)."""
        try:
            return self._load.ask(command)
        except SessionError as error:
            raise SessionError(f"{self.subject.name}, {error}{self._complaint()}") from None

    def measure(self, command: str) -> Measurement:
        """Have the load run `command`, and read the server's clocks right before and after it."""
        rss, (user, system) = self.server.rss_bytes(), self.server.user_and_system_s()
        cpu = self.server.cpu_s()
        answer = self.ask(command)
        cpu = self.server.cpu_s() - cpu
        user_after, system_after = self.server.user_and_system_s()
        ticks = user_after - user + system_after - system
        return Measurement(
            unit=answer["unit"],
            units=answer["units"],
            rounds=answer["rounds"],
            seconds=answer["seconds"],
            cpu_s=cpu,
            user_share=(user_after - user) / ticks if ticks else 0.0,
            rss_growth_bytes=self.server.rss_bytes() - rss,
            p50_us=answer["p50_us"],
            p99_us=answer["p99_us"],
            max_us=answer["max_us"],
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
