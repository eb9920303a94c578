"""Sections 4 to 10 together: drawn turns against the model, frame by frame, for every connection."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from .frames import (
    QUIET,
    RESULTS,
    TIED,
    WATCH,
    Accepted,
    Baton,
    Cancel,
    Cause,
    Changed,
    Code,
    Command,
    Done,
    Error,
    Execute,
    Frame,
    Hello,
    Leave,
    Rank,
    Refused,
    Result,
    Routed,
    Status,
    Stop,
    Target,
    Welcome,
    Write,
    Yield,
    Yielded,
    encode,
    named,
    resume,
)
from .model import Greeting, Model, Output, Turn

if TYPE_CHECKING:
    from .conftest import Serve
    from .peer import Peer
    from .process import Server

SEATS = 9
TURNS = 50
SECRETS = [bytes([number]) * 16 for number in range(1, 5)]
ORDER = [Execute, Stop, Rank, Baton, Changed, Accepted, Refused, Routed, Done, Yielded]


class Drawn:
    """A server and the model beside it, driven by one generator of random numbers."""

    def __init__(self, server: Server, seed: int) -> None:
        self._server = server
        self._draw = random.Random(seed)
        self._model = Model(SEATS)
        self._eye = server.observe()
        self._live: list[Peer] = []
        self._number = 0

    def turn(self) -> None:
        """Draw a turn, run it, and compare the frames of every connection."""
        turn = Turn()
        sent: list[tuple[Peer, bytes, str]] = []
        for peer in self._draw.sample(self._live, len(self._live)):
            frames, end = self._frames(peer)
            turn.frames[peer] = frames
            wire = b"".join(map(encode, frames))
            if end:
                turn.ends[peer] = {"reset": Cause.LOST, "breach": Cause.EVICTED}.get(end, Cause.LEFT)
                if end == "leave":
                    turn.left.add(peer)
                    wire += encode(Leave())
                elif end == "breach":
                    wire += bytes(4)
            sent.append((peer, wire, end))
        doors = self._doors()
        turn.hellos = doors
        self._eye.ping()  # all connections are accepted by now
        with self._server.one_turn():
            for door, hello in self._draw.sample(doors, len(doors)):
                door.send(hello)
            for peer, wire, end in sent:
                if wire:
                    peer.raw(wire)
                if end in {"close", "reset"}:
                    (peer.close if end == "close" else peer.reset)()
        output = self._model.apply(turn)
        for door, _ in doors:
            self._welcome(door, output[door])
        for peer, _, end in sent:
            self._compare(peer, end, output[peer])
        members = self._eye.who()
        assert members.seq == self._model.seq
        assert [(s.ticket, s.name, s.load, s.state) for s in members.seats] == self._model.listing()

    # Input

    def _frames(self, peer: Peer) -> tuple[list[Frame], str]:
        frames = [self._frame(peer) for _ in range(self._draw.choice((0, 0, 1, 2, 4)))]
        frames = [frame for frame in frames if frame is not None]
        chance = self._draw.random()
        if chance < 0.08:
            return [*frames, Yield(self._draw.randrange(4))], ""
        if chance < 0.22:
            return frames, self._draw.choice(("leave", "close", "reset", "breach"))
        return frames, ""

    def _frame(self, peer: Peer) -> Frame | None:
        draw = self._draw
        member = self._model.member(peer)
        assert member is not None
        kind = draw.random()
        if kind < 0.55:
            return self._command()
        if kind < 0.85:
            owed = self._model.owed_by(member.ticket)
            if not owed:
                return None
            status = draw.choice((Status.OK, Status.FAILED, Status.REJECTED, Status.PART))
            return Result(draw.choice(owed) + (draw.random() < 0.1), status, b"%d" % draw.randrange(100))
        if kind < 0.95:
            return Cancel(draw.randrange(4))
        return Write(draw.randrange(4), draw.choice((b"", b"a", b"b")))

    def _command(self) -> Command:
        draw = self._draw
        self._number += 1
        flags = draw.choice((0, RESULTS, RESULTS, RESULTS | TIED)) | draw.choice((0, 0, QUIET))
        payload = b"%d" % self._number
        target = draw.choice(list(Target))
        if target == Target.SET:
            some = range(max(0, self._model.line[0].ticket - 1), self._model.line[-1].ticket + 2)
            listed = sorted(draw.sample(some, draw.randint(1, min(4, len(some)))))
            return named(draw.randrange(4), listed, payload, flags=flags)
        arg = draw.randrange(SEATS + 1) if target == Target.ONE else 0
        return Command(draw.randrange(4), target, arg, flags, 0, payload)

    def _doors(self) -> list[tuple[Peer, Hello]]:
        """Newcomers, and returns; sometimes two with one secret."""
        draw = self._draw
        hellos = [
            Hello(1, draw.choice((0, WATCH)), f"n{draw.randrange(9)}") for _ in range(draw.randrange(3))
        ]
        for secret in [*SECRETS, draw.choice(SECRETS)]:
            if draw.random() < 0.25:
                last_seq = draw.choice((0, max(0, self._model.seq - 3), self._model.seq, 2**60))
                block = resume(secret, 60_000, last_seq)
                hellos.append(Hello(1, draw.choice((0, WATCH)), f"k{draw.randrange(9)}", b"", block))
        draw.shuffle(hellos)
        return [(self._server.connect(), hello) for hello in hellos]

    # Output

    def _welcome(self, door: Peer, out: Output) -> None:
        if out.full:
            door.expect_error(Code.FULL)
            return
        if out.taken_over:  # by another HELLO of the same turn
            error = door.drain()[-1]
            assert isinstance(error, Error)
            assert error.code == Code.TAKEN_OVER
            return
        welcome = door.expect(Welcome)
        how = int(welcome.how) if welcome.resume else None
        seen = Greeting(how, welcome.ticket, welcome.seq, welcome.rank, welcome.members)
        assert seen == out.welcome
        self._live.append(door)
        self._check(door.settle(), out)

    def _compare(self, peer: Peer, end: str, out: Output) -> None:
        if not end and not out.taken_over:
            self._check(peer.settle(), out)
            return
        self._live.remove(peer)
        if end in {"close", "reset"}:
            return
        seen = peer.drain()
        assert [frame for frame in seen if isinstance(frame, Execute)] == out.executes
        assert [frame for frame in seen if isinstance(frame, Accepted)] == out.accepted
        assert [(f.id, f.code) for f in seen if isinstance(f, Refused)] == out.refused
        if end == "leave":
            return
        error = seen[-1]
        assert isinstance(error, Error)
        assert error.code == (Code.PROTOCOL if end else Code.TAKEN_OVER)

    @staticmethod
    def _check(seen: list[Frame], out: Output) -> None:
        """The kinds in their order, and each kind as the model has it; ROUTEDs of different executors may mix."""
        kinds = [ORDER.index(type(frame)) for frame in seen]
        late = [frame for frame in seen if isinstance(frame, Baton)] and out.yielded
        assert late or kinds == sorted(kinds), seen
        by_kind: dict[type[Frame], list[Frame]] = {kind: [] for kind in ORDER}
        for frame in seen:
            by_kind[type(frame)].append(frame)
        assert by_kind[Execute] == out.executes
        if not out.yielded:  # a yielder owes no results any more, and may get a CANCEL for each command
            assert sorted(by_kind[Stop], key=repr) == sorted(out.stops, key=repr)
        assert by_kind[Rank] == out.rank
        assert by_kind[Baton] == out.baton
        assert by_kind[Changed] == out.changed
        assert by_kind[Accepted] == out.accepted
        assert [(f.id, f.code) for f in by_kind[Refused] if isinstance(f, Refused)] == out.refused
        routed = [frame for frame in by_kind[Routed] if isinstance(frame, Routed)]
        assert sorted(routed, key=_executor) == sorted(out.routed, key=_executor)
        assert by_kind[Done] == [frame for _, frame in sorted(out.done, key=lambda done: done[0])]
        assert by_kind[Yielded] == out.yielded


def _executor(frame: Routed) -> tuple[int, int]:
    return (frame.id, frame.ticket)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_drawn_turns(serve: Serve, seed: int) -> None:
    """Sections 4 to 10: the server sends the frames that the page demands, for any input of a turn."""
    drawn = Drawn(serve(SEATS), seed)
    for _ in range(TURNS):
        drawn.turn()
