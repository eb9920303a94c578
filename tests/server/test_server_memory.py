"""Every single allocation of a turn fails once: no member sees unfinished work, and the server keeps running.

The allocator's hook makes the k-th allocation of a turn fail, for k = 0, 1, 2, … until a turn makes fewer than that.
"""

from __future__ import annotations

import gc
import sys
from _testcapi import remove_mem_hooks, set_nomemory
from collections.abc import Callable, Iterator

import pytest

from rankmux.codes import CommandFlag, Status, Target
from rankmux.server.connections.closes import CloseReason
from rankmux.server.connections.states import State
from rankmux.server.server import Server
from rankmux.wire import Command, Execute, Hello, Leave, Members, Ping, Pong, Result, Who

from ..support.embedded import Client, executed, open_descriptors

# There the interpreter itself crashes when it has no memory for a closure (seen with 3.13.0, either twin).
pytestmark = pytest.mark.skipif(sys.version_info >= (3, 13), reason="this interpreter does not survive it")

RESULTS = CommandFlag.RESULTS
TURNS = 300  # far more than any test here needs


class Stage:
    """A server with five members and two newcomers; each sends something, all in one turn."""

    def __init__(self, **settings: object) -> None:
        self.now = 1.0
        self.server = Server(port=0, seats=6, clock=lambda: self.now, **settings)
        self.clients: list[Client] = []
        for index in range(4):
            self.join(f"m{index}")
        self.join("m4", receive_buffer=4096)
        self.senior, self.second, self.third, self.fourth, self.last = self.clients
        self.second.send(Command(1, Target.ALL, 0, RESULTS, 0, b"earlier"))
        self.run(lambda: self.seqs(self.last))

    def join(self, name: str, receive_buffer: int = 0) -> Client:
        client = self.connect(name, receive_buffer)
        self.run(lambda: client.welcome)
        return client

    def connect(self, name: str, receive_buffer: int = 0) -> Client:
        client = Client(self.server.address, receive_buffer)
        self.clients.append(client)
        client.send(Hello(name))
        return client

    def seqs(self, client: Client) -> list[int]:
        return [frame.seq for frame in client.frames if isinstance(frame, Execute)]

    def turn(self) -> None:
        self.now += 0.01  # a paused listener resumes some turns later
        self.server.step(0.002)
        for client in self.clients:
            client.pump()

    def run(self, done: Callable[[], object]) -> None:
        for _ in range(TURNS):
            self.turn()
            if done():
                return
        seen = [(c.ended, c.welcome and c.ticket, [type(f).__name__ for f in c.frames]) for c in self.clients]
        raise AssertionError(f"it did not come to that: {seen}, {list(self.server.connections.closes.last)}")

    def speak(self) -> None:
        """Input of every kind, for one turn."""
        earlier = self.seqs(self.third)[0]
        self.third.send(Result(earlier, Status.OK, b"done"), Who(7, 0, 10), Ping(b"ping"))
        self.fourth.send(Result(earlier, Status.PART, b"some"), Command(9, Target.ALL, 0, 0, 0, b"x" * 300))
        self.senior.send(
            Command(2, Target.ONE, 4, 0, 0, b"directed"), Command(3, Target.ALL, 0, RESULTS, 0, b"")
        )
        self.second.send(Command(1, Target.NEXT, 0, 0, 0, b"refused: its id waits"), Leave())
        self.last.raw(Command(4, Target.ALL, 0, 0, 0, b"in two").encode()[:10])
        self.connect("takes the free seat")
        self.connect("takes the one that was left")
        self.connect("finds the room full")

    def silent(self) -> list[Client]:
        return [client for client in self.clients if not client.ended and not client.welcome]

    def alive(self) -> list[Client]:
        return [client for client in self.clients if client.ended is None]

    def check(self) -> int:
        """The room agrees with its members and works. Returns the number of connections that the interpreter has lost.

        `accept` loses one when it has no memory for the address: the descriptor stays open, and is never returned.
        """
        server, room = self.server, self.server.room
        for _ in range(15 if server._listener.pauses else 1):
            self.turn()  # until a paused listener resumes
        self.run(lambda: len(self.silent()) <= server._listener.pauses)
        silent = self.silent()
        self.clients = [client for client in self.clients if client not in silent]
        self.last.raw(Command(4, Target.ALL, 0, 0, 0, b"in two").encode()[10:])
        for client in self.alive():
            client.send(Ping(b"settled"))
        self.run(lambda: all(client.ended or Pong(b"settled") in client.frames for client in self.clients))
        members = [peer for peer in server.connections if peer.state is State.MEMBER]
        assert sorted(peer.ticket for peer in members) == list(room.ranks.tickets)
        assert [server.connections.at(fd).ticket for fd in room.ranks.handles] == list(room.ranks.tickets)
        assert len(room.ranks.loads) == len(room.ranks.names) == len(room.ranks.addresses) == len(room.ranks)
        joined = [client for client in self.alive() if client.welcome]
        for client in self.clients:
            assert client.ended != "end of stream" or not client.rest, "the stream ends inside a frame"
        if len(joined) == room.seats:
            joined.pop().close()
        newcomer = self.join("afterwards")
        newcomer.send(Who(99, 0, 10))
        self.run(lambda: any(isinstance(frame, Members) for frame in newcomer.frames))
        (page,) = [frame for frame in newcomer.frames if isinstance(frame, Members)]
        ranks = {member.ticket: member.rank for member in page.members}
        assert sorted(ranks.values()) == list(range(len(ranks)))
        for client in joined:
            assert client.history is not None
            assert ranks[client.ticket] == client.history.rank
        senior = min([*joined, newcomer], key=lambda client: ranks[client.ticket])
        senior.send(Command(100, Target.ALL, 0, 0, 0, b"still here"))
        juniors = [client for client in [*joined, newcomer] if client is not senior]
        self.run(lambda: all(b"still here" in executed(client) for client in juniors))
        counted = server.connections.closes.counts.total()
        assert counted == server.connections.accepted - len(server.connections)
        assert CloseReason.INTERNAL not in server.connections.closes.counts
        for client in silent:
            client.close()
        return len(silent)

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.server.close()


def failing(step: Callable[[], None], at: int) -> bool:
    """Run `step` with its allocation number `at` failing; False when it makes fewer."""
    set_nomemory(at, at + 1)
    try:
        step()
        try:
            for _ in range(at + 1):
                bytearray(64)  # a failure still pending happens here
        except MemoryError:
            return False
    finally:
        remove_mem_hooks()
    return True


@pytest.fixture(autouse=True)
def no_collection() -> Iterator[None]:
    """Allocations by the garbage collector would be counted, too."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def whole_turn(stage: Stage) -> None:
    stage.speak()


def backlog(stage: Stage) -> None:
    """The last member does not read: it is already behind, and falls further behind."""
    stage.senior.send(*(Command(20 + n, Target.ALL, 0, 0, 0, bytes(20_000)) for n in range(6)))
    stage.clients.remove(stage.last)
    stage.run(lambda: stage.server.connections.outbox.queues)
    stage.clients.append(stage.last)
    stage.speak()
    stage.senior.send(Command(30, Target.ALL, 0, 0, 0, bytes(20_000)))


# The interpreter warns about objects that it closes itself after a lack of memory.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(("prepare", "stride"), [(whole_turn, 1), (backlog, 3)])
def test_any_allocation_may_fail(
    prepare: Callable[[Stage], None], stride: int, caplog: pytest.LogCaptureFixture
):
    before, lost = len(open_descriptors()), 0
    resets, ends, at, more = 0, 0, 0, True
    while more:
        stage = Stage(send_buffer_bytes=4_096)
        try:
            prepare(stage)
            more = failing(lambda: stage.server.step(0), at)  # noqa: B023 - called at once
            counts = stage.server.connections.closes.counts
            resets += counts[CloseReason.RESOURCE] > 1
            ends += counts[CloseReason.RESOURCE] == 1
            lost += stage.check()
        except BaseException as error:
            error.add_note(f"allocation {at} failed")
            raise
        finally:
            stage.close()
        at += stride
    assert len(open_descriptors()) == before + lost
    assert at > 200
    assert resets
    assert ends
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("turns", [0, 1])
def test_it_still_comes_to_its_end(turns: int):
    before, at, more = len(open_descriptors()), 0, True
    while more:
        stage = Stage()
        try:
            stage.server.stop(0.1)  # ten turns; many of the failures wait for its end
            for _ in range(turns):
                stage.turn()
            more = failing(lambda: stage.server.step(0), at)  # noqa: B023 - called at once
            stage.run(lambda: stage.server.stopped)  # noqa: B023
            assert all(client.ended and not client.rest for client in stage.clients)
        except BaseException as error:
            error.add_note(f"allocation {at} failed")
            raise
        finally:
            stage.close()
        at += 1
    assert len(open_descriptors()) == before
