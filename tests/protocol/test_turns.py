"""Section 4: the steps of one turn and the order of its frames; departures are in test_departures.py.

The server is stopped while the peers send, so that it finds all their data at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .frames import (
    Accepted,
    Cause,
    Code,
    Command,
    Done,
    Error,
    Execute,
    Hello,
    Leave,
    Members,
    Ping,
    Pong,
    Rank,
    Refusal,
    Refused,
    Result,
    Routed,
    Status,
    Target,
    Welcome,
    Who,
    encode,
)

if TYPE_CHECKING:
    from .conftest import Serve
    from .peer import Peer
    from .process import Server


def payloads(peer: Peer) -> list[bytes]:
    """The payloads of all EXECUTEs pending for a peer; their seqs must increase."""
    executes = [frame for frame in peer.settle() if isinstance(frame, Execute)]
    seqs = [frame.seq for frame in executes]
    assert seqs == sorted(set(seqs))
    return [frame.payload for frame in executes]


# Commands among themselves


def test_the_most_senior_sender_s_commands_come_first(room: Server) -> None:
    line = room.line(4)
    before = line[-1].joined.seq
    with room.one_turn():
        for rank in (2, 0, 1):
            for number in range(3):
                line[rank].command(number, payload=b"%d.%d" % (rank, number))
    seen = [line[3].expect(Execute) for _ in range(9)]
    assert [frame.payload for frame in seen] == [b"%d.%d" % (r, n) for r in range(3) for n in range(3)]
    assert [frame.seq for frame in seen] == list(range(before + 1, before + 10))
    assert [frame.sender_rank for frame in seen] == [0] * 3 + [1] * 3 + [2] * 3


def test_one_sender_s_commands_keep_their_order(room: Server) -> None:
    sender, junior = room.line(2)
    with room.one_turn():
        sender.send(*(Command(number, payload=b"%d" % number) for number in range(200)))
    assert [frame.id for frame in sender.settle() if isinstance(frame, Accepted)] == list(range(200))
    assert payloads(junior) == [b"%d" % number for number in range(200)]


def test_directed_commands_have_their_place_among_the_others(room: Server) -> None:
    """Members see different subsets of one sequence."""
    line = room.line(4)
    with room.one_turn():
        line[1].command(11, Target.ALL, payload=b"f")
        line[1].command(12, Target.ONE, 3, payload=b"g")
        line[0].command(1, Target.ALL, payload=b"a")
        line[0].command(2, Target.ONE, 2, payload=b"b")
        line[0].command(3, Target.NEXT, payload=b"c")
        line[0].command(4, Target.LEAST, payload=b"d")
        line[0].command(5, Target.ALL, payload=b"e")
        line[2].command(21, Target.NEXT, payload=b"h")
    base = line[3].joined.seq
    expected = {1: b"acde", 2: b"abef", 3: b"aefgh"}
    for rank, letters in expected.items():
        for letter in letters:
            line[rank].expect(Execute, payload=bytes([letter]), seq=base + 1 + letter - ord("a"))
    for number in range(5):
        line[0].expect(Accepted, id=number + 1, seq=base + 1 + number)
    for number in range(2):
        line[1].expect(Accepted, id=number + 11, seq=base + 6 + number)
    line[2].expect(Accepted, id=21, seq=base + 8)
    for peer in line:
        peer.expect_quiet()


def test_an_execute_has_the_same_bytes_for_each_receiver(room: Server) -> None:
    line = room.line(6)
    line[1].command(1, payload=b"same", results=True, ttl_ms=1234)
    wires = []
    for peer in line[2:]:
        peer.expect_execute(1, b"same")
        wires.append(peer.wire)
    assert len(set(wires)) == 1


def test_seq_grows_over_turns(room: Server) -> None:
    line = room.line(3)
    seqs = []
    for number in range(10):
        line[number % 2].command(number, payload=b"%d" % number)
        seqs.append(line[2].expect(Execute, payload=b"%d" % number).seq)
    assert seqs == list(range(seqs[0], seqs[0] + 10))


# Joins


def test_a_seat_freed_in_a_turn_can_be_taken_in_it(serve: Serve) -> None:
    server = serve(2)
    first, second = server.line(2)
    late = server.connect()
    first.ping()
    with server.one_turn():
        late.send(Hello())
        first.leave()
    late.expect(Welcome, rank=1, members=2, seq=4)
    second.expect(Rank, rank=0, members=1, seq=3, cause=Cause.LEFT)
    first.expect_close()


def test_more_come_than_seats_were_freed(serve: Serve) -> None:
    server = serve(3)
    line = server.line(3)
    with server.one_turn():
        late = [server.connect() for _ in range(4)]
        for peer in reversed(late):
            peer.send(Hello())
        line[0].leave()
        line[1].reset()
    late[0].expect(Welcome, rank=1, seq=6)
    late[1].expect(Welcome, rank=2, seq=7)
    late[2].expect_error(Code.FULL)
    late[3].expect_error(Code.FULL)
    line[2].expect(Rank, rank=0, members=1, seq=5)
    line[2].expect_quiet()


def test_joins_are_in_the_order_of_the_connections(room: Server) -> None:
    base = room.join().joined.seq
    with room.one_turn():
        late = [room.connect() for _ in range(5)]
        for peer in reversed(late):
            peer.send(Hello())
    for number, peer in enumerate(late):
        peer.expect(Welcome, rank=1 + number, members=2 + number, seq=base + 1 + number)
    assert [peer.ticket for peer in late] == sorted({peer.ticket for peer in late})


def test_a_newcomer_does_not_get_the_turn_s_commands(room: Server) -> None:
    sender, junior = room.line(2)
    base = junior.joined.seq
    with room.one_turn():
        late = room.connect()
        late.send(Hello())
        sender.command(1, payload=b"not for late")
    late.expect(Welcome, rank=2, seq=base + 2)
    late.expect_quiet()
    junior.expect(Execute, seq=base + 1)
    sender.expect(Accepted, id=1, executors=1)


def test_all_events_of_a_turn_share_one_sequence(room: Server) -> None:
    """Commands, then departures, then joins."""
    line = room.line(4)
    base = line[-1].joined.seq
    with room.one_turn():
        late = room.connect()
        late.send(Hello())
        line[1].leave()
        line[0].command(1, payload=b"x")
        line[0].command(2, Target.ONE, 9)  # refused, so it consumes no seq
        line[2].command(3, payload=b"y")
    line[3].expect(Execute, seq=base + 1, sender_rank=0)
    line[3].expect(Execute, seq=base + 2, sender_rank=2)
    line[3].expect(Rank, seq=base + 3, rank=2, members=3)
    late.expect(Welcome, seq=base + 4, rank=3, members=4)


# The order of the frames that a member receives


def test_the_kinds_come_in_their_order(room: Server) -> None:
    senior, member, junior, _ = room.line(4)
    member.command(1, Target.ONE, 2, results=True)
    member.expect(Accepted, id=1)
    waiting = junior.expect(Execute).seq
    with room.one_turn():
        junior.result(waiting, Status.OK, b"answer")
        member.send(Ping(b"p"), Who(5), Command(2, Target.ONE, 1), Command(3, payload=b"m"))
        senior.command(1, payload=b"s")
        senior.leave()
    member.expect(Execute, seq=waiting + 1, payload=b"s")
    member.expect(Rank, seq=waiting + 3, rank=0, members=3)
    member.expect(Accepted, id=3, seq=waiting + 2)
    member.expect(Refused, id=2, code=Refusal.NOT_LOWER)
    member.expect(Routed, id=1, ticket=junior.ticket, rank=2, status=Status.OK, payload=b"answer")
    member.expect(Done, id=1, ok=1)
    member.expect(Members, id=5)
    member.expect(Pong, opaque=b"p")
    member.expect_quiet()


def test_answers_of_a_kind_are_in_the_order_of_their_requests(room: Server) -> None:
    member, junior = room.line(2)
    for number in range(3):
        member.command(number, results=True, quiet=True)
    seqs = [junior.expect(Execute).seq for _ in range(3)]
    with room.one_turn():
        for number in range(3):
            member.send(Ping(b"%d" % number), Who(20 + number), Command(30 + number, Target.ONE, 7))
            member.command(40 + number)
            junior.result(seqs[number])
    for number in range(3):
        member.expect(Accepted, id=40 + number)
    for number in range(3):
        member.expect(Refused, id=30 + number)
    for number in range(3):
        member.expect(Routed, id=number)
    for number in range(3):
        member.expect(Done, id=number)
    for number in range(3):
        member.expect(Members, id=20 + number)
    for number in range(3):
        member.expect(Pong, opaque=b"%d" % number)


def test_members_is_of_the_turn_s_end(room: Server) -> None:
    """MEMBERS omits members that left in the turn, and includes new members if its seq covers their joins."""
    asker, going, staying = room.line(3)
    base = staying.joined.seq
    with room.one_turn():
        asker.send(Who(1))
        going.leave()
        late = room.connect()
        late.send(Hello())
    late.expect(Welcome, seq=base + 2)
    members = asker.expect(Members, id=1)
    present = [asker, staying] + ([late] if members.seq == base + 2 else [])
    assert members.seq in {base + 1, base + 2}
    assert members.total == len(present)
    assert [seat.ticket for seat in members.seats] == [peer.ticket for peer in present]


# A broken frame in a turn


def test_whole_frames_before_a_broken_one_take_effect(room: Server) -> None:
    sender, junior = room.line(2)
    with room.one_turn():
        sender.raw(encode(Command(1, payload=b"whole")) + encode(Ping(b"whole")) + bytes(4))
    junior.expect_execute(0, b"whole")
    junior.expect(Rank, rank=0, members=1, cause=Cause.EVICTED)
    sender.expect(Accepted, id=1, executors=1)
    sender.expect(Pong, opaque=b"whole")
    sender.expect(Error, code=Code.PROTOCOL)
    sender.expect_close()


def test_frames_after_leave_are_dropped(room: Server) -> None:
    sender, junior = room.line(2)
    with room.one_turn():
        sender.send(Command(1, payload=b"before"), Leave(), Command(2, payload=b"behind"))
    junior.expect_execute(0, b"before")
    junior.expect(Rank, rank=0, cause=Cause.LEFT)
    junior.expect_quiet()


def test_a_result_before_the_end_counts(room: Server) -> None:
    sender, leaving, cut = room.line(3)
    sender.command(1, results=True, quiet=True)
    seq = leaving.expect(Execute).seq
    cut.expect(Execute, seq=seq)
    with room.one_turn():
        leaving.send(Result(seq, Status.OK, b"done"), Leave())
        cut.send(Result(seq, Status.FAILED))
        cut.reset()
    routed = [sender.expect(Routed, id=1) for _ in range(2)]
    assert {(frame.rank, frame.status, frame.payload) for frame in routed} == {
        (1, Status.OK, b"done"),
        (2, Status.FAILED, b""),
    }
    sender.expect(Done, id=1, ok=1, failed=1)
