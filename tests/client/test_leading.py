"""Leading: terms, stepping down, and the baton that is left for the next."""

from __future__ import annotations

import threading

import pytest

from rankmux import Counts, ReceivedCommand
from rankmux.codes import RefusedCode, Status
from rankmux.errors import CommandRefused, ConnectionLost, PayloadTooBig, ResultsLost
from rankmux.wire import Baton, Rank

from ..support.drivers import PATIENCE_S, serving
from ..support.fake_server import Connection, FakeServer
from .words import shout, until


def test_a_term_begins_with_rank_0_and_ends_with_it(join):
    ada, bob = join("ada"), join("bob")
    with ada.lead() as term:
        assert (term.ticket, term.baton, term.over) == (ada.ticket, None, False)
        assert not term.wait(0.01)
        with pytest.raises(TimeoutError, match="rank 0"), bob.lead(0.01):
            pass
        version = ada.set_baton("checkpoint 7")
        assert ada.baton == Baton(version, term.ticket, b"checkpoint 7")
        assert ada.step_down() == 1
        assert term.over
        assert term.wait(PATIENCE_S)
    with bob.lead(PATIENCE_S) as following:
        assert following.baton == Baton(version, term.ticket, b"checkpoint 7")
        assert following.ticket == bob.ticket
        bob.close()
        assert following.over
        assert following.wait()
    with ada.lead(PATIENCE_S) as last:
        assert last.ticket > following.ticket > term.ticket
        assert last.baton.payload == b"checkpoint 7"


@pytest.mark.parametrize("error", [ConnectionLost("of the block"), TimeoutError("of the block"), ValueError])
def test_errors_of_the_block_come_out(join, error):
    ada = join("ada")
    with pytest.raises(type(error) if isinstance(error, Exception) else error), ada.lead():
        raise error


def test_a_term_ends_with_its_connection_though_the_next_has_the_same_ticket(connect, at_once):
    """Without a keep: another room may count its tickets anew."""

    def script(connection: Connection) -> None:
        connection.welcome(rank=0, members=1)
        connection.send(b"\0\0\0\x13\x88" + connection.read_until(0x05)[:4] + bytes(14))
        connection.read_until(0x05)

    def welcome_again(connection: Connection) -> None:
        connection.welcome(rank=0, members=1)
        connection.until_gone()

    with FakeServer(script, welcome_again) as fake:
        client = connect(fake.host, fake.port, reconnect=True)
        with client.lead(PATIENCE_S) as term:
            assert not term.over
            with pytest.raises(ConnectionLost):
                client.who()
            assert term.wait(PATIENCE_S)
        client.close()


def test_the_baton_is_written_by_rank_0_alone(join):
    ada, bob = join("ada"), join("bob")
    with pytest.raises(CommandRefused) as caught:
        bob.set_baton(b"x")
    assert caught.value.code == RefusedCode.NOT_FIRST
    with pytest.raises(PayloadTooBig):
        ada.set_baton(bytes(65537))
    first = ada.set_baton(b"x")
    assert ada.set_baton(b"") == first + 1
    assert ada.baton is None
    ada.close()
    with bob.lead(PATIENCE_S) as term:
        assert term.baton is None


def test_the_baton_of_a_term_comes_even_when_it_is_late(connect):
    """It may arrive in a separate segment, after the one that gives rank 0."""

    def script(connection: Connection) -> None:
        connection.welcome()
        connection.send(Rank(12, 0, 1, 1))
        id_ = connection.read_until(0x05)[:4]
        connection.send(Baton(5, 1, b"late"), b"\0\0\0\x13\x88" + id_ + bytes(14))
        connection.until_gone()

    with FakeServer(script) as fake, connect(fake.host, fake.port) as client, client.lead(PATIENCE_S) as term:
        assert term.baton == Baton(5, 1, b"late")


def test_no_member_is_below(join):
    ada = join("ada")
    ticket = ada.ticket
    with pytest.raises(CommandRefused) as caught:
        ada.step_down()
    assert caught.value.code == RefusedCode.NO_TARGET
    assert (ada.rank, ada.ticket) == (0, ticket)


def test_stepping_down_loses_results_under_way(stage, join):
    ada, bob, cyd = join("ada"), join("bob"), join("cyd")
    waits = bob.command("never answered", results=True)
    owed = ada.command("to bob", to=1, results=True)
    assert bob.step_down() == 2
    with pytest.raises(ResultsLost):
        waits.wait(PATIENCE_S)
    assert owed.wait(PATIENCE_S) == Counts(0, 0, 0, 0, left=1)
    for client in (bob, cyd):
        stage.enter_context(serving(client, shout))
    assert ada.command("again", results=True).wait(PATIENCE_S).ok == 2


@pytest.mark.slow
def test_running_handlers_finish_and_no_other_begins(stage, join):
    ada, bob, _cyd = join("ada"), join("bob"), join("cyd")
    began, go_on, ran = threading.Event(), threading.Event(), []

    def handler(command: ReceivedCommand) -> str:
        ran.append(command.text)
        if command.text == "first":
            began.set()
            assert go_on.wait(PATIENCE_S)
        return "done"

    stage.enter_context(serving(bob, handler))
    first = ada.command("first", to=1, results=True)
    assert began.wait(PATIENCE_S)
    second = ada.command("second", to=1, results=True)
    thread = threading.Thread(target=bob.step_down, args=(PATIENCE_S,))
    thread.start()
    ada.who()
    go_on.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert [result.status for result in first] == [Status.OK]
    assert [result.status for result in second] == [Status.LEFT]
    assert ada.command("third", to="least", results=True).executors == 1
    until(lambda: bob.rank == 2)
    assert ran[0] == "first"
    assert "second" not in ran


def test_a_handler_steps_down_itself(stage, join):
    ada, bob, _cyd = join("ada"), join("bob"), join("cyd")
    ranks: list[int | None] = []
    stage.enter_context(serving(bob, lambda _: ranks.append(bob.step_down(PATIENCE_S))))
    assert ada.command("step down", to=1, results=True).wait(PATIENCE_S) == Counts(0, 0, 0, 0, left=1)
    until(lambda: ranks == [2])
