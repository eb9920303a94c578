"""The server under random actions of its peers, over real sockets, plain and TLS, compared with a model of its room.

Several things happen within one turn, and the server reuses each descriptor as soon as it is free: a newcomer gets the
descriptor of a member that has just left. Their frames must not be mixed up in either direction.
"""

from __future__ import annotations

import selectors
import socket
import ssl
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rankmux.codes import Status, Target
from rankmux.server.connections.closes import CloseReason
from rankmux.wire import (
    Cancel,
    Command,
    ErrorFrame,
    Execute,
    Hello,
    Leave,
    Ping,
    Rank,
    Result,
    SetBaton,
    Who,
)

from ..faults.certificates import Certificates
from ..support.embedded import FIRST_OF_CLIENTS, Client, Embedded, embedded, to_all
from ..support.history import check_together
from ..support.strategies import to_set

SELECTORS = [None, selectors.SelectSelector, selectors.PollSelector]
INDEX = st.integers(0, 7)
UNHURRIED: dict[str, Any] = {
    "ping_ms": 3_600_000,
    "handshake_timeout_s": 600.0,
    "tls_handshake_timeout_s": 600.0,
    "frame_timeout_s": 600.0,
    "write_timeout_s": 600.0,
    "drain_s": 60.0,
}


class Transport:
    """`server` holds the settings that the server needs, `context` is the TLS context of the clients."""

    def __init__(self, certificates: Certificates | None) -> None:
        self.server = {} if certificates is None else {"tls_cert": str(certificates.server)}
        self.context = None if certificates is None else certificates.client_context()


@pytest.fixture(scope="module", params=["plain", "tls"])
def transport(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Transport:
    tls = request.param == "tls"
    return Transport(Certificates(tmp_path_factory.mktemp("certificates")) if tls else None)


def end_our_stream(client: Client) -> None:
    """Half-close; input can still be read."""
    if not isinstance(client.sock, ssl.SSLSocket):
        client.sock.shutdown(socket.SHUT_WR)
        return
    client.pump()  # OpenSSL sends close_notify only when no input is unread
    if client.ended is None:
        with suppress(ssl.SSLWantReadError):
            client.sock.unwrap()


def descriptor(rig: Embedded, client: Client) -> int:
    """The server's connection for the client."""
    address = "{}:{}".format(*client.sock.getsockname())
    (found,) = [peer.fd for peer in rig.server.connections if peer.address == address]
    return found


class ServerMachine(RuleBasedStateMachine):
    """Peers join, command, answer, stall, leave, half-close, close and reset, whole and in mid-frame."""

    def __init__(self, transport: Transport) -> None:
        super().__init__()
        self.transport = transport

    @initialize(
        seats=st.integers(2, 6),
        selector=st.sampled_from(SELECTORS),
        accepts=st.sampled_from([1, 2, 64]),
        budget=st.sampled_from([1024, 1 << 20]),
        frames=st.sampled_from([8, 16_384]),
        soft=st.sampled_from([1024, 1 << 20]),
    )
    def open(self, seats, selector, accepts, budget, frames, soft):
        self.context = embedded(
            selector,
            self.transport.context,
            seats=seats,
            send_buffer_bytes=4096,
            accept_budget=accepts,
            tls_handshake_budget=accepts,
            read_budget_bytes=1024,
            turn_budget_bytes=budget,
            turn_budget_frames=frames,
            outbox_soft_bytes=soft,
            **self.transport.server,
            **UNHURRIED,
        )
        self.rig = self.context.__enter__()
        self.members: list[Client] = []  # those that may still act
        self.gone: list[Client] = []  # those that left and still read
        self.lost: list[Client] = []
        self.ids = 0

    def teardown(self):
        if not hasattr(self, "context"):
            return
        try:
            self.settle()
            everybody = self.members + self.gone
            self.rig.until(lambda: all(client.ended for client in self.gone), *everybody)
            for client in everybody:
                if client.welcome is not None:
                    self.rig.check(client)
            for client in self.lost:
                if client.welcome is not None:
                    self.rig.check(client, whole=False)
            if not self.lost:
                check_together(c.history for c in everybody if c.history is not None)
        finally:
            self.context.__exit__(None, None, None)

    def member(self, index: int) -> Client:
        return self.members[index % len(self.members)]

    def say_hello(self, name: str, small: bool, size: int, more: bool) -> None:
        client = self.rig.connect(4096 if small else 0)
        client.begin(Hello(name), size)
        if more:
            self.ids += 1
            client.send(to_all(self.ids, b"behind HELLO"))
        self.members.append(client)

    @rule(
        name=st.sampled_from(["", "ada"]),
        small=st.booleans(),
        size=st.sampled_from([0, 5, 99]),
        more=st.booleans(),
    )
    def connect(self, name, small, size, more):
        self.say_hello(name, small, size, more)

    @precondition(lambda self: self.members)
    @rule(
        index=INDEX,
        to=st.sampled_from(Target),
        rank=st.integers(0, 15),
        flags=st.sampled_from([0, 1, 1, 2, 5]),
        size=st.sampled_from([0, 10, 3000]),
        count=st.integers(1, 4),
        cut=st.sampled_from([0, 0, 1, 3, 9, 20]),
    )
    def command(self, index, to, rank, flags, size, count, cut):
        """`cut`: the number of bytes of the last frame held back until that member sends again."""
        for left in reversed(range(count)):
            self.ids += 1
            arg = rank if to == Target.ONE else 0
            payload = b"%d." % self.ids + bytes(size)
            frame = Command(self.ids, to, arg, flags, 0, payload)
            if to == Target.SET:  # some by the bits of `rank`, and one that is not there yet
                tickets = [client.ticket for client in self.members if client.welcome]
                named = [ticket for bit, ticket in enumerate(tickets) if rank >> bit & 1]
                frame = to_set(self.ids, [*named, 10**6], flags, 0, payload)
            self.member(index).begin(frame, len(frame.encode()) - (0 if left else cut))

    @precondition(lambda self: self.members)
    @rule(index=INDEX, status=st.sampled_from([Status.OK, Status.FAILED, Status.PART]))
    def answer(self, index, status):
        client = self.member(index)
        for frame in client.news():
            if isinstance(frame, Execute) and frame.flags:
                client.send(Result(frame.seq, status, b"result"))

    @precondition(lambda self: self.members)
    @rule(index=INDEX, back=st.integers(0, 6))
    def cancel(self, index, back):
        """Usually one of its own commands, pending or not."""
        client = self.member(index)
        ids = [frame.id for frame in client.sent if isinstance(frame, Command)]
        client.send(Cancel(ids[-1 - back % len(ids)] if ids else back))

    @precondition(lambda self: self.members)
    @rule(index=INDEX, size=st.sampled_from([0, 4]))
    def baton(self, index, size):
        self.ids += 1
        self.member(index).send(SetBaton(self.ids, bytes(size)))

    @precondition(lambda self: self.members)
    @rule(index=INDEX)
    def ask(self, index):
        self.member(index).send(Who(1, 0, 100), Ping(b"?"))

    @precondition(lambda self: self.members)
    @rule(index=INDEX, how=st.sampled_from(["LEAVE", "half-close", "breach"]))
    def go(self, index, how):
        client = self.members.pop(index % len(self.members))
        if how == "LEAVE":
            client.send(Leave())
            client.raw(to_all(1, b"behind LEAVE").encode())
        elif how == "breach":
            client.raw(bytes(4))
        else:
            client.raw(b"")
            if client.outgoing or client.welcome is None:  # over TLS the handshake may be incomplete
                self.rig.until(
                    lambda: client.ended or (client.frames and not client.outgoing),
                    *self.members,
                    *self.gone,
                    client,
                )
            if client.ended is None:
                end_our_stream(client)
        self.gone.append(client)

    def break_off(self, index: int, how: str, torn: bool) -> None:
        client = self.members.pop(index % len(self.members))
        if torn:
            client.raw(b"\0\0\0")
        client.reset() if how == "reset" else client.close()
        self.lost.append(client)

    @precondition(lambda self: self.members)
    @rule(index=INDEX, how=st.sampled_from(["reset", "close"]), torn=st.booleans())
    def lose(self, index, how, torn):
        self.break_off(index, how, torn)

    @precondition(lambda self: self.members)
    @rule(
        index=INDEX,
        how=st.sampled_from(["reset", "close"]),
        torn=st.booleans(),
        turns=st.integers(0, 3),
        more=st.booleans(),
    )
    def replace(self, index, how, torn, turns, more):
        """One member is lost, and the next connects as soon as the server can reuse the descriptor, or before."""
        self.break_off(index, how, torn)
        for _ in range(turns):
            self.rig.step()
        self.say_hello("next", False, 99, more)

    @rule(count=st.integers(1, 3))
    def pass_by(self, count):
        """Connections that are reset before they are accepted, or send nothing."""
        for number in range(count):
            client = self.rig.connect()
            client.reset() if number % 2 else client.close()

    @rule(readers=st.sets(INDEX))
    def turn(self, readers):
        clients = [client for i, client in enumerate(self.members + self.gone) if i in readers]
        self.rig.step(*clients)

    @rule()
    def settle(self):
        """Wait until each client has WELCOME or ERROR FULL, and all input is processed."""
        for client in self.members:
            client.raw(b"")
        self.rig.until(lambda: all(c.frames or c.ended for c in self.members), *self.members, *self.gone)
        for client in [c for c in self.members if c.ended or c.welcome is None]:
            assert [type(frame) for frame in client.frames] == [ErrorFrame]
            self.members.remove(client)
        self.rig.settle(*self.members, readers=self.gone)
        tickets, ranks = sorted(client.ticket for client in self.members), self.rig.room.ranks
        self.rig.until(lambda: list(ranks.tickets) == tickets, *self.members, *self.gone)
        self.rig.settle(*self.members, readers=self.gone)
        for rank, client in enumerate(sorted(self.members, key=lambda client: client.ticket)):
            assert client.history is not None
            assert client.history.rank == rank
            waiting = {
                waiting.id for waiting in self.rig.room.model.waiting if waiting.sender == client.ticket
            }
            assert set(client.history.open) <= waiting
            self.rig.check(client)


def test_at_random(transport: Transport) -> None:
    run_state_machine_as_test(lambda: ServerMachine(transport), settings=settings(stateful_step_count=30))


@pytest.mark.parametrize("how", ["leaves", "closes", "resets", "resets in mid-frame"])
def test_a_newcomer_gets_a_descriptor_that_was_just_freed(transport: Transport, how: str) -> None:
    """Data in flight to and from the old connection is neither sent to the new one nor attributed to it."""
    with embedded(None, transport.context, seats=3, send_buffer_bytes=4096, **transport.server) as rig:
        sender = rig.join()
        for round_ in range(6):
            old = rig.join("old", receive_buffer=4096)
            number = descriptor(rig, old)
            assert number < FIRST_OF_CLIENTS
            for id_ in range(3):
                sender.send(to_all(10 * round_ + id_, bytes(3000), 1))
            rig.step(sender)
            old.send(to_all(1, b"of the old one"))
            if how == "leaves":
                old.send(Leave())
            elif how == "resets in mid-frame":
                old.raw(b"\0\0\1\0\2cut")
            old.reset() if how.startswith("resets") else old.close()
            new = rig.connect()
            new.send(Hello("new"))
            rig.until(lambda: new.welcome, sender, new)  # noqa: B023
            if (
                descriptor(rig, new) != number
            ):  # it was accepted before the other was closed: use the next one
                rig.until(lambda: len(rig.server.connections) == 2, sender, new)
                assert rig.server.connections.at(number) is None
                new.send(Leave())
                rig.until(lambda: new.ended, sender, new)  # noqa: B023
                new.close()
                new = rig.join("newer")
            assert descriptor(rig, new) <= number
            new.send(to_all(1, b"of the new one"))
            rig.settle(sender, new)
            assert not any(isinstance(frame, Execute) for frame in new.frames)
            rig.check(sender)
            rig.check(new)
            new.send(Leave())
            rig.until(lambda: new.ended, sender, new)  # noqa: B023
            new.close()
            rig.until(lambda: len(rig.server.connections) == 1, sender)


def test_many_on_one_descriptor_in_one_turn(transport: Transport) -> None:
    """Connections reset before they are accepted are closed within a turn; the next one gets the descriptor."""
    with embedded(None, transport.context, seats=4, **transport.server) as rig:
        member = rig.join()
        for _ in range(3):
            rig.connect().reset()
        late = rig.connect()
        late.send(Hello("late"))
        for _ in range(3):
            rig.connect().reset()
        rig.until(lambda: late.welcome, member, late)
        late.send(to_all(1), Ping(b"late"))
        rig.settle()
        rig.until(lambda: len(rig.server.connections) == 2)
        counts = rig.server.connections.closes.counts
        assert counts == {CloseReason.RESET: 6}
        for client in (member, late):
            rig.check(client)


@pytest.mark.parametrize("how", ["reset", "close"])
def test_input_counts_though_its_answers_meet_a_reset(transport: Transport, how: str) -> None:
    """Input larger than a turn reads: the answers to its first part meet a reset, and the rest is still read."""
    settings = {"seats": 4, "read_budget_bytes": 1024, **transport.server}
    with embedded(None, transport.context, **settings) as rig:
        going, *others = rig.crowd(3)
        going.send(*(to_all(number, b"%d" % number) for number in range(1500)))
        assert not going.outgoing
        getattr(going, how)()
        rig.until(lambda: all(isinstance(client.frames[-1], Rank) for client in others))
        rig.settle()
        for client in others:
            rig.check(client)
            executed = [frame.payload for frame in client.frames if isinstance(frame, Execute)]
            assert executed == [b"%d" % number for number in range(1500)]
        assert rig.server.connections.closes.counts == {CloseReason.RESET: 1}


def test_nothing_counts_after_a_leave_that_waits(transport: Transport) -> None:
    """LEAVE follows a WHO that has to wait; input that arrives separately after it is not read."""
    with embedded(None, transport.context, seats=4, outbox_soft_bytes=1024, **transport.server) as rig:
        leaving, junior = rig.join(), rig.join()
        for id_ in range(9):
            leaving.send(Who(id_, 0, 100))
        leaving.send(Leave())
        for id_ in range(9):
            leaving.raw(to_all(id_, b"behind LEAVE").encode())
        rig.until(lambda: leaving.ended)
        rig.settle(junior)
        assert not any(isinstance(frame, Execute) for frame in junior.frames)
        rig.check(leaving)
        rig.check(junior)
