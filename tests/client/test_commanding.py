"""Commands to a real server, their answers, and the list of members."""

from __future__ import annotations

import logging
import threading

import pytest

from rankmux import Client, Counts
from rankmux.codes import RefusedCode, Status
from rankmux.errors import ArgumentError, CommandRefused, PayloadTooBig, StateError
from rankmux.server.server import Server

from ..support.drivers import PATIENCE_S, serving
from .words import shout, until


def test_a_command_to_all(stage, join):
    ada, bob, cyd = join("ada"), join("bob"), join("cyd")
    for client in (bob, cyd):
        stage.enter_context(serving(client, shout))
    receipt = ada.command("print", results=True)
    assert (receipt.executors, receipt.rejected) == (2, 0)
    assert receipt.seq == 4  # three have joined
    results = list(receipt)
    assert sorted((r.rank, r.ticket, r.text) for r in results) == [
        (1, bob.ticket, "PRINT"),
        (2, cyd.ticket, "PRINT"),
    ]
    assert all(r.final and r.status is Status.OK for r in results)
    assert receipt.counts == Counts(ok=2, failed=0, rejected=0, expired=0, left=0)
    assert list(receipt) == []
    assert receipt.wait() == receipt.counts


def test_many_quiet_commands_in_one_call(stage, join):
    ada, bob, cyd = join("ada"), join("bob"), join("cyd")
    ran: dict[str, list[str]] = {"bob": [], "cyd": []}
    stage.enter_context(serving(bob, lambda command: ran["bob"].append(command.text)))
    stage.enter_context(serving(cyd, lambda command: ran["cyd"].append(command.text)))
    ada.commands(str(number) for number in range(3000))
    ada.commands(["x" * 40_000, b"y" * 65_000, bytearray(b"z")], names="cyd")
    ada.commands(iter(["w"]), tickets=[cyd.ticket])
    ada.commands([])
    ada.commands(["to nobody"], names="nobody-*")
    until(lambda: len(ran["cyd"]) == 3004)
    until(lambda: len(ran["bob"]) == 3000)
    assert ran["bob"] == [*map(str, range(3000))]
    assert ran["cyd"] == [*map(str, range(3000)), "x" * 40_000, "y" * 65_000, "z", "w"]
    with pytest.raises(PayloadTooBig):
        ada.commands([b"fits", bytes(65_537)])
    with pytest.raises(ArgumentError, match="payload"):
        ada.commands(["fits", 5])
    with pytest.raises(ArgumentError, match="to is"):
        ada.commands(["x"], to=-1)
    assert ada.who()[0].name == "ada"


def test_refusals_of_many_quiet_commands_are_in_the_log(join, caplog):
    ada = join()
    ada.commands(["one", "two"])
    ada.who()
    refused = "the command was refused: nobody is below you (code 1)"
    until(lambda: refused in caplog.text or ada.poll(0.01))
    texts = [record.getMessage() for record in caplog.records if record.name == "rankmux.client"]
    assert texts in ([f"2 quiet commands: {refused}"], [f"a quiet command: {refused}"] * 2)


def test_a_request_and_its_result(stage, join):
    ada, bob, cyd = join("ada"), join("bob"), join("cyd")

    def handler(command: object) -> str:
        if command.text == "fail":
            raise ValueError("wrong")
        if command.text == "parts":
            command.emit("one ")
            command.emit("two ")
        return f"{command.text} at {command.rank}"

    for client in (bob, cyd):
        stage.enter_context(serving(client, handler))
    assert ada.request("x").text == "x at 1"
    meant = [{"to": 2}, {"name": "cyd"}, {"to": ada.who()[2]}]
    assert [ada.request("x", **whom).text for whom in meant] == ["x at 2"] * 3
    assert ada.request(b"parts", name="bob").text == "one two parts at 1"
    failed = ada.request("fail")
    assert (failed.status, failed.text) == (Status.FAILED, "ValueError: wrong")
    for whom, text in (
        ({"to": "all"}, r"to is 'all': expected one member"),
        ({"to": ada.who()[1:]}, r"to is \[MemberInfo.*: expected one member"),
        ({"name": "c*"}, r"name is 'c\*': expected no wildcard"),
    ):
        with pytest.raises(ArgumentError, match=text):
            ada.request("x", **whom)
    with pytest.raises(ArgumentError, match="beside tickets or names"):
        ada.request("x", to="least", name="cyd")
    for whom, code in (
        ({"to": 7}, RefusedCode.NO_SUCH_RANK),
        ({"to": 0}, RefusedCode.NOT_LOWER),
        ({"name": "dan"}, RefusedCode.NO_TARGET),
    ):
        with pytest.raises(CommandRefused) as refused:
            ada.request("x", **whom)
        assert refused.value.code == code
    with pytest.raises(CommandRefused):
        cyd.request("x")
    dan, eve = join("dan"), join("dan")
    with pytest.raises(ArgumentError, match="name is 'dan': several members have it"):
        ada.request("x", name="dan")
    eve.close()
    assert ada.request("x", to=dan.rank, timeout=0.05).status is Status.EXPIRED


def test_targets(stage, join):
    clients = [join() for _ in range(4)]
    for client in clients[1:]:
        stage.enter_context(serving(client, lambda command: str(command.rank)))

    def ranks(sender: Client, to: object) -> list[int]:
        return [int(result.text) for result in sender.command("?", to=to, results=True).gather(PATIENCE_S)]

    assert ranks(clients[0], "all") == [1, 2, 3]
    assert ranks(clients[1], "all") == [2, 3]
    assert ranks(clients[1], "next") == [2]
    assert ranks(clients[0], 3) == [3]
    assert ranks(clients[0], "least") == [1]


def test_a_command_without_results(stage, join):
    ran = threading.Event()
    ada, bob = join(), join()
    stage.enter_context(serving(bob, lambda _: ran.set()))
    receipt = ada.command(b"\xff\0", to="next")
    assert (receipt.executors, receipt.counts) == (1, None)
    assert ran.wait(PATIENCE_S)
    with pytest.raises(StateError, match="results=True"):
        receipt.wait()
    with pytest.raises(StateError, match="results=True"):
        next(iter(receipt))


@pytest.mark.parametrize(
    ("meant", "code"),
    [
        ({"to": "next"}, RefusedCode.NO_TARGET),
        ({"names": "nobody of that name"}, RefusedCode.NO_TARGET),
        ({"names": []}, RefusedCode.NO_TARGET),
        ({"to": []}, RefusedCode.NO_TARGET),
        ({"to": "least"}, RefusedCode.NO_TARGET),
        ({"to": 0}, RefusedCode.NOT_LOWER),
        ({"to": 1}, RefusedCode.NOT_LOWER),
        ({"to": 2}, RefusedCode.NO_SUCH_RANK),
    ],
)
@pytest.mark.parametrize("results", [False, True])
def test_refusals(join, meant, code, results):
    _, bob = join(), join()
    with pytest.raises(CommandRefused) as caught:
        bob.command("print", **meant, results=results)
    assert caught.value.code == code


@pytest.mark.parametrize("meant", [{"to": "all"}, {"names": "web-*"}])
@pytest.mark.parametrize("results", [False, True])
def test_a_broadcast_to_nobody(join, meant, results):
    bob = join("bob")
    receipt = bob.command("print", **meant, results=results)
    assert (receipt.executors, receipt.seq, receipt.refusal.code) == (0, None, RefusedCode.NO_TARGET)
    if results:
        assert receipt.wait() == Counts(0, 0, 0, 0, 0)
        assert list(receipt) == []
    with pytest.raises(CommandRefused) as caught:
        bob.command("print", **meant, results=results, required=True)
    assert caught.value.code == RefusedCode.NO_TARGET
    assert bob.command("print", **meant, results=True, quiet=True).wait(PATIENCE_S).total == 0


@pytest.mark.parametrize("to", [-1, 1 << 32, True, None, 1.0, ""])
def test_targets_that_are_none(join, to):
    with pytest.raises(ArgumentError, match="or a rank"):
        join().command("print", to=to)


def test_a_member_that_was_looked_up_is_the_one_that_executes(stage, join):
    """Even when a senior has left in between; the rank of then is that of another member now."""
    ada, bob, cyd, dan = (join(name) for name in ("ada", "bob", "cyd", "dan"))
    for client in (cyd, dan):
        stage.enter_context(serving(client, lambda command: str(command.rank)))
    meant = ada.who()[2]
    bob.close()
    until(lambda: len(ada.who()) == 3)
    (result,) = ada.command("print", to=meant, results=True)
    assert (result.ticket, result.text) == (cyd.ticket, "1")
    receipt = ada.command("print", tickets=[bob.ticket or 2, cyd.ticket, dan.ticket], results=True)
    assert (receipt.executors, receipt.rejected) == (2, 0)
    cyd.close()
    until(lambda: len(ada.who()) == 2)
    with pytest.raises(CommandRefused) as caught:
        ada.command("print", to=meant)
    assert caught.value.code == RefusedCode.NO_TARGET


def test_names_and_lists(stage, join):
    clients = [join(name) for name in ("web-0", "ada", "web-1", "db-1", "web-2")]
    for client in clients[2:]:
        stage.enter_context(serving(client, lambda command: str(command.rank)))
    ada = clients[1]

    def ranks(**meant: object) -> list[int]:
        return [int(result.text) for result in ada.command("?", **meant, results=True).gather(PATIENCE_S)]

    assert ranks(names="web-*") == [2, 4]
    assert ranks(names="db-1") == [3]
    assert ranks(names=["db-1", "web-2"]) == [3, 4]
    assert ranks(to=[member for member in ada.who() if member.rank > 2]) == [3, 4]
    with pytest.raises(ArgumentError, match="'leest': expected 'all', 'next', 'least'"):
        ada.command("?", to="leest")
    receipt = ada.command("?", names="*")
    assert (receipt.executors, receipt.rejected, receipt.absent) == (3, 1, 0)
    with pytest.raises(CommandRefused) as caught:
        ada.command("?", names="web-0")
    assert caught.value.code == RefusedCode.NOT_LOWER


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), 1e10, "5"])
def test_timeouts_that_are_none(join, timeout):
    with pytest.raises(ArgumentError, match="seconds"):
        join().command("print", timeout=timeout)


def test_a_payload_that_is_too_big_sends_nothing(stage, join):
    ada, bob = join(), join()
    stage.enter_context(serving(bob, lambda command: str(len(command.payload))))
    with pytest.raises(PayloadTooBig):
        ada.command(bytes(65537))
    (result,) = ada.command(bytes(65536), results=True)
    assert result.text == "65536"
    with pytest.raises(PayloadTooBig, match="split the list"):
        ada.command(bytes(65536 - 8), tickets=[1, 2])
    (result,) = ada.command(bytes(65536 - 8), tickets=[bob.ticket], results=True)
    assert result.text == "65528"


def test_a_command_expires(join):
    ada, _ = join(), join()
    receipt = ada.command("print", results=True, timeout=0.01)
    assert receipt.wait(PATIENCE_S) == Counts(0, 0, 0, 1, 0)
    (result,) = receipt
    assert (result.status, result.rank, result.payload) == (Status.EXPIRED, 1, b"")


def test_an_executor_leaves(join):
    ada, bob = join(), join()
    receipt = ada.command("print", results=True)
    bob.close()
    assert [result.status for result in receipt] == [Status.LEFT]


def test_waiting_for_results_can_be_given_up(join):
    ada, _bob = join(), join()
    receipt = ada.command("print", results=True)
    with pytest.raises(TimeoutError, match="was not done"):
        receipt.wait(0.01)
    with pytest.raises(TimeoutError, match="no result"):
        next(receipt.results(0.01))
    assert ada.command("print").executors == 1


def test_quiet_commands(stage, join, caplog):
    ran: list[str] = []
    go_on = threading.Event()
    ada, bob = join(), join()

    def handler(command: object) -> None:
        assert command.text != "last" or go_on.wait(PATIENCE_S)
        ran.append(command.text)

    thread = stage.enter_context(serving(bob, handler))
    for number in range(2000):
        assert ada.command(str(number), quiet=True).seq is None
    receipt = ada.command("last", quiet=True, results=True)
    assert receipt.executors is None
    go_on.set()
    assert receipt.wait(PATIENCE_S).ok == receipt.executors == 1
    assert ran == [*map(str, range(2000)), "last"]
    bob.close()
    thread.join(PATIENCE_S)
    until(lambda: not ada.poll() and ada.who() and len(ada.who()) == 1)
    with pytest.raises(CommandRefused):
        ada.command("nobody there", quiet=True, results=True, required=True).wait(PATIENCE_S)
    with caplog.at_level(logging.WARNING):
        ada.command("nobody there", quiet=True)
        ada.who()
        ada.poll()
    assert "the command was refused" in caplog.text


def test_who_over_many_pages(stage, connect):
    server = stage.enter_context(Server(port=0, seats=40, max_payload=200))
    clients = [stage.enter_context(connect(*server.address, name="x" * 60 + f"{n}")) for n in range(40)]
    members = clients[7].who()
    assert [member.rank for member in members] == list(range(40))
    assert [member.ticket for member in members] == [client.ticket for client in clients]
    assert [member.name for member in members] == [client.name for client in clients]
    assert clients[7].member_count == 40
