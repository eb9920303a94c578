"""A measurement of the leader lock: `python -m tests.faults.leader_lock --rounds 50 [--fault NAME]` prints a table.

Two contenders run `wait` against one server, each through a separate cable; when a `wait` ends, it is started again,
as a service manager would. Every 10 ms, a leading program records its ticket, the time, and whether a fence accepted
its write. A round is one fault; the notes show how long no program led, how long two led, and the refused writes.
With `--keep S`, the contenders keep their seats, also when they are started again, and the faults are others.
With `--stubborn`, the programs ignore SIGTERM and so use up the whole grace period.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from ..protocol.process import LISTENING, ROOT, environment
from .cable import Cable
from .contender import Contender
from .lock_notes import Note, Round, judge
from .rig import EXTENSION

PINGS_MISSED = 2
TICK_S = 0.01
AT_ONCE = 2  # locks measured side by side
STOPPED_S = 0.3  # a stopped `wait` continues this long after the next one leads
CUT_SHORT = 0.4  # of the keep; its deadline is two thirds of the keep away at the least
PATIENCE_S = 30.0
PROGRAM = f"""\
import fcntl, os, signal, sys, time
if sys.argv[3:]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
ticket = int(os.environ["RANKMUX_TICKET"])
notes = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
fence = os.open(sys.argv[2], os.O_RDWR)
while True:
    fcntl.flock(fence, fcntl.LOCK_EX)
    written = ticket >= int(os.pread(fence, 20, 0) or 0)
    if written:
        os.pwrite(fence, b"%20d" % ticket, 0)
    os.write(notes, b"%d %.6f %d %d\\n" % (ticket, time.monotonic(), os.getpid(), written))
    fcntl.flock(fence, fcntl.LOCK_UN)
    time.sleep({TICK_S})
"""


class Lock:
    """A server, two contenders and the notes of their programs, in `folder`."""

    def __init__(self, folder: Path, ping_s: float, *, stubborn: bool, keep_s: float | None) -> None:
        self._folder = folder
        self._ping_s = ping_s
        self.keep_s = keep_s
        self._notes = folder / "notes"
        self._fence = folder / "fence"
        self._notes.touch()
        self._fence.touch()
        files = [str(self._notes), str(self._fence)]
        self._program = [sys.executable, "-I", "-S", "-c", PROGRAM, *files, *["stubborn"] * stubborn]
        self._server: asyncio.subprocess.Process | None = None
        self._port = 0
        self._read_to = 0
        self.notes: list[Note] = []
        self.contenders: list[Contender] = []

    async def open(self) -> None:
        """Start everything."""
        await self.start_server()
        for name in ("one", "two"):
            cable = Cable(self._port)
            await cable.open()
            self.contenders.append(Contender(cable, self._program, self.keep_s, self._folder / name))

    async def close(self) -> None:
        """End everything."""
        for contender in self.contenders:
            contender.cable.mend()
        await asyncio.gather(*(contender.close() for contender in self.contenders))
        for contender in self.contenders:
            contender.cable.close()
        if self._server is not None and self._server.returncode is None:
            self._server.terminate()
            await self._server.wait()

    async def start_server(self) -> None:
        """Start the server again on the same port."""
        settings = {
            "-n": 8,
            "--port": self._port,
            "--ping-ms": int(self._ping_s * 1000),
            "--pings-missed": PINGS_MISSED,
        }
        self._server = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "rankmux", "server"],
            *[str(word) for pair in settings.items() for word in pair],
            cwd=ROOT,
            env=environment(EXTENSION),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self._server.stdout is not None
        found = LISTENING.search((await self._server.stdout.readline()).decode())
        assert found is not None, "the server does not say where it listens"
        self._port = int(found[2])

    async def kill_server(self) -> None:
        """Kill the server, without ERROR SHUTDOWN."""
        assert self._server is not None
        self._server.kill()
        await self._server.wait()

    def read(self) -> list[Note]:
        """The notes of this round so far."""
        with self._notes.open("rb") as file:
            file.seek(self._read_to)
            whole = file.read().rpartition(b"\n")
        self._read_to += len(whole[0]) + len(whole[1])
        for line in whole[0].split(b"\n") if whole[0] else []:
            ticket, at, pid, written = line.split()
            self.notes.append(Note(int(ticket), float(at), int(pid), written == b"1"))
        return self.notes

    def leading(self) -> set[int]:
        """The programs that have led in this round and are still running."""
        return {pid for pid in {note.pid for note in self.read()} if alive(pid)}

    async def settled(self) -> Contender:
        """Wait until one contender leads and the other stands by; returns the leader."""
        await until(lambda: sorted(c.rank for c in self.contenders if c.rank is not None) == [0, 1])
        self.read()
        self.notes.clear()
        await until(lambda: len({note.pid for note in self.read()}) == 1)
        return next(contender for contender in self.contenders if contender.rank == 0)

    async def round(self, fault: Fault) -> Round:
        """Cause one fault at a random moment, and wait until one program leads again."""
        leader = await self.settled()
        await asyncio.sleep(random.uniform(0, 2 * self._ping_s))
        (before,) = self.leading()
        fault_at = time.monotonic()
        undo = await fault(self, leader)
        if fault is _cut_short:
            await undo()
            assert self.leading() == {before}, "it did not come back to its seat in time"
        else:
            await until(lambda: self.leading() - {before})
            await undo()
            await until(lambda: not alive(before))
        await asyncio.sleep(TICK_S * 2)
        notes = list(self.read())
        return judge(notes, fault_at, kept=self.keep_s is not None)


Undo = Callable[[], Awaitable[None]]
Fault = Callable[[Lock, Contender], Awaitable[Undo]]


async def _nothing() -> None:
    pass


async def _kill(lock: Lock, leader: Contender) -> Undo:
    leader.signal(signal.SIGKILL)
    return _nothing


async def _stop(lock: Lock, leader: Contender) -> Undo:
    leader.signal(signal.SIGSTOP)

    async def go_on() -> None:
        await asyncio.sleep(STOPPED_S)
        leader.signal(signal.SIGCONT)

    return go_on


def _cut(*, to_client: bool = False, to_server: bool = False) -> Fault:
    async def cut(lock: Lock, leader: Contender) -> Undo:
        (program,) = lock.leading()
        if to_client:
            leader.cable.to_client.clear()
        if to_server:
            leader.cable.to_server.clear()

        async def mend() -> None:
            await until(lambda: not alive(program))  # it must end without help
            leader.cable.mend()

        return mend

    return cut


async def _restart(lock: Lock, leader: Contender) -> Undo:
    await lock.kill_server()
    await lock.start_server()
    return _nothing


async def _cut_short(lock: Lock, leader: Contender) -> Undo:
    assert lock.keep_s is not None
    keep_s = lock.keep_s
    leader.cable.to_client.clear()
    leader.cable.to_server.clear()

    async def mend() -> None:
        await asyncio.sleep(keep_s * CUT_SHORT)
        leader.cable.mend()
        await asyncio.sleep(keep_s * 2)  # by now it would have ended

    return mend


FAULTS: dict[str, Fault] = {
    "kill": _kill,
    "stop": _stop,
    "cut-to-client": _cut(to_client=True),
    "cut-to-server": _cut(to_server=True),
    "cut-both": _cut(to_client=True, to_server=True),
    "server": _restart,
}
KEPT: dict[str, Fault] = {
    "kill": _kill,
    "server": _restart,
    "cut-short": _cut_short,
    "cut-long": _cut(to_client=True, to_server=True),
}
"""The faults of contenders with a keep."""


def alive(pid: int) -> bool:
    """Whether this process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def until(condition: Callable[[], object]) -> None:
    """Wait for the condition."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        await asyncio.sleep(TICK_S)


async def measure(
    fault: str, rounds: int, ping_s: float, *, stubborn: bool = False, keep_s: float | None = None
) -> list[Round]:
    """Several rounds of a fault, one after another."""
    with tempfile.TemporaryDirectory() as folder:
        lock = Lock(Path(folder), ping_s, stubborn=stubborn, keep_s=keep_s)
        try:
            await lock.open()
            faults = FAULTS if keep_s is None else KEPT
            return [await lock.round(faults[fault]) for _ in range(rounds)]
        finally:
            await lock.close()


def row(fault: str, rounds: Sequence[Round]) -> str:
    """A row of the table."""
    two = sum(each.two_s > 0 for each in rounds)
    refused = sum(each.refused for each in rounds)
    columns = [
        fault,
        *(_both([getattr(each, name) for each in rounds]) for name in ("next_s", "nobody_s", "two_s")),
        f"{two} of {len(rounds)}",
        str(refused),
        _both([each.stall_s for each in rounds]),
    ]
    return f"| {' | '.join(columns)} |"


def _both(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.0f}, {max(seconds) * 1000:.0f} ms"


async def _table(arguments: argparse.Namespace) -> bool:
    print("median, worst:\n")
    print("| fault | the next leads after | nobody leads | two lead | in rounds | writes refused | stall |")
    print("|---|---|---|---|---|---|---|", flush=True)
    good = True
    ping_s, stubborn = arguments.ping_ms / 1000, arguments.stubborn
    keep_s = arguments.keep
    for fault in arguments.fault or (FAULTS if keep_s is None else KEPT):
        shares = [len(range(i, arguments.rounds, AT_ONCE)) for i in range(min(AT_ONCE, arguments.rounds))]
        measured = await asyncio.gather(
            *(measure(fault, n, ping_s, stubborn=stubborn, keep_s=keep_s) for n in shares)
        )
        found = [each for share in measured for each in share]
        print(row(fault, found), flush=True)
        good = good and all(each.rising and each.fenced for each in found)
    print("tickets rose, and the fence held" if good else "TICKETS DID NOT RISE, OR THE FENCE DID NOT HOLD")
    return good


def main() -> int:
    """Measure and print; 1 if a ticket or the fence was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--fault", choices={**FAULTS, **KEPT}, action="append")
    parser.add_argument("--ping-ms", type=int, default=200)
    parser.add_argument("--stubborn", action="store_true")
    parser.add_argument("--keep", type=float, metavar="S")
    return int(not asyncio.run(_table(parser.parse_args())))


if __name__ == "__main__":
    sys.exit(main())
