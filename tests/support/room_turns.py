"""Turns of a room without a server: composed as by the server, and the frames that each member receives."""

from __future__ import annotations

from collections.abc import Container

from rankmux.codes import CommandFlag, Target
from rankmux.core.room.batch import Batch
from rankmux.core.room.room import Room
from rankmux.core.room.turn import Departure, Entry, Join, Outcome, Turn
from rankmux.wire import Command, Frame, Refused, Result, SetBaton

from .history import parse
from .laid import joined
from .room_model import ModelTurn


def as_turn(model_turn: ModelTurn, max_payload: int) -> Turn:
    """The turn as the server would make it."""
    entry = Entry(
        round(model_turn.now * 1000), Batch(max_payload), judge=model_turn.judge, slow=model_turn.slow
    )
    for ticket, frame in (*model_turn.results, *model_turn.commands):
        octets = frame.encode()
        assert entry.batch.feed(ticket, octets) == (len(octets), [])
    entry.cancels = list(model_turn.cancels)
    entry.departures = [Departure(ticket, cause) for ticket, cause in model_turn.departures.items()]
    entry.absences = list(model_turn.absences)
    entry.yields = list(model_turn.yields)
    entry.joins = list(model_turn.joins)
    return Turn(entry, list(model_turn.queries), list(model_turn.pings), watched=bool(model_turn.watchers))


def owed(outcome: Outcome, watchers: Container[int] = ()) -> dict[int, list[Frame]]:
    """The frames, in order, for each member present when the turn began; without the texts of refusals."""
    for kind in outcome.deliveries.answers:
        assert set(kind) <= set(outcome.tickets)
    found = {}
    for rank, ticket in enumerate(outcome.tickets):
        frames = parse(joined(outcome.deliveries, rank, ticket, ticket in watchers))
        found[ticket] = [f._replace(text="") if isinstance(f, Refused) else f for f in frames]
    return found


def room_of_five() -> Room:
    """Five members, tickets 1 to 5."""
    room = Room(seats=10, max_payload=100, waiting_max=2, result_ttl_ms=60_000)
    outcome = play(room, joins=[Join(100 + i, name, f"127.0.0.1:{i}") for i, name in enumerate("abcde")])
    assert outcome == {}
    return room


def play(room: Room, *frames: tuple[int, Command | SetBaton | Result], **parts) -> dict[int, list[Frame]]:
    """Apply a turn; returns the frames by ticket, for the members that receive any."""
    turn = ModelTurn(parts.pop("now", 0.0), **parts)
    turn.commands = [(ticket, f) for ticket, f in frames if not isinstance(f, Result)]
    turn.results = [(ticket, f) for ticket, f in frames if isinstance(f, Result)]
    outcome = room.apply(as_turn(turn, 100))
    return {ticket: got for ticket, got in owed(outcome, turn.watchers).items() if got}


def to_all(id_: int, payload: bytes, flags: int = CommandFlag.QUIET) -> Command:
    return Command(id_, Target.ALL, 0, flags, 0, payload)


def to_one(id_: int, rank: int, payload: bytes = b"", flags: int = 0) -> Command:
    return Command(id_, Target.ONE, rank, flags, 0, payload)
