"""The fold: which entries count, whose members they may speak of, and what becomes of the members of dead servers."""

from __future__ import annotations

from typing import Any

import pytest

from rankmux.codes import SERVER_FRAMES, Cause, CommandFlag, RefusedCode, Target
from rankmux.core.cluster.entries import Kind
from rankmux.core.cluster.fold import Ruling
from rankmux.core.cluster.snapshot import dump, load
from rankmux.core.cluster.turns import RANK_AT, TurnBody
from rankmux.errors import LogBroken
from rankmux.wire import Accepted, Command, Execute, Refused, decode

from ...support.scribe import RULES, Log, Scribe, a_fold, join


class Room:
    """Two servers that are up, `one` and `two`, and a fold that reads what they write."""

    def __init__(self) -> None:
        self.fold = a_fold()
        self.log = Log(self.fold)
        self.one, self.two = Scribe(self.fold, 101), Scribe(self.fold, 102)
        self.log.add(self.one.genesis())
        self.log.add(self.one.up())
        self.log.add(self.two.up())

    def joins(self, scribe: Scribe, *serials: int, secret: bytes = b"", keep_ms: int = 0) -> list[int]:
        """Members join there; returns their tickets."""
        before = set(self.tickets)
        joins = [(serial, join(f"m{serial}", secret, keep_ms)) for serial in serials]
        for at, (_, one) in enumerate(joins):
            one.handle = -2 - at
        self.log.add(scribe.turn(TurnBody(joins=joins)))
        return [ticket for ticket in self.tickets if ticket not in before]

    @property
    def tickets(self) -> list[int]:
        return list(self.fold.room.ranks.tickets)


@pytest.fixture
def room() -> Room:
    return Room()


def run(serial: int, *frames: Any) -> bytes:
    octets = b"".join(frame.encode() for frame in frames)
    return serial.to_bytes(8) + len(octets).to_bytes(4) + octets


def sent(outcome: Any, kind: str, ticket: int) -> list[Any]:
    data, found = bytes(getattr(outcome.deliveries, kind).get(ticket, b"")), []
    while data:
        end = 4 + int.from_bytes(data[:4])
        found.append(decode(data[4], data[5:end], SERVER_FRAMES))
        data = data[end:]
    return found


# Which entries count.


def test_a_room_begins_once(room: Room) -> None:
    reading, _ = room.log.add(room.two.genesis(first_ticket=500))
    assert reading.ruling is Ruling.VOID
    assert room.fold.genesis is not None
    assert room.joins(room.one, 1) == [1]


def test_the_beginning_of_another_room_says_nothing(room: Room) -> None:
    other = a_fold(RULES._replace(seats=9))
    reading, _ = room.log.add(Scribe(other, 999).genesis(other.rules))
    assert reading.ruling is Ruling.VOID
    assert room.fold.genesis is not None
    assert room.fold.genesis.rules == RULES


def test_nothing_counts_before_the_room_has_begun() -> None:
    fold = a_fold()
    log, scribe = Log(fold), Scribe(fold, 1)
    assert log.add(scribe.up())[0].ruling is Ruling.VOID
    assert log.add(scribe.turn())[0].ruling is Ruling.VOID
    assert fold.up == {}


def test_other_rules_are_refused_with_both_values() -> None:
    fold = a_fold()
    with pytest.raises(
        LogBroken, match=r"seats is 8, and 9 in the room; cluster_fence_s is 12, and 0\.001 in the room"
    ):
        Log(fold).add(Scribe(fold, 1).genesis(RULES._replace(seats=9, fence_ms=1)))


def test_each_number_counts_once_and_in_order(room: Room) -> None:
    entries = [room.one.turn(TurnBody(joins=[(serial, join("m"))])) for serial in (1, 2, 3)]
    assert room.log.add(entries[1])[0].ruling is Ruling.GAP
    assert room.tickets == []
    rulings = [room.log.add(entry)[0].ruling for entry in (*entries, *entries)]
    assert rulings == [Ruling.TAKEN] * 3 + [Ruling.DOUBLE] * 3
    assert room.tickets == [1, 2, 3]


def test_a_writer_that_is_not_up_says_nothing(room: Room) -> None:
    stranger = Scribe(room.fold, 999)
    stranger.n = 1
    assert room.log.add(stranger.turn(TurnBody(joins=[(1, join("m"))])))[0].ruling is Ruling.VOID
    assert room.tickets == []


def test_up_counts_once_and_never_again_for_the_dead(room: Room) -> None:
    assert room.log.add(room.two.up(n=1))[0].ruling is Ruling.DOUBLE
    assert room.log.add(room.one.down(102, 1))[0].ruling is Ruling.TAKEN
    assert room.log.add(room.two.up(n=1))[0].ruling is Ruling.VOID
    assert room.log.add(room.two.turn())[0].ruling is Ruling.VOID
    assert list(room.fold.up) == [101]
    assert room.log.add(Scribe(room.fold, 5).up(n=2))[0].ruling is Ruling.VOID


# Whose members an entry speaks of.


def test_a_server_speaks_of_its_own_members_alone(room: Room) -> None:
    (mine,) = room.joins(room.one, 7)
    (other,) = room.joins(room.two, 7)  # the same serial, and another member
    body = TurnBody(
        departures=[(7, Cause.LEFT), (8, Cause.LEFT)], frames=run(8, Command(1, Target.ALL, 0, 0, 0, b""))
    )
    _, outcome = room.log.add(room.two.turn(body))
    assert outcome is not None
    assert (outcome.commands, [gone.ticket for gone in outcome.departed]) == (0, [other])
    assert room.tickets == [mine]


def test_a_connection_that_lost_its_seat_to_another_says_nothing_more(room: Room) -> None:
    (boss,) = room.joins(room.one, 1, secret=b"s" * 32, keep_ms=1000)
    room.joins(room.two, 1)
    _, outcome = room.log.add(room.two.turn(TurnBody(joins=[(2, join("back", b"s" * 32, 1000))])))
    assert outcome is not None
    assert [(place.ticket, place.returned) for place in outcome.joined] == [(boss, True)]
    late = TurnBody(
        absences=[1], departures=[(1, Cause.LOST)], frames=run(1, Command(1, Target.ALL, 0, 0, 0, b""))
    )
    _, outcome = room.log.add(room.one.turn(late))
    assert outcome is not None
    assert (outcome.commands, outcome.absent, outcome.departed) == (0, [], [])
    _, outcome = room.log.add(room.two.turn(TurnBody(frames=run(2, Command(1, Target.ALL, 0, 0, 0, b"")))))
    assert outcome is not None
    assert outcome.commands == 1


def test_what_follows_a_yield_comes_from_the_new_place(room: Room) -> None:
    room.joins(room.one, 1)
    (junior,) = room.joins(room.two, 1)
    _, outcome = room.log.add(room.one.turn(TurnBody(yields=[(1, 5)])))
    assert outcome is not None
    ((_, place),) = outcome.yielded
    assert room.tickets == [junior, place.ticket]
    _, outcome = room.log.add(room.one.turn(TurnBody(frames=run(1, Command(1, Target.ALL, 0, 0, 0, b"")))))
    assert outcome is not None
    (refused,) = sent(outcome, "refused", place.ticket)
    assert refused.code == RefusedCode.NO_TARGET


def test_a_kick_reaches_any_servers_member(room: Room) -> None:
    (mine,) = room.joins(room.one, 1)
    (other,) = room.joins(room.two, 1)
    (kept,) = room.joins(room.two, 2, secret=b"k" * 32, keep_ms=5000)
    room.log.add(room.two.turn(TurnBody(absences=[2])))
    reading, outcome = room.log.add(room.one.turn(TurnBody(kicks=[other, kept, 4711])))
    assert outcome is not None
    assert [(gone.ticket, gone.cause) for gone in outcome.departed] == [(kept, Cause.EVICTED)]
    assert reading.kicks == (other,)  # its own server tells it, and then says that it went
    assert room.tickets == [mine, other]


def test_who_was_kicked_loses_the_seat_whatever_comes_before_its_server_says_so(room: Room) -> None:
    """It becomes absent, and by then it is no member; a connection that would return elsewhere gets no seat.

    Its server alone can say that it believes in no rank any more.
    """
    tickets = room.joins(room.two, 1, secret=b"k" * 32, keep_ms=5000)
    tickets += room.joins(room.two, 2, secret=b"l" * 32, keep_ms=5000)
    tickets += room.joins(room.two, 3, secret=b"m" * 32, keep_ms=5000)
    room.log.add(room.one.turn(TurnBody(kicks=[*tickets])))
    assert (room.tickets, room.fold.kicked) == (tickets, set(tickets))
    _, outcome = room.log.add(room.two.turn(TurnBody(absences=[1])))
    assert outcome is not None
    assert [(gone.ticket, gone.cause) for gone in outcome.departed] == [(tickets[0], Cause.EVICTED)]
    back = join("back", b"l" * 32, 5000)
    back.handle = -2
    reading, outcome = room.log.add(room.one.turn(TurnBody(joins=[(9, back)])))
    assert outcome is not None
    assert (outcome.departed, outcome.joined) == ([], [])
    assert (reading.joins, reading.barred) == ((), (9,))
    assert room.tickets == tickets[1:]
    # Its server says that it went, and has its newcomer in the same turn.
    reading, outcome = room.log.add(
        room.two.turn(TurnBody(departures=[(2, Cause.EVICTED)], joins=[(4, back)]))
    )
    assert outcome is not None
    assert [gone.ticket for gone in outcome.departed] == [tickets[1]]
    assert (reading.joins, reading.barred) == ((4,), ())
    (place,) = outcome.joined
    assert not place.returned
    room.log.add(room.two.turn(TurnBody(departures=[(3, Cause.LEFT)], kicks=[tickets[2]])))
    assert (room.tickets, room.fold.kicked) == ([place.ticket], set())


def named(rank: int, ticket: int) -> TurnBody:
    """Connection 1 sends a command to `rank`, which `ticket` had when its server read the command."""
    frames = run(1, Command(1, Target.ONE, rank, 0, 0, b"for you"))
    return TurnBody(frames=frames, named=[(12 + RANK_AT, ticket)])


def test_a_command_to_a_rank_goes_to_who_had_it_when_it_was_read(room: Room) -> None:
    (boss, first, second) = (*room.joins(room.one, 1), *room.joins(room.two, 1, 2))
    room.log.add(room.two.turn(TurnBody(departures=[(1, Cause.LEFT)])))
    assert room.tickets == [boss, second]
    _, outcome = room.log.add(room.one.turn(named(2, second)))
    assert outcome is not None
    (accepted,) = sent(outcome, "accepted", boss)
    assert (accepted.executors, list(outcome.deliveries.directed)) == (1, [1])
    _, outcome = room.log.add(room.one.turn(named(1, first)))  # it is gone: nobody else gets it
    assert outcome is not None
    (refused,) = sent(outcome, "refused", boss)
    assert (refused.code, outcome.deliveries.directed) == (RefusedCode.NO_SUCH_RANK, {})
    _, outcome = room.log.add(
        room.one.turn(named(1, 0))
    )  # nobody had that rank: nobody has it by now, either
    assert outcome is not None
    (refused,) = sent(outcome, "refused", boss)
    assert refused.code == RefusedCode.NO_SUCH_RANK


def test_only_its_own_server_tells_a_sender_of_ends(room: Room) -> None:
    (boss, worker) = (*room.joins(room.one, 1), *room.joins(room.two, 1))
    command = Command(1, Target.ALL, 0, CommandFlag.RESULTS, 0, b"")
    room.log.add(room.one.turn(TurnBody(frames=run(1, command))))
    _, outcome = room.log.add(room.two.turn(TurnBody(departures=[(1, Cause.LEFT)])))
    assert outcome is not None
    assert sent(outcome, "routed", boss) == []
    _, outcome = room.log.add(room.one.turn(TurnBody(slow=[1])))
    assert outcome is not None
    assert sent(outcome, "routed", boss) == []
    _, outcome = room.log.add(room.one.turn())
    assert outcome is not None
    assert [frame.ticket for frame in sent(outcome, "routed", boss)] == [worker]


# The end of a server.


def test_a_server_is_down_only_if_that_was_its_last_word(room: Room) -> None:
    room.joins(room.two, 1)
    assert room.log.add(room.one.down(102, 1))[0].ruling is Ruling.VOID
    assert room.log.add(room.one.down(102, 3))[0].ruling is Ruling.VOID
    assert room.log.add(room.one.down(103, 1))[0].ruling is Ruling.VOID
    assert room.log.add(room.one.down(101, room.one.n))[0].ruling is Ruling.VOID  # by itself
    assert len(room.tickets) == 1
    assert room.log.add(room.one.down(102, 2))[0].ruling is Ruling.TAKEN
    assert room.tickets == []
    assert room.fold.dead == {102}


@pytest.mark.parametrize(("how", "cause"), [("down", Cause.LOST), ("bye", Cause.EVICTED)])
def test_with_a_server_its_members_go_but_for_kept_seats(room: Room, how: str, cause: Cause) -> None:
    (plain,) = room.joins(room.two, 1)
    (kept,) = room.joins(room.two, 2, secret=b"k" * 32, keep_ms=5000)
    (mine,) = room.joins(room.one, 1)
    entry = room.one.down(102, room.two.n) if how == "down" else room.two.bye()
    _, outcome = room.log.add(entry)
    assert outcome is not None
    assert [(gone.ticket, gone.cause) for gone in outcome.departed] == [(plain, cause)]
    assert (outcome.absent, room.tickets) == ([kept], [kept, mine])
    assert room.fold.holders.keys() == {mine}
    _, outcome = room.log.add(room.one.turn(TurnBody(joins=[(2, join("back", b"k" * 32, 5000))])))
    assert outcome is not None
    assert [(place.ticket, place.rank) for place in outcome.joined] == [(kept, 0)]
    assert room.fold.up[101].tickets == {1: mine, 2: kept}


def test_a_keep_runs_by_the_clock_of_the_entries(room: Room) -> None:
    (kept,) = room.joins(room.two, 1, secret=b"k" * 32, keep_ms=5000)
    room.two.clock_ms = 1000
    room.log.add(room.two.bye())
    room.one.clock_ms = 6000
    room.log.add(room.one.turn(TurnBody(judge=True)))
    assert room.tickets == [kept]
    room.one.clock_ms = 6001
    room.log.add(room.one.turn(TurnBody(judge=True)))
    assert room.tickets == []


# A log that is not what it was.


def test_entries_that_are_missing_are_noticed(room: Room) -> None:
    with pytest.raises(
        LogBroken, match="entry 5 of the log came behind entry 3, those between them are lost: restore"
    ):
        room.fold.read(5, room.one.turn())


def test_the_log_of_another_room_is_none(room: Room) -> None:
    """Not even a copy of it, whole and right in itself."""
    other = a_fold(RULES._replace(room="other"))
    text = "this is the log of the room 'other', perhaps a copy of it, and not of 'main': restore"
    with pytest.raises(LogBroken, match=text):
        a_fold().read(1, Scribe(other, 101).genesis(RULES._replace(room="other")))
    Log(other).add(Scribe(other, 101).genesis(RULES._replace(room="other")))
    with pytest.raises(LogBroken, match=text):
        load(a_fold(), dump(other))


def test_the_entry_that_was_read_last_is_known_again(room: Room) -> None:
    latest, other = room.one.turn(), room.two.turn()
    room.fold.read(4, latest)
    assert room.fold.is_latest(latest)
    assert not room.fold.is_latest(other)
    room.fold.resume(room.fold.seq, room.fold.chain)
    assert room.fold.is_latest(other), "right behind a snapshot, what came before the entry is not known"
    room.fold.read(5, other)
    assert not room.fold.is_latest(latest)


def test_an_entry_written_behind_itself_is_noticed(room: Room) -> None:
    with pytest.raises(
        LogBroken, match="entry 4 of the log was written behind entry 4, so the log was rolled back: restore"
    ):
        room.fold.read(4, room.one.turn(seen=4))


def test_a_writer_that_read_another_log_is_noticed(room: Room) -> None:
    with pytest.raises(LogBroken, match="read another log up to entry 2 than this server"):
        room.fold.read(4, room.one.turn(seen=2))  # with the checksum of 3


def test_a_server_of_another_room_is_noticed(room: Room) -> None:
    other = a_fold()
    log, stranger = Log(other), Scribe(other, 999)
    log.add(stranger.genesis(first_ticket=500))
    up = stranger.up()
    log.add(up)
    for entry in (up, stranger.turn()):
        with pytest.raises(LogBroken, match="another log"):
            room.fold.read(4, entry)


def test_an_entry_of_a_newer_version_says_upgrade(room: Room) -> None:
    with pytest.raises(LogBroken, match="of version 2, this server speaks up to 1: upgrade it"):
        room.fold.read(4, room.one.turn(version=2))


@pytest.mark.parametrize("kind", [Kind.TURN, Kind.DOWN, Kind.VERSION])
def test_a_body_that_cannot_be_read_is_said_so(room: Room, kind: Kind) -> None:
    with pytest.raises(LogBroken, match=f"entry 4 of the log is no {kind.name}"):
        room.fold.read(4, room.one.entry(kind, b"\1\2\3"))


def test_frames_that_no_server_would_write_are_said_so(room: Room) -> None:
    room.joins(room.one, 1)
    with pytest.raises(LogBroken, match="is no TURN as written"):
        room.log.add(room.one.turn(TurnBody(frames=run(1, Accepted(1, 2, 3, 4, 5)))))


# Versions.


def test_the_version_rises_when_all_speak_it() -> None:
    fold = a_fold(spoken=3)
    log = Log(fold)
    one, two = Scribe(fold, 1), Scribe(fold, 2)
    log.add(one.genesis())
    log.add(one.up(spoken=3))
    log.add(two.up(spoken=2))
    assert log.add(one.version(3))[0].ruling is Ruling.VOID
    assert log.add(one.version(2))[0].ruling is Ruling.TAKEN
    assert fold.version == 2
    assert log.add(one.version(2))[0].ruling is Ruling.VOID
    assert log.add(Scribe(fold, 3).up(spoken=1))[0].ruling is Ruling.VOID
    log.add(two.bye())
    assert log.add(one.version(3))[0].ruling is Ruling.TAKEN


def test_execute_goes_to_members_of_all_servers(room: Room) -> None:
    room.joins(room.one, 1)
    room.joins(room.two, 1)
    _, outcome = room.log.add(room.one.turn(TurnBody(frames=run(1, Command(1, Target.ALL, 0, 0, 0, b"all")))))
    assert outcome is not None
    frame = bytes(outcome.deliveries.executes)
    assert decode(frame[4], frame[5:], SERVER_FRAMES) == Execute(3, 0, 0, 0, b"all")
    assert isinstance(sent(outcome, "accepted", 1)[0], Accepted)
    assert not isinstance(sent(outcome, "accepted", 1)[0], Refused)
