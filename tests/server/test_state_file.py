"""The file with the kept seats: written whole or not at all, read once, and only if nothing in it is damaged."""

from __future__ import annotations

import logging
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from rankmux.core.room.room import Room
from rankmux.core.room.turn import Join
from rankmux.errors import ConfigError
from rankmux.server.state_file import StateFile
from rankmux.wire import SetBaton

from ..support.room_turns import play

INSTANCE = 0x0102030405060708


def store(path: str, instance: int, room: Room, gone: set[int]) -> None:
    """As a server that stops."""
    StateFile(path).store(instance, room, gone)


def restore(path: str, room: Room, clock_ms: int) -> int | None:
    """As a server that starts."""
    with closing(StateFile(path)) as file:
        instance = file.load(room, clock_ms)
        file.remove()
    return instance


def a_room() -> Room:
    return Room(4, 100, 4, 60_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Members a to d: b and d with a keep, d has just left. a has written the baton."""
    path, room = tmp_path / "state", a_room()
    keeps = {"b": (b"b" * 32, 1000), "d": (b"d" * 32, 1000)}
    joins = [Join(i, name, "a:1", *keeps.get(name, ())) for i, name in enumerate("abcd")]
    play(room, joins=joins)
    play(room, (1, SetBaton(1, b"note")))
    store(str(path), INSTANCE, room, {4})
    return path


def test_the_file_is_loaded_once(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    room = a_room()
    assert restore(str(path), room, 5000) == INSTANCE
    assert not path.exists()
    assert list(room.ranks.tickets) == [2]
    assert (room.seq, room.line.next_ticket, room.line.baton) == (5 + 3, 5, (5, 1, b"note"))
    assert (list(room.line.kept.away()), room.next_deadline_ms()) == ([0], 6001)
    fresh = a_room()
    assert restore(str(path), fresh, 5000) is None
    assert len(fresh) == 0


def test_a_damaged_file_is_not_loaded(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each byte changed, each length cut; the file is removed, and the log says so."""
    data = path.read_bytes()
    caplog.set_level(logging.INFO, "rankmux.server")
    for at in range(len(data)):
        for damaged in (data[:at], data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]):
            path.write_bytes(damaged)
            path.chmod(0o600)
            room = a_room()
            caplog.clear()
            assert restore(str(path), room, 0) is None
            assert (len(room), room.seq) == (0, 0)
            assert not path.exists()
            assert caplog.records


def test_more_seats_than_there_are_now(tmp_path: Path) -> None:
    """None is lost."""
    path, room = tmp_path / "state", a_room()
    play(room, joins=[Join(i, "", "", b"%032d" % i, 1000) for i in range(4)])
    store(str(path), INSTANCE, room, set())
    small = Room(3, 100, 4, 60_000)
    assert restore(str(path), small, 0) == INSTANCE
    assert (len(small), small.seats) == (4, 3)


def test_a_place_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It was there at the start."""
    folder = tmp_path / "folder"
    with pytest.raises(ConfigError, match="no such directory"):
        StateFile(str(folder / "state"))
    folder.mkdir()
    file = StateFile(str(folder / "state"))
    shutil.rmtree(folder)
    assert not file.store(INSTANCE, a_room(), set())
    assert any("could not be written" in record.getMessage() for record in caplog.records)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        restore(str(tmp_path), a_room(), 0)
