"""The seam between gathering and applying: entries that this server did not gather, for members on other servers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar
from unittest import mock

from rankmux.codes import Cause, Target
from rankmux.core.room.turn import Departure, Join, Turn
from rankmux.server.admin.listing import Wish
from rankmux.server.sequencer import LocalSequencer
from rankmux.wire import Command, Execute, Members, Rank, Who

from ..support.embedded import embedded, to_all


class Shared(LocalSequencer):
    """Adds the `joins` and `departures` that other servers would have put into the order, with the next turn."""

    joins: ClassVar[list[Join]] = []
    departures: ClassVar[list[Departure]] = []

    def order(self, turn: Turn, now: float) -> Iterable[Turn]:
        turn.entry.joins += self.joins
        turn.entry.departures += self.departures
        self.joins.clear()
        self.departures.clear()
        return (turn,)


def test_alone_a_turn_is_its_own_order() -> None:
    turn = mock.sentinel.turn
    assert list(LocalSequencer(7).order(turn, 0.0)) == [turn]


def test_a_member_elsewhere_has_a_rank_and_no_connection() -> None:
    with mock.patch("rankmux.server.server.LocalSequencer", Shared), embedded(seats=8) as rig:
        first = rig.join("first")
        Shared.joins.append(Join(-1, "elsewhere", "other:1"))
        second = rig.join("second")
        members = {member.name: member for member in ask(rig, first).members}
        # the newcomer of the same turn is first: the entries of other servers follow it
        assert sorted(members) == ["elsewhere", "first", "second"]
        far = members["elsewhere"]
        first.send(to_all(1, b"to both"), Command(2, Target.ONE, far.rank, 0, 0, b"to the one elsewhere"))
        rig.settle()
        assert [frame.payload for frame in second.news() if isinstance(frame, Execute)] == [b"to both"]
        rows = [row for rows in rig.server._status.members(Wish(0, 10)) for row in rows]
        assert [(row["name"], row["age_s"]) for row in rows if row["name"] == "elsewhere"] == [
            ("elsewhere", 0.0)
        ]
        last = rig.join("last")
        last.news()
        Shared.departures.append(Departure(far.ticket, Cause.LOST))
        first.send(to_all(3, b"and a turn to go with it"))
        rig.settle()
        moved = [frame for frame in last.news() if isinstance(frame, Rank)]
        assert [(frame.rank, frame.cause) for frame in moved] == [(2, Cause.LOST)]
        rig.check(first)
        rig.check(second)
        rig.check(last)


def ask(rig, client) -> Members:
    client.send(Who(9, 0, 10))
    rig.settle(client)
    (page,) = [frame for frame in client.news() if isinstance(frame, Members)]
    return page
