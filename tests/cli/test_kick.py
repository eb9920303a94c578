"""`rankmux-server kick TICKET`, as a process beside a server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..protocol.frames import Code
from ..protocol.process import ROOT, Server, environment

SECRET = b"0123456789abcdef"


def kick(*arguments: str, **variables: str) -> tuple[int, str]:
    """Exit code and standard error; standard output is always empty."""
    done = subprocess.run(
        [sys.executable, "-m", "rankmux", "server", "kick", *arguments],
        cwd=ROOT,
        env={**environment(False), **variables},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.fixture
def where(tmp_path: Path) -> str:
    return str(tmp_path / "admin")


@contextmanager
def ruled(where: str, *flags: str) -> Iterator[Server]:
    server = Server(4, "--admin-unix", where, *flags)
    try:
        yield server
    finally:
        server.stop()


def test_a_member_is_thrown_out_and_only_once(where: str, tmp_path: Path) -> None:
    """By flag, by variable and by file."""
    config = tmp_path / "rankmux.toml"
    config.write_text(f'admin_unix = "{where}"\n')
    with ruled(where) as server:
        one, two, three, stays = server.line(4)
        assert kick("--admin-unix", where, str(one.ticket)) == (0, "")
        one.expect_error(Code.KICKED)
        assert kick(str(two.ticket), RANKMUX_ADMIN_UNIX=where) == (0, "")
        two.drain()
        assert kick(str(three.ticket), "--config", str(config)) == (0, "")
        three.drain()
        code, said = kick("1", RANKMUX_CONFIG=str(config))
        assert (code, said) == (4, "rankmux-server kick: no member has ticket 1\n")
        assert [seat.ticket for seat in stays.wait_for_total(1).seats] == [stays.ticket]


def test_an_absent_member_is_thrown_out(where: str) -> None:
    with ruled(where) as server:
        kept, witness = server.keep(SECRET), server.join()
        kept.close()
        while [seat.state for seat in witness.who().seats] != [1, 0]:
            pass
        assert kick("--admin-unix", where, str(kept.ticket)) == (0, "")
        witness.wait_for_total(1)


@pytest.mark.parametrize("ticket", ["", "0", "-1", "x", "1.5", "²", "18446744073709551616"])
def test_invalid_tickets(where: str, ticket: str) -> None:
    code, said = kick("--admin-unix", where, "--", ticket)
    assert code == 2
    assert "expected a ticket" in said


def test_usage(tmp_path: Path) -> None:
    for arguments, words in (
        ((), "TICKET"),
        (("1",), "--admin-unix PATH"),
        (("1", "--config", "/nowhere.toml"), "--config is '/nowhere.toml'"),
    ):
        code, said = kick(*arguments)
        assert code == 2
        assert words in said
    empty = tmp_path / "rankmux.toml"
    empty.write_text("")
    code, said = kick("1", "--config", str(empty))
    assert code == 2
    assert "admin_unix" in said


def test_a_request_without_a_ticket(where: str) -> None:
    """The answer to a request written by hand names what is missing, instead of a missing member 0."""
    with ruled(where), socket.socket(socket.AF_UNIX) as sock:
        sock.connect(where)
        sock.sendall(b"POST /kick HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"expected ?ticket=N" in answer


def test_no_connection(where: str) -> None:
    assert kick("--admin-unix", where, "1") == (
        5,
        f"rankmux-server kick: no answer from unix:{where}: there is no such socket; is the server running?\n",
    )
    with ruled(where) as server:
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        code, said = kick("--admin-unix", where, "1")
    assert (code, "nobody listens at it" in said) == (5, True)
    code, said = kick("--admin-unix", where + "x" * 200, "1")
    assert code == 5
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "answer",
    [b"", b"\x1b[2Jhello\r\n", b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot found"],
    ids=["nothing", "noise", "another program"],
)
def test_a_server_of_another_program(where: str, answer: bytes) -> None:
    """A 404 of another program does not mean that no seat has the ticket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(where)
        listener.listen()

        def serve() -> None:
            with listener.accept()[0] as sock:
                sock.recv(4096)
                sock.sendall(answer)

        stranger = threading.Thread(target=serve)
        stranger.start()
        code, said = kick("--admin-unix", where, "7")
        stranger.join()
    assert code == 5
    assert "\x1b" not in said


def test_a_server_that_shuts_down_kicks_no_member(where: str) -> None:
    """The error says so, and not that no seat has the ticket."""
    with ruled(where) as server:
        member = server.join()
        slow = server.join()
        server.signal(signal.SIGTERM)
        member.expect_error(Code.SHUTDOWN)  # it does not close, so that the server waits for it
        code, said = kick("--admin-unix", where, str(slow.ticket))
        assert code == 5
        assert "shutting down" in said
