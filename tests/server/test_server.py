"""The server embedded: step by step, in the background, its address and descriptors; and its output for people."""

from __future__ import annotations

import logging
import os
import socket
import threading
from typing import Any

import pytest

from rankmux.codes import ErrorCode
from rankmux.errors import ConfigError
from rankmux.server.connections.closes import CloseReason
from rankmux.server.server import Server
from rankmux.system.reactor import Reactor
from rankmux.wire import ErrorFrame, Hello, Leave, Welcome

from ..support.embedded import Client, embedded, open_descriptors, to_all

# Embedding.


def test_step_by_step():
    before = open_descriptors()
    server = Server(port=0, seats=3, first_ticket=1)
    host, port = server.address
    assert (host, port > 0) == ("127.0.0.1", True)
    server.step(0)
    client = Client(server.address)
    client.send(Hello("ada"))
    while client.welcome is None:
        server.step(1)
        client.pump()
    assert client.welcome == Welcome(server.instance, 1, 1, 0, 1, 3, 65_536, 10_000)
    server.close()
    client.pump()
    assert client.ended is not None
    client.close()
    server.close()
    server.step(0)
    assert server.stopped
    assert open_descriptors() <= before


def test_forever_until_stopped():
    before = open_descriptors()
    server = Server(port=0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with socket.create_connection(server.address, 10) as sock:
        sock.sendall(Hello("ada").encode())
        assert sock.recv(5)[4] == 0x81
        server.stop()
        thread.join(10)
        assert not thread.is_alive()
        assert server.stopped
    server.stop()
    server.close()
    assert open_descriptors() <= before


def test_in_the_background():
    before = open_descriptors()
    with Server(port=0) as server:
        client = Client(server.address)
        client.sock.settimeout(10)
        client.send(Hello("ada"))
        assert client.sock.recv(5)[4] == 0x81
    client.sock.setblocking(False)
    client.frames, client.rest = [], Welcome(*range(8)).encode()[:5]
    client.pump()
    assert client.frames[1:] == [ErrorFrame(ErrorCode.SHUTDOWN, "the server is going away")]
    assert client.ended == "end of stream"
    client.close()
    assert open_descriptors() <= before


def test_stopped_twice_and_after_the_end():
    with Server(port=0) as server:
        server.stop()
        server.stop()
        while not server.stopped:
            threading.Event().wait(0.001)
        server.stop()


def test_an_error_in_the_background_is_raised(monkeypatch):
    server = Server(port=0)
    monkeypatch.setattr(server, "step", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError), server:
        pass
    monkeypatch.undo()
    server.close()


def test_an_address_that_is_taken():
    before = open_descriptors()
    with embedded() as rig, pytest.raises(ConfigError) as caught:
        Server(port=rig.server.address[1])
    assert str(rig.server.address[1]) in str(caught.value)
    assert open_descriptors() <= before


def test_descriptors_in_any_order(monkeypatch):
    """The listener's descriptor is lower than that of the wake-up if a low one was freed in between."""
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(200)]

    def make(*args: Any) -> Reactor:
        reactor = Reactor(*args)
        os.close(held.pop(0))
        return reactor

    monkeypatch.setattr("rankmux.server.server.Reactor", make)
    server = Server(port=0)
    try:
        server.stop()
        server.step(0)
        assert server.stopped
    finally:
        server.close()
        for fd in held:
            os.close(fd)


# Output for people.


def test_each_close_is_logged_with_its_reason(caplog):
    caplog.set_level(logging.INFO, "rankmux.server")
    with embedded(seats=4) as rig:
        members = rig.crowd(3)
        members[2].send(Leave())
        members[1].raw(bytes(4))
        rig.until(lambda: members[1].ended and members[2].ended)
        told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("left:")]
        assert [("m1" in line, "m2" in line) for line in told] == [(True, False), (False, True)]
        assert CloseReason.PROTOCOL.value in told[0]
        assert told[1].endswith(CloseReason.LEFT.value)


def test_commands_beyond_the_limit_of_the_log_are_counted(caplog):
    now = [1000.0]
    caplog.set_level(logging.INFO, "rankmux.server")
    with embedded(seats=4, log_lines_per_s=3, clock=lambda: now[0]) as rig:
        sender, _ = rig.crowd(2)
        now[0] += 1
        for i in range(10):
            sender.send(to_all(i))
            rig.settle()
        now[0] += 1
        rig.settle()
        told = [record.getMessage() for record in caplog.records]
        assert sum(line.startswith("command ") for line in told) == 3
        assert "command: 7 more in the last second" in told
