"""Pickling of public objects to another process and back, and copies of them."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import rankmux
import rankmux.aio
import rankmux.core.client.events
import rankmux.errors
from rankmux import Client, Status
from rankmux.aio import Counts, Ended, ExecuteRejected, MemberInfo, Promoted, Rejected, RoutedResult, Welcomed
from rankmux.client.address import Address
from rankmux.codes import Cause
from rankmux.core.client.events import ExecuteReceived
from rankmux.errors import ConfigError, ConnectionLost, RankmuxError, StateError
from rankmux.server.server import Server

from ..support.drivers import PATIENCE_S

ERRORS = {
    "AddressInUse": ("port", "127.0.0.1:1"),
    "ArgumentError": ("to", "nobody", "expected a rank"),
    "AuthError": (4, "wrong token"),
    "CannotConnect": ("the server speaks TLS", "tls"),
    "CannotListen": ("port", "127.0.0.1:1", "not allowed"),
    "CommandRefused": (7, 1, "nobody is below you"),
    "ConfigError": ("seats", 0, "expected more"),
    "ConfigErrors": ([ConfigError("seats", 0, "expected more"), ConfigError("port", -1, "expected 0")],),
    "ConnectionLost": ("the server closed the connection",),
    "FullError": (5, "no seat is free"),
    "LocalError": ("local",),
    "PayloadTooBig": (70_000, 65_536),
    "ProtocolViolation": (1, "a frame of no bytes"),
    "RankmuxError": ("any",),
    "RemoteError": ("remote",),
    "LogBroken": ("entry 7 of the log is damaged",),
    "ResultsLost": ("the server closed the connection",),
    "ServerError": (8, "the server is going away"),
    "SnapshotError": ("it ends too soon",),
    "StateError": ("sending", "closed"),
    "UnknownSetting": ("seat", 1, 'did you mean "seats"?'),
}
VALUES = [
    RoutedResult(1, 2, Status.OK, b"done"),
    Counts(1, 2, 3, 4, 5),
    MemberInfo(0, 1, 2, "ada", "127.0.0.1:1"),
    Promoted(5, 2, 1, 3, Cause.LEFT),
    Welcomed(1, 2, 3, 0, 1, 10, 65_536, 10_000),
    ExecuteRejected(3, 2, 1, True, b"x"),
    ExecuteReceived(3, 0, 1, True, 5000, b"x"),
    Address("::1", 80),
    Address(unix=Path("/run/rankmux")),
    *Status,
]
WAYS = [copy.copy, copy.deepcopy, *(lambda v, n=n: pickle.loads(pickle.dumps(v, n)) for n in range(2, 6))]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values(value, way):
    again = way(value)
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", rankmux.errors.__all__)
def test_errors(name, way):
    error = getattr(rankmux.errors, name)(*ERRORS[name])
    error.add_note("a note")
    again = way(error)
    assert type(again) is type(error)
    assert repr(vars(again)) == repr(vars(error)), (
        "exceptions among them compare as what they are, not what they say"
    )
    assert (str(again), repr(again.args)) == (str(error), repr(error.args))


def test_the_list_of_errors_is_whole():
    kinds = [kind for _, kind in inspect.getmembers(rankmux.errors, inspect.isclass)]
    assert {kind.__name__ for kind in kinds if issubclass(kind, RankmuxError)} == set(ERRORS)


def test_rejected():
    assert pickle.loads(pickle.dumps(Rejected("not here"))).args == ("not here",)


@pytest.mark.parametrize("way", WAYS)
def test_an_event_with_its_error(way):
    again = way(Ended(ConnectionLost("reset")))
    assert isinstance(again.error, ConnectionLost)
    assert again.error.reason == "reset"


def facts(command: Any) -> tuple[object, ...]:
    return (
        command.seq,
        command.sender_rank,
        command.rank,
        command.wants_result,
        command.payload,
        command.text,
        command.finished,
        type(command).__name__,
    )


def answered(command: Any) -> str:
    """Runs in another process: returns the text of the refusal to answer there."""
    texts = []
    for answer in (lambda: command.emit(b"x"), command.finish):
        try:
            if (made := answer()) is not None:
                asyncio.run(made)
        except StateError as error:
            texts.append(str(error))
    return " ".join(texts)


def in_process(call: Callable[[Any], Any], command: Any, method: str) -> Any:
    with ProcessPoolExecutor(1, get_context(method)) as pool:
        return pool.submit(call, command).result(PATIENCE_S)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork beside threads
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_received_command_goes_to_a_process_pool(method):
    seen: list[Any] = []

    def handler(command: Any) -> str:
        left_s = command.seconds_left()
        seen.append(
            (facts(command), in_process(facts, command, method), in_process(answered, command, method))
        )
        again = pickle.loads(pickle.dumps(command))
        seen.append((left_s, again.seconds_left()))
        return "by the parent"

    with Server(port=0, seats=2) as server, Client(*server.address) as ada, Client(*server.address) as bob:
        receipt = ada.command("work", results=True, quiet=True, timeout=PATIENCE_S)
        thread = threading.Thread(target=bob.serve, args=(handler,))
        thread.start()
        assert [result.text for result in receipt.gather(PATIENCE_S)] == ["by the parent"]
        bob.close()
        thread.join(PATIENCE_S)
    (here, there, text), (left_s, again_s) = seen
    assert here == there
    assert text.count("only the process that received it can answer it") == 2
    assert left_s - 2 * PATIENCE_S < again_s <= left_s


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork beside threads
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_received_command_of_the_asyncio_client(method):
    async def main(address: tuple[str, int]) -> tuple[Any, ...]:
        seen = []

        async def handler(command: Any) -> None:
            again = pickle.loads(pickle.dumps(command))
            seen.append((facts(command), await asyncio.to_thread(in_process, facts, command, method)))
            with pytest.raises(StateError, match="only the process that received it can answer it"):
                await again.finish()
            with pytest.raises(StateError, match="only the process that received it can answer it"):
                await again.emit("more")

        async with rankmux.aio.Client(*address) as ada, rankmux.aio.Client(*address, handler=handler):
            receipt = await ada.command("work", results=True)
            assert (await receipt.wait(PATIENCE_S)).ok == 1
        return seen[0]

    with Server(port=0, seats=2) as server:
        here, there = asyncio.run(main(server.address))
    assert here == there
