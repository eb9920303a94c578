"""The sequencer of a server that shares its room: turns go into the log as entries, and come back in the log's order.

Its life: the log opens, what is in it is read, UP is written; with the own UP read back the server is up, and has
members. When the lease ends, it drops them all, and comes up again as another incarnation (`core.cluster.lease`).
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Container, Iterable, Iterator
from enum import Enum

from ...config import Config
from ...core.cluster.entries import Down, Entry, Kind, Up, pack_version
from ...core.cluster.fold import Fold, Reading, Ruling
from ...core.cluster.lease import TICK_S, Lease
from ...core.cluster.turns import TurnBody
from ...core.cluster.upgrade import Upgrade
from ...core.room.turn import Entry as CoreEntry
from ...core.room.turn import Outcome, Turn
from ...errors import LogBroken
from ...system.json_lines import tagged
from ..connections.registry import Connections
from .composing import compose, idle, separate
from .log import Failed, Log, Opened, Read
from .measures import Measures
from .places import Places
from .slow_readers import SlowReaders
from .snapshots import Snapshots
from .writer import Writer

__all__ = ["ClusterSequencer", "Stage"]

log = logging.getLogger("rankmux.server")

_WAIT_S = 0.5  # for GENESIS, before it is written again
_STALLED_S = 2.0  # a PING waits so long behind an entry that is under way, at most
_BYE_S = 2.0
_SPARE_BYTES = 4096  # of an entry beside the largest payload


class Stage(Enum):
    """Where the server is in its life in the room."""

    OPENING = "waiting for the log"
    READING = "reading the log"
    RISING = "coming up"
    UP = "up"
    LEAVING = "leaving"
    GONE = "gone"


class ClusterSequencer:
    """Orders the turns of one server by `log_`.

    `first_ticket` and `instance` are proposals, for a room that has not begun.
    """

    shared = True

    def __init__(
        self,
        config: Config,
        fold: Fold,
        log_: Log,
        connections: Connections,
        first_ticket: int,
        clock: Callable[[], float],
        random: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self._config = config
        self._fold = fold
        self._room = fold.room
        self._log = log_
        self._connections = connections
        self._first_ticket = first_ticket
        self._clock = clock
        self.stage = Stage.OPENING
        self._writer = Writer(fold, log_, random)
        self._window = self._writer.window
        self._places = Places(fold, connections)
        self._lease = Lease(config.cluster_fence_s, config.cluster_down_s)
        self._upgrade = Upgrade()
        self._idle = idle(fold.batch)
        self._stalled_s = min(_STALLED_S, config.ping_ms / 1000)  # before a client takes us for silent
        self._slow = SlowReaders(fold, connections)
        self._not_told: Container[int] = ()  # senders whom a turn of this incarnation tells nothing
        self._snapshots = Snapshots(fold, log_)
        self.measures = Measures(fold, log_, self._writer, self._snapshots)
        self._created = ""
        self._last = 0  # the log's last entry when it opened
        self._found = Opened("", 0, 0)  # the log as this server found it first, and when
        self._found_at = 0.0
        self._stored_ms = 0  # when the entry that is being read was stored, by the log's clock
        self._entry_max = 0
        self._leave_until = float("inf")
        self._up_seq = 0
        self._warned_of_name = False

    # What the turn asks.

    @property
    def instance(self) -> int:
        """The instance of the room, 0 before it has begun."""
        return self._fold.genesis.instance if self._fold.genesis is not None else 0

    @property
    def seq(self) -> int:
        """The last entry of the log that was read."""
        return self._fold.seq

    @property
    def is_up(self) -> bool:
        """Whether members can join here."""
        return self.stage is Stage.UP

    @property
    def takes_input(self) -> bool:
        """Whether members may be read from now: what they send can be written."""
        return self.stage is Stage.UP and not self._window.full

    @property
    def names(self) -> list[str]:
        """The names of the servers that are up, in order.

        One that was restarted in haste is up twice until the other servers have missed its earlier self.
        """
        return sorted({peer.name for peer in self._fold.up.values()})

    def server_of(self, ticket: int) -> str:
        """As of Sequencer."""
        holder = self._fold.holders.get(ticket)
        if holder is None or ticket in self._connections.seats:
            return ""
        return holder[0].name

    def has_kicked(self, ticket: int) -> bool:
        """As of Sequencer."""
        return ticket in self._fold.kicked

    def open(self, now: float) -> None:
        """Begin to read."""
        self._lease.begin(now)
        self._log.open(0, now)

    def begin(self, now: float) -> None:
        """A turn begins: nothing is delivered any more if the lease has ended."""
        if now >= self._lease.until and self.stage in (Stage.UP, Stage.LEAVING):
            fence_s = self._config.cluster_fence_s
            self._fence(
                now,
                f"nothing that it wrote within {fence_s:g} s was read back: look at NATS, and the way to it",
            )

    def patience(self, now: float) -> float:
        """The seconds after which there is something to write, or to send again."""
        window, written_at = self._window, self._writer.written_at
        until = min(window.next_at(), self._leave_until)
        if self.stage in (Stage.UP, Stage.LEAVING):
            until = min(until, self._lease.until)
        if self.takes_input:
            until = min(until, written_at + TICK_S)
            if window.empty:
                if self._room.has_news(self._not_told):
                    return 0.0
                if (due_ms := self._room.next_deadline_ms()) is not None:
                    until = min(until, now + max(0, due_ms - self._writer.clock_ms(now)) / 1000)
        elif self.stage is Stage.RISING and self._fold.genesis is None:
            until = min(until, written_at + _WAIT_S)
        stalled_at = window.since + self._stalled_s
        if stalled_at > now:
            until = min(until, stalled_at)
        return max(0.0, min(until - now, self._log.patience(now)))

    def order(self, turn: Turn, now: float) -> Iterable[Turn]:
        """Write the entry of `turn`, and give what the log has now, each turn before the next is made.

        Between two of them, `applied` must have been called.
        """
        if self.takes_input:
            self._write_turn(turn, now)
        turn.entry.batch.clear()
        if turn.is_asked() or now >= self._window.since + self._stalled_s:
            yield from self._answer(turn, now)
        events = self._log.poll(now)
        # The turn may have begun long ago, before what is read now was written: by its time, others would be ahead of
        # our clock, and would have been silent for longer than they were. Our lease may have ended meanwhile.
        read_at = self._clock()
        self.begin(read_at)
        for event in events:
            match event:
                case Read(seq, data, stored_ms):
                    self._stored_ms = stored_ms
                    yield from self._read(seq, data, read_at)
                case Opened():
                    self._opened(event, read_at)
                case Failed(text):
                    raise LogBroken(text)
        self._keep_up(now)

    def applied(self, outcome: Outcome) -> None:
        """The room has applied the last turn."""
        self._fold.applied(outcome)
        for place in outcome.joined:
            if place.returned:
                self._window.forget(place.ticket)

    def leave(self, now: float) -> bool:
        """All members are told and gone: say BYE; whether it has been read back, or waited for long enough."""
        if self.stage is Stage.UP:
            self.stage = Stage.LEAVING
            self._leave_until = now + _BYE_S
            self._writer.write(Kind.BYE, b"", now)
        if self.stage is not Stage.LEAVING or now >= self._leave_until:
            self.stage = Stage.GONE
        return self.stage is Stage.GONE

    def release(self, now: float, text: str) -> None:
        """All members of this server are told that it goes, and hold their seats no longer here."""
        self._places.release(now, text)

    def close(self) -> None:
        """Close the log."""
        self._log.close()

    # Writing.

    def _write_turn(self, turn: Turn, now: float) -> None:
        entry, places = turn.entry, self._places
        entry.clock_ms, entry.slow = self._writer.clock_ms(now), self._not_told
        if not (
            entry
            or self._slow.changed
            or places.orphans
            or now >= self._writer.written_at + TICK_S
            or (self._window.empty and self._room.is_due(entry))
        ):
            return
        name = self._config.server_name
        ranks = self._room.ranks
        for body in compose(turn, places.orphans, self._connections, ranks, self._entry_max, name):
            self._writer.write(Kind.TURN, body, now)
        self._slow.written()
        places.written(turn)

    def _answer(self, turn: Turn, now: float) -> Iterator[Turn]:
        """What only this server answers: now, or behind the entry that was written last."""
        last, stalled = self._window.last, now >= self._window.since + self._stalled_s
        if stalled:
            turn.pings = [*self._window.take_pings(), *turn.pings]
        if turn.is_asked():
            at_once, behind = separate(turn, self._idle, waits=last is not None, stalled=stalled)
            if behind is not None and last is not None:
                last.wait(behind)
            if at_once is not None:
                yield at_once

    def _keep_up(self, now: float) -> None:
        """What this server has to say by itself."""
        fold = self._fold
        if self.stage is Stage.READING and fold.seq >= self._last:
            self.stage = Stage.RISING
        if self.stage is Stage.RISING:
            self._rise(now)
        if self._window.full:
            self.measures.window_full += 1
        elif self.stage is Stage.UP:
            if self._slow.changed:  # so that senders at other servers wait, too
                self._write_turn(Turn(CoreEntry(0, self._fold.batch, judge=False)), now)
            for incarnation, again in self._lease.silent(fold.up, self._writer.incarnation, now):
                if not again:
                    self._tell_silent(fold.up[incarnation].name)
                self._writer.write(Kind.DOWN, Down(incarnation, fold.up[incarnation].n).pack(), now)
            if fold.version < fold.spoken or self._snapshots.due:
                self._lead_room(now)
        self._slow.forget_silent(now)
        if not self._window.empty:
            self._writer.send_again(now)

    def _rise(self, now: float) -> None:
        """Begin the room if it has not begun, and write UP once."""
        if self._fold.genesis is None:
            if now >= self._writer.written_at + _WAIT_S:
                self._writer.write_genesis(self._first_ticket, now)
        elif self._writer.incarnation in self._fold.dead:
            self._writer.begin_anew()
        elif not self._writer.n:
            self._writer.write(Kind.UP, Up(self._fold.spoken, self._config.server_name).pack(), now)
        elif self._window.empty:  # UP was stored, but long after it was written
            self._writer.write(Kind.TURN, TurnBody().pack(), now)

    def _lead_room(self, now: float) -> None:
        """What one server does for all: the one that has the smallest incarnation."""
        fold = self._fold
        version = self._upgrade.reached(fold.up, fold.version, now)
        if self._writer.incarnation != min(fold.up):
            return
        if version > fold.version and self._window.empty:
            self._writer.write(Kind.VERSION, pack_version(version), now)
        if self._snapshots.due:
            self._snapshots.store()

    # Reading.

    def _opened(self, opened: Opened, now: float) -> None:
        fold = self._fold
        if self._created and opened.created != self._created:
            raise LogBroken(
                f"the log of the room {self._config.room!r} was deleted and made anew while this server was up; "
                "restart the servers to begin a new room"
            )
        if opened.last < fold.seq:
            raise LogBroken(
                f"the log ends at entry {opened.last}, entry {fold.seq} was read: it was restored from an older copy. "
                "A server that is started on it issues tickets again that were issued since; begin a new room "
                f"(`rankmux-server room reset {self._config.room}`)"
            )
        if opened.latest and not fold.is_latest(opened.latest):
            raise LogBroken(
                f"entry {fold.seq} of the log is another one than was read: it was restored from an older copy, and "
                f"written on; begin a new room (`rankmux-server room reset {self._config.room}`)"
            )
        least = self._config.max_payload + _SPARE_BYTES
        if opened.entry_max < least:
            raise LogBroken(
                f"the log takes entries of up to {opened.entry_max} bytes, max_payload needs {least}: raise NATS's "
                "max_payload or lower the server's"
            )
        if not self._created:
            self._found, self._found_at = opened, now
        self._created, self._last, self._entry_max = opened.created, opened.last, opened.entry_max
        if opened.snapshot_seq > fold.seq:
            self._load(opened, now)
        if self.stage is Stage.OPENING or (self.stage is Stage.RISING and opened.last > fold.seq):
            self.stage = Stage.READING
        self._writer.send_all_again(now)

    def _load(self, opened: Opened, now: float) -> None:
        if self.stage is Stage.UP:
            self._fence(now, "the log has dropped entries that this server has not read")
        elif self._writer.n:
            self._writer.begin_anew()  # what became of our UP cannot be read any more
        self._snapshots.load(opened)
        self._writer.follow_clock(now)

    def _read(self, seq: int, data: bytes, now: float) -> Iterator[Turn]:
        reading = self._fold.read(seq, data)
        self.measures.read(reading.ruling)
        self._snapshots.read(len(data))
        incarnation = reading.entry.incarnation
        if reading.ruling is Ruling.TAKEN:
            self._lease.heard(incarnation, now)
        if reading.kicks:
            self._places.kick(reading.kicks, now)
        if incarnation == self._writer.incarnation:
            yield from self._read_own(reading, now)
        elif reading.turn is not None:
            if self._writer.incarnation not in self._fold.up and self.stage is Stage.UP:
                self._fence(now, "the other servers have taken this one for dead")
            yield self._places.watch(reading.turn)
        if reading.ruling is Ruling.TAKEN:
            if reading.entry.kind is Kind.VERSION:
                text, version = "the room speaks version %d from now on", self._fold.version
                log.info(text, version, extra=tagged("room_version", version=version))
            self._follow_clock(now)
            self._check_name(reading.entry)
            self._slow.read(reading, self._writer.incarnation, now)

    def _follow_clock(self, now: float) -> None:
        """The room's clock went on while nobody wrote: what this server found had been stored some time ago.

        The log's own servers may disagree about the time: no more is believed than how long a server may be silent.
        """
        if self._fold.seq <= self._found.last:  # it was stored before
            age_s = (self._found.at_ms - self._stored_ms) / 1000
            now = self._found_at - min(max(0.0, age_s), self._config.cluster_down_s)
        self._writer.follow_clock(now)

    def _read_own(self, reading: Reading, now: float) -> Iterator[Turn]:
        """An entry of ours. `reading.entry` counts for the lease from when it was first sent."""
        entry, turn = reading.entry, reading.turn
        if reading.ruling is Ruling.GAP:
            self._writer.send_again(now, gap=True)
        if entry.kind is Kind.UP and self._fold.version > self._fold.spoken:
            raise LogBroken(
                f"the servers of the room speak version {self._fold.version}, this one up to {self._fold.spoken}: "
                "upgrade it"
            )
        written = self._window.read_back(entry.n, now) if entry.n else None
        if written is not None:
            self._lease.counted(written.at)
            self.measures.took(now - written.at)
        local = written.local if written is not None else None
        if reading.ruling is Ruling.TAKEN and entry.kind is Kind.GENESIS:
            text = "the room %s is new, its log was empty: servers that are in it use another NATS, or another account"
            log.info(text, self._config.room, extra=tagged("room_begun", room=self._config.room))
        if self.stage is Stage.RISING and now < self._lease.until and entry.incarnation in self._fold.up:
            self._came_up()
        if entry.kind is Kind.BYE:
            self.stage = Stage.GONE
        if turn is None:
            if local is not None:
                yield Turn(self._idle, local.queries, local.pings)
            return
        self._places.connect(turn, reading, now)
        if local is not None:
            turn.queries, turn.pings = local.queries, local.pings
        yield self._places.watch(turn)
        self._places.go_on(reading)

    def _came_up(self) -> None:
        self.stage = Stage.UP
        self._up_seq = self._fold.seq
        self._upgrade.begin()
        self._not_told = self._fold.not_told(self._writer.incarnation, self._connections.outbox.over)
        names = self.names
        facts = tagged("up", servers=names)
        log.info("up in room %s; its servers: %s", self._config.room, ", ".join(names), extra=facts)

    def _tell_silent(self, name: str) -> None:
        earlier = sum(peer.name == name for peer in self._fold.up.values()) > 1
        who = f"an earlier run of server {name}" if earlier else f"server {name}"
        text = "%s has written nothing for %g s: taken for dead"
        log.warning(text, who, self._config.cluster_down_s, extra=tagged("down", server=name))

    def _check_name(self, entry: Entry) -> None:
        """Another server that goes on under our name, having read that we are up."""
        if (
            self._warned_of_name
            or self.stage is not Stage.UP
            or entry.incarnation == self._writer.incarnation
        ):
            return
        name, peer = self._config.server_name, self._fold.up.get(entry.incarnation)
        if peer is not None and peer.name == name and entry.seen >= self._up_seq:
            self._warned_of_name = True
            text = "two servers of the room are called %r: give each a server_name of its own"
            log.error(text, name, extra=tagged("same_name", server=name))

    def _fence(self, now: float, why: str) -> None:
        """Act for nobody any more, and come up again as another."""
        log.error("all members of this server are dropped: %s", why, extra=tagged("fenced", why=why))
        self.measures.fences += 1
        self.release(now, "this server has lost its place in the room: use another one")
        self._writer.begin_anew()
        self._lease.begin(now)
        self.stage = Stage.RISING if self.stage is Stage.UP else Stage.GONE
