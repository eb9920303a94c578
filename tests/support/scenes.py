"""Scenes of turns as text: the members' input in each turn and, below a line of dashes, the outcome.

    room seats=3                     the room, with its limits; before the first turn

    turn                             or: turn at 1500 ms
    ada joins
    ada commands ALL "hello" id=1    a target and, for ONE, a rank; then any of: results tied quiet ttl_ms=500
    ada commands SET bob,7 "hi" id=2 names of members, present or not, and tickets
    ada cancels id=1
    bob answers OK "done" seq=4
    bob departs LEFT
    ada asks first_rank=0 count=10 id=2
    ada pings "x"
    bob watches                      from this turn on, or `cyd joins watching`
    eve observes                     without a seat: she may ask and ping
    dan joins keeping                with a keep of a second; then `dan is lost`, `dan returns last_seq=5`
    ada yields id=3
    ada writes "note" id=4           the baton
    ----
    bob: EXECUTE seq=4 sender_rank=0 "hello"        frame by frame, in the order of ranks when the turn began
    ranks: ada, seq 5                               the room after the turn

Lines that begin with # are comments and keep their place.
"""

from __future__ import annotations

import shlex
from collections.abc import Container, Iterator
from enum import IntEnum
from itertools import count

from rankmux.codes import Cause, Change, CommandFlag, RefusedCode, Status, Target
from rankmux.core.room.batch import OBSERVERS
from rankmux.core.room.room import Room
from rankmux.core.room.turn import Join, Outcome
from rankmux.wire import Command, Frame, Members, Result, SetBaton, Who

from .history import parse
from .room_model import ModelTurn
from .room_turns import as_turn, owed
from .strategies import to_set

LIMITS = {"seats": 8, "max_payload": 100, "waiting_max": 2, "result_ttl_ms": 60_000}
ENUMS: dict[str, type[IntEnum]] = {"cause": Cause, "code": RefusedCode, "status": Status, "what": Change}
DASHES = "----"


def played(scene: str) -> str:
    """The scene with the current outcome of its turns."""
    paragraphs = [_without_outcome(paragraph) for paragraph in scene.strip("\n").split("\n\n")]
    stage = None
    lines: list[str] = []
    for paragraph in paragraphs:
        head, *inputs = [line for line in paragraph if not line.startswith("#")] or [""]
        if head.startswith("room"):
            stage = _Stage(_settings(head.split()[1:]))
        lines += paragraph
        if head.startswith("turn"):
            assert stage is not None, "a turn before its room"
            now_ms = int(head.split()[2]) if head != "turn" else 0
            lines += [DASHES, *stage.turn(now_ms, inputs)]
        lines.append("")
    return "\n".join(lines)


def _without_outcome(paragraph: str) -> list[str]:
    return paragraph.partition(f"\n{DASHES}")[0].split("\n")


def _settings(words: list[str]) -> dict[str, int]:
    pairs = (word.partition("=") for word in words)
    return {name: int(value) for name, _, value in pairs}


class _Stage:
    """A room, and the names of the members that have been in it."""

    def __init__(self, limits: dict[str, int]) -> None:
        self._room = Room(**{**LIMITS, **limits})
        self._max_payload = {**LIMITS, **limits}["max_payload"]
        self._tickets: dict[str, int] = {}
        self._handles = count(100)
        self._watchers: set[str] = set()

    def turn(self, now_ms: int, inputs: list[str]) -> Iterator[str]:
        turn = ModelTurn(now_ms / 1000)
        for line in inputs:
            self._add(turn, *shlex.split(line))
        turn.watchers = {self._tickets[name] for name in self._watchers if name in self._tickets}
        real_turn = as_turn(turn, self._max_payload)
        real_turn.watched = bool(self._watchers)
        absent = {self._room.ranks.tickets[rank] for rank in self._room.line.kept.away()}
        return self._rendered(self._room.apply(real_turn), turn.watchers, absent)

    def _add(self, turn: ModelTurn, name: str, verb: str, *words: str) -> None:
        """One line of input into `turn`."""
        if verb == "joins":
            keep = (name.encode(), 1000) if "keeping" in words else ()
            turn.joins.append(Join(next(self._handles), name, "", *keep))
            self._watchers |= {name} if "watching" in words else set()
            return
        if verb == "observes":
            self._tickets[name] = OBSERVERS + next(self._handles)
            return
        ticket = self._tickets[name]
        numbers = _settings([word for word in words if "=" in word])
        match verb, *[word for word in words if "=" not in word]:
            case "commands", "ONE", rank, payload, *flags:
                turn.commands.append((ticket, _command(Target.ONE, int(rank), payload, flags, numbers)))
            case "commands", "SET", named, payload, *flags:
                tickets = [
                    self._tickets[word] if word in self._tickets else int(word) for word in named.split(",")
                ]
                bits, ttl_ms = _flags(flags), numbers.get("ttl_ms", 0)
                turn.commands.append((ticket, to_set(numbers["id"], tickets, bits, ttl_ms, payload.encode())))
            case "commands", target, payload, *flags:
                turn.commands.append((ticket, _command(Target[target], 0, payload, flags, numbers)))
            case "answers", status, payload:
                turn.results.append((ticket, Result(numbers["seq"], Status[status], payload.encode())))
            case ("cancels",):
                turn.cancels.append((ticket, numbers["id"]))
            case "is", "lost":
                turn.absences.append(ticket)
            case ("returns",):
                turn.joins.append(
                    Join(next(self._handles), name, "", name.encode(), 1000, numbers["last_seq"])
                )
            case ("yields",):
                turn.yields.append((ticket, numbers["id"]))
            case "writes", payload:
                turn.commands.append((ticket, SetBaton(numbers["id"], payload.encode())))
            case ("watches",):
                self._watchers.add(name)
            case "departs", cause:
                turn.departures[ticket] = Cause[cause]
            case ("asks",):
                turn.queries.append((ticket, Who(numbers["id"], numbers["first_rank"], numbers["count"])))
            case "pings", payload:
                turn.pings.append((ticket, payload.encode()))
            case _:
                raise ValueError(f"not understood: {verb} {' '.join(words)}")

    def _rendered(self, outcome: Outcome, watchers: Container[int], absent: Container[int]) -> Iterator[str]:
        names = {ticket: name for name, ticket in self._tickets.items()}
        for ticket, frames in owed(outcome, watchers).items():
            if ticket not in absent:
                yield from (f"{names[ticket]}: {_shown(frame)}" for frame in frames)
        for key, octets in outcome.deliveries.observed.items():
            yield from (f"{names[key]}: {_shown(frame)}" for frame in parse(bytes(octets)))
        if outcome.dropped_results:
            yield f"results dropped: {outcome.dropped_results}"
        for newcomer in outcome.joined:
            self._tickets[newcomer.name] = newcomer.ticket
            came = "returned" if newcomer.returned else "joined"
            yield f"{newcomer.name} {came}: ticket={newcomer.ticket} rank={newcomer.rank} seq={newcomer.seq}"
            yield from (f"{newcomer.name}: {_shown(frame)}" for frame in parse(newcomer.baton))
            if newcomer.name in self._watchers:
                start, end = outcome.deliveries.changes_after(newcomer.seq)
                changes = parse(bytes(outcome.deliveries.executes[start:end]))
                yield from (f"{newcomer.name}: {_shown(frame)}" for frame in changes)
        for _, place in outcome.yielded:
            self._tickets[place.name] = place.ticket
        for ticket in outcome.absent:
            yield f"{names[ticket]} is absent"
        for join in outcome.full:
            yield f"{join.name} did not join: the room is full"
        yield f"ranks: {' '.join(self._room.ranks.names) or 'nobody'}, seq {self._room.seq}"


def _command(target: Target, rank: int, payload: str, flags: list[str], numbers: dict[str, int]) -> Command:
    return Command(numbers["id"], target, rank, _flags(flags), numbers.get("ttl_ms", 0), payload.encode())


def _flags(names: list[str]) -> int:
    return sum(CommandFlag[name.upper()] for name in names)


def _shown(frame: Frame) -> str:
    """The frame's type, then its fields that are not zero; numbers under their names, payloads in quotes."""
    shown = [type(frame).__name__.upper()]
    for name, value in zip(frame._fields, frame, strict=True):
        if isinstance(frame, Members) and name == "members":
            shown += [f"({member.rank} {member.name} load={member.load})" for member in frame.members]
        elif isinstance(value, bytes):
            shown.append(f'"{value.decode()}"')
        elif name in ENUMS:
            shown.append(f"{name}={ENUMS[name](value).name}")
        elif value or name in {"rank", "sender_rank"}:
            shown.append(f"{name}={value}")
    return " ".join(shown)
