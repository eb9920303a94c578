"""The history checker: clients that log every frame, faults from a printed seed, then a comparison of all logs.

    python -m tests.faults.nemesis --minutes 30 --seed 1

Crew 0 is calm: its members only leave cleanly and come back. The other crews and the server suffer `FAULTS`; the
members of one are `rankmux.Client`, of another `rankmux.aio.Client`, those of the others speak the protocol themselves.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..protocol.admin import kick, socket_path
from ..protocol.frames import Hello, encode
from ..protocol.process import ROOT, end_all
from ..support.patience import until
from .checker import History
from .crew import LATE_S
from .crew_member import REJOIN_S
from .rig import Rig

MOODS, MEMBERS = ("calm", "tried", "tried", "tried", "blocking", "asyncio"), 6
FLAGS = (
    *("--write-timeout-s", "1", "--ping-ms", "1000", "--frame-timeout-s", "2", "--result-ttl-ms", "5000"),
    *(
        "--outbox-soft-bytes",
        str(256 << 10),
        "--outbox-hard-bytes",
        str(2 << 20),
        "--send-buffer-bytes",
        "65536",
    ),
    *("--greeting-max-per-address", "200", "--log-lines-per-s", "2"),
)
FAULTS = {
    "kill": 2,
    "stop": 3,
    "stop_server": 1,
    "emfile": 1,
    "reset": 8,
    "takeover": 6,
    "yield": 6,
    "baton": 3,
    "kick": 4,
    "restart": 1,
    "slow": 6,
    "trickle": 3,
    "half-close": 4,
    "leave": 4,
    "flood": 4,
    "garbage": 4,
    "strangers": 3,
    "churn": 4,
}


class CrewProcess:
    """A crew's process."""

    def __init__(
        self, addresses: Sequence[str], folder: Path, seed: str, name: str, mood: str, size: int, before: str
    ) -> None:
        """`addresses` are HOST:PORT of each server."""
        self.mood = mood
        self.path = folder / f"{name}.log"
        self.path.touch()
        module = f"{mood}_crew" if mood in ("blocking", "asyncio") else "workload"
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", f"tests.faults.{module}", ",".join(addresses)),
                *(f"{seed}/{name}", name, str(self.path), str(size), mood, before),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def ask(self) -> tuple[int, int]:
        """The number of its members, and of those that have settled."""
        assert self._process.stdout is not None
        self.tell("count")
        members, settled = self._process.stdout.readline().split()
        return int(members), int(settled)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> None:
        """End it by the end of its input, or by force."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        try:
            code = self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError("a crew does not end") from None
        assert code in (0, -signal.SIGKILL), f"a crew ended with {code}"


class Run:
    """The crews of one or several servers, a watcher at each server, and their faults for `seconds`.

    `addresses` are HOST:PORT of each server, `admins` their admin sockets.
    """

    faults: Mapping[str, float] = {}
    settle_s = 6.0  # the longest time to live, and the time to detect a silent member

    def __init__(
        self, addresses: Sequence[str], admins: Sequence[str], folder: Path, seed: int, churn_per_s: int = 0
    ) -> None:
        self.befell: Counter[str] = Counter()
        self.moods: dict[str, str] = {}  # of each crew so far, by its name
        self.joined_and_left = 0
        self._addresses, self._admins, self._folder, self._seed = addresses, admins, folder, seed
        self._random = random.Random(seed)
        self._generation = 0
        self._watches = [
            CrewProcess([address], folder, str(seed), f"c0{'abcde'[n]}", "watch", 1, "-")
            for n, address in enumerate(addresses)
        ]
        for watch in self._watches:
            until(lambda watch=watch: " M " in watch.path.read_text(), 10, "the watcher gets no list")
        self._crews = [self._crew(mood) for mood in MOODS]
        self._later: list[tuple[float, int, str]] = []  # time, crew, the fault to undo
        self._churn_per_s = churn_per_s
        self._over = threading.Event()

    @property
    def unfinished(self) -> bool:
        """Whether it continues although its time is over."""
        return False

    def _crew(self, mood: str, before: str = "-") -> CrewProcess:
        self._generation += 1
        name = f"c{self._generation}"
        self.moods[name] = mood
        return CrewProcess(self._addresses, self._folder, str(self._seed), name, mood, MEMBERS, before)

    def go(self, seconds: float, *, faults: bool = True) -> None:
        """Run the crews with their faults, then settle."""
        end = time.monotonic() + seconds
        churning = threading.Thread(target=self._churn_on)
        churning.start()
        try:
            time.sleep(min(2.0, seconds / 4))
            while (time.monotonic() < end or self.unfinished) and not self._over.is_set():
                time.sleep(self._random.uniform(0.02, 0.3))
                self._undo(time.monotonic())
                if faults:
                    self._strike()
            self._undo(float("inf"))
        finally:
            self._over.set()
            churning.join()
        self._settle()

    def stop(self) -> None:
        """Have `go` end soon, from another thread."""
        self._over.set()

    def close(self) -> None:
        self._undo(float("inf"))
        end_all([*self._crews, *self._watches], CrewProcess.end)

    def _strike(self) -> None:
        what = self._random.choices(list(self.faults), list(self.faults.values()))[0]
        crew = self._random.randrange(1, len(MOODS))
        self.befell[what] += 1
        self._befall(what, crew)

    def _befall(self, what: str, crew: int) -> None:
        now = time.monotonic()
        stopped = {crew for _, crew, undo in self._later if undo == "go on"}
        if what == "kill":
            self._crews[crew].signal(signal.SIGKILL)
            self._crews[crew].end()
            self._later = [(at, n, undo) for at, n, undo in self._later if undo != "go on" or n != crew]
            self._crews[crew] = self._crew(self._crews[crew].mood, str(self._crews[crew].path))
        elif what == "stop":
            self._crews[crew].signal(signal.SIGSTOP)
            self._later.append((now + self._random.choice((0.1, 0.5, 1.5, 5.0)), crew, "go on"))
        elif what == "strangers":
            self._strangers()
        elif what == "kick":
            self._kick()
        elif what == "churn":
            for _ in range(self._random.randrange(1, 40)):
                self._come_and_go()
        elif crew not in stopped:
            self._crews[crew].tell(f"{what} {self._random.choice((0.2, 0.8, 1.5, 3.0))}")

    def _undo(self, now: float) -> None:
        for at, crew, undo in [*self._later]:
            if at > now:
                continue
            self._later.remove((at, crew, undo))
            self._undo_one(crew, undo)

    def _undo_one(self, crew: int, _: str) -> None:
        self._crews[crew].signal(signal.SIGCONT)

    def _connection(self) -> socket.socket:
        host, _, port = self._random.choice(self._addresses).rpartition(":")
        return socket.create_connection((host, int(port)), 5)

    def _strangers(self) -> None:
        """Connections that send something other than HELLO."""
        for _ in range(self._random.randrange(1, 10)):
            with suppress(OSError), self._connection() as sock:
                sock.sendall(
                    self._random.choice(
                        (b"", bytes(4), b"GET / HTTP/1.1\r\n\r\n", self._random.randbytes(40))
                    )
                )

    def _kick(self) -> None:
        """Throw out a member, present or absent, that the watcher knows of."""
        watch = self._random.choice(self._watches)
        lists = [line.split() for line in watch.path.read_text().splitlines() if " M " in line]
        tickets = lists[-1][4::2]
        if tickets:
            ticket = self._random.choice(tickets)
            with suppress(OSError):  # no descriptor is left for it
                status = kick(self._random.choice(self._admins), ticket)
                with (self._folder / "c.log").open("a") as log:
                    log.write(f"operator P {ticket} {status}\n")

    def _come_and_go(self) -> None:
        """A connection that joins and ends at once, in a random way."""
        with suppress(OSError), self._connection() as sock:
            sock.sendall(encode(Hello()) + self._random.choice((b"", b"\0\0\0\1\x08", b"\0\0")))
            if self._random.random() < 0.5:
                sock.settimeout(1.0)
                sock.recv(100)
            if self._random.random() < 0.3:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.joined_and_left += 1

    def _churn_on(self) -> None:
        began = time.monotonic()
        count = 0
        while self._churn_per_s and not self._over.wait(
            max(0.0, began + count / self._churn_per_s - time.monotonic())
        ):
            self._come_and_go()
            count += 1

    def _settle(self) -> None:
        """Wait until no member sends, all results are in, and all queues are empty.

        Who lists the members at the end is there again by then, even if the last fault was a restart.
        """
        time.sleep(max(REJOIN_S) + LATE_S)
        listing = [self._crews[0], *self._watches]
        until(lambda: all(crew.ask()[0] for crew in listing), 20, "somebody does not come back")
        for crew in [*self._crews, *self._watches]:
            crew.tell("quiet")
        time.sleep(self.settle_s)
        for crew in [*self._crews, *self._watches]:
            crew.tell("settle")

        def settled() -> bool:
            counts = [crew.ask() for crew in self._crews]
            return all(members == done for members, done in counts) and any(members for members, _ in counts)

        until(settled, 10, "somebody does not get the answer to its last PING")
        self._crews[0].tell("settle")
        time.sleep(0.3)


class SingleRun(Run):
    """One server, and its own faults."""

    faults = FAULTS

    def __init__(self, server: Rig, admin: str, folder: Path, seed: int, churn_per_s: int = 0) -> None:
        self._server = server
        super().__init__([f"{server.host}:{server.port}"], [admin], folder, seed, churn_per_s)

    def _befall(self, what: str, crew: int) -> None:
        now = time.monotonic()
        if what == "stop_server":
            with suppress(AssertionError):  # the server may be too busy to be stopped between two turns
                self._server.pause()
            time.sleep(self._random.choice((0.05, 0.3, 1.5)))
            self._server.resume()
        elif what == "emfile":
            if not any(undo == "descriptors" for _, _, undo in self._later):
                self._limit(self._server.descriptors())
                self._later.append((now + self._random.uniform(0.2, 2.0), 0, "descriptors"))
        elif what == "restart":
            self._undo(float("inf"))  # it gets its descriptors back, and peers that read to the end
            self._server.restart()
        else:
            super()._befall(what, crew)

    def _undo_one(self, crew: int, undo: str) -> None:
        if undo == "descriptors":
            self._limit(resource.prlimit(self._server.pid, resource.RLIMIT_NOFILE)[1])
        else:
            super()._undo_one(crew, undo)

    def _limit(self, files: int) -> None:
        hard = resource.prlimit(self._server.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(self._server.pid, resource.RLIMIT_NOFILE, (files, hard))


@contextmanager
def folder_for(path: str | None) -> Iterator[Path]:
    if path is None:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
    else:
        Path(path).mkdir(parents=True, exist_ok=True)
        yield Path(path)


def check(
    seconds: float, seed: int, *, logs: str | None = None, churn_per_s: int = 0, faults: bool = True
) -> History:
    """Run, then check the logs and U1, U2, U4, U5 and U6 of the server. Raises AssertionError on a violation."""
    print(f"seed {seed}, {seconds:g} s", flush=True)
    history = History()
    with folder_for(logs) as folder, contextmanager(socket_path)() as admin:
        server = Rig(200, *FLAGS, "--admin-unix", admin, "--state", str(folder / "state"))
        try:
            run = SingleRun(server, admin, folder, seed, churn_per_s)
            try:
                run.go(seconds, faults=faults)
            finally:
                run.close()
            rss = f"{server.rss() >> 10} KiB resident, {server.rss_before >> 10} before"
            print(f"server: {rss}, {server.cpu():.0f} s of CPU")
            paths = sorted(folder.glob("c*.log"))
            for path in paths:
                with path.open() as file:
                    history.read(file)
            history.check()
        finally:
            server.finish()
    lives = len([life for life in history.lives.values() if life.stints])
    print(f"befell: {dict(run.befell.most_common())}, churn {run.joined_and_left}")
    print(f"events: {dict(history.events.most_common())}")
    print(f"ends: {dict(history.ends.most_common())}")
    print(
        f"{history.deliveries} deliveries of {len(history.commands)} commands to {lives} connections, "
        f"{len(history.rank_frames)} changes of ranks, {len(history.snapshots)} lists of members: "
        f"{len(history.violations)} violations",
        flush=True,
    )
    return history


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    parser.add_argument("--logs", metavar="FOLDER", help="keep the logs there")
    parser.add_argument(
        "--churn-per-s", type=int, default=0, help="so many more join and leave in a second (row C7)"
    )
    arguments = parser.parse_args()
    history = check(
        arguments.minutes * 60, arguments.seed, logs=arguments.logs, churn_per_s=arguments.churn_per_s
    )
    for violation in history.violations[:20]:
        print(f"violation: {violation}")
    return min(len(history.violations), 1)


if __name__ == "__main__":
    sys.exit(main())
