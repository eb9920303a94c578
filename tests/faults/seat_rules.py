"""The rules for seats that outlive their connections: tickets, debts, batons, kicks, and the end of keeps."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

from .logs import LEFT, LOST, SHUTDOWN, TAKEN_OVER, THROWN_OUT, YIELDED, Life, Logs, Stint

if TYPE_CHECKING:
    from .line_replay import Replay

EMPTY = 0  # the crc of an empty baton
OK, FAILED, REJECTED, EXPIRED, LEFT_STATUS = 0, 1, 2, 3, 4


class SeatRules:
    """`seats` has the stints of each ticket, in the order of their seqs."""

    def __init__(self, logs: Logs, seats: dict[int, list[Stint]], replay: Replay) -> None:
        self._logs, self._seats, self._replay = logs, seats, replay
        lives = logs.lives.values()
        self._never_seated = [life.hello for life in lives if life.hello is not None and not life.stints]

    def check(self) -> None:
        for ticket, stints in self._seats.items():
            self._check_seat(ticket, stints)
        self._check_secrets()
        for life in self._logs.lives.values():
            self._check_ends(life)
        self._check_batons()
        self._check_kicks()

    def _check_batons(self) -> None:
        """The member that got rank 0 got the last baton that was written before, if that was not empty."""
        batons, lives = self._logs.batons, self._logs.lives.values()
        doubtful = False  # a deletion whose answer nobody saw
        for life in lives:
            for number, crc in life.batons.items():
                if number in life.accepted:
                    seq = life.accepted[number][0]
                    stint = life.stint_at(seq)
                    entry = (stint.ticket if stint else 0, crc)
                    if batons.setdefault(seq, entry) != entry:
                        self._logs.violate(
                            f"{life.ident} wrote {entry} at {seq}, and others got {batons[seq]}"
                        )
                elif number not in life.refused:
                    doubtful = doubtful or crc == EMPTY
        seqs = sorted(batons)
        for life in lives:
            for stint in life.stints:
                if stint.ranks[-1]:
                    continue
                gained = stint.rank_seqs[-1]
                before = bisect_left(seqs, gained)
                due = seqs[before - 1] if before else 0
                due = 0 if due and batons[due][1] == EMPTY else due
                got = stint.batons.get(gained, 0)
                whole = life.exit or life.settled  # else its log may end right behind RANK
                # A connection that has the seat now gets the baton in the place of this one.
                cut = life.exit in ("our-reset", "reset") or not whole or life.thrown_out == TAKEN_OVER
                if got != due and not (got == 0 and (cut or doubtful)):
                    self._logs.violate(f"{stint} got rank 0 at {gained} and baton {got}, not {due}")

    def _check_kicks(self) -> None:
        """A member that the operator threw out has departed so, unless it went in that moment.

        In a shared room this moment lasts until the log has the order: seconds, during an election. Watchers may have
        no server to watch at in the moment of the departure.
        """
        lists = self._logs.snapshots
        left = lists[max(lists)] if lists else {}
        for ticket, status in self._logs.kicked.items():
            _, what = self._replay.departure(ticket)
            gone = self._logs.shared and (what in (LEFT, LOST, YIELDED) or (not what and ticket not in left))
            if status < 300 and what != THROWN_OUT and not gone:
                self._logs.violate(f"ticket {ticket} was kicked with {status}, and departed with {what}")
            # 404: it may have gone with a server that was stopped, which is told to nobody.
            if status == 404 and ticket in left:
                self._logs.violate(f"ticket {ticket} was not kicked ({status}), and has not departed")

    def _check_seat(self, ticket: int, stints: list[Stint]) -> None:
        """One stint behind the other, so that no command is executed twice; only the first is new."""
        for older, newer in pairwise(stints):
            if not newer.returned or newer.joined <= older.last:
                self._logs.violate(f"ticket {ticket} is that of {older}, to {older.last}, and of {newer}")
            if twice := set(older.got) & set(newer.got):
                self._logs.violate(f"ticket {ticket} executed {sorted(twice)[:5]} twice")

    def _check_secrets(self) -> None:
        """A HELLO that comes within the keep finds its seat, unless that was left or thrown out."""
        by_secret: dict[int, list[Stint]] = defaultdict(list)
        for life in self._logs.lives.values():
            if life.hello is not None and life.stints:
                by_secret[life.hello.secret].append(life.stints[0])
        for stints in by_secret.values():
            stints.sort(key=lambda stint: stint.joined)
            for older, newer in pairwise(stints):
                before = older.life.stints[-1].ticket  # it may have yielded
                if newer.returned:
                    known = {stint.ticket for stint in older.life.stints}
                    if newer.ticket not in known and older.life.exit and newer.ticket < before:
                        self._logs.violate(f"{newer} returned, and not to {before}")
                    continue
                self._check_lost(older.life, before, newer)

    def _check_lost(self, life: Life, ticket: int, newer: Stint) -> None:
        assert life.hello is not None
        lag_ms = self._logs.clock_lag_ms(life.ended_ms, newer.ms)
        in_time = newer.ms < life.ended_ms + life.hello.keep_ms - lag_ms
        if not in_time or life.exit not in ("our-reset", "eof", "reset"):
            return
        _, what = self._replay.departure(ticket)
        stopped = life.thrown_out == SHUTDOWN  # the stop itself is told to nobody
        if ticket in self._logs.kicked and (not what or self._logs.shared):
            return  # thrown out unseen, or before its server could say that it has lost its member
        if self._logs.shared and any(
            hello.secret == life.hello.secret and life.stints[0].ms < hello.ms < newer.ms
            for hello in self._never_seated
        ):
            return  # that connection may have had the seat, at another server, and lost it
        since = newer.ms - life.hello.keep_ms
        if any(begin <= life.ended_ms and since <= end for begin, end in self._logs.troubles(life)):
            return  # its member was gone for its server, or for the others, before it knew
        cut = life.exit == "our-reset" or stopped
        if life.said is None and cut and (what == LOST or (stopped and not what)):
            self._logs.violate(
                f"{newer} found no seat {newer.ms - life.ended_ms} ms after the end of {life.ident}, ticket {ticket}, "
                f"which has a keep of {life.hello.keep_ms} ms"
            )
        last = life.stints[-1].last
        if what not in (LEFT, LOST, THROWN_OUT, YIELDED) and self._replay.covers(last, newer.joined):
            self._logs.violate(f"{newer} found no seat, but ticket {ticket} did not depart")

    def _check_ends(self, life: Life) -> None:
        """How the executors of a member's commands ended, held against what they received and owed."""
        for number, ends in life.ended.items():
            sent = life.sent[number]
            accepted = life.accepted.get(number)
            for ticket, status in ends.items():
                stints = self._seats.get(ticket, [])
                if accepted is None or not stints:
                    continue
                self._check_end(life, number, accepted[0], sent.ms + sent.ttl_ms, stints, status)

    def _check_end(
        self, life: Life, number: int, seq: int, expires_ms: float, stints: list[Stint], status: int
    ) -> None:
        ticket = stints[0].ticket
        # A program that was started anew may have forgotten what its last connection had received.
        back = next(
            (
                stint
                for stint in stints
                if stint.joined > seq and stint.life.hello is not None and stint.life.hello.last_seq < seq
            ),
            None,
        )
        unreceived = back is not None
        # It may have returned in between, by a connection that was lost before its WELCOME.
        secrets = {stint.life.hello.secret for stint in stints if stint.life.hello is not None}
        lost = any(hello.secret in secrets and hello.last_seq < seq for hello in self._never_seated)
        got = any(seq in set(stint.got) for stint in stints)
        whole = all(stint.life.exit or stint.life.settled for stint in stints)  # no log ends too early
        if status in (OK, FAILED) and not got and whole:
            self._logs.violate(f"{life.ident}: command {number}: {ticket} answered {seq}, which it never got")
        if status == EXPIRED and unreceived and back is not None:
            expires_ms -= self._logs.clock_lag_ms(life.sent[number].ms, back.ms)
        if status == EXPIRED and unreceived and back is not None and back.ms < expires_ms:
            self._logs.violate(f"{life.ident}: command {number}: {ticket} returned without {seq}; it expired")
        departed, _ = self._replay.departure(ticket)
        there = any(stint.life.settled and stint is stint.life.stints[-1] for stint in stints)
        if status == LEFT_STATUS and not departed and not unreceived and not lost and there:
            self._logs.violate(f"{life.ident}: command {number}: {ticket} holds its seat, {seq} ended LEFT")
