"""One run: servers, clients, and faults for some seconds, then quiet, then the judgement. All of it from one seed."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from unittest.mock import patch

from rankmux.server.cluster import snapshots
from rankmux.server.server import Server

from ..faults.logs import Life
from .crew import Client, Crew
from .judge import Digests, check_executors
from .node import Node
from .simulated_log import Courier, SharedLog
from .world import World

__all__ = ["Storm", "storm"]

SETTINGS: dict[str, object] = {
    "seats": 8,
    "max_payload": 4096,
    "frame_timeout_s": 2.0,
    "handshake_timeout_s": 2.0,
    "write_timeout_s": 1.0,
    "outbox_soft_bytes": 16 << 10,
    "outbox_hard_bytes": 64 << 10,
    "turn_budget_frames": 512,
    "result_ttl_ms": 5000,
    "keep_max_s": 20.0,
    "first_ticket": 1,
    "log_lines_per_s": 1,
}
OF_CLIENTS = {
    "reset": 8,
    "half-close": 3,
    "take over": 6,
    "deaf": 5,
    "flood": 3,
    "garbage": 2,
    "stop": 3,
    "cut": 4,
    "kick": 4,
}
OF_SERVERS = {
    "stop server": 3,
    "stop in turn": 2,
    "kill": 3,
    "kill in turn": 3,
    "power off": 2,
    "quit": 3,
    "cut server": 3,
    "cut log": 5,
    "elect": 3,
    "slow log": 3,
    "break log": 3,
    "echo": 1,
}
IN_A_CLUSTER: dict[str, object] = {
    # A third of what is usual, as all times of the faults are: more happens in a run.
    "cluster_fence_s": 4.0,
    "cluster_down_s": 5.0,
    "room": "main",
}
_KICK_S = 4.0  # after an order to throw somebody out, until it is looked whether it was carried out
WAYS = ((True, True), (True, False), (False, True))  # to be cut off: deaf, mute


class Storm:
    """`servers` 0 is one server alone, without a log. `tell` gets the lines of a trace."""

    def __init__(
        self, seed: object, servers: int = 0, seconds: float = 10.0, tell: Callable[[str], None] | None = None
    ) -> None:
        self.world = world = World(seed, tell)
        self.befell: Counter[str] = Counter()
        self.seconds = seconds
        self._cuts: dict[str, list[tuple[float, float]]] = defaultdict(list)  # servers from the log, or gone
        self.log = SharedLog(world) if servers else None
        ping_s = 1.6 if servers else 1.0
        self.nodes = [self._node(f"s{n + 1}", ping_s) for n in range(max(1, servers))]
        draw = world.random
        size = draw.randint(4, 8)
        self.crew = Crew(world, self.nodes, size, draw.choice((0.15, 0.4, 1.0)), ping_s)
        self.digests = Digests(self.crew.history)
        if self.log is not None:
            self.log.trouble = draw.choice((0.0, 0.0, 0.02, 0.1))
        # By chance of its own, so that a seed has the same faults with and without an upgrade.
        chance = random.Random(f"{seed} upgrade")
        self._upgrades = bool(servers) and chance.random() < 0.4
        self._fell_back = False
        self._falls_back: Node | None = None  # it is started in the old version once more
        if self._upgrades:
            begin = world.now + chance.uniform(0.0, seconds)
            for node in self.nodes:
                node.speaking = lambda node=node: (  # type: ignore[misc]
                    1
                    if node is self._falls_back
                    or (not self.crew.quiet and (world.now < begin or chance.random() < 0.3))
                    else 2
                )

    @property
    def violations(self) -> list[str]:
        """What does not hold."""
        return self.crew.history.violations

    def run(self) -> Storm:
        """Everything."""
        world = self.world
        with ExitStack() as patches:
            patches.enter_context(patch.object(snapshots, "_EVERY_ENTRIES", world.random.choice((20, 100))))
            for node in self.nodes:
                node.start()
            self.crew.start()
            world.run(world.now + 2.0)
            self._strike_until(world.now + self.seconds)
            self._heal()
            self._settle()
            self._judge()
        return self

    # The servers.

    def _node(self, name: str, ping_s: float) -> Node:
        settings = {**SETTINGS, "ping_ms": int(ping_s * 1000)}
        shared = self.log
        if shared is None:
            return Node(self.world, name, settings)

        def courier(node: Node) -> Courier:
            node.courier = Courier(shared, node)
            return node.courier

        node = Node(self.world, name, {**settings, **IN_A_CLUSTER, "server_name": name}, courier)
        node.observe = self._observe
        return node

    def _observe(self, node: Node) -> None:
        assert node.server is not None
        seq = node.server._sequencer.seq
        if seq != node.seen and seq % 3 == 0:  # it takes its time
            self.digests.look(node, seq)
        node.seen = seq

    # The faults.

    def _strike_until(self, end: float) -> None:
        world, draw = self.world, self.world.random
        servers = OF_SERVERS if self.log is not None else {"stop server": 1}
        pace_s = draw.choice((0.1, 0.3, 1.0, 3.0))
        server_pace_s = draw.choice((0.6, 1.5, 4.0))

        def strike_client() -> None:
            what = draw.choices(list(OF_CLIENTS), list(OF_CLIENTS.values()))[0]
            client = draw.choice(self.crew.clients)
            self._befall(client.name, what)
            self._strike_client(client, what)

        def strike_server() -> None:
            what = draw.choices(list(servers), list(servers.values()))[0]
            node = draw.choice(self.nodes)
            self._befall(node.name, what)
            self._strike_server(node, what)

        for strike, pause_s in ((strike_client, pace_s), (strike_server, server_pace_s)):
            when = world.now + draw.expovariate(1 / pause_s)
            while when < end:
                world.at(when, strike)
                when += draw.expovariate(1 / pause_s)
        world.run(end)

    def _befall(self, who: str, what: str) -> None:
        self.befell[what] += 1
        self.world.trace(who, f"suffers: {what}")

    def _strike_client(self, client: Client, what: str) -> None:
        draw, member = self.world.random, client.newest
        seconds = draw.choice((0.05, 0.5, 1.5, 5.0))
        if what == "cut":
            deaf, mute = draw.choice(WAYS)
            client.be_cut_off(seconds, deaf=deaf, mute=mute)
        elif what == "stop":
            client.stop_for(seconds)
        elif what == "kick":
            self._kick()
        elif member is None or not member.seated or client.stopped:
            return
        elif what == "reset":
            member.drop("our-reset")
        elif what == "half-close":
            member.half_close()
        elif what == "take over":
            client.take_over()
        elif what == "deaf":
            client.be_deaf(seconds)
        elif what == "flood":
            for _ in range(20):
                member.command(draw.choice((50, 2000)))
        else:
            member.garbage()

    def _kick(self) -> None:
        node = self.world.random.choice(self.nodes)
        if node.server is None or node.stopped:
            return
        tickets = list(node.server.room.ranks.tickets)
        if tickets:
            ticket = self.world.random.choice(tickets)
            done = node.server.kick(ticket)
            self.world.trace("operator", f"kicks {ticket}: {done}")
            node.poke()
            if self.log is None:
                self.crew.history.note("operator", "P", ticket, 204 if done else 404)
            elif done:  # it may be lost with its server
                self.crew.history.note("operator", "P", ticket, 503)
                server = node.server
                self.world.after(_KICK_S, lambda: self._look_whether_out(node, server, ticket))

    def _look_whether_out(self, node: Node, server: Server, ticket: int) -> None:
        """What the operator is told."""
        if node.server is server and server.is_out(ticket):
            self.crew.history.note("operator", "P", ticket, 204)

    def _strike_server(self, node: Node, what: str) -> None:
        world, draw = self.world, self.world.random
        seconds = draw.choice((0.03, 0.3, 1.3, 3.7, 4.7, 7.0))
        if what in ("stop server", "stop in turn"):
            if self.log is None:
                seconds = min(seconds, 4.0)
            node.stop_for(seconds, in_turn=what == "stop in turn")
        elif what in ("kill", "kill in turn", "power off", "quit"):
            if what == "kill in turn":
                node.kill_in_turn()
            elif what == "quit":
                node.quit(draw.choice((0.1, 1.0)))
            else:
                node.kill(silently=what == "power off")
            world.after(seconds + 0.5, lambda: self._start(node))
            self._cuts[node.name].append((world.now, world.now + seconds + 0.5))
        elif what == "cut server":
            deaf, mute = draw.choice(WAYS)
            if node.up and node.cut_off(deaf=deaf, mute=mute):
                self.crew.reigns.trouble(node.name, world.now, world.now + seconds)
                world.after(seconds, node.heal)
        elif what == "cut log":
            node.log_deaf, node.log_mute = draw.choice(WAYS)
            self._cuts[node.name].append((world.now, world.now + seconds))
            world.after(seconds, lambda: self._join_log(node))
        else:
            self._strike_log(node, what, min(seconds, 3.0))

    def _strike_log(self, node: Node, what: str, seconds: float) -> None:
        assert self.log is not None
        if what == "elect":
            self.log.elect(self.world.random.uniform(1.3, 3.0))
        elif what == "echo":
            self.log.echo()
        elif not node.up or node.courier is None:
            return
        elif what == "break log":
            node.courier.lose()
        else:
            courier = node.courier
            courier.delay_s = self.world.random.choice((0.1, 0.5, 2.0, 3.6))
            self.world.after(seconds + courier.delay_s, lambda: setattr(courier, "delay_s", 0.0))

    def _start(self, node: Node) -> None:
        if not node.up:
            node.start()

    def _join_log(self, node: Node) -> None:
        node.log_deaf = node.log_mute = False
        if node.courier is not None and node.up:
            if self.world.chance(0.5):
                node.courier.lose()
            else:
                node.courier.pump()

    # The end.

    def _heal(self) -> None:
        """Let all faults pass, and everybody come back."""
        self.world.trace("-", "the storm is over")
        self.crew.quiet = True
        if self.log is not None:
            self.log.trouble = 0.0
        end = self.world.now + (24.0 if self.log is not None else 11.0)
        while self.world.now < end:
            for node in self.nodes:
                node.forget_plans()
                self._start(node)
                if node.log_deaf or node.log_mute:
                    self._join_log(node)
                node.heal()
            if self._upgrades:
                self._upgrade_one()
            self.world.run(self.world.now + 2.0)

    def _upgrade_one(self) -> None:
        """The old servers go one by one. In front of the last of them another one falls back: its UP meets VERSION."""
        assert self.log is not None
        old = [node for node in self.nodes if node.speaks == 1 and node is not self._falls_back]
        self.log.delays_up = self._falls_back is not None
        if len(old) == 1 and len(self.nodes) > 2 and not self._fell_back:
            self._fell_back = True
            self._falls_back = next(node for node in self.nodes if node is not old[0])
            self._falls_back.quit()
            return
        self._falls_back = None  # from now on it is one of the old ones itself
        if old:
            self.world.after(0.5, old[0].quit)

    def _settle(self) -> None:
        world = self.world
        self.crew.settle()
        end = world.now + 10.0
        while not self.crew.settled and world.now < end:
            world.run(world.now + 0.5)
        if not self.crew.settled:
            left = [
                client.name for client in self.crew.clients if not client.newest or not client.newest.settled
            ]
            self.crew.history.violate(f"{left} do not get the answer to their last PING")
        for client in self.crew.watchers:
            if client.newest is not None:
                client.newest.list_members()
        world.run(world.now + 1.0)

    def _troubles(self) -> Callable[[Life], Sequence[tuple[float, float]]]:
        """The times in which the server of a connection was in trouble, in ms."""
        times = {
            node.name: [
                (begin * 1000, end * 1000)
                for begin, end in (*self._cuts[node.name], *self.crew.reigns.troubles(node.name))
            ]
            for node in self.nodes
        }
        return lambda life: times[self.crew.servers[life.ident]]

    def _judge(self) -> None:
        history = self.crew.history
        self.crew.closed = True
        for client in [*self.crew.clients, *self.crew.watchers]:
            for member in client.members:
                member.abdicate(self.world.now)
        for node in self.nodes:
            for begin, end in node.stops:
                self.crew.reigns.trouble(node.name, begin, end)
            if node.failed:
                history.violate(f"{node.name} ended: {node.failed}")
            if node.server is not None:
                if self._upgrades and node.server._sequencer._fold.version != 2:
                    history.violate(f"{node.name} writes the old version, though all speak the new one")
                node.kill()
            if node.mistakes:
                history.violate(f"{node.name} made {node.mistakes} internal errors")
        if self.log is not None:
            history.clocks = self.log.clocks
            history.troubles = self._troubles()
        history.check()
        check_executors(history, self.digests.members)
        self.crew.reigns.check(history)


def storm(
    seed: object, servers: int = 0, seconds: float = 10.0, tell: Callable[[str], None] | None = None
) -> Storm:
    """Run it all."""
    return Storm(seed, servers, seconds, tell).run()
