"""The history checker over several servers: 36 clients, three servers and three NATS nodes, and faults of all of them.

A third of the clients are the package's, blocking and asyncio, with the addresses of all servers; the others speak the
protocol themselves.

    python -m tests.faults.cluster_nemesis --minutes 5 --seed 1

One history over all clients, judged by the rules of a single server (`checker.py`, `seat_rules.py`, `line_replay.py`)
and by those of a cluster: every executor that was counted in ACCEPTED and stays is reached, no two members believe in
rank 0 at once, a seat with a keep outlives its server, and all servers end with the same room.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..simulation.judge import check_executors
from ..support.nats_nodes import Node
from ..support.patience import until
from .checker import History
from .cluster_rig import STREAM, ClusterRig, SharedServer, cluster
from .cluster_rules import ClusterRules
from .nemesis import FAULTS, FLAGS, Run, folder_for
from .room_clock import RoomClock

OF_SERVER = ("stop_server", "emfile", "restart")
CLUSTER_FLAGS = (*FLAGS, "--ping-ms", "2000")  # a PING waits 2 s for the log
CLUSTER_FAULTS = {
    "kill server": 4,
    "stop server": 3,
    "end server": 3,
    "drain server": 1,
    "upgrade server": 1,
    "kill courier": 3,
    "stop courier": 2,
    "end courier": 1,
    "kill leader": 2,
    "stop leader": 2,
    "end leader": 1,
    "step down": 3,
    "kill all nats": 0.7,
    "stop all nats": 0.7,
    "cut": 2,
    "cut to nats": 1.5,
    "cut from nats": 1.5,
    "reset links": 3,
    "delay": 3,
}
_OF_NATS = ("kill all nats", "stop all nats", "kill leader", "stop leader", "end leader", "step down")
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "end": signal.SIGTERM}
PAUSE_S = (1.5, 7.0)  # between two of them
CLOCK_S = 20.0  # between two looks at the room's clock
MENDED_MS = 1000  # until what was mended is whole again


class _Mend(NamedTuple):
    """What has been broken `since` then, and is mended `at` that time or later, by `run()`."""

    since: float
    at: float
    broken: object
    run: Callable[[], object]


class ClusterRun(Run):
    """The crews, and the faults of clients, servers, couriers, links and NATS nodes."""

    faults: Mapping[str, float] = {what: weight for what, weight in FAULTS.items() if what not in OF_SERVER}
    settle_s = 20.0  # until the members of a dead server have departed, and keeps are over

    def __init__(self, rig: ClusterRig, folder: Path, seed: int, plan: Sequence[str] = ()) -> None:
        """`plan`: the cluster's faults, one after the other and short; they are drawn if it is empty."""
        self.rig = rig
        self.violations: list[str] = []
        self.troubles: list[tuple[float, float]] = []
        self._plan = list(plan)
        self._pause_s, self._longest_s = ((0.5, 1.5), 1.5) if plan else (PAUSE_S, float("inf"))
        self._mends: list[_Mend] = []
        if plan:
            self.settle_s = 14.0
        self.clock = RoomClock(STREAM)
        self._clock_at = time.monotonic() + CLOCK_S
        self._next_at = time.monotonic() + 3.0
        self._said = (folder / "faults.txt").open("w", buffering=1)
        servers = rig.servers
        super().__init__([s.address for s in servers], [s.admin for s in servers], folder, seed)

    @property
    def unfinished(self) -> bool:
        """Whether faults of the plan are left."""
        return bool(self._plan)

    def say(self, text: str) -> None:
        self._said.write(f"{int(time.monotonic() * 1000)} {text}\n")

    def close(self) -> None:
        super().close()
        self._said.close()

    def _strike(self) -> None:
        self._look_at_servers()
        now = time.monotonic()
        if now >= self._clock_at:
            self._clock_at = now + CLOCK_S
            self._look_at_clock()
        if now >= self._next_at:
            self._next_at = now + self._random.uniform(*self._pause_s)
            what = self._plan[0] if self._plan else self._draw(CLUSTER_FAULTS)
            done = self._break(what)
            self.befell[what] += done
            if done and self._plan:
                del self._plan[0]
        elif self._random.random() < 0.4:
            super()._strike()

    def _draw(self, faults: Mapping[str, float]) -> str:
        return self._random.choices(list(faults), list(faults.values()))[0]

    def _undo(self, now: float) -> None:
        super()._undo(now)
        for mend in sorted(self._mends, key=lambda mend: mend.at):
            if mend.at <= now:
                self._mends.remove(mend)
                self.say(f"mend {_named(mend.broken)}")
                mend.run()
                self.troubles.append((mend.since * 1000, time.monotonic() * 1000 + MENDED_MS))

    def _broken(self) -> set[object]:
        return {mend.broken for mend in self._mends}

    def _later_mend(self, what: object, seconds: float, mend: Callable[[], object]) -> None:
        now = time.monotonic()
        self._mends.append(_Mend(now, now + seconds, what, mend))

    def _time(self, *seconds: float) -> float:
        """How long a fault lasts: one of these, if it is short enough."""
        return self._random.choice([each for each in seconds if each <= self._longest_s])

    def _break(self, what: str) -> bool:
        """One fault of the cluster; whether it could be."""
        draw, rig = self._random, self.rig
        number = draw.randrange(len(rig.servers))
        server = rig.servers[number]
        self.say(f"{what} {server.name}")
        if what in _OF_NATS:
            return self._break_nats(what)
        if server in self._broken() or (
            what.startswith(("cut", "reset", "delay")) and number in self._broken()
        ):
            return False
        if what == "kill server":
            server.kill()
            self._later_mend(server, self._time(0.0, 0.5, 3.0, 8.0, 20.0), server.start)
        elif what in ("end server", "drain server", "upgrade server"):
            if what == "drain server" and not server.drain(draw.choice((0, 1, 3))):
                return False
            self._end(server, drained=what == "drain server")
            if what == "upgrade server":
                self._upgrade(server)
            self._later_mend(server, self._time(0.0, 0.5, 3.0, 8.0), server.start)
        elif what == "stop server":
            server.stop()
            self._later_mend(server, self._time(0.3, 1.5, 5.0, 11.0, 14.0, 20.0), server.cont)
        elif what.endswith("courier"):
            courier = server.courier()
            if courier is None:
                return False
            with suppress(ProcessLookupError):  # its server has just replaced it
                os.kill(courier, _SIGNALS[what.partition(" ")[0]])
        elif what == "reset links":
            rig.links.reset(number)
        else:
            seconds = self._time(0.5, 3.0, 8.0, 14.0, 20.0)
            if what == "delay":
                rig.links.delay(number, draw.choice((0.02, 0.1, 0.4)))
            else:
                rig.links.cut(number, to_nats=what != "cut from nats", to_server=what != "cut to nats")
            self._later_mend(number, seconds, lambda: rig.links.mend(number))
        return True

    def _break_nats(self, what: str) -> bool:
        """A fault of the NATS nodes, of which all but one are always there, or none."""
        broken = [node for node in self.rig.nodes if node in self._broken()]
        if what == "step down":
            return self.rig.step_down(broken)
        if broken:
            return False
        if what.endswith("all nats"):
            nodes, seconds = list(self.rig.nodes), self._time(0.5, 3.0, 14.0)
        else:
            leader = self.rig.leader()
            if leader is None:
                return False
            nodes, seconds = [leader], self._time(0.5, 3.0, 10.0)
        for node in nodes:
            self._break_node(node, what.partition(" ")[0], seconds)
        return True

    def _break_node(self, node: Node, how: str, seconds: float) -> None:
        if how == "stop":
            node.stop()
            self._later_mend(node, seconds, node.cont)
            return
        if how == "kill":
            node.kill()
        else:
            node.end()
        self._later_mend(node, seconds, node.start)

    def _upgrade(self, server: SharedServer) -> None:
        """It comes back as a newer release. So does the last old one, sooner or later: it may be too old by then."""
        server.newer = True
        old = [each for each in self.rig.servers if not each.newer]
        if len(old) == 1:
            old[0].newer = True

    def _end(self, server: SharedServer, *, drained: bool) -> None:
        code = server.wait() if drained else server.terminate()
        if code:
            how = "behind a drain" if drained else "on SIGTERM"
            self.violations.append(f"{server.name} ended with {code} {how}: {server.log[-1000:]}")

    def _look_at_servers(self) -> None:
        """None has ended by itself."""
        for server in self.rig.servers:
            if (code := server.exit_code()) is not None:
                self.violations.append(f"{server.name} ended with {code}: {server.log[-2000:]}")
                server.kill()
                server.start()

    def _look_at_clock(self) -> None:
        node = next((node for node in self.rig.nodes if node not in self._broken()), None)
        if node is not None:
            with suppress(OSError):  # it may be cut off, or starting
                self.clock.read(node)

    def _settle(self) -> None:
        self.say("all is mended")
        self.rig.await_up()
        time.sleep(3.0)  # members come back
        super()._settle()
        self._look_at_servers()
        self._look_at_clock()
        until(self.rig.equal, 10, "the rooms of the servers differ")


def _named(what: object) -> str:
    if isinstance(what, SharedServer):
        return what.name
    return f"port {what.port}" if isinstance(what, Node) else f"links of s{int(str(what)) + 1}"


def check(
    seconds: float, seed: int, *flags: str, logs: str | None = None, plan: Sequence[str] = ()
) -> tuple[History, ClusterRun]:
    """Run, then check the logs. Raises AssertionError on what cannot even be judged."""
    print(f"seed {seed}, {seconds:g} s", flush=True)
    history = History(3)
    with folder_for(logs) as folder, cluster(folder, *CLUSTER_FLAGS, *flags) as rig:
        run = ClusterRun(rig, folder, seed, plan)
        try:
            run.go(seconds)
        finally:
            run.close()
        for path in sorted(folder.glob("c*.log")):
            with path.open() as file:
                history.read(file)
        history.clocks, history.troubles = run.clock.clocks, lambda _: run.troubles
        history.check()
        check_executors(history)
        rules = ClusterRules(history, calm="c1.")
        rules.check()
        history.violations += run.violations
        for server in rig.servers:
            server.terminate()
            if "Traceback" in server.log:
                history.violate(f"{server.name}: {server.log[server.log.index('Traceback') :][:3000]}")
    lives = len([life for life in history.lives.values() if life.stints])
    print(f"befell: {dict(run.befell.most_common())}")
    print(f"events: {dict(history.events.most_common())}")
    print(f"ends: {dict(history.ends.most_common())}")
    print(
        f"{history.deliveries} deliveries of {len(history.commands)} commands to {lives} connections, "
        f"{len(history.rank_frames)} changes of ranks, {len(history.snapshots)} lists of members, "
        f"{rules.reigns} reigns, {rules.returns} returns of the calm: {len(history.violations)} violations",
        flush=True,
    )
    return history, run


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    parser.add_argument("--logs", metavar="FOLDER", help="keep the logs there")
    arguments = parser.parse_args()
    history, _ = check(arguments.minutes * 60, arguments.seed, logs=arguments.logs)
    for violation in history.violations[:30]:
        print(f"violation: {violation}")
    return min(len(history.violations), 1)


if __name__ == "__main__":
    sys.exit(main())
