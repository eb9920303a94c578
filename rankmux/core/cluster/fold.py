"""The fold: the entries of the log, in their order, become turns of the room. The same on every server.

`read` judges an entry and makes the turn that the room is to apply, `applied` learns from the outcome who is connected
where. Pure: no clock, no I/O, no randomness. An entry counts once, and only as long as its writer is up: entries are
numbered by their writer, and one whose number is not the next is ignored by everybody.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Container
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple
from zlib import crc32

from ...errors import LogBroken, SnapshotError
from ..room.batch import UNLIMITED, Batch
from ..room.encoding import runs
from ..room.ranks import has_seat
from ..room.room import Room
from ..room.turn import Departure, Entry, Outcome, Turn
from ..wire.codes import Cause
from . import entries
from .entries import Down, Genesis, Kind, Rules, Up
from .turns import TurnBody

__all__ = ["VERSION", "Fold", "Peer", "Reading", "Ruling"]

VERSION = 1
"""The newest version of entries that this code reads and writes."""

_CHAINS = 65_536  # checksums that are kept to compare what others have seen


class Ruling(Enum):
    """What becomes of an entry.

    DOUBLE  it has been read before
    GAP     one that its writer wrote before it has not been read
    VOID    its writer is not up, or what it says does not hold any more
    """

    TAKEN = "taken"
    DOUBLE = "double"
    GAP = "gap"
    VOID = "void"

    # Each is one object. Enum's own hash is Python code, and every entry is counted.
    __hash__ = object.__hash__


# To look up a member of an enumeration costs more than a global name.
_TURN, _TAKEN = Kind.TURN, Ruling.TAKEN


class Reading(NamedTuple):
    """An entry that was read; `turn` is to be applied to the room, if there is one."""

    entry: entries.Entry
    ruling: Ruling
    turn: Turn | None = None
    joins: tuple[int, ...] = ()
    """The serials of the connections that `turn.entry.joins` are for."""
    yields: tuple[int, ...] = ()
    """The serials of the connections that sent YIELD."""
    slow: frozenset[int] = frozenset()
    """Members of the writer that do not keep up."""
    kicks: tuple[int, ...] = ()
    """Members with a connection that are to go: told first by their server, which then says that they went."""
    barred: tuple[int, ...] = ()
    """The serials of the connections that would return to such seats."""


@dataclass(slots=True)
class Peer:
    """A server that is up: its name, the newest version that it speaks, the number of its last entry, its members.

    `tickets` are those of its members by the serials of their connections.
    """

    name: str
    spoken: int
    n: int = 1
    tickets: dict[int, int] = field(default_factory=dict)


class _NotTold:
    """The senders that are not told of LEFT and EXPIRED in a turn: those of other servers, and the slow ones."""

    __slots__ = ("_holders", "_peer", "_slow")

    def __init__(self, holders: dict[int, tuple[Peer, int]], peer: Peer | None, slow: Container[int]) -> None:
        self._holders = holders
        self._peer = peer
        self._slow = slow

    def __contains__(self, ticket: object) -> bool:
        holder = self._holders.get(ticket)  # type: ignore[call-overload]
        return holder is None or holder[0] is not self._peer or ticket in self._slow


class Fold:
    """The state that the log has made so far; `room` is the part that members see.

    `rules` are this server's own, which must be those of the room; `spoken` is the newest version that it speaks.

    `seq`      the sequence number of the last entry read, `chain` the checksum of all up to it
    `genesis`  how the room began, None before it has
    `version`  of the entries that are written
    `up`       the servers that are up, by incarnation; `dead` the incarnations that never will be again
    `batch`    the commands and results of the turn that was read last
    `holders`  the server and the serial of each member that has a connection, by ticket
    `kicked`   members with a connection that an operator has thrown out, and that have not gone yet
    """

    def __init__(self, room: Room, batch: Batch, rules: Rules, spoken: int = VERSION) -> None:
        self.room = room
        self.rules = rules
        self.spoken = spoken
        self.batch = batch
        self._chains = array("I", bytes(4 * _CHAINS))
        self.clear()

    def clear(self) -> None:
        """Forget all that was read. The room is to be loaded anew."""
        self.genesis: Genesis | None = None
        self.version = 1
        self.up: dict[int, Peer] = {}
        self.dead: set[int] = set()
        self.holders: dict[int, tuple[Peer, int]] = {}
        self.kicked: set[int] = set()
        # Of the turn that is being applied: the writer, and the serials by the handles of the joins.
        self._joining: tuple[Peer, dict[int, int]] | None = None
        self.seq = self.chain = 0
        self.resume(0, 0)

    def not_told(self, incarnation: int, slow: Container[int]) -> Container[int]:
        """The senders that a turn of that server tells nothing now; `slow` are some of its own."""
        return _NotTold(self.holders, self.up.get(incarnation), slow)

    # Reading.

    def read(self, seq: int, data: bytes) -> Reading:
        """Judge the entry `data`, which has the number `seq`. What it says of the room is in the turn, not done yet.

        Raises LogBroken when this cannot be the log that was read so far.
        """
        if seq != self.seq + 1:
            raise LogBroken(
                f"entry {seq} of the log came behind entry {self.seq}, those between them are lost: {entries.RESTORE}"
            )
        entry = entries.unpack(seq, data)
        self._compare(seq, entry)
        self.seq, self.chain = seq, crc32(data, self.chain)
        self._chains[seq % _CHAINS] = self.chain
        try:
            return self._judge(entry)
        except (struct.error, ValueError, SnapshotError) as error:
            raise LogBroken(
                f"entry {seq} of the log is no {entry.kind.name} as written ({error}): {entries.RESTORE}"
            ) from None

    def _compare(self, seq: int, entry: entries.Entry) -> None:
        """Whether the writer of `entry` has read the same log."""
        if entry.version > self.spoken:
            raise LogBroken(
                f"entry {seq} of the log is of version {entry.version}, this server speaks up to {self.spoken}: "
                "upgrade it"
            )
        if entry.seen >= seq:
            raise LogBroken(
                f"entry {seq} of the log was written behind entry {entry.seen}, so the log was rolled back: "
                f"{entries.RESTORE}"
            )
        known = entry.seen >= self._chained_from and seq - entry.seen < _CHAINS
        if known and self._chains[entry.seen % _CHAINS] != entry.chain:
            raise LogBroken(
                f"the writer of entry {seq} read another log up to entry {entry.seen} than this server: the log was "
                f"forked, restored or replaced, or a server of another room wrote that; {entries.RESTORE}"
            )

    def is_latest(self, data: bytes) -> bool:
        """Whether `data` may be the entry that was read last: right behind a snapshot, that is not known."""
        before = self.seq - 1
        return before < self._chained_from or crc32(data, self._chains[before % _CHAINS]) == self.chain

    def _judge(self, entry: entries.Entry) -> Reading:
        kind = entry.kind
        if kind is not _TURN:  # nearly all are
            match kind:
                case Kind.GENESIS:
                    return Reading(entry, self._begin(Genesis.unpack(entry.body), entry.clock_ms))
                case Kind.UP:
                    return Reading(entry, self._come(entry, Up.unpack(entry.body)))
        peer = self.up.get(entry.incarnation)
        if peer is None:
            return Reading(entry, Ruling.VOID)
        if entry.n != peer.n + 1:
            return Reading(entry, Ruling.DOUBLE if entry.n <= peer.n else Ruling.GAP)
        peer.n = entry.n
        if kind is _TURN:
            return self._turn(entry, peer)
        match kind:
            case Kind.DOWN:
                down = Down.unpack(entry.body)
                gone = self.up.get(down.incarnation)
                if gone is None or gone is peer or gone.n != down.n:
                    return Reading(entry, Ruling.VOID)
                return Reading(entry, Ruling.TAKEN, self._end(entry, down.incarnation, Cause.LOST))
            case Kind.BYE:
                return Reading(entry, Ruling.TAKEN, self._end(entry, entry.incarnation, Cause.EVICTED))
            case Kind.VERSION:
                return Reading(entry, self._raise(entries.unpack_version(entry.body)))
        raise ValueError(f"the kind {entry.kind}")

    def _begin(self, genesis: Genesis, clock_ms: int) -> Ruling:
        if self.genesis is not None:
            return Ruling.VOID
        self.check(genesis.rules)
        self.genesis = genesis
        self.room.begin(genesis.first_ticket, clock_ms)
        return Ruling.TAKEN

    def check(self, rules: Rules) -> None:
        """Raises LogBroken, with all that differs, when the room has other rules than this server."""
        if rules.room != self.rules.room:
            raise LogBroken(
                f"this is the log of the room {rules.room!r}, perhaps a copy of it, and not of {self.rules.room!r}: "
                f"{entries.RESTORE}"
            )
        if different := self.rules.differences(rules):
            raise LogBroken(
                f"this server cannot join its room: {'; '.join(different)}. All servers of a room need the same "
                "settings"
            )

    def _come(self, entry: entries.Entry, up: Up) -> Ruling:
        if entry.incarnation in self.up:
            return Ruling.DOUBLE
        if self.genesis is None or entry.incarnation in self.dead or entry.n != 1 or up.spoken < self.version:
            return Ruling.VOID
        self.up[entry.incarnation] = Peer(up.name, up.spoken)
        return Ruling.TAKEN

    def _raise(self, version: int) -> Ruling:
        if version <= self.version or any(peer.spoken < version for peer in self.up.values()):
            return Ruling.VOID
        self.version = version
        return Ruling.TAKEN

    def _turn(self, entry: entries.Entry, peer: Peer) -> Reading:
        """What `peer` says of its members. What it says of connections that hold no seat any more is left out."""
        body, tickets = TurnBody.unpack(entry.body), peer.tickets
        slow = frozenset([tickets[s] for s in body.slow if s in tickets] if body.slow else ())
        if body.frames:
            self._enter_frames(body, tickets)
        not_told = _NotTold(self.holders, peer, slow)
        if body.is_plain:
            turn = Turn(Entry(entry.clock_ms, self.batch, judge=body.judge, slow=not_told))
            return Reading(entry, _TAKEN, turn, slow=slow)
        kept, told = self.room.line.kept, []
        going = {tickets[s]: Cause(cause) for s, cause in body.departures if s in tickets}
        for ticket in body.kicks:
            if ticket not in self.holders:
                going.setdefault(ticket, Cause.EVICTED)
            elif ticket not in going:
                self.kicked.add(ticket)
                told.append(ticket)
        absent, joins, barred = [tickets[s] for s in body.absences if s in tickets], body.joins, []
        if self.kicked:  # they do not become absent, and nobody returns to their seats
            going |= dict.fromkeys(sorted(self.kicked.intersection(absent)), Cause.EVICTED)
            # Only their server can say that they believe in no rank any more.
            wanted = self.kicked.difference(going)
            barred = [serial for serial, join in joins if kept.ticket_of(join.secret) in wanted]
            joins = [(serial, join) for serial, join in joins if serial not in barred]
        turn = Turn(
            Entry(
                entry.clock_ms,
                self.batch,
                [Departure(ticket, cause) for ticket, cause in going.items()],
                [join for _, join in joins],
                [(tickets[s], id_) for s, id_ in body.cancels if s in tickets],
                [ticket for ticket in absent if ticket not in going],
                [(tickets[s], id_) for s, id_ in body.yields if s in tickets],
                body.judge,
                not_told,
            )
        )
        self._joining = peer, {join.handle: serial for serial, join in joins}
        return Reading(
            entry,
            Ruling.TAKEN,
            turn,
            tuple(serial for serial, _ in joins),
            tuple(serial for serial, _ in body.yields),
            slow,
            tuple(told),
            tuple(barred),
        )

    def _enter_frames(self, body: TurnBody, tickets: dict[int, int]) -> None:
        """Commands and results go into the batch, the ranks that commands name as they are now."""
        ranks, frames = self.room.ranks, body.frames
        if body.named:
            laid = bytearray(frames)
            for offset, ticket in body.named:
                if has_seat(ranks.tickets, ticket):
                    rank = ranks.rank_of(ticket)
                else:  # whoever was meant is gone: not whoever has that rank now
                    rank = max(len(ranks), int.from_bytes(laid[offset : offset + 4]))
                laid[offset : offset + 4] = rank.to_bytes(4)
            frames = bytes(laid)
        self.batch.allow(UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED, len(ranks.tickets))
        for serial, run in runs(frames):
            if (ticket := tickets.get(serial, 0)) != 0:
                taken, events = self.batch.feed(ticket, run)
                if events or taken != len(run):
                    raise SnapshotError("it holds something else than whole commands and results")

    def _end(self, entry: entries.Entry, incarnation: int, cause: Cause) -> Turn:
        """That server is gone for good: its members depart, or are absent if their seats are kept."""
        tickets = self.up.pop(incarnation).tickets.values()
        self.dead.add(incarnation)
        kept = self.room.line.kept
        stay = dict.fromkeys(ticket for ticket in tickets if ticket in kept and ticket not in self.kicked)
        return Turn(
            Entry(
                entry.clock_ms,
                self.batch,
                departures=[Departure(ticket, cause) for ticket in tickets if ticket not in stay],
                absences=list(stay),
                judge=False,
                slow=_NotTold(self.holders, None, ()),
            )
        )

    def applied(self, outcome: Outcome) -> None:
        """The room has applied the turn that was read last: remember who is connected where."""
        for ticket, place in outcome.yielded:
            if (holder := self._release(ticket)) is not None:
                self.hold(place.ticket, *holder)
            self.kicked.discard(ticket)
        for gone in outcome.departed:
            self._release(gone.ticket)
            self.kicked.discard(gone.ticket)
        for ticket in outcome.absent:
            self._release(ticket)
        if self._joining is not None:
            peer, serials = self._joining
            for place in outcome.joined:
                self._release(place.ticket)
                self.hold(place.ticket, peer, serials[place.handle])
            self._joining = None

    def connect(self, handle: int, fd: int) -> None:
        """The join of the turn that was read last with that handle has got another: a connection of this server."""
        if self._joining is not None:
            serials = self._joining[1]
            serials[fd] = serials.pop(handle)

    def resume(self, seq: int, chain: int) -> None:
        """Reading goes on behind the entry `seq`, up to which the checksum is `chain`."""
        self.seq = self._chained_from = seq
        self.chain = self._chains[seq % _CHAINS] = chain

    def hold(self, ticket: int, peer: Peer, serial: int) -> None:
        self.holders[ticket] = peer, serial
        peer.tickets[serial] = ticket

    def _release(self, ticket: int) -> tuple[Peer, int] | None:
        holder = self.holders.pop(ticket, None)
        if holder is not None:
            holder[0].tickets.pop(holder[1], None)
        return holder
