"""Notes of leading programs, and the outcome of a fault: times with no leader or with two, and refused writes."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """A line of a program that leads."""

    ticket: int
    at: float
    pid: int
    written: bool


@dataclass(frozen=True)
class Round:
    """The outcome of a fault, in seconds; `refused` counts the writes that the fence rejected.

    `stall_s` is the longest time for which a leading program could not write because of the machine, not of the lock.
    """

    next_s: float
    nobody_s: float
    two_s: float
    refused: int
    stall_s: float
    fenced: bool
    rising: bool


def judge(notes: Sequence[Note], fault_at: float, *, kept: bool = False) -> Round:
    """The outcome of a fault at `fault_at`, from all notes from before it until one program leads again.

    Where seats are `kept`, the same program may lead on, or the next one may have the same ticket.
    """
    spans: dict[int, list[float]] = {}
    tickets: dict[int, int] = {}
    stall_s = 0.0
    for note in sorted(notes, key=lambda note: note.at):
        span = spans.setdefault(note.pid, [note.at, note.at])
        stall_s, span[1] = max(stall_s, note.at - span[1]), note.at
        tickets.setdefault(note.pid, note.ticket)
    nobody_s = two_s = 0.0
    first, *others = spans.values()
    led_until = first[1]
    for begin, end in others:
        nobody_s += max(0.0, begin - max(led_until, fault_at))
        two_s += max(0.0, min(led_until, end) - begin)
        led_until = max(led_until, end)
    in_order = list(tickets.values())
    largest, fenced = 0, True
    for note in sorted(notes, key=lambda note: note.at):
        if note.written:
            fenced = fenced and note.ticket >= largest
            largest = max(largest, note.ticket)
    return Round(
        next_s=others[0][0] - fault_at if others else 0.0,
        nobody_s=nobody_s,
        two_s=two_s,
        refused=sum(not note.written for note in notes),
        stall_s=stall_s,
        fenced=fenced,
        rising=all((operator.le if kept else operator.lt)(a, b) for a, b in itertools.pairwise(in_order)),
    )
