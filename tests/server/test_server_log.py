"""The log of a server whose members are lost, return, are taken over, yield and are kicked."""

from __future__ import annotations

import logging
import socket
from contextlib import ExitStack

import pytest

from rankmux.server.server import Server
from rankmux.wire import Hello, Keep, Yield

from ..support.admin_client import get_json, join, turns_until, watched

SECRET = b"a secret that nobody may read"


class Told:
    """The events of the log and of the page, since the last call."""

    def __init__(self, server: Server, caplog: pytest.LogCaptureFixture) -> None:
        self._server, self._caplog, self._happened = server, caplog, 0

    def lines(self) -> list[str]:
        found = [record.getMessage() for record in self._caplog.records if record.name == "rankmux.server"]
        assert SECRET.decode() not in "".join(map(str, self._caplog.records)), "secrets are never logged"
        self._caplog.clear()
        return [line.partition(" (")[0] for line in found if not line.startswith("closed")]

    def events(self) -> list[tuple[str, int, str]]:
        live = get_json(self._server, f"/live.json?after={self._happened}")
        self._happened = live["happened"]
        return [(event["what"], event["rank"], event["name"]) for event in live["events"]]


def come(server: Server, opened: ExitStack, name: str, keep_ms: int = 60_000) -> socket.socket:
    """A member with a keep, or one that returns."""
    sock = socket.create_connection(server.address)
    opened.callback(sock.close)
    stats = server.stats
    before = stats.joins + stats.returns
    sock.sendall(Hello(name, keep=Keep(keep_ms, 0, SECRET)).encode())
    turns_until(server, lambda: stats.joins + stats.returns > before)
    return sock


def hang_up(sock: socket.socket) -> None:
    """End the stream; closing it with unread input would be a reset."""
    sock.shutdown(socket.SHUT_WR)


def absent(server: Server) -> int:
    return server.room.line.kept.absent


def test_the_text_of_each_event(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rankmux.server")
    with ExitStack() as opened, watched(seats=5) as server:
        told = Told(server, caplog)
        boss, plain = come(server, opened, "boss"), join(server, "plain")
        opened.callback(plain.close)
        assert told.lines() == ["joined: boss has rank 0, ticket 1", "joined: plain has rank 1, ticket 2"]
        told.events()

        hang_up(boss)
        turns_until(server, lambda: absent(server))
        assert told.lines() == ["absent: boss keeps rank 0: end_of_stream"]
        boss = come(server, opened, "boss")
        assert told.lines() == ["returned: boss has rank 0, ticket 1"]
        assert told.events() == [("absent", 0, "boss"), ("back", 0, "boss")]

        boss = come(server, opened, "boss")
        (line,) = told.lines()
        assert line.startswith("taken over: boss has rank 0, ticket 1; its connection from 127.0.0.1:")
        assert told.events() == [("back", 0, "boss")]

        boss.sendall(Yield(1).encode())
        turns_until(server, lambda: server.stats.yields)
        assert told.lines() == [
            "yielded: boss has rank 1, ticket 3; its ticket was 1",
            "ranking: 0 plain, 1 boss",
        ]
        assert told.events() == [("yielded", 0, "boss"), ("promoted", 0, "plain"), ("joined", 1, "boss")]

        hang_up(boss)
        turns_until(server, lambda: absent(server))
        assert server.kick(3)
        turns_until(server, lambda: len(server.room) == 1)
        assert told.lines() == [
            "absent: boss keeps rank 1: end_of_stream",
            "kicked: an operator has thrown out boss, rank 1, ticket 3",
            "ranking: 0 plain",
        ]
        assert server.kick(2)
        turns_until(server, lambda: not len(server.room))
        assert told.lines()[0] == "kicked: an operator has thrown out plain, rank 0, ticket 2"

        short = come(server, opened, "short", keep_ms=1)
        hang_up(short)
        turns_until(server, lambda: server.stats.joins == 3 and not len(server.room))
        assert told.lines()[1:] == [
            "absent: short keeps rank 0: end_of_stream",
            "left: short had rank 0: its keep ran out",
            "ranking: no members",
        ]
