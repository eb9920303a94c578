"""Observers, which have no seat, and watchers, which receive each change of the line."""

from __future__ import annotations

import pytest

from rankmux.codes import NO_RANK, Change
from rankmux.errors import ConnectionLost, ProtocolViolation, ServerError, StateError
from rankmux.server.server import Server
from rankmux.wire import Changed, MemberInfo, Members

from ..support.drivers import PATIENCE_S
from ..support.fake_server import WELCOME, Connection, FakeServer


def test_an_observer_takes_no_seat(stage, join):
    joined: list[int] = []
    ada, look = join("ada"), join("look", observe=True, on_joined=joined.append)
    assert (look.rank, look.ticket, look.state) == (None, None, "observing")
    assert (ada.rank, ada.state) == (0, "present")
    assert [member.name for member in look.who()] == ["ada"]
    for step in (
        lambda: look.command("print"),
        lambda: look.wait_for_rank(0, 1.0),
        lambda: look.set_baton("x"),
        look.step_down,
        look.lead().__enter__,
    ):
        with pytest.raises(StateError, match="only looks on"):
            step()
    look.poll()
    assert joined == []
    with pytest.raises(StateError, match="watch=True"):
        look.watch()
    look.close()
    assert look.state == "none"


def test_a_room_that_is_full_can_still_be_looked_at(stage, connect):
    server = stage.enter_context(Server(port=0, seats=1, observers_max=1))
    stage.enter_context(connect(*server.address, name="ada"))
    look = stage.enter_context(connect(*server.address, observe=True))
    assert len(look.who()) == 1
    with pytest.raises(ServerError) as caught:
        connect(*server.address, observe=True)
    assert caught.value.code == 5


@pytest.mark.parametrize("observe", [False, True])
def test_each_change_and_the_line_after_it(join, observe):
    ada, bob = join("ada"), join("bob")
    watch = join("eve", observe=observe, watch=True).watch()
    mine = [] if observe else ["eve"]
    assert [member.name for member in watch.members] == ["ada", "bob", *mine]
    changes = watch.changes(PATIENCE_S)

    def change() -> tuple[Change, str, list[str], list[int]]:
        seen = next(changes)
        line = watch.members
        assert seen.member_count == len(line)
        return seen.what, seen.name, [member.name for member in line], [member.rank for member in line]

    join("cyd")
    count = 3 + len(mine)
    assert change() == (Change.JOINED, "cyd", ["ada", "bob", *mine, "cyd"], list(range(count)))
    bob.close()
    assert change() == (Change.LEFT, "bob", ["ada", *mine, "cyd"], list(range(count - 1)))
    ada.step_down()
    assert change()[:2] == (Change.YIELDED, "ada")
    assert change() == (Change.JOINED, "ada", [*mine, "cyd", "ada"], list(range(count - 1)))
    with pytest.raises(TimeoutError, match="has not changed"):
        next(watch.changes(0.01))


def test_a_line_of_many_pages(stage, connect):
    server = stage.enter_context(Server(port=0, seats=40, max_payload=200))
    clients = [stage.enter_context(connect(*server.address, name=f"m{n}")) for n in range(30)]
    watch = stage.enter_context(connect(*server.address, observe=True, watch=True)).watch()
    assert [member.ticket for member in watch.members] == [client.ticket for client in clients]


def test_a_watch_ends_with_its_connection(connect, at_once):
    def script(connection: Connection) -> None:
        connection.read_until(0x01)
        connection.send(WELCOME._replace(ticket=0, rank=NO_RANK))
        id_ = int.from_bytes(connection.read_until(0x05)[:4])
        connection.send(
            Members(id_, 11, 1, (MemberInfo(0, 3, 0, "ada", ""),)), Changed(12, 2, 3, 0, 0, "ada")
        )

    with FakeServer(script, Connection.until_gone) as fake:
        client = connect(fake.host, fake.port, observe=True, watch=True, reconnect=True)
        watch = client.watch()
        changes = iter(watch)
        assert next(changes).what is Change.LEFT
        assert watch.members == []
        with pytest.raises(ConnectionLost):
            next(changes)
        client.close()
        assert list(watch) == []


def test_pages_that_make_no_line(connect):
    def script(connection: Connection) -> None:
        connection.read_until(0x01)
        connection.send(WELCOME._replace(ticket=0, rank=NO_RANK))
        id_ = int.from_bytes(connection.read_until(0x05)[:4])
        rows = tuple(MemberInfo(rank, rank + 1, 0, "", "") for rank in range(3))
        connection.send(Members(id_, 11, 2, rows))
        connection.until_gone()

    with (
        FakeServer(script) as fake,
        connect(fake.host, fake.port, observe=True, watch=True) as client,
        pytest.raises(ProtocolViolation),
    ):
        client.watch()
