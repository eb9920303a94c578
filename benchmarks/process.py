"""A process pinned to one core, with its CPU time and memory."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self


@dataclass(frozen=True)
class Cores:
    """The cores of the server and of the load; the same one if there is no second."""

    server: int
    load: int


def cores() -> Cores:
    """The first two cores that this process may use."""
    usable = sorted(os.sched_getaffinity(0))
    return Cores(server=usable[0], load=usable[1] if len(usable) > 1 else usable[0])


class Pinned:
    """A child process on one core, or on any without `core`.

    A context manager that kills the process at its end and waits for it.
    """

    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        core: int | None,
        *,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        stdin: int | None = subprocess.DEVNULL,
        stderr: IO[bytes] | int | None = None,
    ) -> None:
        def prepare() -> None:
            if core is not None:
                os.sched_setaffinity(0, {core})
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

        self.process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **(environment or {})},
            cwd=directory,
            preexec_fn=prepare,  # noqa: PLW1509 - there are no threads here
        )
        self.pid = self.process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def cpu_s(self) -> float:
        """User and system time so far, all threads, in seconds.

        It is the process's own CPU clock: the scheduler's count in nanoseconds. `/proc/PID/stat` shows the same
        count rounded to ticks of 10 ms, `/proc/PID/schedstat` that of the main thread alone.
        """
        return time.clock_gettime((~self.pid << 3) | 2)

    def user_and_system_s(self) -> tuple[float, float]:
        """User and system time separately, in ticks of 10 ms."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        tick = os.sysconf("SC_CLK_TCK")
        return int(fields[11]) / tick, int(fields[12]) / tick

    def rss_bytes(self) -> int:
        """Resident memory, counted page by page (`VmRSS` may be off by some dozens of pages per core)."""
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("smaps_rollup has no Rss line")
