"""`rankmux-top`, against a real server: as text, and at a terminal with keys."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from rankmux.cli.top.endpoint import Endpoint
from rankmux.cli.top.program import main
from rankmux.cli.top.view import View
from rankmux.server.server import Server
from rankmux.server.thread import ServerThread
from rankmux.wire import Command

from ...support.admin_client import DEADLINE_S, join, turns_until, watched

NAMES = ("ada", "[bold]bob[/bold]", "日本", "")


@pytest.fixture
def where():
    """A server in a thread, with four members; the last has the highest load."""
    with watched(seats=4) as prepared:
        socks = [join(prepared, name) for name in NAMES]
        socks[2].sendall(Command(1, 0, 0, 1, 60_000, b"x").encode())
        turns_until(prepared, lambda: prepared.stats.commands)
        running = ServerThread(prepared.serve_forever)
        yield prepared.admin_where[0]
        prepared.stop(0.0)
        running.join()
        for sock in socks:
            sock.close()


def names(text: str) -> list[str]:
    return re.findall(r"^ +\d+ +(.*?)  ", text, re.MULTILINE)


def test_once(where, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert main([where, "--once"]) == 0
    text = capsys.readouterr().out
    assert "4 of 4 seats" in text
    assert names(text) == ["ada", "[bold]bob[/bold]", "日本", "(no name)"]
    assert main([where.removeprefix("http://").rstrip("/"), "--once", "--sort", "load", "--count", "2"]) == 0
    assert names(capsys.readouterr().out) == ["(no name)", "ada"]


def test_all_numbers_are_in_sight_in_80_columns(where, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([where, "--once"]) == 0
    head = capsys.readouterr().out.splitlines()[:4]
    assert "…" not in "".join(head)
    for word in (
        "seats",
        "deliveries/s",
        "busy",
        "queued",
        "held back",
        "waiting",
        "refused",
        "failed or ended early",
        "closed",
    ):
        assert word in "".join(head)


@pytest.mark.parametrize("columns", ["80", "120"])
def test_absent_members_and_observers(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    row = {"rank": 0, "ticket": 1, "load": 0, "queued_bytes": 0, "age_s": 0, "idle_s": 0, "paced": False}
    row |= {"name": "ada", "address": "127.0.0.1:1"}
    rows = [row | {"state": "absent", "absent_s": 12, "kept_s": 48, "name": "ada" + "n" * 61}]
    rows.append(row | {"rank": 1, "state": "present", "absent_s": 0, "kept_s": 0})
    assert (
        shown_of(
            total(members=2, absent=1, observers=3, closed={"left": 10**6})(live())
            | {"members": rows, "found": 2}
        )
        == 0
    )
    said = capsys.readouterr().out
    assert "absent 1   observers 3" in said
    away, there = (line for line in said.splitlines() if "ada" in line)
    assert "absent, kept for 48 s" in away
    assert away.split()[-3:] == ["-", "12", "s"]
    assert "absent" not in there


@pytest.mark.parametrize(("sort", "column"), [("rank", ""), ("age", "age ▾"), ("activity", "silent ▾")])
def test_names_are_in_sight_in_40_columns(where, capsys, monkeypatch, sort, column):
    monkeypatch.setenv("COLUMNS", "40")
    assert main([where, "--once", "--sort", sort]) == 0
    text = capsys.readouterr().out
    for shown in ("ada", "[bold]bob", "日本", "(no name)", column):
        assert shown in text


def test_a_unix_socket(tmp_path, capsys):
    path = str(tmp_path / "admin")
    with Server(port=0, admin_unix=path, log_level="error"):
        assert main([f"unix:{path}", "--once"]) == 0
    out = capsys.readouterr().out
    assert "0 of 64 seats" in out
    assert "no members" in out
    assert main([f"unix:{path}", "--once"]) == 1
    assert "no answer" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["ftp://127.0.0.1:1/", "http://", "1x:y"])
def test_what_is_no_address(where, capsys):
    assert main([where, "--once"]) == 2
    assert "WHERE is" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [("--count", "-1"), ("--interval", "nan"), ("--interval", "0")])
def test_a_number_that_is_none(flags, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["1", *flags])
    assert stopped.value.code == 2
    assert "expected" in capsys.readouterr().err


def test_what_a_stranger_answers_is_escaped(capsys):
    """Bytes of another protocol must not reach the terminal."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with listener.accept()[0] as sock:
                sock.recv(4096)
                sock.sendall(b"\x1b[2Jgone\r\n")

        stranger = threading.Thread(target=answer)
        stranger.start()
        assert main([str(listener.getsockname()[1]), "--once"]) == 1
        stranger.join()
    said = capsys.readouterr().err
    assert r"\x1b[2Jgone" in said
    assert "\x1b" not in said


def live() -> dict[str, object]:
    """The response of a server."""
    with watched(seats=2) as prepared:
        running = ServerThread(prepared.serve_forever)
        with closing(Endpoint(prepared.admin_where[0])) as endpoint:
            answer = endpoint.ask(0, 1, "rank")
        prepared.stop(0.0)
        running.join()
    return answer


def total(**changed: object) -> Callable[[dict[str, object]], object]:
    return lambda answer: answer | {"totals": answer["totals"] | changed}


@pytest.mark.parametrize(
    "lie",
    [
        lambda _: [],
        lambda _: {"totals": {}},
        lambda answer: answer | {"members": [{}]},
        lambda answer: answer | {"members": 1},
        lambda answer: answer | {"first": "x"},
        lambda answer: answer | {"found": None},
        total(version=1),
        total(members="many"),
        total(uptime_s=None),
        total(uptime_s=float("nan")),
        total(queued_bytes=10**400),
        total(results=[[]]),
        total(closed={"x": "y"}),
        lambda _: "[" * 100_000,
    ],
)
def test_an_answer_that_makes_no_sense(capsys, lie):
    assert shown_of(lie(live())) == 1
    assert "no answer" in capsys.readouterr().err


def test_nothing_in_an_answer_writes_on_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    hostile = "\x1b]0;owned\x07\x9b2J"
    row = {"rank": 0, "ticket": 1, "load": 0, "queued_bytes": 0, "age_s": 1, "idle_s": 1, "paced": False}
    row |= {"state": "present", "absent_s": 0, "kept_s": 0}
    answer = total(version=hostile, closed={hostile: 1})(live())
    assert (
        shown_of(answer | {"found": 1, "members": [row | {"name": hostile + "x" * 1000, "address": hostile}]})
        == 0
    )
    said = capsys.readouterr().out
    assert said.count(r"\x1b]0;owned\x07\x9b2J") == 4
    assert not {"\x1b", "\x07", "\x9b"} & set(said)


def shown_of(answer: object) -> int:
    """The exit code of a run in which the endpoint gives this response."""
    body = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as sock:
                sock.recv(4096)
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

        stranger = threading.Thread(target=serve)
        stranger.start()
        code = main([str(listener.getsockname()[1]), "--once"])
        stranger.join()
    return code


def test_without_rich(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "rankmux.cli.top.screen", raising=False)
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "rich.box", None)
    assert main(["1", "--once"]) == 2
    assert "'.[top]' in a clone" in capsys.readouterr().err


class AtTerminal:
    """One run of `rankmux-top` on a pseudo-terminal."""

    def __init__(self, where: str) -> None:
        self._master, slave = pty.openpty()
        os.set_blocking(self._master, False)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rankmux.cli.top.program", where, "--interval", "0.1"],
            stdin=slave,
            stdout=slave,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "24"},
        )
        os.close(slave)
        self._seen = ""

    def __enter__(self) -> AtTerminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def until(self, text: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while text not in self._seen:
            assert time.monotonic() < deadline, f"{text!r} did not come: {self._seen[-2000:]!r}"
            if select.select([self._master], [], [], 0.1)[0]:
                self._seen += os.read(self._master, 65_536).decode(errors="replace")
        self._seen = ""

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)


def test_keys_at_a_terminal(where):
    with AtTerminal(where) as top:
        top.until("rank ▾")
        top.type(b"l")
        top.until("load ▾")
        top.type(b"t")
        top.until("silent ▾")
        top.type(b"q")
        assert top.process.wait(DEADLINE_S) == 0


@pytest.fixture
def by_unix(tmp_path):
    """The same four members, seen over a Unix socket."""
    path = str(tmp_path / "admin")
    with watched(seats=4, admin="", admin_unix=path) as prepared:
        socks = [join(prepared, name) for name in NAMES]
        running = ServerThread(prepared.serve_forever)
        yield prepared
        prepared.stop(0.0)
        running.join()
        for sock in socks:
            sock.close()


def test_a_member_is_thrown_out_after_a_confirmation(by_unix):
    with AtTerminal(by_unix.admin_where[0]) as top:
        top.until("ada")
        top.type(b"x")
        top.until("rank: _")
        top.type(b"9\n")
        top.until("no rank 9 in sight")
        top.type(b"\x7f0\n")
        top.until("throw out ada, rank 0, ticket 1?")
        top.type(b"y")
        top.until("thrown out: ticket 1")
        top.until("3 of 4 seats")
        top.until("[bold]bob")  # the only row in sight
        top.type(b"x0\n")
        top.until("throw out [bold]bob[/bold], rank 0, ticket 2?")
        top.type(b"n")  # anything but y
        top.until("q quit")
        top.type(b"xq")  # ends the dialog, not the program
        top.until("q quit")
        top.type(b"q")
        assert top.process.wait(DEADLINE_S) == 0
    assert list(by_unix.room.ranks.tickets) == [2, 3, 4]


def test_nobody_is_thrown_out_over_tcp(where):
    with AtTerminal(where) as top:
        top.until("ada")
        top.type(b"x")
        top.until("connect to the Unix socket of --admin-unix")
        top.type(b"0\ny")
        top.until("4 of 4 seats")
        top.type(b"q")
        assert top.process.wait(DEADLINE_S) == 0


@pytest.mark.parametrize(
    ("keys", "first"),
    [("j", 1), (" ", 8), ("jk", 0), ("  ", 12), ("  j", 12), ("G ", 12), ("Gb", 4), ("b", 0)],
)
def test_scrolling_ends_where_the_last_is_in_sight(keys, first):
    view = View("rank")
    for key in keys:
        view.type(key, 8, 20)
    assert view.first == first
    view.first = 15  # the terminal was smaller
    view.type("j", 8, 20)
    assert view.first == 15


def test_nothing_scrolls_where_all_are_in_sight():
    view = View("rank")
    assert view.type("j", 8, 3)
    assert view.first == 0


def test_several_keys_at_once(where):
    """As from a key held down, or over a slow connection."""
    with AtTerminal(where) as top:
        top.until("ada")
        top.type(b"\x1b[B\x1bOBjr")
        top.until("ada")  # back at the beginning
        top.type(b"\x1b[B\x1bOB")
        top.until("日本")
        top.type(b"\x1b[1~lu?q")
        assert top.process.wait(DEADLINE_S) == 0


def test_the_terminal_is_given_back_after_sigterm(where):
    with AtTerminal(where) as top:
        top.until("ada")
        top.process.terminate()
        top.until("\x1b[?1049l")
        assert top.process.wait(DEADLINE_S) == 0


def test_find_position_and_reverse(where):
    with AtTerminal(where) as top:
        top.until("rank 0 of 0-3")  # one row is in sight
        top.type(b"G")
        top.until("rank 3 of 0-3")
        top.type(b"R")
        top.until("place 0 of 0-3")
        top.until("rank ▴")
        top.type(b"R/bo")
        top.until("find: bo_")
        top.until("[bold]bob")
        top.type(b"q")  # a letter like any other
        top.until("nobody found")
        top.type(b"\x7f\r")
        top.until('place 0 of 0-0 with "bo"')
        top.type(b"/\x1b")
        top.until("rank 0 of 0-3")
        top.type(b"q")
        assert top.process.wait(DEADLINE_S) == 0


def test_find_and_reverse_as_flags(where, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert main([where, "--once", "--reverse"]) == 0
    assert names(capsys.readouterr().out) == ["(no name)", "日本", "[bold]bob[/bold]", "ada"]
    assert main([where, "--once", "--find", "A"]) == 0
    assert names(capsys.readouterr().out) == ["ada"]
    assert main([where, "--once", "--find", "nobody"]) == 0
    assert "nobody found" in capsys.readouterr().out


def test_where_no_admin_endpoint_is_a_line_helps(capsys, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = str(probe.getsockname()[1])
    with watched(admin="", metrics="0") as server:
        running = ServerThread(server.serve_forever)
        figures = server.admin_where[0].rpartition("/")[0]
        for where, hint in (
            (closed, "started with --admin 7118 or --admin-unix PATH"),
            (f"unix:{tmp_path}/nothing", "started with --admin 7118 or --admin-unix PATH"),
            (str(server.address[1]), "perhaps the address for clients"),
            (figures, "that address has figures only (--metrics)"),
        ):
            assert main([where, "--once"]) == 1
            first, second = capsys.readouterr().err.splitlines()
            assert first.startswith("rankmux-top: no answer from ")
            assert hint in second
        server.stop(0.0)
        running.join()
    with AtTerminal(closed) as top:
        top.until("no answer: nobody listens there")
        top.until("a server has an admin endpoint if it is started with --admin 7118")
        top.until("rankmux-top unix:PATH")  # wrapped, not cut
