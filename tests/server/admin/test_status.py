from __future__ import annotations

import socket

import pytest

from rankmux.server.admin.listing import COUNT_MAX, SLICE, SORTS, Wish
from rankmux.server.admin.stats import BOUNDS_S, EVENTS_MAX, Histogram
from rankmux.wire import Command, Hello, Keep, Leave

from ...support.admin_client import join, turns_until, watched


def listed(server, *arguments, **more):
    return [row for rows in server._status.members(Wish(*arguments, **more)) for row in rows]


def crowd(server, count):
    """Rows without connections, to test the columns."""
    ranks = server.room.ranks
    for number in range(1, count + 1):
        ranks.append(number, 0, f"m{number}", "")
        ranks.loads[number - 1] = number % 7
    return ranks


def test_each_order_has_every_member_once():
    with watched(seats=4000) as server:
        ranks = crowd(server, 2500)
        for sort in SORTS:
            rows = (
                listed(server, 0, 1000, sort)
                + listed(server, 1000, 1000, sort)
                + listed(server, 2000, 1000, sort)
            )
            assert sorted(row["rank"] for row in rows) == list(range(2500)), sort
        loads = [(row["load"], -row["rank"]) for row in listed(server, 0, COUNT_MAX, "load")]
        assert loads == sorted(loads, reverse=True)
        assert len(listed(server, 0, 10**6)) == COUNT_MAX
        ranks.remove(range(2500))


def test_a_list_is_consistent_over_many_steps():
    with watched(seats=4000) as server:
        ranks = crowd(server, 3 * SLICE)
        slices = iter(server._status.members(Wish(0, 3 * SLICE)))
        rows = next(slices)
        ranks.remove(range(0, 3 * SLICE, 2))
        rows += [row for more in slices for row in more]
        assert [(row["rank"], row["ticket"]) for row in rows] == [(n, n + 1) for n in range(3 * SLICE)]
        ranks.remove(range(len(ranks)))


def test_events_are_numbered_without_gaps():
    with watched(seats=8) as server:
        socks = [join(server, name) for name in ("ada", "bob", "cyd")]
        socks[0].sendall(Leave().encode())
        turns_until(server, lambda: len(server.room) == 2)
        happened = server.stats.since(0)
        assert [h.number for h in happened] == [1, 2, 3, 4, 5]
        assert [h.what for h in happened] == ["joined"] * 3 + ["left", "promoted"]
        assert happened[3][2:] == ("left", 0, 1, "ada", "left", 0)
        assert happened[4][2:] == ("promoted", 0, 2, "bob", "", 2)  # the name of the new leader
        assert server.stats.since(4) == happened[4:]
        assert server.stats.since(5) == server.stats.since(10**9) == []
        for sock in socks:
            sock.close()


def test_the_last_of_many_departures_are_kept():
    with watched(seats=EVENTS_MAX + 60) as server:
        socks = [join(server, "") for _ in range(EVENTS_MAX + 40)]
        for sock in socks:
            sock.close()
        turns_until(server, lambda: not len(server.room))
        numbers = [h.number for h in server.stats.since(0)]
        assert numbers == list(range(server.stats.happened - EVENTS_MAX + 1, server.stats.happened + 1))
        assert len(server.stats.since(server.stats.happened - 10)) == 10


def test_queues_are_shown():
    with watched(seats=3, outbox_soft_bytes=1 << 25, outbox_hard_bytes=1 << 26) as server:
        ada, bob = join(server, "ada"), join(server, "bob")
        for id_ in range(250):
            ada.sendall(Command(id_, 0, 0, 2, 0, b"x" * 60_000).encode())
            server.step(0)
        turns_until(server, lambda: server.stats.commands == 250)
        totals = server._status.totals()
        assert totals["queued_bytes"] == totals["queued_bytes_max"] > 1_000_000
        first, _ = listed(server, 0, 2, "queue")
        assert (first["name"], first["queued_bytes"]) == ("bob", totals["queued_bytes"])
        ada.close()
        bob.close()


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, 0), (50e-6, 0), (51e-6, 1), (1.0, 13), (99.0, len(BOUNDS_S))]
)
def test_a_bucket_holds_what_is_up_to_its_bound(seconds, bucket):
    histogram = Histogram()
    histogram.add(seconds)
    assert histogram.counts[bucket] == 1
    assert histogram.sum == seconds


def test_no_events_are_kept_without_an_endpoint():
    with watched(admin="") as server:
        sock = join(server, "ada")
        assert server.stats.joins == 1
        assert not server.stats.recent
        sock.close()


def test_absences_are_shown():
    """Since when, and until when its seat is kept, by the server's clock."""
    now = [100.0]
    with watched(seats=4, clock=lambda: now[0]) as server:
        sock = socket.create_connection(server.address)
        sock.sendall(Hello("ada", keep=Keep(30_000, 0, b"s" * 16)).encode())
        turns_until(server, lambda: len(server.room))
        bob = join(server, "bob")
        sock.close()
        turns_until(server, lambda: server.room.line.kept.absent)
        now[0] += 12.5
        ada, other = listed(server, 0, 2)
        assert (ada["state"], ada["absent_s"], ada["kept_s"]) == ("absent", 12.5, 17.5)
        assert (other["state"], other["absent_s"], other["kept_s"]) == ("present", 0.0, 0.0)
        totals = server._status.totals()
        assert (totals["members"], totals["absent"]) == (2, 1)
        for sort in SORTS:
            assert len(listed(server, 0, 9, sort)) == 2
        bob.close()


def test_members_are_found_by_name_address_rank_and_ticket():
    with watched(seats=9000) as server:
        ranks = server.room.ranks
        for number in range(1, 5001):  # more than are examined in one step
            ranks.append(1000 + number, 0, f"Worker-{number}", f"10.0.0.{number % 7}:{number}")
        found = {
            text: [row["rank"] for row in listed(server, 0, 1000, "rank", text)]
            for text in ("wORKER-4999", "10.0.0.3:3", "4998", "1003", "nobody", "-500")
        }
        assert found == {
            "wORKER-4999": [4998],
            "10.0.0.3:3": [r for r in range(5000) if (r + 1) % 7 == 3 and str(r + 1)[0] == "3"],
            "4998": [3997, 4997, 4998],  # by ticket, name, rank
            "1003": [2, 1002, 1003],
            "nobody": [],
            "-500": [499, 4999],
        }
        listing = server._status.members(Wish(0, 1, "rank", "worker"))
        assert len([row for rows in listing for row in rows]) == 1
        assert listing.found == 5000
        ranks.remove(range(5000))


def test_a_search_is_consistent_over_many_steps():
    with watched(seats=9000) as server:
        ranks = crowd(server, 5000)
        steps = iter(server._status.members(Wish(0, 5, "rank", "m499")))
        assert next(steps) == []
        ranks.remove(range(4000))
        rows = [row for more in steps for row in more]
        named = [(row["rank"], row["name"]) for row in rows]
        assert named == [(498, "m499"), *((number - 1, f"m{number}") for number in range(4990, 4994))]
        ranks.remove(range(len(ranks)))


def test_any_order_can_be_reversed():
    with watched(seats=4000) as server:
        ranks = crowd(server, 50)
        for sort in SORTS:
            assert listed(server, 0, 50, sort, reverse=True) == listed(server, 0, 50, sort)[::-1]
        ranks.remove(range(50))


def test_promotions_are_counted():
    with watched(admin="", seats=8) as server:
        socks = [join(server, name) for name in ("ada", "bob", "cyd", "dan")]
        for sock, promotions in ((socks[1], 2), (socks[0], 4), (socks[3], 4)):
            before = len(server.room)
            sock.sendall(Leave().encode())
            turns_until(server, lambda before=before: len(server.room) < before)
            assert server._status.totals()["promotions"] == promotions
        for sock in socks:
            sock.close()
