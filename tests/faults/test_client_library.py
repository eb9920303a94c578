"""Rows L against a server process that dies and comes back. (The client by itself: tests/client.)"""

from __future__ import annotations

import signal
import threading
import time

import pytest

from rankmux import Client

from ..protocol.process import Server
from ..support.patience import until
from .conftest import Rigging
from .rig import EXTENSION
from .witness import figure

COUNT = 64
DOWN_S = 0.5


@pytest.mark.slow
def test_l1_l4_64_clients_come_back_after_a_crash(rig: Rigging) -> None:
    """No rank from the loss to the next WELCOME; all are admitted within the longest back-off and some slack."""
    first = rig(COUNT)
    told: dict[int, list[object]] = {number: [] for number in range(COUNT)}
    clients = []
    for number in range(COUNT):
        notes = told[number]
        clients.append(
            Client(first.host, first.port, reconnect=True, on_lost=notes.append, on_joined=notes.append)
        )
    threads = [
        threading.Thread(target=client.serve, args=(lambda _: b"",), daemon=True) for client in clients
    ]
    for thread in threads:
        thread.start()
    until(lambda: all(len(notes) == 1 for notes in told.values()), 10, "not everybody joined")
    first.exit_code = None  # it does not exit cleanly
    first.signal(signal.SIGKILL)
    first.wait()
    until(lambda: all(len(notes) == 2 for notes in told.values()), 10, "not everybody noticed")
    deadline = time.monotonic() + DOWN_S
    while time.monotonic() < deadline:
        assert all(client.rank is None for client in clients)
        time.sleep(0.01)
    second = Server(COUNT + 1, "--port", str(first.port), extension=EXTENSION)
    try:
        began = time.monotonic()
        until(lambda: all(len(notes) == 3 for notes in told.values()), 20, "not everybody is back")
        took = time.monotonic() - began
        assert sorted(notes[2] for notes in told.values()) == list(range(COUNT))  # type: ignore[type-var]
        assert second.join().who().total == COUNT + 1
    finally:
        for client in clients:
            client.close()
        for thread in threads:
            thread.join(10)
        second.stop()
    figure(
        "L1", f"{COUNT} clients, the server killed and {DOWN_S} s away: all are back after", f"{took:.1f} s"
    )
