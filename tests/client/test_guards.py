"""The guards alone; `test_interrupts` tests them in use."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from rankmux import Client
from rankmux.client.guards import Bell, Guard, Presence
from rankmux.errors import RankmuxError, StateError
from rankmux.server.server import Server

from ..support.drivers import PATIENCE_S


@pytest.mark.parametrize(
    ("error", "torn"),
    [(None, False), (StateError("a", "b"), False), (KeyboardInterrupt(), True), (MemoryError(), True)],
)
def test_a_guard_reports_an_exception_inside_it(error, torn):
    guard = Guard()
    with suppress(BaseException), guard:
        assert guard.torn
        if error is not None:
            raise error
    assert guard.torn is torn


def test_presence_is_that_of_each_thread():
    presence, seen = Presence(), []
    with presence.lock:
        thread = threading.Thread(target=lambda: seen.append(presence.lock.locked()))
        thread.start()
        thread.join(PATIENCE_S)
        assert presence.lock.locked()
    assert seen == [False]
    assert not presence.lock.locked()


def test_a_bell_wakes_all_that_have_joined_before():
    bell = Bell()
    tickets = [bell.join() for _ in range(3)]
    threads = [threading.Thread(target=bell.wait, args=(ticket, None)) for ticket in tickets]
    for thread in threads:
        thread.start()
    bell.ring()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_waits_that_time_out_leave_nothing_behind():
    bell = Bell()
    for _ in range(3):
        bell.wait(bell.join(), 0.001)
    assert not bell._waiting
    bell.ring()


def test_calls_that_fail_for_ever_leave_nothing_behind():
    with Server(port=0, seats=2) as server:
        client = Client(*server.address)
    for _ in range(100):
        for call in (client.poll, client.who, client.keep_reading, lambda: client.command("x")):
            with pytest.raises(RankmuxError):
                call()
    assert len(client._engine._bell._waiting) < 10
    client.close()
