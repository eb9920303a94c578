"""The server's log of joins, departures and absences with their reasons, returns, yields, rankings and commands.

The moves of a turn are written in the order of their seqs.
Lines of one kind are limited per second; the rest are counted, and the count is logged. Data from peers is escaped and
cut; payloads of commands are shown only if that was asked for. With INFO disabled, all of it costs one comparison.
"""

from __future__ import annotations

import logging
from operator import attrgetter

from ..core.room.ranks import Ranks, has_seat
from ..core.room.turn import Departed, Joined
from ..core.wire.codes import Cause, RefusedCode, Target
from ..system.json_lines import tagged
from ..system.printable import escaped
from .connections.closes import Close, CloseReason

__all__ = ["EventLog", "excerpt"]

_RANKING_MAX = 20
_WITHOUT_CONNECTION = {Cause.LOST: "its keep ran out", Cause.EVICTED: CloseReason.KICKED.value}
"""Why an absent member departs, by the cause that others are told."""
_EXCERPT_BYTES = 128

log = logging.getLogger("rankmux.server")


def excerpt(data: bytes | str, limit: int = _EXCERPT_BYTES) -> str:
    """`data` as one printable line of at most `limit` characters, safe to log whatever a peer sent."""
    raw = data if isinstance(data, bytes) else data.encode("utf-8", "backslashreplace")
    text = raw[:limit].decode("utf-8", "backslashreplace")
    shown = escaped(text)
    return shown if len(raw) <= limit and len(shown) <= limit else shown[:limit] + "…"


class EventLog:
    """Writes at most `lines_per_s` lines of each kind, by the time of the last `tick`.

    `listens`: whether INFO is enabled, as of the last `tick`
    """

    def __init__(self, ranks: Ranks, lines_per_s: int, excerpt_bytes: int = 0) -> None:
        self._ranks = ranks
        self.limit(lines_per_s, excerpt_bytes)
        self._second = 0.0
        self._used: dict[str, int] = {}
        self.listens = log.isEnabledFor(logging.INFO)

    def limit(self, lines_per_s: int, excerpt_bytes: int) -> None:
        """Set the limits, which may change while the server runs."""
        self._lines_per_s = lines_per_s
        self._excerpt_bytes = excerpt_bytes

    def tick(self, now: float) -> None:
        """Begin a turn."""
        self.listens = log.isEnabledFor(logging.INFO)
        if now - self._second >= 1.0:
            self._second = now
            for kind, used in self._used.items():
                if used > self._lines_per_s:
                    more = used - self._lines_per_s
                    facts = tagged("suppressed", kind=kind, count=more)
                    log.info("%s: %d more in the last second", kind, more, extra=facts)
            self._used.clear()

    def left(self, kind: str) -> bool:
        """Whether a line of `kind` may still be written in this second."""
        return self._used.get(kind, 0) < self._lines_per_s

    def skip(self, kind: str, count: int) -> None:
        """Count `count` lines of `kind` that were suppressed before they were built."""
        self._used[kind] = self._used.get(kind, 0) + count

    def placed(self, joined: list[Joined], yielded: list[tuple[int, Joined]], taken: dict[int, str]) -> None:
        """Log the members that returned, yielded and joined, with their ranks, in the order of their seqs.

        `yielded` has the ticket before. `taken`: the address of the connection that a returned one took its seat from,
        by its handle.
        """
        before = {place.ticket: ticket for ticket, place in yielded}
        places = [*joined, *(place for _, place in yielded)]
        for one in sorted(places, key=attrgetter("seq")):
            if one.ticket in before:
                event = "yielded"
            elif one.returned:
                event = "taken_over" if one.handle in taken else "returned"
            else:
                event = "joined"
            if self._may(event):
                self._placed(event, one, before.get(one.ticket, 0), taken.get(one.handle, ""))

    def _placed(self, event: str, one: Joined, ticket_before: int, address_before: str) -> None:
        name, rank, ticket, seq = excerpt(one.name), one.rank, one.ticket, one.seq
        address = self._ranks.addresses[rank] if rank < len(self._ranks) else ""
        place = f"{_who(one.name)} has rank {rank}, ticket {ticket}"
        if event == "yielded":
            facts = tagged(
                "yielded",
                name=name,
                rank=rank,
                ticket=ticket,
                seq=seq,
                address=address,
                ticket_before=ticket_before,
            )
            text = f"yielded: {place}; its ticket was {ticket_before}"
        elif event == "taken_over":
            facts = tagged(
                "taken_over",
                name=name,
                rank=rank,
                ticket=ticket,
                seq=seq,
                address=address,
                address_before=address_before,
            )
            text = f"taken over: {place}; its connection from {address_before} is closed"
        elif event == "returned":
            facts = tagged("returned", name=name, rank=rank, ticket=ticket, seq=seq, address=address)
            text = f"returned: {place}"
        else:
            facts = tagged("joined", name=name, rank=rank, ticket=ticket, seq=seq, address=address)
            text = f"joined: {place}"
        log.info("%s", text, extra=facts)

    def absent(self, tickets: list[int], why: dict[int, str]) -> None:
        """Log the members whose seats have no connection any more, and why (by ticket)."""
        ranks = self._ranks
        for ticket in tickets:
            if has_seat(ranks.tickets, ticket) and self._may("absent"):
                rank, reason = ranks.rank_of(ticket), why.get(ticket, "unknown")
                name = ranks.names[rank]
                facts = tagged("absent", name=excerpt(name), rank=rank, ticket=ticket, reason=reason)
                log.info("absent: %s keeps rank %d: %s", _who(name), rank, reason, extra=facts)

    def departed(self, departed: list[Departed], reasons: dict[int, str]) -> None:
        """Log the members that left or were thrown out, with their reasons (by ticket), in the order of their ranks."""
        for one in departed:
            if one.cause == Cause.YIELDED:
                continue  # `placed` has both halves
            why = reasons.get(one.ticket) or _WITHOUT_CONNECTION.get(one.cause, "unknown")
            kicked = why.startswith(CloseReason.KICKED.value)
            if not self._may("kicked" if kicked else "left"):
                continue
            name, rank, ticket = excerpt(one.name), one.rank, one.ticket
            if kicked:
                facts = tagged("kicked", name=name, rank=rank, ticket=ticket)
                text = f"kicked: an operator has thrown out {_who(one.name)}, rank {rank}, ticket {ticket}"
            else:
                facts = tagged("left", name=name, rank=rank, ticket=ticket, reason=why)
                text = f"left: {_who(one.name)} had rank {rank}: {why}"
            log.info("%s", text, extra=facts)

    def ranking(self) -> None:
        """Log the ranking."""
        if self._may("ranking"):
            log.info("ranking: %s", self._ranking(), extra=tagged("ranking", members=len(self._ranks)))

    def command(
        self, rank: int, target: int, arg: int, seq: int, executors: int, rejected: int, payload: bytes
    ) -> None:
        """Log a command with the number of its executors and of the members it was rejected for."""
        if self._may("command"):
            to = _to(target, arg)
            name = _who(self._ranks.names[rank])
            shown = excerpt(payload, self._excerpt_bytes) if self._excerpt_bytes else ""
            log.info(
                "command %d: rank %d %s to %s: %s: %d executor%s, %d rejected",
                seq,
                rank,
                name,
                to,
                f'"{shown}"' if self._excerpt_bytes else _bytes(len(payload)),
                executors,
                "" if executors == 1 else "s",
                rejected,
                extra=tagged(
                    "command",
                    seq=seq,
                    rank=rank,
                    ticket=self._ranks.tickets[rank],
                    name=excerpt(self._ranks.names[rank]),
                    target=Target(target).name.lower(),
                    arg=arg,
                    bytes=len(payload),
                    payload=shown,
                    executors=executors,
                    rejected=rejected,
                ),
            )

    def refused(self, refused: list[tuple[int, int]]) -> None:
        """Log refused commands as (ticket, code), with the senders' names as far as they are still here."""
        ranks = self._ranks
        for ticket, code in refused:
            if self._may("refused"):
                here = has_seat(ranks.tickets, ticket)
                name, why = ranks.names[ranks.rank_of(ticket)] if here else "", RefusedCode(code).name
                sender = f"{_who(name)}, ticket {ticket}" if here else f"ticket {ticket}, which has left"
                facts = tagged("refused", name=excerpt(name), ticket=ticket, code=why.lower())
                log.info("refused: a command of %s: %s", sender, why, extra=facts)

    def closed(self, close: Close) -> None:
        """Log the end of a connection that was not a member."""
        if not close.ticket and self.listens and self._may("closed"):
            reason, detail = close.reason.value, close.detail
            facts = tagged("closed", address=close.address, reason=reason, detail=excerpt(detail))
            if close.reason.code is None or not detail:
                log.info("closed %s: %s%s", close.address, reason, _in_brackets(detail), extra=facts)
            else:
                log.info("rejected %s: %s (%s)", close.address, excerpt(detail), reason, extra=facts)

    def _may(self, kind: str) -> bool:
        used = self._used[kind] = self._used.get(kind, 0) + 1
        return used <= self._lines_per_s

    def _ranking(self) -> str:
        members = len(self._ranks)
        if members > _RANKING_MAX:
            return f"{members} members"
        return (
            ", ".join(f"{rank} {_who(name)}" for rank, name in enumerate(self._ranks.names)) or "no members"
        )


def _to(target: int, arg: int) -> str:
    if target == Target.ONE:
        return f"rank {arg}"
    return f"{arg} named" if target == Target.SET else Target(target).name.lower()


def _bytes(size: int) -> str:
    return "1 byte" if size == 1 else f"{size} bytes"


def _who(name: str) -> str:
    return excerpt(name) or "(no name)"


def _in_brackets(detail: str) -> str:
    return f" ({excerpt(detail)})" if detail else ""
