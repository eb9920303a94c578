"""Section 5, SET: members named by ticket; how each is counted, and lists that are not as described."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from .frames import (
    MAX_PAYLOAD,
    QUIET,
    RESULTS,
    U64_MAX,
    Accepted,
    Cause,
    Code,
    Command,
    Done,
    Execute,
    Hello,
    Rank,
    Refusal,
    Refused,
    Routed,
    Status,
    Target,
    Welcome,
    encode,
    named,
)
from .line import executors, loads, lose

if TYPE_CHECKING:
    from .peer import Peer
    from .process import Server

SECRETS = [bytes([number]) * 16 for number in range(4)]


def tickets(*peers: Peer) -> list[int]:
    return sorted(peer.ticket for peer in peers)


# Executors


def test_the_named_juniors_execute(room: Server) -> None:
    """Section 5: the frame is the same for all of them, and holds the payload without the tickets."""
    line = room.line(6)
    base = line[-1].joined.seq
    line[1].send(named(1, tickets(line[2], line[4], line[5]), b"x"))
    wires = set()
    for rank in (2, 4, 5):
        line[rank].expect(Execute, seq=base + 1, sender_rank=1, flags=0, ttl_ms=0, payload=b"x")
        wires.add(line[rank].wire)
    assert len(wires) == 1
    line[1].expect(Accepted, id=1, seq=base + 1, executors=3, rejected=0, absent=0)
    for peer in line:
        peer.expect_quiet()


@pytest.mark.parametrize("payload", [b"", b"x", bytes(8), struct.pack(">QQ", 1, 2)], ids=len)
def test_the_payload_begins_after_the_tickets(room: Server, payload: bytes) -> None:
    sender, first, second = room.line(3)
    sender.send(named(1, tickets(first, second), payload))
    for junior in (first, second):
        junior.expect_execute(0, payload)


def test_one_name(room: Server) -> None:
    line = room.line(4)
    line[0].send(named(1, [line[3].ticket]))
    line[0].expect(Accepted, id=1, executors=1)
    assert executors(line) == [3]


def test_results_of_named_members(room: Server) -> None:
    """Section 6: with the rank at dispatch; the load counts for those named only."""
    sender, first, second, third = room.line(4)
    sender.send(named(1, tickets(first, third), b"ask", flags=RESULTS, ttl_ms=5000))
    seq = first.expect(Execute, flags=1, ttl_ms=5000).seq
    third.expect(Execute, seq=seq)
    sender.expect(Accepted, id=1, executors=2)
    assert loads(sender) == [0, 1, 0, 1]
    second.result(seq, payload=b"not asked")
    sender.expect_quiet()
    third.result(seq, payload=b"third")
    sender.expect(Routed, id=1, ticket=third.ticket, rank=3, status=Status.OK, payload=b"third")
    first.leave()
    sender.expect(Routed, id=1, ticket=first.ticket, rank=1, status=Status.LEFT)
    sender.expect(Done, id=1, ok=1, left=1)


def test_a_quiet_set(room: Server) -> None:
    sender, junior = room.line(2)
    sender.send(named(1, [junior.ticket], b"x", flags=QUIET))
    junior.expect_execute(0, b"x")
    sender.expect_quiet()
    sender.send(named(2, [sender.ticket], b"x", flags=QUIET))
    sender.expect(Refused, id=2, code=Refusal.NOT_LOWER)


def test_a_name_holds_while_ranks_move(room: Server) -> None:
    """Section 5: a senior that left between looking and sending does not shift the target."""
    first, sender, gone, meant, other = room.line(5)
    seat = sender.who().seats[3]
    gone.leave()
    gone.expect_close()
    first.leave()
    first.expect_close()
    sender.expect(Rank, rank=0)
    sender.send(named(1, [seat.ticket], b"you"))
    meant.expect(Rank, rank=2)
    meant.expect(Rank, rank=1)
    meant.expect_execute(0, b"you")
    assert not [frame for frame in other.settle() if isinstance(frame, Execute)]


def test_a_set_has_its_place_among_other_commands(room: Server) -> None:
    """Section 4: one sequence, of which each member gets its part."""
    line = room.line(5)
    base = line[-1].joined.seq
    with room.one_turn():
        line[1].command(11, payload=b"d")
        line[0].command(1, payload=b"a")
        line[0].send(named(2, tickets(line[1], line[4]), b"b"))
        line[0].command(3, Target.NEXT, payload=b"c")
        line[1].send(named(12, tickets(line[2], line[4]), b"e"))
        line[1].command(13, payload=b"f")
    for rank, letters in {1: b"abc", 2: b"adef", 3: b"adf", 4: b"abdef"}.items():
        for letter in letters:
            line[rank].expect(Execute, seq=base + 1 + letter - ord("a"), payload=bytes([letter]))
    line[0].expect(Accepted, id=1, executors=4)
    line[0].expect(Accepted, id=2, executors=2, rejected=0)
    line[0].expect(Accepted, id=3, executors=1)
    for peer in (line[0], *line[2:]):
        peer.expect_quiet()


# How the named are counted


def test_every_name_is_counted_once(room: Server) -> None:
    """Section 5: executors, rejected (at or above the sender, absent or not), absent (or without a seat)."""
    senior = room.join()
    senior_lost = room.keep(SECRETS[0])
    sender = room.join()
    gone, present = room.join(), room.join()
    lost = room.keep(SECRETS[1])
    last = room.join()
    gone.leave()
    gone.expect_close()
    lose(senior, senior_lost, lost)
    base = senior.who().seq
    present.settle()
    last.settle()
    listed = [0, *tickets(senior, senior_lost, sender, gone, present, lost, last), U64_MAX - 1, U64_MAX]
    sender.send(named(1, listed, b"x"))
    sender.expect(Accepted, id=1, seq=base + 1, executors=2, rejected=3, absent=5)
    present.expect_execute(2, b"x")
    last.expect_execute(2, b"x")


def test_a_departed_senior_holds_no_seat(room: Server) -> None:
    """Section 5: it is counted as absent, although its ticket is smaller than the sender's."""
    gone, sender, junior = room.line(3)
    gone.leave()
    gone.expect_close()
    sender.expect(Rank, rank=0)
    sender.send(named(1, tickets(gone, junior)))
    sender.expect(Accepted, id=1, executors=1, rejected=0, absent=1)
    sender.send(named(2, tickets(gone)))
    sender.expect(Refused, id=2, code=Refusal.NO_TARGET)


def test_a_newcomer_of_the_turn_holds_no_seat_yet(room: Server) -> None:
    """Section 4: commands come before joins."""
    sender, junior = room.line(2)
    late = room.connect()
    sender.ping()
    with room.one_turn():
        late.send(Hello())
        sender.send(named(1, [junior.ticket, junior.ticket + 1], b"x"))
    assert late.expect(Welcome).ticket == junior.ticket + 1
    late.expect_quiet()
    sender.expect(Accepted, id=1, executors=1, absent=1)


@pytest.mark.parametrize("leaves", [True, False], ids=["LEAVE", "reset"])
def test_a_member_that_departs_in_the_turn_still_executes(room: Server, leaves: bool) -> None:
    sender, going = room.line(2)
    with room.one_turn():
        sender.send(named(1, [going.ticket], flags=RESULTS))
        if leaves:
            going.leave()
        else:
            going.reset()
    sender.expect(Accepted, id=1, executors=1, absent=0)
    sender.expect(Routed, id=1, status=Status.LEFT)
    sender.expect(Done, id=1, left=1)


def test_a_long_list_of_which_few_hold_seats(room: Server) -> None:
    sender, first, second = room.line(3)
    most = MAX_PAYLOAD // 8
    listed = [*tickets(first, second), *range(second.ticket + 1000, second.ticket + 1000 + most - 2)]
    sender.send(named(1, listed))
    sender.expect(Accepted, id=1, executors=2, rejected=0, absent=most - 2)
    first.expect_execute(0, b"")


# Refusals


@pytest.mark.parametrize(
    ("named_ones", "code"),
    [
        (["own"], Refusal.NOT_LOWER),
        (["senior"], Refusal.NOT_LOWER),
        (["senior lost"], Refusal.NOT_LOWER),
        (["senior", "own"], Refusal.NOT_LOWER),
        (["own", "lost"], Refusal.NOT_LOWER),
        (["senior", "lost", "nobody"], Refusal.NOT_LOWER),
        (["own", "nobody"], Refusal.NOT_LOWER),
        (["lost"], Refusal.ABSENT),
        (["lost", "nobody"], Refusal.ABSENT),
        (["nobody"], Refusal.NO_TARGET),
        (["zero"], Refusal.NO_TARGET),
        (["zero", "nobody"], Refusal.NO_TARGET),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value.name,
)
def test_no_executor(room: Server, named_ones: list[str], code: Refusal) -> None:
    """Section 5: NOT_LOWER, then ABSENT, then NO_TARGET; no seq is taken."""
    senior = room.join()
    senior_lost = room.keep(SECRETS[0])
    sender = room.join()
    lost = room.keep(SECRETS[1])
    other = room.join()
    lose(senior, senior_lost, lost)
    seq = senior.who().seq
    who = {
        "zero": 0,
        "senior": senior.ticket,
        "senior lost": senior_lost.ticket,
        "own": sender.ticket,
        "lost": lost.ticket,
        "nobody": U64_MAX,
    }
    sender.send(named(1, [who[each] for each in named_ones], b"x", flags=RESULTS))
    refused = sender.expect(Refused, id=1, code=code)
    assert refused.text
    assert senior.who().seq == seq
    other.expect_quiet()


def test_codes_without_absent_ones(room: Server) -> None:
    """Section 5: the codes that need no kept seat."""
    senior, sender, _ = room.line(3)
    for ident, listed, code in (
        (1, [sender.ticket], Refusal.NOT_LOWER),
        (2, [senior.ticket, U64_MAX], Refusal.NOT_LOWER),
        (3, [U64_MAX], Refusal.NO_TARGET),
        (4, [0], Refusal.NO_TARGET),
    ):
        sender.send(named(ident, listed))
        sender.expect(Refused, id=ident, code=code)


def test_which_refusal_of_a_set_comes_first(room: Server) -> None:
    """Section 5: TOO_BIG, NOT_LOWER, NO_TARGET, DUPLICATE."""
    senior, sender, junior = room.line(3)
    sender.command(1, results=True)
    sender.expect(Accepted, id=1)
    for listed, payload, code in (
        ([senior.ticket], bytes(MAX_PAYLOAD), Refusal.TOO_BIG),
        ([senior.ticket, U64_MAX], b"", Refusal.NOT_LOWER),
        ([U64_MAX], b"", Refusal.NO_TARGET),
        ([junior.ticket], b"", Refusal.DUPLICATE),
    ):
        sender.send(named(1, listed, payload))
        sender.expect(Refused, id=1, code=code)


def test_absent_comes_before_duplicate(room: Server) -> None:
    sender, junior = room.line(2)
    lost = room.keep(SECRETS[0])
    lose(sender, lost)
    sender.command(1, results=True)
    sender.expect(Accepted, id=1, executors=1, absent=1)
    junior.expect(Execute)
    sender.send(named(1, [lost.ticket]))
    sender.expect(Refused, id=1, code=Refusal.ABSENT)


@pytest.mark.parametrize("count", [1, 2, 100, MAX_PAYLOAD // 8])
def test_the_tickets_count_towards_max_payload(room: Server, count: int) -> None:
    """Section 5: 8n + payload; a refused list leaves the connection as it was."""
    sender, junior = room.line(2)
    listed = [junior.ticket + 1000 * number for number in range(count)]
    room_left = MAX_PAYLOAD - 8 * count
    sender.send(named(1, listed, bytes(room_left)))
    sender.expect(Accepted, id=1, executors=1, absent=count - 1)
    junior.expect_execute(0, bytes(room_left))
    sender.send(named(2, listed, bytes(room_left + 1)))
    sender.expect(Refused, id=2, code=Refusal.TOO_BIG)
    junior.expect_quiet()


def test_a_list_that_is_too_long_by_itself(room: Server) -> None:
    sender, junior = room.line(2)
    sender.send(named(1, range(junior.ticket, junior.ticket + MAX_PAYLOAD // 8 + 1)))
    sender.expect(Refused, id=1, code=Refusal.TOO_BIG)
    junior.expect_quiet()


# Lists that are not as described


def raw_set(count: int, *listed: int, tail: bytes = b"", flags: int = 0) -> bytes:
    body = b"".join(struct.pack(">Q", ticket) for ticket in listed) + tail
    return encode(Command(1, Target.SET, count, flags, 0, body))


BROKEN = {
    "n of 0": raw_set(0),
    "n of 0 before tickets": raw_set(0, 1, 2),
    "no list": raw_set(1),
    "a byte too few": raw_set(1, tail=bytes(7)),
    "one too few": raw_set(2, 1),
    "a byte too few of two": raw_set(2, 1, tail=bytes(7)),
    "far too few": raw_set(0xFFFF_FFFF, 1, 2, 3),
    "n x 8 is 2**32": raw_set(0x2000_0000, 1),
    "n x 8 is 2**32 + 8": raw_set(0x2000_0001, 1),
    "n x 8 is 2**31": raw_set(0x1000_0000, 1),
    "twice the same": raw_set(2, 5, 5),
    "twice zero": raw_set(2, 0, 0),
    "twice the largest": raw_set(2, U64_MAX, U64_MAX),
    "falling": raw_set(2, 6, 5),
    "falling at the end": raw_set(4, 1, 2, 4, 3),
    "the last below the first": raw_set(3, 2, 3, 1),
    "falling as signed only": raw_set(2, U64_MAX, 1),
    "with results": raw_set(2, 5, 5, flags=RESULTS),
    "falling and too big": raw_set(2, 6, 5, tail=bytes(MAX_PAYLOAD)),
}


@pytest.mark.parametrize("wire", BROKEN.values(), ids=BROKEN)
def test_a_list_that_is_not_as_described(room: Server, wire: bytes) -> None:
    """Section 3: PROTOCOL, and no member executes."""
    senior, offender, junior = room.line(3)
    offender.raw(wire)
    assert offender.expect_error(Code.PROTOCOL).text
    junior.expect(Rank, rank=1, members=2, cause=Cause.EVICTED)
    junior.expect_quiet()
    senior.expect_quiet()


def test_tickets_that_are_unsigned(room: Server) -> None:
    """Section 2: a list that rises over 2**63 is sound."""
    sender, junior = room.line(2)
    sender.send(named(1, [junior.ticket, 2**63 - 1, 2**63, U64_MAX]))
    sender.expect(Accepted, id=1, executors=1, absent=3)


def test_a_set_byte_by_byte(room: Server) -> None:
    clock, sender, first, second = room.line(4)
    for octet in encode(named(1, tickets(first, second), b"slow")):
        sender.raw(bytes([octet]))
        clock.ping()
    first.expect_execute(1, b"slow")
    second.expect_execute(1, b"slow")
    sender.expect(Accepted, id=1, executors=2)
