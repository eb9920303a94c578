"""Three rankmux servers over three NATS nodes, each of them, and each link between them, to be broken and mended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..protocol.admin import fetch, request
from ..protocol.process import ROOT, environment
from ..support.nats_nodes import Node, Nodes, free_ports, nats_nodes
from ..support.patience import until
from .cable import Cable
from .rig import EXTENSION

__all__ = ["STREAM", "ClusterRig", "Links", "SharedServer", "cluster"]

ROOM = "main"
STREAM = f"RM_{ROOM}"
UP_S = 40.0  # an election among the NATS servers, and another one


class SharedServer:
    """One server of the cluster, always at the same port; `urls` are where it looks for NATS."""

    def __init__(
        self, name: str, port: int, urls: Sequence[str], folder: Path, *flags: str, seats: int = 200
    ) -> None:
        self.name, self.port, self.seats = name, port, seats
        self.admin = str(folder / f"{name}.admin")
        self.process: subprocess.Popen[bytes] | None = None
        self.stopped = False
        self.newer = False  # it speaks a newer version from its next start on
        self._log = folder / f"{name}.server"
        self._command = [
            *("server", "-n", str(seats), "--port", str(port)),
            *("--admin-unix", self.admin, "--cluster", ",".join(urls), "--server-name", name),
            *("--room", ROOM, *flags),
        ]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What all its processes have logged."""
        return self._log.read_text(errors="replace")

    def start(self) -> None:
        with self._log.open("ab") as output:
            program = "tests.faults.newer_server" if self.newer else "rankmux"
            self.process = subprocess.Popen(
                [sys.executable, "-m", program, *self._command],
                cwd=ROOT,
                env=environment(EXTENSION),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=output,
            )
        self.stopped = False

    def wait(self, seconds: float = 30.0) -> int:
        """Wait for its end; its exit code."""
        assert self.process is not None
        code = self.process.wait(seconds)
        self.process = None
        return code

    def exit_code(self) -> int | None:
        """None while it runs, or was ended by us."""
        return None if self.process is None else self.process.poll()

    def is_up(self) -> bool:
        """Whether members can join here."""
        if self.process is None or self.stopped:
            return False
        with suppress(OSError):
            return request(self.admin, "GET", "/readyz") == 200
        return False

    def room(self) -> dict[str, Any]:
        """What it says of the room: instance, seq, and the members without what is only known where they are."""
        answer = json.loads(fetch(self.admin, "GET", "/room.json?count=1000")[1])
        members = [(row["rank"], row["ticket"], row["name"]) for row in answer["members"]]
        return {"instance": answer["instance"], "seq": answer["seq"], "members": members}

    def courier(self) -> int | None:
        """The process id of its courier, None if there is none now."""
        if self.process is None:
            return None
        with suppress(OSError):
            pid = self.process.pid
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                if b"rankmux.courier" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
        return None

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        self.stopped = False

    def stop(self) -> None:
        """As Ctrl-Z."""
        self.stopped = True
        self._signal(signal.SIGSTOP)

    def cont(self) -> None:
        if self.stopped:
            self.stopped = False
            self._signal(signal.SIGCONT)

    def drain(self, wait_s: int) -> bool:
        """Have it admit nobody, let its members finish within `wait_s`, and end; False when it cannot be reached."""
        with suppress(OSError):
            return request(self.admin, "POST", f"/drain?wait_s={wait_s}") == 202
        return False

    def terminate(self) -> int:
        """End it in order; its exit code."""
        self.cont()
        self._await_handlers()
        self._signal(signal.SIGTERM)
        return self.wait()

    def _await_handlers(self) -> None:
        """Wait until it catches SIGTERM: one that has just been started does not yet."""
        assert self.process is not None
        deadline = time.monotonic() + 30
        while self.process.poll() is None and time.monotonic() < deadline:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            caught = int(status.partition("SigCgt:")[2].split()[0], 16)
            if caught >> (signal.SIGTERM - 1) & 1:
                return
            time.sleep(0.02)

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)


class Links:
    """A cable from each server to each NATS node, run by an event loop in a thread of its own."""

    def __init__(self, servers: int, ports: Sequence[int]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._cables = [[Cable(port) for port in ports] for _ in range(servers)]
        for cable in self._all():
            asyncio.run_coroutine_threadsafe(cable.open(), self._loop).result()

    def urls(self, server: int) -> list[str]:
        return [f"nats://127.0.0.1:{cable.port}" for cable in self._cables[server]]

    def cut(self, server: int, *, to_nats: bool = True, to_server: bool = True) -> None:
        """Nothing gets through any more in these directions; nothing is closed."""
        for cable in self._cables[server]:
            if to_nats:
                self._do(cable.to_server.clear)
            if to_server:
                self._do(cable.to_client.clear)

    def reset(self, server: int) -> None:
        for cable in self._cables[server]:
            self._do(cable.reset)

    def delay(self, server: int, seconds: float) -> None:
        for cable in self._cables[server]:
            self._do(lambda cable=cable: setattr(cable, "delay_s", seconds))

    def mend(self, server: int) -> None:
        for cable in self._cables[server]:
            self._do(cable.mend)

    def close(self) -> None:
        async def close() -> None:
            for cable in self._all():
                cable.mend()
                cable.close()
            if rest := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(rest, timeout=5)

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _all(self) -> list[Cable]:
        return [cable for cables in self._cables for cable in cables]

    def _do(self, work: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(work)


class ClusterRig:
    """The nodes, the links and the servers."""

    def __init__(self, nodes: Nodes, folder: Path, *flags: str, servers: int = 3) -> None:
        self.nodes = nodes
        self.links = Links(servers, [node.port for node in nodes])
        replicas = () if len(nodes) > 1 else ("--cluster-replicas", "1")
        self.servers = [
            SharedServer(f"s{n + 1}", port, self.links.urls(n), folder, *replicas, *flags)
            for n, port in enumerate(free_ports(servers))
        ]

    def start(self) -> None:
        for server in self.servers:
            server.start()
        self.await_up()

    def await_up(self) -> None:
        until(lambda: all(server.is_up() for server in self.servers), UP_S, self._who_is_down)

    def _who_is_down(self) -> str:
        down = [server for server in self.servers if not server.is_up()]
        return "".join(f"{server.name} does not come up:\n{server.log[-3000:]}\n" for server in down)

    def leader(self, avoid: Sequence[Node] = ()) -> Node | None:
        """The node that leads the log's stream, None if that is not known now."""
        for node in self.nodes:
            if node.process is None or node in avoid:
                continue
            with suppress(OSError, KeyError), node.api() as api:
                return self.nodes.by_name[api.request(f"$JS.API.STREAM.INFO.{STREAM}")["cluster"]["leader"]]
        return None

    def step_down(self, avoid: Sequence[Node] = ()) -> bool:
        """Ask the stream's leader to give way; whether that was done."""
        for node in self.nodes:
            if node.process is None or node in avoid:
                continue
            with suppress(OSError), node.api() as api:
                return bool(api.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{STREAM}").get("success"))
        return False

    def await_replicas(self) -> None:
        """Wait until all nodes have the whole log."""
        until(self._all_current, UP_S, "a NATS node does not catch up")

    def _all_current(self) -> bool:
        with suppress(OSError, KeyError), self.nodes[0].api() as api:
            found = api.request(f"$JS.API.STREAM.INFO.{STREAM}")["cluster"]
            replicas = found.get("replicas", [])
            return len(replicas) == len(self.nodes) - 1 and all(
                replica["current"] and not replica.get("offline") for replica in replicas
            )
        return False

    def equal(self) -> bool:
        """Whether all servers have the same room."""
        rooms = [server.room() for server in self.servers]
        return all(room == rooms[0] for room in rooms)

    def close(self) -> None:
        for server in self.servers:
            server.cont()
            server.kill()
        self.links.close()


@contextmanager
def cluster(folder: Path, *flags: str, nodes: int = 3, servers: int = 3) -> Iterator[ClusterRig]:
    """A cluster under `folder` whose servers are all up."""
    home = folder / "nats"
    home.mkdir()
    began = time.monotonic()
    with nats_nodes(home, nodes) as started:
        rig = ClusterRig(started, folder, *flags, servers=servers)
        try:
            rig.start()
            print(f"{nodes} NATS nodes and {servers} servers are up after {time.monotonic() - began:.1f} s")
            yield rig
        finally:
            rig.close()
            for node in started:
                if node.process is not None:
                    os.kill(node.process.pid, signal.SIGCONT)
