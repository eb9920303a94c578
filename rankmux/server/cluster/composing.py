"""Turns that were gathered here, taken apart: what goes into the log, and what only this server answers."""

from __future__ import annotations

from collections.abc import Container, Sequence

from ...core.cluster.entries import ENTRY_OVERHEAD
from ...core.cluster.turns import EMPTY_BYTES, TurnBody, frames_of
from ...core.room.batch import OBSERVERS, Batch
from ...core.room.ranks import Ranks
from ...core.room.turn import Entry, Turn
from ...core.wire.frames import Who
from ..connections.closes import CloseReason
from ..connections.registry import Connections

__all__ = ["compose", "idle", "separate"]

_JOIN_BYTES = 64  # of a join beside its texts
_ITEM_BYTES = 16  # of everything else that a turn lists
_SLOW_BYTES = 8


class _All(Container[int]):
    def __contains__(self, _: object) -> bool:
        return True


def idle(batch: Batch) -> Entry:
    """The entry of a turn that changes nothing in the room; `batch` is empty whenever it is applied."""
    return Entry(0, batch, judge=False, slow=_All())


def separate(turn: Turn, entry: Entry, *, waits: bool, stalled: bool) -> tuple[Turn | None, Turn | None]:
    """What is asked in `turn` and answered at once, with the empty `entry`, and what is answered behind an own entry.

    A member's WHO and PING wait for what it sent before, if anything `waits` to be read back; a PING not while the log
    is `stalled`.
    """
    if not waits:
        return Turn(entry, turn.queries, turn.pings, turn.observers), None

    def at_once(asked: tuple[int, Who] | tuple[int, bytes]) -> bool:
        return asked[0] >= OBSERVERS

    pings = turn.pings if stalled else [ping for ping in turn.pings if at_once(ping)]
    now = Turn(entry, [query for query in turn.queries if at_once(query)], pings, turn.observers)
    behind = Turn(entry, [query for query in turn.queries if not at_once(query)])
    if not stalled:
        behind.pings = [ping for ping in turn.pings if not at_once(ping)]
    return now if now.is_asked() else None, behind if behind.is_asked() else None


def compose(
    turn: Turn,
    orphans: Sequence[int],
    connections: Connections,
    ranks: Ranks,
    entry_max: int,
    server: str,
) -> list[bytes]:
    """The bodies of one or more entries that say what `turn` gathered, each with room for its head.

    The addresses of newcomers say at which `server` they are.

    `orphans` are the serials of connections that ended before they got the seats that they have by now.
    """

    def serial_of(ticket: int) -> int:
        conn = connections.seats.get(ticket)
        return conn.serial if conn is not None else 0

    entry, most = turn.entry, entry_max - ENTRY_OVERHEAD
    over = connections.outbox.over
    slow = [serial for ticket in over if (serial := serial_of(ticket))] if over else []
    if len(slow) * _SLOW_BYTES > most // 2:
        del slow[most // 2 // _SLOW_BYTES :]
    most_frames = most - EMPTY_BYTES - _SLOW_BYTES * len(slow)
    bodies = [
        TurnBody(slow=slow, frames=frames, named=named)
        for frames, named in frames_of(entry.batch, serial_of, ranks.tickets, most_frames)
    ]
    if slow:  # a frame that is larger than `most_frames` leaves less room for them
        for one in bodies:
            over_by = len(one.frames) + len(one.named) * _ITEM_BYTES - most_frames
            if over_by > 0:
                one.slow = slow[: max(0, len(slow) + -over_by // _SLOW_BYTES)]
    left = 0

    def body(size: int) -> TurnBody:
        """The body that takes `size` bytes more."""
        nonlocal left
        if not bodies or left < size:
            bodies.append(TurnBody(slow=slow))
            left = most_frames
        left -= size
        return bodies[-1]

    if bodies:
        left = most_frames - len(bodies[-1].frames) - len(bodies[-1].named) * _ITEM_BYTES
    for ticket, id_ in entry.cancels:
        body(_ITEM_BYTES).cancels.append((serial_of(ticket), id_))
    for gone in entry.departures:
        serial, conn = serial_of(gone.ticket), connections.seats.get(gone.ticket)
        if serial:
            body(_ITEM_BYTES).departures.append((serial, gone.cause))
        if not serial or (conn is not None and conn.reason is CloseReason.KICKED):
            # Thrown out: not connected here, or perhaps not any more when this is read.
            body(_ITEM_BYTES).kicks.append(gone.ticket)
    for serial in [*map(serial_of, entry.absences), *orphans]:
        body(_ITEM_BYTES).absences.append(serial)
    for ticket, id_ in entry.yields:
        body(_ITEM_BYTES).yields.append((serial_of(ticket), id_))
    for join in entry.joins:
        size = _JOIN_BYTES + 4 * (len(join.name) + len(join.address) + len(join.identity)) + len(join.secret)
        conn = connections.at(join.handle)
        if conn is not None:
            join.address = f"{join.address}@{server}"
            body(size).joins.append((conn.serial, join))
    body(0).judge = entry.judge
    return [one.pack() for one in bodies]
