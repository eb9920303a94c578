"""`hold`, `work` and `wait` with --keep: seats that outlive connections and restarts of the program."""

from __future__ import annotations

import shutil
import signal
import socket
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from rankmux import Client

from ...support.script import ENDING, Script, alive, code_of, eventually


class Relay:
    """Passes bytes on to a server, until it is cut: then connections end, and no new one is made."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._ended: list[socket.socket] = []
        self.let_in = True
        self.frozen = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if not self.let_in:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._open += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                while self.frozen:
                    time.sleep(0.01)
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        for sock in self._open:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._ended += self._open
        self._open.clear()

    def close(self) -> None:
        self.cut()
        self._listener.close()
        for sock in self._ended:
            sock.close()


@pytest.fixture
def relay(scene, stack):
    relay = Relay(scene.port)
    stack.callback(relay.close)
    return relay


def members(scene) -> list[tuple[str, bool]]:
    with Client(*scene.server.address, observe=True) as observer:
        return [(member.name, member.absent) for member in observer.who()]


@pytest.mark.parametrize("subcommand", ["hold", "work", "wait"])
def test_it_comes_back_to_its_seat(scene, relay, stack, tmp_path, subcommand):
    scene.client(name="above")
    events = tmp_path / "events"
    hooks = (
        *("--hook-absent", f"sh -c 'echo absent \"$RANKMUX_REASON\" >> {events}'"),
        *("--hook-back", f"sh -c 'echo back $RANKMUX_RANK >> {events}'"),
    )
    program = () if subcommand == "hold" else ("--", "cat")
    script = stack.enter_context(
        Script(subcommand, "--port", relay.port, "--name", "it", "--keep", 60, *hooks, *program)
    )
    script.until("Assigned rank: 1")
    scene.client(name="below")
    relay.cut()
    script.until("the seat is kept for 60 s", "err")
    script.until("Back at rank: 1")
    assert members(scene) == [("above", False), ("it", False), ("below", False)]
    eventually(lambda: events.exists() and events.read_text().count("\n") == 2)
    assert events.read_text().splitlines()[0].startswith("absent ")
    assert events.read_text().splitlines()[1] == "back 1"
    assert script.end(signal.SIGTERM) == 0
    eventually(lambda: members(scene) == [("above", False), ("below", False)])


@pytest.mark.parametrize("number", ENDING)
def test_the_program_is_restarted_and_has_its_rank(scene, tmp_path, number):
    """With a keep file SIGTERM leaves the seat kept, as SIGKILL does; Ctrl-C gives it back."""
    file = tmp_path / "keep"
    flags = ("--name", "it", "--keep", 60, "--keep-file", file)
    scene.joined("hold", "--name", "above")
    first = scene.joined("hold", *flags)
    scene.joined("hold", "--name", "below")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    code, _, err = scene.run("hold", *flags)
    assert (code, "another program uses it" in err) == (2, True)
    assert first.end(number) == code_of(number)
    kept = number == signal.SIGTERM
    eventually(lambda: (("it", True) in members(scene)) == kept and ("it", False) not in members(scene))
    second = scene.start("hold", *flags)
    second.until(f"Assigned rank: {1 if kept else 2}")
    second.process.kill()
    second.process.wait()
    third = scene.start("hold", *flags)
    third.until(f"Assigned rank: {1 if kept else 2}")
    assert third.end(signal.SIGINT) == 130


@pytest.mark.parametrize("subcommand", ["hold", "work", "wait"])
def test_two_with_one_secret_do_not_take_the_seat_from_each_other_for_ever(scene, tmp_path, subcommand):
    """Copies of one keep file on two machines: the first ends, even if it would reconnect, and the second stays."""
    files = [tmp_path / "one", tmp_path / "copy"]
    reconnect = () if subcommand == "wait" else ("--reconnect",)
    program = () if subcommand == "hold" else ("--", "sleep", "100")

    def start(file: Path) -> Script:
        flags = ("--keep", 30, "--keep-file", file, *reconnect, *program)
        return scene.joined(subcommand, "--name", file.name, *flags)

    one = start(files[0])
    shutil.copy2(files[0], files[1])
    with Client(*scene.server.address, observe=True) as observer:
        ticket = observer.who()[0].ticket
        copy = start(files[1])
        assert one.end() == 5
        said = one.out + one.err
        assert one.err.count("another connection has returned to your seat") == 1 + (subcommand == "wait")
        assert "not kept any longer" not in said
        assert "trying again" not in said
        assert [(member.ticket, member.absent) for member in observer.who()] == [(ticket, False)]
    assert copy.end(signal.SIGINT) == 130
    for script in (one, copy):
        assert (script.out + script.err).count("Assigned rank") == 1
        assert "Back at rank" not in script.out + script.err


def test_wait_that_is_killed_again_and_again_has_its_rank_and_ticket(scene, tmp_path):
    """Neither the lock of the keep file nor the connection that the watching process holds is in the way."""
    flags = ("--name", "it", "--rank", 1, "--keep", 60, "--keep-file", tmp_path / "keep", "--grace", 0.5)
    scene.joined("hold", "--name", "above")
    program = ("--", "sh", "-c", "echo pid $$ at $RANKMUX_RANK with $RANKMUX_TICKET; exec sleep 100")
    seats, pids = [], []
    for _ in range(3):
        script = scene.start("wait", *flags, *program)
        pid, *seat = script.until(r"pid (\d+) at (\d+) with (\d+)\n").groups()
        pids.append(int(pid))
        seats.append(seat)
        if len(seats) == 1:
            scene.joined("hold", "--name", "below")
        assert not any(alive(before) for before in pids[:-1])
        script.end(signal.SIGKILL)
    assert seats == [["1", seats[0][1]]] * 3
    eventually(lambda: members(scene) == [("above", False), ("it", True), ("below", False)])


def test_a_seat_that_is_not_kept_any_longer_is_the_end(scene, relay, stack):
    script = stack.enter_context(Script("hold", "--port", relay.port, "--keep", 0.6))
    script.until("Assigned rank")
    relay.let_in = False
    relay.cut()
    assert script.end() == 5
    assert "the seat was not kept any longer" in script.err


def test_with_reconnect_a_new_seat_will_do(scene, relay, stack):
    script = stack.enter_context(
        Script("hold", "--port", relay.port, "--name", "it", "--keep", 0.3, "--reconnect")
    )
    script.until("Assigned rank: 0")
    scene.client(name="below")
    relay.let_in = False
    relay.cut()
    eventually(lambda: members(scene) == [("below", False)])
    relay.let_in = True
    script.until("Assigned rank: 1")
    assert script.end(signal.SIGTERM) == 0


def test_wait_goes_on_when_it_is_back_in_time(scene, relay, stack, tmp_path):
    stop = tmp_path / "stop"
    program = f"echo pid $$; until [ -e {stop} ]; do sleep 0.02; done; echo whole"
    script = stack.enter_context(
        Script("wait", "--port", relay.port, "--keep", 60, "--", "sh", "-c", program)
    )
    script.until(r"pid \d+\n")
    relay.cut()
    script.until("Back at rank: 0")
    stop.touch()
    assert script.end() == 0
    assert "whole" in script.out


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cut", "freeze"])
@pytest.mark.parametrize("program", ["exec sleep 100", "trap '' TERM; sleep 100; sleep 100"])
def test_wait_ends_its_program_before_another_can_lead(scene, relay, stack, how, program):
    """Cut off, or without any packet getting through: the program has ended before the next one begins."""
    first = stack.enter_context(
        Script("wait", "--port", relay.port, "--keep", 2, "--", "sh", "-c", f"echo pid $$; {program}")
    )
    pid = int(first.until(r"pid (\d+)\n")[1])
    second = scene.joined("wait", "--", "sh", "-c", f"kill -0 {pid} && echo both || echo alone")
    relay.let_in = False
    if how == "cut":
        relay.cut()
        assert second.end() == 0
        assert second.out == "alone\n"
    else:
        relay.frozen = True
        eventually(lambda: not alive(pid), 2.0)
    assert not alive(pid)
    assert first.end() == 5
    assert "stopping the program, the seat is kept no longer than that" in first.err


def test_flags_that_need_a_keep(scene, tmp_path):
    for flags in (("--keep-file", tmp_path / "x"), ("--hook-absent", "x"), ("--hook-back", "x")):
        code, _, err = scene.run("hold", *flags)
        assert (code, "it needs --keep S beside it" in err) == (2, True)
    assert scene.run("hold", "--keep", "0")[0] == 2


def test_wait_without_a_program_that_is_ended_has_not_reached_its_rank(scene):
    scene.client()
    script = scene.joined("wait")
    assert script.end(signal.SIGTERM) == 130
