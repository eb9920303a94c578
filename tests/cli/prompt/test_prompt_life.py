"""The start and end of the prompt: signals, lost servers, reconnecting, its seat, input without a prompt."""

from __future__ import annotations

import os
import re
import signal
import socket
import termios
import threading
from pathlib import Path

import pytest

from rankmux.server.server import Server
from rankmux.wire import Execute

from ...support.fake_server import Connection, FakeServer
from ...support.script import PATIENCE_S, eventually, run
from ...support.terminal import KEYS, SIGN, Terminal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_leave_in_order(senior, at, number):
    bob = at()
    cyd = at()
    bob.type("half")
    bob.prompts("rank 1 of 3 > half")
    assert bob.finish(number) == 130
    assert bob.restored
    cyd.shows(r"You are rank 1 now, of 2\. \(a member above you left\)")


@pytest.mark.parametrize("way", ["\x04", "/quit\r", signal.SIGTERM])
def test_it_says_goodbye(stack, way):
    """It also reads the remaining output of the server before it exits."""
    gone = threading.Event()

    def script(connection: Connection) -> None:
        connection.welcome()
        connection.read_until(0x08)
        connection.send(Execute(12, 0, 0, 0, b"too late"))
        gone.set()

    fake = stack.enter_context(FakeServer(script))
    ada = stack.enter_context(Terminal("--port", fake.port))
    ada.at(f"rank .* {SIGN}")
    if isinstance(way, str):
        ada.type(way)
        assert ada.finish() == 0
    else:
        assert ada.finish(way) == 130
    assert gone.wait(PATIENCE_S)
    assert ada.restored
    assert "too late" not in ada.text


def test_ctrl_d_restores_the_terminal(at):
    ada = at()
    assert not ada.restored
    ada.type(KEYS["C-d"])
    assert ada.finish() == 0
    assert ada.restored


def test_ctrl_z_gives_the_terminal_to_the_shell(at):
    ada, cooked = at(shell=True), termios.ICANON | termios.ECHO | termios.ISIG
    ada.type("half\x1a")
    ada.shows("The shell has the terminal.")
    assert termios.tcgetattr(ada.end)[3] & cooked == cooked
    ada.type("\n")
    ada.prompts("rank 0 of 1 > half")
    ada.type(KEYS["C-c"] + KEYS["C-d"])
    assert ada.finish() == 0


def test_ctrl_z_where_no_shell_could_let_it_go_on(at):
    """As under `ssh -t` or `docker exec`: it keeps running."""
    ada = at()
    ada.type("half\x1a way")
    ada.prompts("rank 0 of 1 > half way")
    ada.type(KEYS["C-c"] + KEYS["C-d"])
    assert ada.finish() == 0


def test_the_terminal_is_closed(at, stack, senior, server):
    bob = Terminal("--port", server.address[1])
    with bob:
        bob.prompts("rank 1 of 2 > ")
        os.close(bob.end)
        os.close(bob._controller)
        assert bob.process.wait(PATIENCE_S) == 130
        bob.end, bob._controller = os.openpty()
    eventually(lambda: len(senior.who()) == 1)


def test_the_server_stops(stack):
    with Server(port=0, seats=4) as server:
        ada = stack.enter_context(Terminal("--port", server.address[1]))
        ada.prompts("rank 0 of 1 > ")
        ada.type("half")
    assert ada.finish() == 5
    ada.shows("rankmux-client: the server closed the connection: the server is going away")
    assert ada.restored


def test_a_server_that_falls_silent(stack):
    fake = stack.enter_context(FakeServer(lambda c: (c.welcome(ping_ms=1000), c.until_gone())))
    ada = stack.enter_context(Terminal("--port", fake.port))
    assert ada.finish() == 5
    ada.shows("rankmux-client: the server was silent for 3 s")
    assert ada.restored


def test_a_server_that_lets_juniors_command(stack):
    def script(connection: Connection) -> None:
        connection.welcome()
        connection.send(Execute(12, 2, 1, 0, b"evil"), Execute(13, 9, 0, 0, b"worse"))
        assert connection.read_until(0x03)[8] == 2
        connection.until_gone()

    fake = stack.enter_context(FakeServer(script))
    ada = stack.enter_context(Terminal("--port", fake.port))
    ada.shows("Rejected, rank 9 does not outrank you: worse")
    assert "From rank" not in ada.text


def test_no_server_listens(stack):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    ada = stack.enter_context(Terminal("--port", port))
    assert ada.finish() == 5
    ada.shows("rankmux-client: nobody listens at .*")


def test_it_reconnects_when_asked(stack):
    with Server(port=0, seats=4) as server:
        port = server.address[1]
        ada = stack.enter_context(Terminal("--host", "localhost", "--port", port, "--reconnect"))
        ada.prompts("rank 0 of 1 > ")
        ada.type("half")
        ada.prompts("rank 0 of 1 > half")
    ada.shows(
        r"No connection: the server closed the connection: the server is going away; trying again in \d\.\d s…"
    )
    ada.prompts("no rank > half")
    ada.shows(r"trying again in \d\.\d s: nobody listens at .*")
    ada.shows(r"No connection: nobody listens at .*; trying again in \d\.\d s…")
    ada.type(" typed\r")
    ada.shows("Not sent, there is no connection: half typed")
    ada.type("/who\r")
    ada.shows("No list: there is no connection")
    with Server(port=port, seats=4):
        ada.prompts("rank 0 of 1 > ")
        ada.shows(r"Connected again: you are rank 0 of 1: you are alone here\.")
        ada.type(KEYS["C-d"])
        assert ada.finish() == 5  # for the lines that were not sent
    assert ada.restored


def test_it_waits_for_a_server_when_asked(stack):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    ada = stack.enter_context(Terminal("--port", port, "--reconnect"))
    ada.prompts("no rank > ")
    ada.type(KEYS["C-d"])
    assert ada.finish() == 0


def test_it_offers_its_seat(at, below, tmp_path, server):
    path = tmp_path / "seat"
    ada = at("--seat", path)
    ada.shows(re.escape(f"Seat: {path}"))
    below(lambda _: b"done")
    ada.prompts("rank 0 of 2 > ")
    assert run("send", "--seat", path, "--wait", "--to", "next", "print")[:2] == (0, "done")
    assert run("who", "--seat", path)[0] == 0
    ada.type(KEYS["C-d"])
    assert ada.finish() == 0
    assert not path.exists()
    path.touch()
    bob = Terminal("--port", server.address[1], "--seat", path)
    with bob:
        assert bob.finish() == 2
        bob.until(lambda: "something else is there" in bob.text.replace("\n", ""))


@pytest.mark.parametrize(("flags", "variables"), [(["--plain"], {}), ([], {"TERM": "dumb"})])
def test_where_there_is_no_prompt(stack, server, flags, variables):
    ada = stack.enter_context(Terminal("--port", server.address[1], *flags, **variables))
    ada.shows("Assigned rank: 0")
    ada.type("\x04")
    assert ada.finish() == 0
    assert b"\x1b" not in ada.raw


def test_without_prompt_toolkit(stack, server, tmp_path):
    (tmp_path / "prompt_toolkit.py").write_text("raise ModuleNotFoundError(name='prompt_toolkit')\n")
    path = f"{tmp_path}{os.pathsep}{Path.cwd()}"
    ada = stack.enter_context(Terminal("--port", server.address[1], PYTHONPATH=path))
    ada.shows(
        re.escape("For a prompt with history and completion: pip install '.[cli]' in a clone of rankmux")
    )
    ada.shows("Assigned rank: 0")
    ada.type("\x04")
    assert ada.finish() == 0


def test_reconnect_needs_a_prompt(server):
    code, _, err = run("--port", server.address[1], "--reconnect")
    assert code == 2
    assert "--reconnect needs the prompt" in err
