"""Servers that share a room over a log in memory: with all that a member sees, and what becomes of it in bad times."""

from __future__ import annotations

import socket
from hashlib import sha256
from typing import Any

import pytest

from rankmux.codes import Cause, CommandFlag, ErrorCode, RefusedCode, Status, Target
from rankmux.config import Config
from rankmux.core.cluster.entries import Down, Entry, Kind, unpack
from rankmux.core.cluster.fold import Fold
from rankmux.core.cluster.turns import TurnBody
from rankmux.core.cluster.upgrade import SETTLED_S, Upgrade
from rankmux.core.wire.frames import Keep
from rankmux.errors import LogBroken
from rankmux.server import server as module
from rankmux.server.cluster import snapshots
from rankmux.server.cluster.log import Opened
from rankmux.server.cluster.sequencer import ClusterSequencer, Stage
from rankmux.server.intake import reading
from rankmux.wire import (
    Accepted,
    Command,
    Done,
    ErrorFrame,
    Execute,
    Leave,
    Members,
    Ping,
    Pong,
    Rank,
    Refused,
    Result,
    Routed,
    Welcome,
    Who,
    Yield,
    Yielded,
)

from ...support.memory_log import Client, Cluster, cluster

SECRET = b"a secret of some length"
KEEP = Keep(30_000, 0, SECRET)
TO_ALL = Command(1, Target.ALL, 0, 0, 0, b"to all")


def sequencer(made: Cluster, at: int) -> ClusterSequencer:
    found = made.servers[at]._sequencer
    assert isinstance(found, ClusterSequencer)
    return found


def entries(made: Cluster) -> list[Entry]:
    """What the log holds."""
    return [unpack(seq, data) for seq, data in enumerate(made.store.entries, 1)]


class Newer(Fold):
    """That of a server that speaks the next version."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given, spoken=2)


def kinds(client: Client) -> list[str]:
    return [type(frame).__name__ for frame in client.news()]


# One room.


def test_members_of_two_servers_are_in_one_line() -> None:
    with cluster(2) as made:
        a, first = made.joined(0, "a")
        _, second = made.joined(1, "b")
        _, third = made.joined(0, "c")
        assert [(w.ticket, w.rank, w.members) for w in (first, second, third)] == [
            (1, 0, 1),
            (2, 1, 2),
            (3, 2, 3),
        ]
        assert first.instance == second.instance != 0
        a.send(Who(1, 0, 10))
        made.turn()
        (listed,) = a.news()
        assert isinstance(listed, Members)
        places = {member.name: member.address.partition("@")[2] for member in listed.members}
        assert places == {"a": "s1", "b": "s2", "c": "s1"}
        made.agree()


def test_a_command_and_its_results_cross_servers() -> None:
    with cluster(3) as made:
        a, b, c = made.join(0, "a"), made.join(1, "b"), made.join(2, "c")
        for client in (a, b, c):
            client.news()
        a.send(Command(7, Target.ALL, 0, CommandFlag.RESULTS, 0, b"run"), Who(8, 0, 1))
        made.turn()
        accepted, listed = a.news()
        assert isinstance(accepted, Accepted)
        assert isinstance(listed, Members)
        assert accepted.executors == 2
        for client in (b, c):
            (execute,) = client.news()
            assert isinstance(execute, Execute)
            assert (execute.seq, execute.payload) == (accepted.seq, b"run")
            client.send(Result(execute.seq, Status.OK, b"done"))
        made.turn()
        assert [type(frame) for frame in a.news()] == [Routed, Routed, Done]
        made.agree()


def test_ranks_move_up_on_all_servers() -> None:
    with cluster(2) as made:
        a, b, c = made.join(0, "a"), made.join(1, "b"), made.join(0, "c")
        for client in (a, b, c):
            client.news()
        a.send(TO_ALL, Leave())
        made.turn()
        assert kinds(a) == ["Accepted"]
        assert a.ended
        for rank, client in enumerate((b, c)):
            execute, moved = client.news()
            assert isinstance(execute, Execute)
            assert isinstance(moved, Rank)
            assert (moved.rank, moved.cause) == (rank, Cause.LEFT)
        made.agree()


def test_a_full_room_is_full_everywhere() -> None:
    with cluster(2, seats=1) as made:
        made.join(0, "a")
        b = made.join(1, "b")
        (error,) = b.news()
        assert isinstance(error, ErrorFrame)
        assert error.code == ErrorCode.FULL


def test_what_follows_a_yield_waits_for_the_new_place() -> None:
    with cluster(2) as made:
        a, b = made.join(0, "a"), made.join(1, "b")
        a.news(), b.news()
        a.send(Yield(5), TO_ALL)
        made.turn()
        yielded, refused = a.news()
        assert isinstance(yielded, Yielded)
        assert yielded.rank == 1
        assert isinstance(refused, Refused)
        assert refused.code == RefusedCode.NO_TARGET
        (moved,) = b.news()
        assert isinstance(moved, Rank)
        assert moved.rank == 0
        b.send(TO_ALL)
        made.turn()
        assert kinds(a) == ["Execute"]


def test_a_seat_is_returned_to_at_another_server() -> None:
    with cluster(2) as made:
        a, first = made.joined(0, "a", KEEP)
        b = made.join(1, "b")
        b.news()
        a.sock.close()
        made.turn()
        assert b.news() == []
        _, back = made.joined(1, "a again", KEEP)
        assert (back.ticket, back.rank, back.returned) == (first.ticket, 0, True)
        assert b.news() == []
        made.agree()


def test_the_log_holds_no_secret_but_its_hash() -> None:
    with cluster(2) as made:
        made.joined(0, "a", KEEP)
        made.joined(1, "a elsewhere", KEEP)
        log = b"".join(made.store.entries)
        assert SECRET not in log
        assert log.count(sha256(SECRET).digest()) == 2


def test_a_takeover_from_another_server_ends_the_first_connection() -> None:
    with cluster(2) as made:
        a, first = made.joined(0, "a", KEEP)
        b = made.join(1, "b")
        _, back = made.joined(1, "a elsewhere", KEEP)
        assert (back.ticket, back.returned) == (first.ticket, True)
        (error,) = a.news()
        assert isinstance(error, ErrorFrame)
        assert error.code == ErrorCode.TAKEN_OVER
        made.turn()
        a.news()
        assert a.ended
        b.news()
        assert made.servers[0].room.ranks.handles[0] < 0
        made.agree()


def test_a_member_elsewhere_is_thrown_out() -> None:
    with cluster(2) as made:
        made.join(0, "a")
        b, place = made.joined(1, "b")
        assert made.servers[0].kick(place.ticket)
        made.turn()
        (error,) = b.news()
        assert isinstance(error, ErrorFrame)
        assert error.code == ErrorCode.KICKED
        assert not made.servers[0].kick(place.ticket)
        made.agree()


def test_a_silent_leader_hears_that_it_is_gone_before_anybody_leads_in_its_place() -> None:
    with cluster(2) as made:
        a, _ = made.joined(0, "a")
        b, _ = made.joined(1, "b")
        while not a.ended:
            made.now += 0.25
            made.servers[0].step(0.0)
            made.servers[1].step(0.0)
            assert all(isinstance(frame, Ping) for frame in b.news())
            b.send(Pong(b""))
            assert all(isinstance(frame, Ping) for frame in a.news())
        made.turn()
        (rank,) = [frame for frame in b.news() if not isinstance(frame, Ping)]
        assert isinstance(rank, Rank)
        assert rank.rank == 0
        made.agree()


def test_an_order_to_throw_out_is_certain_once_the_log_has_it() -> None:
    """Not before: the server that took it may lose its place, and the order with it."""
    with cluster(2) as made:
        _, place = made.joined(1, "b", KEEP)
        server = made.servers[0]
        made.logs[0].stalled = True
        assert server.kick(place.ticket)
        made.turn()
        assert not server.is_out(place.ticket)
        made.logs[0].go_on()
        made.logs[1].cut = True  # the member's own server has not heard of it
        made.turn()
        assert server.is_out(place.ticket)
        assert len(server.room) == 1
        made.logs[1].cut = False
        made.turn()
        assert len(server.room) == 0
        assert server.is_out(place.ticket)


def test_nobody_returns_to_the_seat_of_a_member_that_is_being_thrown_out() -> None:
    """The leader has not heard that it is thrown out: nobody leads in its place, not even by its own second try."""
    with cluster(2) as made:
        a, first = made.joined(0, "a", KEEP)
        b, _ = made.joined(1, "b")
        made.logs[0].cut = True
        assert made.servers[1].kick(first.ticket)
        made.turn()
        again = Client(made.servers[1], "a elsewhere", KEEP)
        made.turn()
        (error,) = again.news()
        assert isinstance(error, ErrorFrame)
        assert error.code == ErrorCode.KICKED
        assert (a.news(), b.news()) == ([], [])
        made.logs[0].cut = False
        made.turn()
        made.turn()
        (error,) = a.news()
        assert isinstance(error, ErrorFrame)
        assert error.code == ErrorCode.KICKED
        (rank,) = b.news()
        assert isinstance(rank, Rank)
        assert rank.rank == 0
        again.sock.close()
        made.agree()


def test_a_connection_that_ends_before_its_seat_comes_leaves_no_seat() -> None:
    with cluster(2) as made:
        made.logs[0].stalled = True
        a = Client(made.servers[0], "a")
        made.turn()
        a.sock.close()
        made.turn()
        made.logs[0].go_on()
        made.turn()
        assert len(made.servers[1].room) == 0
        made.agree()


# Bad times.


def test_nobody_joins_before_the_log_is_read() -> None:
    made = Cluster(1)
    try:
        made.logs[0].cut = True
        a = Client(made.servers[0], "a")
        made.clients.append(a)
        made.turn()
        (error,) = a.news()
        assert isinstance(error, ErrorFrame)
        assert (error.code, "not up in its room" in error.text) == (ErrorCode.SHUTDOWN, True)
        assert not made.servers[0]._status.ready
        made.logs[0].cut = False
        made.turn()
        assert made.servers[0]._status.ready
        made.joined(0, "b")
    finally:
        for client in made.clients:
            client.sock.close()
        made.servers[0].close()


def test_what_a_connection_asked_for_is_not_answered_to_the_one_that_takes_its_seat_over() -> None:
    """Its answers wait for the log behind the entry by which the other one gets the seat."""
    with cluster(1) as made:
        old, _ = made.joined(0, "a", KEEP)
        made.logs[0].stalled = True
        new = made.join(0, "a", KEEP)
        old.send(Command(1, Target.ALL, 0, CommandFlag.QUIET, 0, b"x"), Who(39, 0, 5), Ping(b"mine"))
        made.turn()
        made.logs[0].go_on()
        made.turn()
        welcome, *others = new.news()
        assert isinstance(welcome, Welcome)
        assert welcome.returned
        assert [frame for frame in others if isinstance(frame, Members | Pong)] == []
        new.send(Who(1, 0, 5))
        made.turn()
        (listed,) = [frame for frame in new.news() if isinstance(frame, Members)]
        assert listed.id == 1


def test_a_ping_waits_two_seconds_for_a_log_that_stalls_and_who_waits_longer() -> None:
    with cluster(1, ping_ms=4000) as made:
        a = made.join(0, "a")
        a.news()
        made.logs[0].stalled = True
        a.send(TO_ALL, Ping(b"x"), Who(1, 0, 5))
        made.turn()
        made.wait(1.75)
        assert a.news() == []
        made.now += 0.5
        a.send(Ping(b"y"))
        made.turn()
        assert a.news() == [Pong(b"x"), Pong(b"y")]
        a.send(Ping(b"z"))
        made.turn()
        assert a.news() == [Pong(b"z")]
        made.logs[0].go_on()
        made.turn()
        refused, listed = a.news()
        assert isinstance(refused, Refused)
        assert isinstance(listed, Members)


def test_a_ping_waits_no_longer_than_the_silence_after_which_members_are_pinged() -> None:
    with cluster(1, ping_ms=1000) as made:
        a = made.join(0, "a")
        a.news()
        made.logs[0].stalled = True
        a.send(TO_ALL, Ping(b"x"))
        made.turn()
        made.wait(0.75)
        assert a.news() == []
        made.wait(0.25)
        assert Pong(b"x") in a.news()


def test_members_are_not_read_while_too_much_is_under_way() -> None:
    with cluster(1) as made:
        a, b = made.join(0, "a"), made.join(0, "b")
        a.news(), b.news()
        made.logs[0].stalled = True
        for id_ in range(1, 101):
            a.send(Command(id_, Target.NEXT, 0, 0, 0, b"%d" % id_))
            made.turn(1)
        assert sequencer(made, 0).measures.under_way == 64
        assert not sequencer(made, 0).takes_input
        made.turn(4)
        assert sequencer(made, 0).measures.under_way == 64
        made.logs[0].go_on()
        made.turn(20)
        assert [frame.payload for frame in b.news() if isinstance(frame, Execute)] == [
            b"%d" % n for n in range(1, 101)
        ]
        assert len(a.news()) == 100


def test_members_are_read_again_as_soon_as_there_is_room() -> None:
    with cluster(1) as made:
        sequencer(made, 0)._window._bytes_max = 1
        a = made.join(0, "a")
        a.news()
        made.logs[0].stalled = True
        a.send(TO_ALL)
        made.turn(2)
        a.send(TO_ALL)
        made.turn(2)
        made.logs[0].go_on()
        made.servers[0].step(0.0)
        assert kinds(a) == ["Refused"]
        assert made.servers[0]._patience(None) == 0.0
        made.turn()
        assert kinds(a) == ["Refused"]
        assert made.servers[0]._patience(None) > 0.0


def test_a_server_that_cannot_write_drops_its_members_before_the_others_take_them_out() -> None:
    with cluster(2) as made:
        a, _ = made.joined(0, "a")
        made.join(0, "kept", KEEP)
        b = made.join(1, "b")
        b.news()
        made.logs[0].cut = True

        def answer() -> None:
            for client in (a, b):
                client.send(*[Pong(frame.payload) for frame in client.news() if isinstance(frame, Ping)])

        for _ in range(47):
            made.wait(0.25)
            answer()
        assert sequencer(made, 0).is_up
        assert not a.ended
        made.wait(0.75)
        assert sequencer(made, 0).stage is Stage.RISING
        assert kinds(a) == ["ErrorFrame"]
        assert a.ended
        assert len(made.servers[1].room) == 3
        made.wait(4)
        (moved,) = [frame for frame in b.news() if isinstance(frame, Rank)]
        assert (moved.rank, moved.cause) == (1, Cause.LOST)
        assert list(made.servers[1].room.ranks.names) == ["kept", "b"]
        made.logs[0].cut = False
        made.wait(1)
        assert sequencer(made, 0).is_up
        assert sequencer(made, 0).measures.fences == 1
        made.joined(0, "a again")
        made.agree()


def test_one_that_is_declared_dead_and_is_not_drops_its_members_at_once() -> None:
    with cluster(2) as made:
        a, _ = made.joined(0, "a")
        own = sequencer(made, 0)._writer.incarnation
        other = sequencer(made, 1)
        other._writer.write(Kind.DOWN, Down(own, other._fold.up[own].n).pack(), made.now)
        made.turn()
        assert kinds(a) == ["ErrorFrame"]
        assert sequencer(made, 0)._writer.incarnation != own
        assert sequencer(made, 0).is_up
        assert len(made.servers[1].room) == 0


def test_lost_entries_are_sent_again_in_order() -> None:
    with cluster(2) as made:
        a, b = made.join(0, "a"), made.join(1, "b")
        a.news(), b.news()
        made.logs[0].cut = True  # this one is lost
        a.send(Command(1, Target.ALL, 0, 0, 0, b"1"))
        made.turn(2)
        made.logs[0].cut = False
        a.send(Command(2, Target.ALL, 0, 0, 0, b"2"))
        made.turn(2)
        assert b.news() == []
        made.wait(1)
        assert [frame.payload for frame in b.news() if isinstance(frame, Execute)] == [b"1", b"2"]
        assert kinds(a) == ["Accepted", "Accepted"]
        made.agree()


def test_a_clean_stop_tells_the_members_first_and_the_others_then() -> None:
    with cluster(2) as made:
        a = made.join(0, "a")
        kept = made.join(0, "kept", KEEP)
        b = made.join(1, "b")
        for client in (a, kept, b):
            client.news()
        made.servers[0].stop()
        made.turn(2)
        assert len(made.servers[1].room) == 3
        for client in (a, kept):
            assert kinds(client) == ["ErrorFrame"]
            client.sock.close()
        made.turn()
        assert made.servers[0].stopped
        assert made.logs[0].closed
        (moved,) = b.news()
        assert isinstance(moved, Rank)
        assert (moved.rank, moved.cause) == (1, Cause.EVICTED)
        assert made.servers[1].room.line.kept.absent == 1


def test_an_up_that_is_stored_again_behind_bye_changes_nothing() -> None:
    with cluster(1) as made:
        up = next(entry for entry in made.store.entries if entry[1] == Kind.UP)

        def store_again() -> None:
            if made.store.entries[-1][1] == Kind.BYE:
                made.store.add(up)

        made.logs[0].before_poll = store_again
        made.servers[0].stop()
        made.turn()
        assert made.store.entries[-1] == up
        assert made.servers[0].stopped


def test_a_stop_does_not_wait_for_ever_for_the_log() -> None:
    with cluster(1) as made:
        made.logs[0].cut = True
        made.servers[0].stop()
        made.wait(1.5)
        assert not made.servers[0].stopped
        made.wait(1)
        assert made.servers[0].stopped


# A log that cannot be gone on with.


def broken(made: Cluster, at: int = 0) -> str:
    with pytest.raises(LogBroken) as caught:  # noqa: PT012
        for _ in range(3):
            made.servers[at].step(0.0)
    return str(caught.value)


def test_a_room_that_begins_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """So that a server with another account of NATS than the others is noticed."""
    caplog.set_level("INFO", "rankmux.server")
    with cluster(2):
        assert [record.event for record in caplog.records].count("room_begun") == 1  # type: ignore[attr-defined]


def test_a_server_whose_up_is_stored_late_comes_up_once(caplog: pytest.LogCaptureFixture) -> None:
    """The log took nothing for longer than the lease. It drops nobody, and takes nobody for dead."""
    with cluster(1) as made:
        late = made.add()
        made.logs[1].stalled = True
        made.wait(40.0)
        assert not late.ready
        made.logs[1].go_on()
        made.turn()
        assert late.ready
        _, welcome = made.joined(1, "a")
        made.wait(5.0)
        assert (welcome.rank, list(made.servers[0].room.ranks.tickets)) == (0, [welcome.ticket])
        assert sequencer(made, 1).measures.fences == 0
        assert caplog.records == []


def test_an_earlier_run_of_a_server_is_called_so_and_once(caplog: pytest.LogCaptureFixture) -> None:
    with cluster(1, server_name="s1") as made:
        made.logs[0].cut = True  # as if it were gone
        made.add(server_name="s1")
        made.turn()
        caplog.clear()
        made.logs[1].stalled = False
        made.wait(16.0)
        texts = [record.getMessage() for record in caplog.records if record.event == "down"]  # type: ignore[attr-defined]
        assert texts == ["an earlier run of server s1 has written nothing for 15 s: taken for dead"]


def test_another_log_of_the_same_name_is_noticed() -> None:
    with cluster(1) as made:
        made.store.created = "second"
        made.logs[0].reopen()
        assert "was deleted and made anew" in broken(made)


def test_a_log_that_was_rolled_back_is_noticed() -> None:
    with cluster(1) as made:
        del made.store.entries[-1]
        made.logs[0].reopen()
        assert "it was restored from an older copy" in broken(made)


def test_a_log_that_was_rolled_back_and_written_on_is_noticed() -> None:
    with cluster(2) as made:
        one, other = made.store.entries[-2:]
        made.logs[0].reopen()
        made.turn()
        assert made.servers[0].ready, "the last entry is still the one that was read"
        assert made.store.entries[-2:] == [one, other]
        made.store.entries[-1] = one
        made.logs[0].reopen()
        assert f"entry {len(made.store.entries)} of the log is another one than was read" in broken(made)


def test_a_log_with_small_entries_is_refused() -> None:
    with cluster(0) as made:
        made.store.entry_max = 1000
        made.add()
        assert "entries of up to 1000 bytes, max_payload needs" in broken(made)


def test_an_entry_has_4_kib_beside_the_largest_payload() -> None:
    least = Config().max_payload + 4096
    with cluster(0) as made:
        made.store.entry_max = least
        made.add()
        made.turn()
        assert made.servers[0].ready
        made.store.entry_max = least - 1
        made.add()
        assert "max_payload" in broken(made, 1)


def test_what_the_log_says_of_itself_ends_the_server() -> None:
    with cluster(1) as made:
        made.logs[0].fail("stream RM_main has 1 replica, expected 3")
        assert broken(made) == "stream RM_main has 1 replica, expected 3"


def test_another_setting_than_the_rooms_is_refused() -> None:
    with cluster(1) as made:
        made.add(seats=9)
        assert "seats is 9, and 8 in the room" in broken(made, 1)


def test_a_lack_of_memory_in_a_turn_ends_the_server() -> None:
    """Alone, it would empty its room and go on; here the others have read what it has not."""

    def exhausted() -> None:
        raise MemoryError

    with cluster(1) as made:
        made.join(0, "a")
        made.logs[0].before_poll = exhausted
        with pytest.raises(MemoryError):
            made.servers[0].step(0.0)
        assert len(made.servers[0].room) == 1


def test_two_servers_with_one_name_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with cluster(1) as made:
        made.add(server_name="s1")
        made.turn()
        made.wait(2)
        said = [record.message for record in caplog.records if "are called 's1'" in record.message]
        assert said
        assert len(said) <= 2


def test_one_that_was_killed_and_started_again_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    """Its earlier self is up, too, until the others have missed it."""
    caplog.set_level("INFO")
    with cluster(2) as made:
        made.servers[1].close()
        made.add(server_name="s2")
        made.turn()
        made.wait(1)
        fold = sequencer(made, 0)._fold
        assert sorted(peer.name for peer in fold.up.values()) == ["s1", "s2", "s2"]
        assert sequencer(made, 0).names == ["s1", "s2"]
        assert caplog.messages.count("up in room main; its servers: s1, s2") == 2


# Coming up.


def test_a_server_comes_up_from_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "_EVERY_ENTRIES", 20)
    with cluster(1) as made:
        a, _ = made.joined(0, "a")
        for id_ in range(1, 30):
            a.send(Command(id_, Target.ALL, 0, 0, 0, b""))
            made.turn(2)
        assert len(made.store.snapshots) == 1
        made.add()
        made.turn()
        assert made.servers[1]._status.ready
        assert made.logs[1].at > made.store.snapshots[0][0]
        made.agree()
        _, place = made.joined(1, "b")
        assert place.rank == 1


def test_a_snapshot_is_stored_for_each_16_mib_of_entries() -> None:
    frames = bytes(8) + (1 << 20).to_bytes(4) + bytes(1 << 20)  # of a connection that there is not
    large = TurnBody(frames=frames).pack()
    with cluster(1) as made:
        for count in (0, 1):
            for _ in range(15):
                sequencer(made, 0)._writer.write(Kind.TURN, large, made.now)
                made.turn(2)
            assert len(made.store.snapshots) == count
            sequencer(made, 0)._writer.write(Kind.TURN, large, made.now)
            made.turn(2)
            assert len(made.store.snapshots) == count + 1


def test_only_the_server_with_the_smallest_incarnation_stores_snapshots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshots, "_EVERY_ENTRIES", 20)
    with cluster(3) as made:
        stored: list[int] = []
        for at, log in enumerate(made.logs):
            monkeypatch.setattr(log, "store", lambda *_, at=at: stored.append(at))
        made.wait(10)
        assert set(stored) == {0}
        made.servers[0].stop()
        stored.clear()
        made.wait(10)
        assert set(stored) == {1}


def test_a_damaged_snapshot_is_said_so() -> None:
    with cluster(1) as made:
        made.store.snapshots.append((1, b"nonsense"))
        made.add()
        assert "the snapshot of entry 1 cannot be used" in broken(made, 1)


def test_welcome_waits_for_the_log() -> None:
    with cluster(1) as made:
        made.logs[0].stalled = True
        a = made.join(0, "a")
        assert a.news() == []
        made.logs[0].go_on()
        made.turn()
        (welcome,) = a.news()
        assert isinstance(welcome, Welcome)


def test_patience_ends_when_something_is_due() -> None:
    """Nothing is written without need, and a sign of life once a second."""
    with cluster(2) as made:
        made.turn(30)
        before = len(made.store.entries)
        made.turn(30)
        assert len(made.store.entries) == before
        waits: list[Any] = [server._patience(None) for server in made.servers]
        assert all(0.0 < wait <= 1.0 for wait in waits)
        made.wait(10)
        assert len(made.store.entries) - before == 20


def test_servers_are_upgraded_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The new version is written once the last server that does not speak it is gone; it cannot come back then."""
    with cluster(2) as made:
        made.join(0, "a")
        monkeypatch.setattr(module, "Fold", Newer)
        made.add()
        made.add()
        made.turn()
        for old in (0, 1):
            assert {sequencer(made, at)._fold.version for at in (old, 2, 3)} == {1}
            made.servers[old].stop()
            for client in made.clients:
                client.sock.close()
            made.wait(2)
            assert made.servers[old].stopped
        made.wait(SETTLED_S - 5)
        assert {sequencer(made, at)._fold.version for at in (2, 3)} == {1}
        made.wait(5)
        assert {sequencer(made, at)._fold.version for at in (2, 3)} == {2}
        made.agree()
        monkeypatch.setattr(module, "Fold", Fold)
        made.add()
        assert "is of version 2, this server speaks up to 1: upgrade it" in broken(made, 4)


def test_an_old_server_that_was_only_away_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of an upgrade, the log stands still, and the upgraded server is the first that is up again."""
    with cluster(2) as made:
        monkeypatch.setattr(module, "Fold", Newer)
        made.add()
        made.turn()
        for log in made.logs:
            log.cut = True
        made.wait(40)
        assert not any(sequencer(made, at).is_up for at in range(3))
        made.logs[2].cut = False
        made.logs[2].reopen()
        made.wait(60)
        assert sequencer(made, 2).names == ["s3"]
        for log in made.logs[:2]:
            log.cut = False
            log.reopen()
        made.wait(5)
        assert all(sequencer(made, at).is_up for at in range(3))
        assert sequencer(made, 2).names == ["s1", "s2", "s3"]


def test_only_the_server_with_the_smallest_incarnation_raises_the_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Upgrade.__init__, "__defaults__", (0.0,))
    with cluster(1) as made:
        monkeypatch.setattr(module, "Fold", Newer)
        made.add()
        made.add()
        made.turn()
        made.logs[1].stalled = True
        made.servers[0].stop()
        made.wait(2)
        assert sequencer(made, 2).names == ["s2", "s3"]
        assert Kind.VERSION not in {entry.kind for entry in entries(made)}
        made.logs[1].go_on()
        made.turn()
        writers = {entry.incarnation for entry in entries(made) if entry.kind is Kind.VERSION}
        assert writers == {sequencer(made, 1)._writer.incarnation}


def test_a_server_that_comes_too_late_for_its_version_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its UP was under way when the others went on to the next one."""
    monkeypatch.setattr(Upgrade.__init__, "__defaults__", (0.0,))
    with cluster(1) as made:
        monkeypatch.setattr(module, "Fold", Newer)
        made.add()
        made.turn()
        monkeypatch.setattr(module, "Fold", Fold)
        made.add()
        made.logs[2].stalled = True
        made.turn()
        assert sequencer(made, 2).stage is Stage.RISING
        made.servers[0].stop()
        made.turn()
        made.logs[2].go_on()
        assert [entry.kind for entry in entries(made)[-2:]] == [Kind.VERSION, Kind.UP]
        assert "version" in broken(made, 2)


def test_the_lease_runs_from_when_an_entry_was_sent() -> None:
    with cluster(1) as made:
        a = made.join(0, "a")
        log = made.logs[0]
        log.stalled = True
        a.send(TO_ALL)
        made.turn()
        for _ in range(11):
            made.wait(1)
            a.send(*[Pong(frame.payload) for frame in a.news() if isinstance(frame, Ping)])
        log.waiting = log.waiting[:1]
        log.go_on()
        made.turn(1)
        log.stalled = True
        assert sequencer(made, 0).is_up
        made.wait(1.25)  # 12.25 s after that entry was sent, 1.25 s after it was read back
        assert not sequencer(made, 0).is_up


def test_a_process_that_was_stopped_delivers_nothing_when_it_goes_on() -> None:
    with cluster(2) as made:
        boss = made.join(1, "boss")
        a = made.join(0, "a")
        boss.news(), a.news()
        for _ in range(13):
            made.now += 1
            made.servers[1].step(0.0)
            boss.send(*[Pong(frame.payload) for frame in boss.news() if isinstance(frame, Ping)])
        boss.send(TO_ALL)
        for _ in range(4):
            made.servers[1].step(0.0)
        assert kinds(boss) == ["Accepted"]
        made.turn()
        assert kinds(a) == ["ErrorFrame"]


def test_a_server_whose_up_is_in_a_snapshot_comes_up_as_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "_EVERY_ENTRIES", 6)
    with cluster(1) as made:
        made.add()
        for _ in range(20):
            if sequencer(made, 1).stage is not Stage.RISING:
                made.servers[1].step(0.0)
        log, store = made.logs[1], made.store
        log.cut = True
        for _ in range(10):
            made.now += 1
            made.servers[0].step(0.0)
        seq, data = store.snapshots[-1]
        assert sequencer(made, 0).names == ["s1", "s2"]
        log.cut, log.at = False, seq
        log.events.append(Opened(store.created, len(store.entries), store.entry_max, seq, data))
        made.wait(1)
        assert made.servers[1].ready
        made.agree()


@pytest.mark.parametrize("ahead", [3600.0, -900.0])
def test_clocks_need_not_agree(ahead: float) -> None:
    with cluster(1) as made:
        made.add(ahead)
        made.turn()
        a, _ = made.joined(0, "a", KEEP)
        a.sock.close()
        for _ in range(29):
            made.wait(1)
        assert list(made.servers[1].room.ranks.names) == ["a"]
        made.wait(2)
        assert len(made.servers[1].room) == 0
        made.agree()


@pytest.mark.parametrize(("stood_s", "late_ms"), [(3.0, 0), (14.0, 0), (40.0, 25_000)])
@pytest.mark.parametrize("ahead", [0.0, 3600.0])
def test_the_rooms_clock_goes_on_while_nobody_writes(stood_s: float, late_ms: int, ahead: float) -> None:
    """A server that is started meanwhile knows from when on, for as long as a server may be silent: 15 s."""
    with cluster(1) as made:
        made.wait(2.0)
        made.logs[0].cut = True
        room_ms = sequencer(made, 0)._writer.clock_ms(made.now)
        made.now += stood_s
        made.add(ahead)
        for _ in range(8):
            made.servers[1].step(0.0)
        late = room_ms + stood_s * 1000 - sequencer(made, 1)._writer.clock_ms(made.now + ahead)
        assert late_ms <= late <= late_ms + 250  # the wait goes by in steps of so much


# Slow readers.


def test_a_slow_reader_at_one_server_slows_its_senders_at_the_others() -> None:
    """It is not evicted, and nothing is lost; once it reads again, the sender goes on."""
    with cluster(2, outbox_soft_bytes=65_536, outbox_hard_bytes=1 << 20, send_buffer_bytes=4096) as made:
        a, b = made.join(0, "a"), made.join(1, "b")
        a.news(), b.news()
        b.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sent = 0
        (sender,) = made.servers[0].connections.seats.values()
        while not sender.paced:
            assert sent < 3000
            sent += 1
            a.send(Command(sent, Target.ALL, 0, 0, 0, b"x" * 8192))
            made.turn(1)
            a.news()
        (slow,) = made.servers[1].connections.outbox.over
        assert made.servers[0].connections.pacing.elsewhere == {slow}
        received = 0
        while sender.paced or received < sent:
            made.turn(1)
            received += len(b.news())
        made.turn()
        assert made.servers[0].connections.pacing.elsewhere == set()
        a.send(Command(sent + 1, Target.ALL, 0, 0, 0, b"last"))
        made.turn()
        assert [frame.payload for frame in b.news()] == [b"last"]
        assert received == sent
        made.agree()


def test_a_slow_reader_of_a_dead_server_slows_nobody() -> None:
    with cluster(2, outbox_soft_bytes=65_536, send_buffer_bytes=4096) as made:
        a, b = made.join(0, "a"), made.join(1, "b")
        b.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        (sender,) = made.servers[0].connections.seats.values()
        for id_ in range(1, 3000):
            a.send(Command(id_, Target.ALL, 0, 0, 0, b"x" * 8192))
            made.turn(1)
            a.news()
            if sender.paced:
                break
        assert sender.paced
        made.logs[1].cut = True
        made.wait(2)
        assert sender.paced
        made.wait(2)  # long before that server is taken for dead
        assert not sender.paced
        assert made.servers[0].connections.pacing.elsewhere == set()


def test_a_server_without_descriptors_left_sends_clients_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "open_files_max", lambda: 96 + 2)
    with cluster(1) as made:
        a, b = made.join(0, "a"), made.join(0, "b")
        assert kinds(a) == kinds(b) == ["Welcome"]
        c = made.join(0, "c")
        (error,) = c.news()
        c.sock.close()
        assert isinstance(error, ErrorFrame)
        assert (error.code, "another one of its cluster" in error.text) == (ErrorCode.RESOURCE, True)
        b.send(Leave())
        made.turn()
        b.sock.close()
        made.turn()
        assert kinds(made.join(0, "d")) == ["Welcome"]


def test_what_happened_is_told_by_the_ranks_of_its_time() -> None:
    with cluster(1) as made:
        a, b = made.join(0, "a"), made.join(0, "b")
        for client in (a, b):
            client.send(Leave())
            made.turn()
        late = made.add()
        late._status.stats.watched = True
        made.turn()  # in which it reads all that
        happened = [(event.what, event.name) for event in late._status.stats.since(0)]
        assert happened == [("joined", "a"), ("joined", "b"), ("left", "a"), ("promoted", "b"), ("left", "b")]


def held_up(made: Cluster, at: int, seconds: float) -> None:
    """That server stands still in the middle of its next turn, while the others go on."""
    log = made.logs[at]

    def stand_still() -> None:
        log.before_poll = lambda: None
        for _ in range(round(seconds * 4)):
            made.now += 0.25
            for server in made.servers:
                if server is not made.servers[at]:
                    server.step(0.0)

    log.before_poll = stand_still
    made.servers[at].step(0.0)


def test_a_server_that_was_held_up_in_a_turn_does_not_put_the_clock_forward() -> None:
    with cluster(2) as made:
        writers = [sequencer(made, at)._writer for at in range(2)]
        before = [writer.clock_ms(made.now) - int(made.now * 1000) for writer in writers]
        for at in (0, 1, 0, 1):
            held_up(made, at, 5.0)
            made.wait(1.0)
        assert [writer.clock_ms(made.now) - int(made.now * 1000) for writer in writers] == before


def test_a_server_that_was_held_up_in_a_turn_does_not_take_others_for_dead_too_early() -> None:
    with cluster(2) as made:
        held_up(made, 1, 10.0)
        made.logs[0].cut = True
        made.wait(11.5)  # the other one holds its lease for 12 s from what it wrote last
        assert sequencer(made, 0).is_up
        assert len(sequencer(made, 1).names) == 2


def test_a_server_that_was_held_up_in_a_turn_delivers_nothing_behind_its_lease() -> None:
    with cluster(2, ping_ms=4000) as made:
        a, b = made.join(0, "a"), made.join(1, "b")
        a.news(), b.news()
        a.send(Leave())
        held_up(made, 1, 13.0)
        (error,) = b.news()
        assert isinstance(error, ErrorFrame)
        assert error.code == ErrorCode.SHUTDOWN
        made.turn()
        made.agree()
