"""The soak: `python -m tests.faults.soak --minutes 120`: one server, and three over three NATS nodes, for a long time.

At both, crews as in `nemesis` do everything at once: they join, leave, are lost and come back, command, answer, stall,
flood, and write nonsense; the servers suffer no fault. Every minute, each server's processor time for one delivery, its
resident memory and its descriptors are read, and those of its courier. At the end the last quarter is compared with the
second: none may have grown. What the crews log is thrown away, `nemesis` is for that.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ..protocol.admin import fetch, socket_path
from .cluster_nemesis import CLUSTER_FLAGS
from .cluster_rig import ClusterRig, SharedServer, cluster
from .leaks import resident
from .nemesis import FAULTS, FLAGS, Run
from .rig import Rig

SAMPLE_S = 60.0
CPU_GROWTH = 1.15  # the machine is shared
RESIDENT_GROWTH = 2 << 20
DESCRIPTORS_GROWTH = 2
FIGURES = ("rankmux_deliveries_total", "rankmux_connections")


class PeacefulRun(Run):
    """Faults of members alone."""

    faults: Mapping[str, float] = {
        what: weight
        for what, weight in FAULTS.items()
        if what not in {"stop_server", "emfile", "restart", "kick"}  # who is kicked comes from a log
    }

    def _settle(self) -> None:
        """Nothing is judged, so nothing need be complete."""


@dataclass
class Subject:
    """A process that is watched: a server with the admin socket `admin`, or the courier of that server."""

    name: str
    pid: Callable[[], int]
    admin: str
    is_courier: bool = False
    samples: list[Sample] = field(default_factory=list)
    _last: tuple[int, float] = (0, 0.0)

    def sample(self) -> None:
        pid, (count, connections) = self.pid(), _figures(self.admin)
        spent_s = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
        done, before_s = count - self._last[0], spent_s - self._last[1]
        self._last = count, spent_s
        descriptors = len(os.listdir(f"/proc/{pid}/fd")) - (0 if self.is_courier else connections)
        self.samples.append(Sample(done, before_s / max(done, 1) * 1e6, resident(pid), descriptors))

    def faults(self) -> list[str]:
        """What has grown from the second quarter to the last one."""
        quarter = len(self.samples) // 4
        before, after = self.samples[quarter : 2 * quarter], self.samples[-quarter:]
        cpu, cpu_after = (statistics.median(s.cpu_us for s in part) for part in (before, after))
        memory, memory_after = (min(s.resident for s in part) for part in (before, after))
        files, files_after = (statistics.median(s.descriptors for s in part) for part in (before, after))
        print(
            f"{self.name}: {sum(s.deliveries for s in self.samples)} deliveries; second quarter and last: "
            f"{cpu:.1f} and {cpu_after:.1f} us of CPU for each, {memory >> 10} and {memory_after >> 10} KiB resident, "
            f"{files:g} and {files_after:g} descriptors without a connection",
            flush=True,
        )
        grown = {
            "CPU time": cpu_after > cpu * CPU_GROWTH,
            "memory": memory_after > memory + RESIDENT_GROWTH,
            "descriptors": files_after > files + DESCRIPTORS_GROWTH,
        }
        return [f"{self.name}: more {what}" for what, has in grown.items() if has]


@dataclass(frozen=True)
class Sample:
    deliveries: int
    cpu_us: float  # for one of them
    resident: int
    descriptors: int  # beside those of its connections

    def __str__(self) -> str:
        return f"{self.deliveries} x {self.cpu_us:.0f} us, {self.resident >> 10} KiB, {self.descriptors} open"


def _figures(admin: str) -> list[int]:
    """The number of deliveries so far, and of connections now."""
    text = fetch(admin, "GET", "/metrics")[1].decode()
    return [int(float(re.findall(rf"^{name} (\S+)", text, re.MULTILINE)[0])) for name in FIGURES]


def _of_cluster(rig: ClusterRig) -> list[Subject]:
    def pid(server: SharedServer) -> int:
        assert server.process is not None
        return server.process.pid

    def courier(server: SharedServer) -> int:
        found = server.courier()
        assert found is not None
        return found

    subjects: list[Subject] = []
    for server in rig.servers:
        subjects += [
            Subject(server.name, partial(pid, server), server.admin),
            Subject(f"{server.name}'s courier", partial(courier, server), server.admin, is_courier=True),
        ]
    return subjects


def _empty(folder: Path) -> None:
    """Throw away what the crews have logged; one that follows a killed one finds no secrets there, and joins anew."""
    for path in folder.glob("c*.log"):
        with suppress(FileNotFoundError):
            os.truncate(path, 0)


def soak(seconds: float, seed: int) -> tuple[list[Subject], list[str]]:
    """Run; the processes with their samples, and the tracebacks in the logs."""
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as many,
        contextmanager(socket_path)() as admin,
    ):
        folders = [Path(one), Path(many)]
        server = Rig(200, *FLAGS, "--admin-unix", admin)
        try:
            with cluster(folders[1], *CLUSTER_FLAGS) as rig:
                runs = [
                    PeacefulRun([f"{server.host}:{server.port}"], [admin], folders[0], seed),
                    PeacefulRun(
                        [s.address for s in rig.servers], [s.admin for s in rig.servers], folders[1], seed
                    ),
                ]
                subjects = [Subject("single", lambda: server.pid, admin), *_of_cluster(rig)]
                try:
                    _watch(runs, subjects, folders, seconds)
                finally:
                    for run in runs:
                        run.close()
                logs = [server.log(), *(each.log for each in rig.servers)]
        finally:
            server.finish()
    return subjects, [log[log.index("Traceback") :][:3000] for log in logs if "Traceback" in log]


def _watch(runs: list[PeacefulRun], subjects: list[Subject], folders: list[Path], seconds: float) -> None:
    """Run for so long, and sample every minute, or a twentieth of a short run."""
    pause_s = min(SAMPLE_S, seconds / 20)
    with ThreadPoolExecutor() as threads:
        going = [threads.submit(run.go, seconds) for run in runs]
        end = time.monotonic() + seconds - pause_s
        try:
            while time.monotonic() < end and not any(each.done() for each in going):
                time.sleep(pause_s)
                for subject in subjects:
                    subject.sample()
                print("; ".join(f"{s.name}: {s.samples[-1]}" for s in subjects), flush=True)
                for folder in folders:
                    _empty(folder)
        finally:
            for run in runs:
                run.stop()
        for each in going:
            each.result()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}, {arguments.minutes:g} minutes", flush=True)
    subjects, found = soak(arguments.minutes * 60, arguments.seed)
    found += [fault for subject in subjects for fault in subject.faults()]
    print("\n".join(found) or "nothing has grown")
    return min(len(found), 1)


if __name__ == "__main__":
    sys.exit(main())
