"""The dispatch of a turn: commands into EXECUTE frames, departures into RANK frames. `dispatch.pxi` is its twin."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from operator import itemgetter

from ..._twin import twin
from ..wire.codes import CommandFlag, FrameType, RefusedCode, Target
from ..wire.layouts import (
    ACCEPTED_FRAME,
    ACCEPTED_LENGTH,
    EXECUTE_FRAME,
    EXECUTE_LENGTH,
    RANK_FRAME,
    RANK_LENGTH,
    TICKET,
)
from .batch import BATON_WRITE, Batch
from .deliveries import Deliveries
from .ledger import Ledger
from .refusals import overload, refusal

__all__ = ["Observe", "dispatch", "rank_frames"]

# Plain numbers: to look up a member of an enumeration costs more than to compare it.
_EXECUTE_TYPE, _RANK_TYPE = int(FrameType.EXECUTE), int(FrameType.RANK)
_ACCEPTED_TYPE = int(FrameType.ACCEPTED)
_ALL, _ONE, _NEXT = int(Target.ALL), int(Target.ONE), int(Target.NEXT)
_LEAST, _SET = int(Target.LEAST), int(Target.SET)
_RESULTS, _QUIET, _TIED = int(CommandFlag.RESULTS), int(CommandFlag.QUIET), int(CommandFlag.TIED)

Observe = Callable[[int, int, int, int, int, int, bytes], None]
"""Called for each dispatched command with (sender's rank, target, arg, seq, executors, rejected, payload)."""


@twin
def dispatch(
    batch: Batch,
    tickets: array[int],
    loads: array[int],
    away: array[int],
    ledger: Ledger,
    deliveries: Deliveries,
    seq: int,
    waiting_max: int,
    waiting_total_max: int,
    result_ttl_ms: int,
    observe: Observe | None,
) -> tuple[int, list[tuple[int, int]], list[tuple[int, int]], list[tuple[int, int, bytes]], int]:
    """Dispatch the commands of `batch`, the most senior sender's first (sections 4 and 5).

    `tickets` and `loads` are the columns of the ranks, `away` the ranks of the absent, rising. Returns the last seq
    used, (seq, ttl_ms) of each command that waits for results, (ticket, code) of each refused, (seq, ticket, payload)
    of each baton written, and the number dropped for want of a seat.
    """
    executes, steps, directed = deliveries.executes, deliveries.steps, deliveries.directed
    accepted, max_payload, members = deliveries.accepted, batch.max_payload, len(tickets)
    opened: list[tuple[int, int]] = []
    refused: list[tuple[int, int]] = []
    batons: list[tuple[int, int, bytes]] = []
    dropped = 0
    for ticket, id_, target, arg, flags, asked_ttl_ms, payload in sorted(batch.commands, key=itemgetter(0)):
        rank = bisect_left(tickets, ticket)
        if rank == members or tickets[rank] != ticket:  # it holds no seat
            dropped += 1
            continue
        first, last = rank + 1, members
        chosen: Sequence[int] | None = (
            None  # the ranks that execute it, unless they are `first` to `last - 1`
        )
        rejected, absent = rank if target == _ALL else 0, 0
        code = 0
        if len(payload) > max_payload:
            code = RefusedCode.TOO_BIG
        elif target == BATON_WRITE:
            code = RefusedCode.NOT_FIRST if rank else 0
            if not code:
                seq += 1
                batons.append((seq, ticket, payload))
                frame = ACCEPTED_FRAME.pack(ACCEPTED_LENGTH, _ACCEPTED_TYPE, id_, seq, 0, 0, 0)
                deliveries.answer(accepted, ticket, frame)
                continue
        elif target == _SET:
            chosen, rejected, absent, code = _named(payload[: arg * TICKET.size], rank, tickets, away)
        elif target == _ONE:
            first, last = arg, arg + 1
            if arg >= members:
                code = RefusedCode.NO_SUCH_RANK
            elif arg <= rank:
                code = RefusedCode.NOT_LOWER
        elif first == members:
            code = RefusedCode.NO_TARGET
        elif target == _NEXT:
            last = first + 1
        if away and not code and target not in (_SET, BATON_WRITE):
            chosen = _present(first, last, away)
            absent = last - first - len(chosen)
            if not chosen:
                code = RefusedCode.ABSENT
            if not absent:
                chosen = None
        if target == _LEAST and not code:
            absent = 0
            first = _least(loads, first) if chosen is None else min(chosen, key=loads.__getitem__)
            last, chosen = first + 1, None
        executors = last - first if chosen is None else len(chosen)
        if not code and target != BATON_WRITE:
            if ledger.waits(ticket, id_):
                code = RefusedCode.DUPLICATE
            elif flags & _RESULTS and ledger.count(ticket) >= waiting_max:
                code = RefusedCode.BUSY
        frame = b""
        if code:
            limit = waiting_max if code == RefusedCode.BUSY else max_payload
            frame = refusal(id_, code, target, arg, members, len(payload), limit)
        elif flags & _RESULTS and ledger.owed + executors > waiting_total_max:
            code = RefusedCode.BUSY
            frame = overload(id_, waiting_total_max)
        if code:
            deliveries.answer(deliveries.refused, ticket, frame)
            refused.append((ticket, code))
            continue
        seq += 1
        ttl_ms = asked_ttl_ms
        if flags & _RESULTS:
            ttl_ms = ttl_ms or result_ttl_ms
            ledger.open(seq, ticket, id_, bool(flags & _TIED), tickets, first, last, chosen)
            opened.append((seq, ttl_ms))
            for executor in range(first, last) if chosen is None else chosen:
                loads[executor] += 1
        said = payload[arg * TICKET.size :] if target == _SET else payload
        head = EXECUTE_FRAME.pack(
            EXECUTE_LENGTH + len(said), _EXECUTE_TYPE, seq, rank, flags & _RESULTS, ttl_ms
        )
        if target == _ALL:
            executes += head
            executes += said
            if steps and steps[-1][0] == rank:
                steps[-1] = (rank, len(executes))
            else:
                steps.append((rank, len(executes)))
        else:
            frame = head + said
            for executor in (first,) if chosen is None else chosen:
                directed.setdefault(executor, []).append((len(executes), frame))
        deliveries.executions += executors
        if not flags & _QUIET:
            frame = ACCEPTED_FRAME.pack(
                ACCEPTED_LENGTH, _ACCEPTED_TYPE, id_, seq, executors, rejected, absent
            )
            deliveries.answer(accepted, ticket, frame)
        if observe is not None:
            observe(rank, target, arg, seq, executors, rejected, said)
    return seq, opened, refused, batons, dropped


def _named(
    named: bytes, sender: int, tickets: array[int], away: Sequence[int]
) -> tuple[Sequence[int], int, int, int]:
    """The ranks of a SET that execute, how many of it are rejected and absent; a RefusedCode if nobody executes."""
    chosen: list[int] = []
    rejected, gone, members = 0, 0, len(tickets)
    for (ticket,) in TICKET.iter_unpack(named):
        rank = bisect_left(tickets, ticket)
        if rank == members or tickets[rank] != ticket:
            gone += 1
        elif rank <= sender:
            rejected += 1
        else:
            chosen.append(rank)
    present = _present_of(chosen, away) if away else chosen
    absent = len(chosen) - len(present)
    code = 0
    if not present:
        code = RefusedCode.NOT_LOWER if rejected else RefusedCode.ABSENT if absent else RefusedCode.NO_TARGET
    return present, rejected, absent + gone, code


def _present(first: int, last: int, away: Sequence[int]) -> Sequence[int]:
    """The ranks from `first` to `last - 1` that are not `away`."""
    return _present_of(range(first, last), away[bisect_left(away, first) : bisect_left(away, last)])


def _present_of(ranks: Sequence[int], away: Sequence[int]) -> Sequence[int]:
    absent = set(away)
    return [rank for rank in ranks if rank not in absent] if absent else ranks


def _least(loads: array[int], first: int) -> int:
    """The rank with the smallest load from `first` on; of equals the most senior."""
    smallest = min(loads[first:])
    return loads.index(smallest, first)


@twin
def rank_frames(departed: Sequence[int], causes: Sequence[int], survivors: int, seq: int) -> bytearray:
    """The RANK frames of all members that move up when the ranks `departed` (rising) fall vacant (section 4).

    One for each survivor behind the first departed, in rank order: its new rank, the number of `survivors`, `seq` of
    the turn's last departure, and the cause of the last departure before it.
    """
    frames = bytearray()
    if not departed:
        return frames
    stops = [*departed[1:], survivors + len(departed)]
    for before, (vacant, stop, cause) in enumerate(zip(departed, stops, causes, strict=True), 1):
        for rank in range(vacant + 1, stop):
            frames += RANK_FRAME.pack(RANK_LENGTH, _RANK_TYPE, seq, rank - before, survivors, cause)
    return frames
