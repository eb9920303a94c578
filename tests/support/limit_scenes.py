"""Scenes that bring a server near one of its limits by a given count, bytes or seconds, and return the outcome."""

from __future__ import annotations

from collections.abc import Callable

from rankmux._twin import TWIN
from rankmux.codes import CommandFlag, HelloFlag, RefusedCode, Status, Target
from rankmux.core.outbox import _PIECE_BYTES as PIECE_BYTES
from rankmux.core.outbox import Outbox
from rankmux.wire import Command, ErrorFrame, Hello, Keep, Leave, Ping, Pong, Refused, Routed

from .embedded import Client, Embedded

COMMAND_BYTES, EXECUTE_BYTES = 19, 22  # of the frames, without a payload
LONG = "a frame's length is 0, expected at least 1"  # a detail of an ERROR
SILENCE_S = 5.0


class Scene:
    """A server with a `neighbour` of rank 0, which sends frames while time passes, unless the scene is `silent`."""

    def __init__(self, rig: Embedded, now: list[float], lines: list[str], silent: bool) -> None:
        self.rig = rig
        self.lines = lines
        self.silent = silent
        self._now = now
        self.neighbour = rig.join("neighbour")

    def turns(self, count: int = 12) -> None:
        """Run `count` turns while the clock stands still; then, if the scene is silent, let a long time pass."""
        for _ in range(count):
            self.rig.step()
        if self.silent:
            self.wait(SILENCE_S)

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * 20)):
            self._now[0] += 0.05
            if not self.silent and self.neighbour.ended is None:
                self.neighbour.send(Ping(b"chat"))
            self.rig.step(self.neighbour)
            self.neighbour.send(*[Pong(f.payload) for f in self.neighbour.news() if isinstance(f, Ping)])

    def closed(self) -> str:
        """The reasons of all closes so far."""
        connections = self.rig.server.connections
        reasons = {peer.reason for peer in connections if peer.reason} | set(connections.closes.counts)
        return " ".join(sorted(reason.name for reason in reasons))

    def refused(self, client: Client) -> str:
        """The reasons why its commands were refused or its connection was closed."""
        client.pump()
        codes = {RefusedCode(frame.code).name for frame in client.frames if isinstance(frame, Refused)}
        return " ".join(sorted(codes)) or self.closed()

    def owing(self, amount: int, held: Callable[[Outbox], int], overhead: int = EXECUTE_BYTES) -> None:
        """Queue exactly `amount` bytes for a member that reads nothing, in addition to those the kernel takes."""
        sender, receiver = self.rig.join("sender"), self.rig.join("receiver", receive_buffer=4096)
        assert receiver.welcome is not None
        arrived, rank = self.rig.room.arrived[sender.ticket], receiver.welcome.rank
        outbox = self.rig.server.connections.outbox

        def send(size: int) -> None:
            sender.send(Command(1, Target.ONE, rank, CommandFlag.QUIET, 0, bytes(size)))
            self.rig.until(lambda: len(arrived) == len(sender.sent), sender)
            for _ in range(3):
                self.rig.step()

        for _ in range(12):  # until the kernel's buffers are full
            send(2000)
        tripped = False
        while (missing := amount - held(outbox)) > 0 and not tripped:
            send(max(0, missing - overhead))
            tripped = bool(self.closed()) or len(self.rig.server.connections.pacing) > 0
        assert tripped or held(outbox) == amount


def seats(scene: Scene, amount: int) -> str:
    for _ in range(amount):
        scene.rig.connect().send(Hello())
    scene.turns()
    return scene.closed()


def observers(scene: Scene, amount: int) -> str:
    for _ in range(amount):
        scene.rig.connect().send(Hello(flags=HelloFlag.OBSERVE))
    scene.turns()
    return scene.closed()


def is_absent(scene: Scene, amount: float) -> str:
    """A member that asked for a keep of an hour is reset; the room gives its seat up when the limit is over."""
    keeper = scene.rig.connect()
    keeper.send(Hello("keeper", keep=Keep(3_600_000, 0, bytes(16))))
    scene.rig.until(lambda: keeper.welcome, keeper)
    keeper.reset()
    scene.rig.until(lambda: "RESET" in scene.closed())
    assert len(scene.rig.room) == 2
    scene.wait(amount)
    return "" if len(scene.rig.room) == 2 else "LOST"


def payload(scene: Scene, amount: int) -> str:
    sender, _ = scene.rig.crowd(2)
    sender.send(Command(1, Target.NEXT, 0, 0, 0, bytes(amount)))
    scene.turns()
    return scene.refused(sender)


def silent_connections(scene: Scene, amount: int) -> str:
    for _ in range(amount):
        scene.rig.connect()
    scene.turns()
    return scene.closed()


def bytes_before_hello(scene: Scene, amount: int) -> str:
    scene.rig.connect().raw(Hello("", bytes(1000)).encode()[:amount])
    scene.turns()
    return scene.closed()


def error_before_hello(scene: Scene, amount: int) -> str:
    client = scene.rig.connect()
    client.raw(bytes(4))
    scene.rig.until(lambda: client.ended, client)
    scene.turns(1)
    (error,) = client.frames
    assert isinstance(error, ErrorFrame)
    assert len(error.encode()) <= amount
    assert LONG.startswith(error.text)
    assert scene.closed() == "PROTOCOL"
    return "cut" if error.text != LONG else ""


def says_nothing(scene: Scene, amount: float) -> str:
    scene.rig.clients.append(Client(scene.rig.server.address))  # not even TLS
    scene.rig.step()
    scene.wait(amount)
    return scene.closed()


def frame_takes_long(scene: Scene, amount: float) -> str:
    client = scene.rig.join()
    client.begin(Command(1, Target.NEXT, 0, 0, 0, b"slow"), 10)
    scene.rig.step()
    scene.wait(amount)
    return scene.closed()


def owed_until_paced(scene: Scene, amount: int) -> str:
    scene.owing(amount, _largest)
    scene.turns(3)
    return "paced" if len(scene.rig.server.connections.pacing) else scene.closed()


def owed_until_closed(scene: Scene, amount: int) -> str:
    scene.owing(amount, _largest)
    scene.turns(3)
    return scene.closed()


def owed_in_all(scene: Scene, amount: int) -> str:
    scene.owing(amount, lambda outbox: outbox.held_bytes, EXECUTE_BYTES + PIECE_BYTES)
    scene.turns(3)
    return scene.closed()


def _largest(outbox: Outbox) -> int:
    return max((queue.size for queue in outbox.queues.values()), default=0)


def takes_no_bytes(scene: Scene, amount: float) -> str:
    scene.owing(60_000, _largest)
    scene.wait(amount)
    return scene.closed()


def sent_to_who_reads_nothing(scene: Scene, amount: int) -> str:
    sender, receiver = scene.rig.join(), scene.rig.join(receive_buffer=4096)
    sender.send(Command(1, Target.NEXT, 0, CommandFlag.QUIET, 0, bytes(amount)))
    scene.rig.until(lambda: scene.rig.room.arrived[sender.ticket], sender)
    scene.turns(3)
    assert receiver.welcome is not None
    return "queued" if scene.rig.server.connections.outbox.queues else scene.closed()


def stays_silent(scene: Scene, amount: float) -> str:
    client = scene.rig.join()
    scene.wait(amount)
    client.pump()
    return scene.closed() or ("PING" if any(isinstance(frame, Ping) for frame in client.frames) else "")


def answers_no_ping(scene: Scene, amount: float) -> str:
    scene.rig.join()
    scene.wait(amount)
    return scene.closed()


def one_sends_in_a_turn(scene: Scene, amount: int) -> str:
    sender, _ = scene.rig.crowd(2)
    sender.send(Command(1, Target.NEXT, 0, 0, 0, bytes(amount - COMMAND_BYTES)))
    return _whether_read_at_once(scene, [sender])


def all_send_in_a_turn(scene: Scene, amount: int) -> str:
    senders = scene.rig.crowd(2)
    scene.rig.join()
    for sender, size in zip(
        senders, (amount, 100), strict=True
    ):  # the second is read if the first left any budget
        sender.send(Command(1, Target.NEXT, 0, 0, 0, bytes(size - COMMAND_BYTES)))
    return _whether_read_at_once(scene, senders)


def frames_in_a_turn(scene: Scene, amount: int) -> str:
    """Commands in one send; the pure twin has room for an eighth of them."""
    sender, _ = scene.rig.crowd(2)
    count = amount if TWIN == "extension" else amount // 8
    sender.send(*[Command(id_, Target.NEXT, 0, 0, 0, b"") for id_ in range(count)])
    scene.rig.step()
    at_once = len(scene.rig.room.arrived[sender.ticket])
    scene.turns()
    assert len(scene.rig.room.arrived[sender.ticket]) == count, "it is put off, not lost"
    return scene.closed() or ("" if at_once == count else "next turn")


def _whether_read_at_once(scene: Scene, senders: list[Client]) -> str:
    scene.rig.step()
    arrived = [bool(scene.rig.room.arrived[sender.ticket]) for sender in senders]
    scene.turns()
    assert all(scene.rig.room.arrived[sender.ticket] for sender in senders), "it is put off, not lost"
    return scene.closed() or ("" if all(arrived) else "next turn")


def connections_in_a_turn(scene: Scene, amount: int) -> str:
    before = scene.rig.server.connections.accepted
    for _ in range(amount):
        scene.rig.connect().send(Hello())
    scene.rig.step()
    at_once = scene.rig.server.connections.accepted - before
    scene.turns()
    scene.rig.until(lambda: scene.rig.server.connections.accepted == before + amount)
    return scene.closed() or ("" if at_once == amount else "next turn")


def commands_that_wait(scene: Scene, amount: int) -> str:
    sender, _ = scene.rig.crowd(2)
    sender.send(
        *[Command(id_, Target.NEXT, 0, CommandFlag.RESULTS, 0, b"") for id_ in range(amount)],
    )
    scene.turns()
    return scene.refused(sender)


def result_stays_out(scene: Scene, amount: float) -> str:
    sender, _ = scene.rig.crowd(2)
    sender.send(Command(1, Target.NEXT, 0, CommandFlag.RESULTS, 0, b""))
    scene.rig.step()
    scene.wait(amount)
    sender.pump()
    routed = {Status(frame.status).name for frame in sender.frames if isinstance(frame, Routed)}
    return scene.closed() or " ".join(routed)


def leaves_and_stays(scene: Scene, amount: float) -> str:
    client = scene.rig.join()
    before = len(scene.rig.server.connections)
    client.send(Leave())
    for _ in range(3):
        scene.rig.step()
    scene.wait(amount)
    return "" if len(scene.rig.server.connections) == before else scene.closed()


def stops(scene: Scene, amount: float) -> str:
    scene.rig.join()
    scene.rig.server.stop()
    scene.rig.step()
    scene.wait(amount)
    return scene.closed() if scene.rig.server.stopped else ""


def lines_of_a_kind(scene: Scene, amount: int) -> str:
    client = scene.rig.join()
    client.send(*[Command(id_, Target.ONE, 100, 0, 0, b"") for id_ in range(amount)])
    scene.rig.until(lambda: sum(isinstance(f, Refused) for f in client.frames) == amount, client)
    told = sum(line.startswith("refused:") for line in scene.lines)
    assert told == min(amount, 3)
    scene.turns()
    return "left out" if told < amount else scene.closed()


def payload_in_the_log(scene: Scene, amount: int) -> str:
    sender, _ = scene.rig.crowd(2)
    sender.send(Command(1, Target.NEXT, 0, 0, 0, b"x" * amount))
    scene.turns()
    (line,) = [line for line in scene.lines if line.startswith("command ")]
    shown = line.split('"')[1]
    assert shown == "x" * amount if amount <= 8 else shown == "x" * 8 + "…"
    return "cut" if "…" in line else scene.closed()
