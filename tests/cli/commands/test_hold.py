"""rankmux-client hold: the control socket, and many concurrent users of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from rankmux import Client
from rankmux.codes import Status
from rankmux.server.server import Server

from ...support.script import ENDING, PATIENCE_S, Script, code_of, eventually, run


class Sender:
    """An independent sender, written from the docstring of `seat/protocol` alone."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(str(path))
        self._file = self.socket.makefile("rb")

    def say(self, header: dict[str, object], payload: bytes = b"") -> None:
        self.socket.sendall(json.dumps(header).encode() + b"\n" + payload)

    def hear(self) -> tuple[dict[str, object], bytes]:
        line = self._file.readline()
        if not line:
            return {}, b""
        header = json.loads(line)
        return header, self._file.read(header.get("size", 0))

    def close(self) -> None:
        self._file.close()
        self.socket.close()


COMMAND = {"do": "command", "id": 1, "to": "all", "results": True, "ttl_ms": 0}


def test_the_control_protocol(scene):
    path = scene.hold()
    scene.work("cat")
    with closing(Sender(path)) as sender:
        header, _ = sender.hear()
        assert (header["is"], header["version"], header["rank"], header["max_payload"]) == (
            "seat",
            1,
            0,
            65536,
        )
        sender.say({**COMMAND, "size": 4}, b"a\n\0b")
        replies = [sender.hear() for _ in range(4)]
        assert [header["is"] for header, _ in replies] == ["accepted", "result", "result", "done"]
        assert replies[1][1] == b"a\n\0b"
        sender.say({"do": "who", "id": 1})
        header, payload = sender.hear()
        assert header["is"] == "members"
        assert [member["rank"] for member in json.loads(payload)] == [0, 1]


@pytest.mark.parametrize(
    "octets",
    [
        b"nonsense\n",
        b"[]\n",
        b"{}\n",
        b"x" * 5000,
        b'{"do":"command","id":1}\n',
        b'{"do":"command","id":-1,"to":"all","results":true,"ttl_ms":0}\n',
        b'{"do":"command","id":1,"to":"some","results":true,"ttl_ms":0}\n',
        b'{"do":"dance","id":1}\n',
        b'{"do":"who","id":1,"size":99999999}\n',
        b"[" * 4000 + b"\n",
    ],
)
def test_an_invalid_request_ends_only_that_sender(scene, octets):
    path = scene.hold()
    with closing(Sender(path)) as other, closing(Sender(path)) as sender:
        other.hear()
        sender.hear()
        sender.socket.sendall(octets)
        header, payload = sender.hear()
        assert header["is"] == "error"
        assert payload
        assert sender.hear() == ({}, b"")
        other.say({"do": "who", "id": 5})
        assert other.hear()[0]["is"] == "members"


def test_only_its_user_can_open_it(scene):
    path = scene.hold()
    found = path.stat()
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600


@pytest.mark.parametrize("number", ENDING)
def test_it_leaves_and_removes_its_socket(scene, tmp_path, number):
    path = tmp_path / "here"
    holder = scene.joined("hold", "--seat", path)
    junior = scene.joined("hold")
    assert holder.end(number) == code_of(number)
    assert not path.exists()
    junior.until(r"New rank: 0 of 1, was 1 \(a member above you left\)")


def test_a_socket_that_was_left_behind_is_replaced(scene, tmp_path):
    path = tmp_path / "here"
    first = scene.joined("hold", "--seat", path)
    first.process.kill()
    first.process.wait()
    assert path.exists()
    scene.joined("hold", "--seat", path)
    assert scene.run("who", "--seat", path)[0] == 0


def test_a_socket_in_use_is_left_alone(scene, tmp_path):
    path = tmp_path / "here"
    scene.joined("hold", "--seat", path)
    code, _, err = scene.run("hold", "--seat", path)
    assert code == 2
    assert "another seat is held there" in err
    assert scene.run("who", "--seat", path)[0] == 0


def test_a_file_that_is_not_a_socket_is_left_alone(scene, tmp_path):
    path = tmp_path / "notes"
    path.write_text("precious")
    code, _, err = scene.run("hold", "--seat", path)
    assert code == 2
    assert "something else is there" in err
    assert path.read_text() == "precious"
    assert scene.run("hold", "--seat", tmp_path / "x" / "y")[0] == 2
    assert scene.run("hold", "--seat", tmp_path / ("x" * 200))[0] == 2


def test_it_executes_nothing(scene):
    client = scene.client()
    scene.hold()
    assert [result.status for result in client.command("print", results=True)] == [Status.REJECTED]


def test_several_senders_at_once(scene):
    path = scene.hold()
    scene.work("cat", "--parallel", "4")

    def send(number: int) -> tuple[int, str]:
        return scene.run("send", "--seat", path, "--wait", "--to", "next", f"command {number}")[:2]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(send, range(8))) == [(0, f"command {number}") for number in range(8)]


def test_a_sender_that_is_killed_does_not_affect_others(scene, tmp_path):
    path = scene.hold()
    gate = tmp_path / "gate"
    worker = scene.work(f"while [ ! -e {gate} ]; do sleep 0.01; done; cat", "--parallel", "2")
    killed = scene.start("send", "--seat", path, "--wait", "one")
    worker.until("Command 3")
    other = scene.start("send", "--seat", path, "--wait", "--to", "next", "two")
    worker.until("Command 4")
    killed.process.kill()
    killed.process.wait()
    gate.touch()
    assert other.end() == 0
    assert other.out == "two"


def test_a_sender_that_does_not_read_is_disconnected(scene):
    path = scene.hold()
    scene.work("yes | head -c 8000000", "--parallel", "4")
    with closing(Sender(path)) as sender:
        sender.hear()
        for id_ in range(4):
            sender.say({**COMMAND, "id": id_})
        code, out, _ = scene.run("send", "--seat", path, "--wait", "--to", "next", "print")
        assert (code, len(out)) == (0, 8_000_000)
        size = 0
        while data := sender.socket.recv(1 << 20):
            size += len(data)
        assert size < 32_000_000


def test_it_reconnects_when_asked(tmp_path):
    path = tmp_path / "seat"
    with Server(port=0, seats=4) as server:
        port = server.address[1]
        holder = Script("hold", "--port", port, "--seat", path, "--reconnect")
        holder.until("Assigned rank: 0")
    with holder:
        holder.until("trying again", "err")
        code, _, err = run("send", "--seat", path, "print")
        assert code == 5
        assert "not connected" in err
        with Server(port=port, seats=4):
            holder.said["out"] = ""
            holder.until("Assigned rank: 0")
            assert run("send", "--seat", path, "print")[0] == 4
        assert holder.end(ENDING[1]) == 0
    assert not path.exists()


def test_it_waits_for_a_server_when_asked(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Script("hold", "--port", port, "--reconnect") as holder:
        holder.until("nobody listens.*; trying again", "err")
        with Server(port=port, seats=4):
            holder.until("Assigned rank: 0")
            assert holder.end(ENDING[0]) == 130


def test_it_ends_with_its_connection():
    with Server(port=0, seats=4) as server:
        holder = Script("hold", "--port", server.address[1])
        holder.until("Assigned rank: 0")
    with holder:
        assert holder.end() == 5
        assert "the server is going away" in holder.err


def test_it_stays_joined_while_nothing_happens():
    """The held seat answers PINGs."""
    with (
        Server(port=0, seats=4, ping_ms=200) as server,
        Script("hold", "--port", server.address[1]) as holder,
    ):
        holder.until("Assigned rank: 0")
        with Client(*server.address) as client:
            until = time.monotonic() + 1.5
            client.wait(lambda: time.monotonic() > until, 1.5)
            assert len(client.who()) == 2


def test_the_plain_client_offers_its_seat_too(scene, tmp_path):
    path = tmp_path / "seat"
    with Script("--port", scene.port, "--seat", path) as client:
        client.until(f"Seat: {path}\n")
        scene.work("cat")
        assert scene.run("send", "--seat", path, "--wait", "--to", "next", "print")[:2] == (0, "print")
        client.process.stdin.write(b"of its own\n")
        client.process.stdin.flush()
        client.until("Done, 1 ok: of its own")
        assert client.end() == 0
        assert not path.exists()
    path.touch()
    assert run("--port", scene.port, "--seat", path)[0] == 2


def test_a_seat_that_hangs(scene, tmp_path):
    path = tmp_path / "here"
    holder = scene.joined("hold", "--seat", path)
    os.kill(holder.process.pid, signal.SIGSTOP)
    code, _, err = scene.run("send", "--seat", path, "--connect-timeout", "0.2", "print")
    assert code == 5
    assert "was silent for 0.2 s" in err
    os.kill(holder.process.pid, signal.SIGCONT)
    assert scene.run("who", "--seat", path)[0] == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_does_not_end_it(scene):
    with (
        open("/dev/full", "wb") as full,
        Script("hold", "--port", scene.port, "--seat", scene.directory / "held", stdout=full) as script,
    ):
        eventually(lambda: scene.run("who", "--seat", scene.directory / "held")[0] == 0)
        assert script.end(signal.SIGTERM) == 0
    assert script.err == ""
