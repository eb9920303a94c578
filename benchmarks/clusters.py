"""Several servers of one room over three NATS servers, or a server alone, each with the clocks of its processes.

All servers are on the first usable core, NATS, the couriers and the load on the second; or all of them, where that is
asked for, on any.
"""

from __future__ import annotations

import http.client
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks import build, subjects
from benchmarks.process import Pinned, cores
from benchmarks.session import PAYLOAD_SIZE, START_TIMEOUT_S, Load, SessionError
from tests.support.nats_nodes import Nodes, free_ports, nats_nodes, nats_server

__all__ = ["Clocks", "Cluster", "Server", "alone", "fill", "missing"]

# A load answers no pings while another one runs.
FLAGS = ("--log-level", "warning", "--ping-ms", "100000")
CLUSTER_FLAGS = ("--cluster-fence-s", "300", "--cluster-down-s", "400")
_METRIC = re.compile(r"^(\w+)(?:\{[^}]*\"taken\"\})? ([\d.e+]+)$", re.MULTILINE)


def missing() -> str | None:
    """The reason why it cannot run here, or None."""
    try:
        nats_server()
    except AssertionError as error:
        return str(error)
    return subjects.BY_NAME["rankmux"].missing()


@dataclass(frozen=True)
class Clocks:
    """CPU times in seconds: of a server, and of its courier (0 for a server alone)."""

    server: float
    courier: float = 0.0

    def __sub__(self, other: Clocks) -> Clocks:
        return Clocks(self.server - other.server, self.courier - other.courier)


class Server(Pinned):
    """One server, ready after `await_ready`; alone without `cluster`, the URLs of NATS servers."""

    def __init__(self, name: str, seats: int, cluster: str, log: Path, *, pinned: bool = True) -> None:
        self.port, self._admin = free_ports(2)
        self.courier = 0
        self._pinned = pinned
        self._log = log
        self._started = time.monotonic()
        flags = ["-n", str(seats), "--port", str(self.port), "--admin", str(self._admin), *FLAGS]
        if cluster:
            flags += ["--cluster", cluster, "--server-name", name, *CLUSTER_FLAGS]
        with log.open("ab") as stderr:
            super().__init__(
                [sys.executable, "-m", "rankmux", "server", *flags],
                cores().server if pinned else None,
                environment={"RANKMUX_EXTENSION": "1"},
                directory=build.ROOT,
                stderr=stderr,
            )

    def await_ready(self, timeout_s: float = START_TIMEOUT_S) -> float:
        """Wait until members can join; returns the seconds since the start of the process."""
        while time.monotonic() < self._started + timeout_s:
            with suppress(OSError, http.client.HTTPException):
                if self._get("/readyz")[0] == 200:
                    took = time.monotonic() - self._started
                    self._find_courier()
                    return took
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise SessionError(f"the server did not get ready: {self._log.read_text()[-1000:]}")

    def _find_courier(self) -> None:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        if children:
            self.courier = int(children[0])
            if self._pinned:
                os.sched_setaffinity(self.courier, {cores().load})

    def clocks(self) -> Clocks:
        """The CPU times so far."""
        courier = time.clock_gettime((~self.courier << 3) | 2) if self.courier else 0.0
        return Clocks(self.cpu_s(), courier)

    def metric(self, name: str) -> float:
        """A metric of the server, without its prefix; of several the one labelled `taken`."""
        return {found: float(value) for found, value in _METRIC.findall(self._get("/metrics")[1])}[
            f"rankmux_{name}"
        ]

    def _get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._admin, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


class Cluster:
    """Servers that are ready. A context manager; processes started from it end with it."""

    def __init__(self, count: int, seats: int, *, pinned: bool = True) -> None:
        self._pinned = pinned
        self.servers: list[Server] = []
        self._count = count
        self._seats = seats
        self._cleanup = ExitStack()

    def __enter__(self) -> Cluster:
        with ExitStack() as stack:
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rankmux-bench-")))
            with _on_core(cores().load) if self._pinned else nullcontext():
                self.nodes: Nodes = stack.enter_context(nats_nodes(self._folder, 3))
            self._cleanup = stack
            self.servers = [self.start(f"s{number}") for number in range(self._count)]
            for server in self.servers:
                server.await_ready()
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def start(self, name: str) -> Server:
        """Another server of the room, which is not ready yet."""
        server = Server(
            name, self._seats, ",".join(self.nodes.urls), self._folder / f"{name}.stderr", pinned=self._pinned
        )
        return self._cleanup.enter_context(server)

    def load(self, servers: Sequence[Server] = (), payload_size: int = PAYLOAD_SIZE) -> Load:
        """A load for all servers or some of them, which ends with the cluster."""
        ports = [server.port for server in servers or self.servers]
        load = Load("rankmux", ports, self.servers[0].pid, payload_size, pinned=self._pinned)
        return self._cleanup.enter_context(load)


def fill(load: Load, servers: Sequence[Server], members: int) -> None:
    """Open that many members, until all `servers` know all of them; rank 0 is at the load's first server."""
    load.ask("open 1")
    load.ask(f"open {members}")
    deadline = time.monotonic() + START_TIMEOUT_S
    while any(server.metric("members") != members for server in servers):
        if time.monotonic() > deadline:
            raise SessionError(f"not all servers know {members} members")
        time.sleep(0.05)


@contextmanager
def alone(
    seats: int, payload_size: int = PAYLOAD_SIZE, *, pinned: bool = True
) -> Iterator[tuple[Server, Load]]:
    """A server alone, with a load."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rankmux-bench-")))
        server = stack.enter_context(Server("alone", seats, "", folder / "stderr", pinned=pinned))
        server.await_ready()
        yield (
            server,
            stack.enter_context(Load("rankmux", [server.port], server.pid, payload_size, pinned=pinned)),
        )


@contextmanager
def _on_core(core: int) -> Iterator[None]:
    """Pin processes started within the block to that core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
