"""rankmux-client in real use: processes, pipes, a terminal, exit codes."""

from __future__ import annotations

import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from rankmux import Client, Rejected
from rankmux.server.server import Server
from rankmux.wire import Execute, Refused

from ..support.fake_server import Connection, FakeServer

PATIENCE_S = 30.0


# Makes standard input the controlling terminal, the source of Ctrl-C, which Popen cannot do.
ON_A_TERMINAL = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from rankmux.cli.client import main
sys.exit(main())
"""


class Process:
    """A `python -m rankmux client` process, on pipes or on its own terminal."""

    def __init__(self, *flags: object, terminal: bool = False, **options: object) -> None:
        environment = {
            k: v for k, v in os.environ.items() if not k.startswith("RANKMUX_") or k == "RANKMUX_EXTENSION"
        }
        environment |= options.pop("env", {})
        self._controller = -1
        channels: dict[str, object] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        program = ["-m", "rankmux", "client"]
        if terminal:
            program = ["-c", ON_A_TERMINAL]
            self._controller, end = os.openpty()
            channels = dict.fromkeys(("stdin", "stdout", "stderr"), end)
        self.process = subprocess.Popen(
            [sys.executable, *program, *map(str, flags)],
            env=environment,
            start_new_session=terminal,
            **{**channels, **options},
        )
        self.output_fd = self._controller
        if terminal:
            os.close(end)
        elif self.process.stdout is not None:
            self.output_fd = self.process.stdout.fileno()
        self.seen = ""

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self.process.stderr):
            if file is not None:
                with suppress(BrokenPipeError):
                    file.close()
        if self._controller >= 0:
            os.close(self._controller)

    def type(self, text: str) -> None:
        if self._controller >= 0:
            os.write(self._controller, text.encode())
        else:
            self.process.stdin.write(text.encode())
            self.process.stdin.flush()

    def until(self, pattern: str) -> re.Match[str]:
        """Read output until it contains `pattern`."""
        deadline = time.monotonic() + PATIENCE_S
        with selectors.DefaultSelector() as poller:
            poller.register(self.output_fd, selectors.EVENT_READ)
            while not (match := re.search(pattern, self.seen)):
                assert poller.select(max(0.0, deadline - time.monotonic())), (
                    f"no {pattern!r} in {self.seen!r}"
                )
                data = b""
                with suppress(OSError):  # EIO: a terminal whose program has ended
                    data = os.read(self.output_fd, 65536)
                assert data, f"no {pattern!r} in {self.seen!r}"
                self.seen += data.decode()
        return match

    def end(self) -> tuple[int, str, str]:
        """Close its input and wait; returns the exit code, the whole output, and the errors."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, self.seen + (out or b"").decode(), (err or b"").decode()


@pytest.fixture
def stage() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def server(stage: ExitStack) -> Server:
    return stage.enter_context(Server(port=0, seats=4))


@pytest.fixture
def start(stage: ExitStack, server: Server) -> Callable[..., Process]:
    def start(*flags: object, **options: object) -> Process:
        return stage.enter_context(Process("--port", server.address[1], *flags, **options))

    return start


@pytest.fixture
def joined(start: Callable[..., Process]) -> Callable[..., Process]:
    """A client that has its rank."""

    def joined(*flags: object, **options: object) -> Process:
        process = start(*flags, **options)
        process.until(r"Assigned rank: \d+\r?\n")
        return process

    return joined


def wait_for_members(server: Server, members: int) -> None:
    """Wait until the room has `members` members, not counting the watcher."""
    with Client(*server.address) as watcher:
        deadline = time.monotonic() + PATIENCE_S
        while len(watcher.who()) < members + 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def run(text: str, *flags: object, **options: object) -> tuple[int, str, str]:
    with Process(*flags, **options) as process:
        out, err = process.process.communicate(text.encode(), timeout=PATIENCE_S)
        return process.process.returncode, out.decode(), err.decode()


def test_through_a_pipe_alone(server):
    code, out, err = run("print\n", "--port", server.address[1])
    assert (code, err) == (4, "")
    assert out == "Assigned rank: 0\nRefused, nobody is below you: print\n"


def test_through_a_pipe_with_a_junior(joined, server):
    ada, bob = joined("--name", "ada"), joined("--name", "bob")
    ada.type("print")  # the last line may lack its newline
    code, out, err = ada.end()
    assert (code, err) == (0, "")
    assert out == "Assigned rank: 0\nSent to 1 member: print\nDone, 1 ok: print\n"
    bob.until("New rank: 0 of 1, was 1")
    code, out, _ = bob.end()
    assert code == 0
    assert out.splitlines()[:3] == ["Assigned rank: 1", "Received from rank 0: print", "Executed: print"]


def test_an_empty_input_leaves_at_once(server):
    assert run("", "--port", server.address[1]) == (0, "Assigned rank: 0\n", "")
    with Path(os.devnull).open() as nothing:
        process = Process("--port", server.address[1], stdin=nothing)
        with process:
            assert process.end()[0] == 0


def test_from_a_file(server, tmp_path):
    """Epoll does not accept regular files, but the loop must."""
    file = tmp_path / "commands"
    file.write_text("one\ntwo\n")
    with file.open() as stdin, Process("--port", server.address[1], stdin=stdin) as process:
        code, out, _ = process.end()
    assert (code, out.count("Refused")) == (4, 2)


def test_closed_standard_input(server):
    command = f"exec {sys.executable} -m rankmux client --port {server.address[1]} <&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"Assigned rank: 0\n", b"")


def test_targets(joined):
    ada, bob, cyd = joined(), joined(), joined()
    ada.type("@next one\n@2 two\n@all three\n@least four\n@@five\n")
    ada.until("Done, 2 ok: @five")
    bob.until("Executed: @five")
    cyd.until("Executed: @five")
    assert re.findall("Executed: (.*)", bob.seen) == ["one", "three", "four", "@five"]
    assert re.findall("Executed: (.*)", cyd.seen) == ["two", "three", "@five"]
    assert ada.end()[0] == 0


def test_targets_by_name(joined):
    ada = joined()
    members = [joined("--name", name) for name in ("web-1", "db-1", "web-2")]
    ada.type("@web-* one\n@db-1 two\n@!web-2 three\n@1,3 four\n@mail-* five\n")
    ada.until("Done, 2 ok: four")
    for member, last in zip(members, ("four", "three", "four"), strict=True):
        member.until(f"Executed: {last}\n")
    assert [re.findall("Executed: (.*)", member.seen) for member in members] == [
        ["one", "three", "four"],
        ["two", "three"],
        ["one", "four"],
    ]
    assert "Refused, nobody below you is 'mail-*': five" in ada.end()[1]


def test_rejections_and_refusals_are_shown(joined):
    joined()
    bob = joined()
    cyd = joined()
    bob.type("to whom it may concern\n@0 obey\n@1 me\n@3 nobody\n")
    cyd.until("Executed: to whom it may concern")
    code, out, _ = bob.end()
    assert code == 4
    assert "Rejected for 1 member above you: to whom it may concern" in out
    assert [line for line in out.splitlines() if line.startswith("Refused")] == [
        "Refused, nobody below you is '0': obey",
        "Refused, nobody below you is '1': me",
        "Refused, nobody below you is '3': nobody",
    ]


def test_lines_that_are_not_understood(server):
    code, out, _ = run("@5-1 x\n@next\n\n", "--port", server.address[1])
    assert code == 2
    assert out.count("Not understood: ") == 2


@pytest.mark.parametrize(
    ("handler", "code", "line"),
    [
        ("fail", 1, "Rank 1 failed: ValueError: no"),
        ("reject", 4, "Rank 1 rejected it: not me"),
        ("answer", 0, "Rank 1: here you are"),
        ("leave", 1, "Rank 1 left before it answered"),
    ],
)
def test_results_and_exit_codes(joined, server, handler, code, line):
    sender = joined()

    def handle(command: object) -> str:
        match handler:
            case "fail":
                raise ValueError("no")
            case "reject":
                raise Rejected("not me")
            case "leave":
                client.close()
        return "here you are"

    with Client(*server.address) as client:
        thread = threading.Thread(target=client.serve, args=(handle,))
        thread.start()
        sender.type("print\n")
        sender.until("Done, ")
        client.close()
        thread.join(PATIENCE_S)
        got, out, _ = sender.end()
    assert line in out
    assert got == code


@pytest.mark.slow
def test_many_lines_at_once(joined, stage, server, tmp_path):
    """One write holds more lines than the server's limit of pending commands; the pipe is read as they are answered."""
    ada = joined()
    log = tmp_path / "bob"
    with log.open("wb") as file, Process("--port", server.address[1], stdout=file) as bob:
        wait_for_members(server, 2)
        lines = [f"command {n}" for n in range(3000)]
        out, _ = ada.process.communicate("\n".join(lines).encode(), timeout=PATIENCE_S)
        bob.end()
    assert ada.process.returncode == 0
    assert re.findall("Sent to 1 member: (.*)", out.decode()) == lines
    assert re.findall("Done, 1 ok: (.*)", out.decode()) == lines
    assert re.findall("Executed: (.*)", log.read_text()) == lines


def test_a_line_that_is_too_long(joined, server, tmp_path):
    ada = joined()
    log = tmp_path / "bob"
    with log.open("wb") as file, Process("--port", server.address[1], stdout=file) as bob:
        wait_for_members(server, 2)
        text = "x" * 70_000 + "\n" + "y" * 300_000 + "\n" + "short\n" + "z" * 65536 + "\n"
        out, _ = ada.process.communicate(text.encode(), timeout=PATIENCE_S)
        bob.end()
    assert out.decode().count("Not sent: the payload has") == 2
    assert ada.process.returncode == 2
    assert re.findall("Executed: (.*)", log.read_text()) == ["short", "z" * 65536]


def test_control_characters_from_others_are_escaped(joined, server):
    with Client(*server.address) as client:
        bob = joined()
        client.command(b"\x1b[2J\r\nAssigned rank: 0\xff", quiet=True)
        bob.until(re.escape("Executed: \\x1b[2J\\r\\nAssigned rank: 0\\xff\n"))


def test_a_full_server(stage):
    server = stage.enter_context(Server(port=0, seats=1))
    stage.enter_context(Client(*server.address))
    code, out, err = run("print\n", "--port", server.address[1])
    assert (code, out) == (5, "")
    assert "the server closed the connection: no seat is free, the room is full (1 of 1)" in err


def test_no_server_listens():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    code, _, err = run("", "--port", port)
    assert code == 5
    assert err == f"rankmux-client: nobody listens at 127.0.0.1:{port}: is rankmux-server running there?\n"


def test_tokens(stage, tmp_path):
    server = stage.enter_context(Server(port=0, seats=4, tokens=(b"secret",)))
    port = server.address[1]
    right, wrong, empty = tmp_path / "right", tmp_path / "wrong", tmp_path / "empty"
    right.write_text("secret\n")
    wrong.write_text("sesame\n")
    empty.write_text("\n")
    assert run("", "--port", port, "--token-file", right)[0] == 0
    assert run("", "--port", port, env={"RANKMUX_TOKEN_FILE": str(right)})[0] == 0
    for flags in ([], ["--token-file", wrong]):
        code, out, err = run("", "--port", port, *flags)
        assert (code, out) == (5, "")
        assert "; set the token with --token-file" in err
        assert "sesame" not in err
    for path in (empty, tmp_path / "missing"):
        code, _, err = run("", "--port", port, "--token-file", path)
        assert code == 2
        assert str(path) in err


def test_the_address_of_the_server_from_the_environment(server):
    assert run("", env={"RANKMUX_PORT": str(server.address[1]), "RANKMUX_HOST": "localhost"})[0] == 0


@pytest.mark.parametrize(
    "flags",
    [
        ["--port", "0"],
        ["--port", "x"],
        ["--connect-timeout", "-1"],
        ["--name", "two\nlines"],
        ["--tls-ca", "/no/such/file"],
        ["nonsense"],
        ["--prot", "7117"],
    ],
)
def test_usage(flags):
    code, out, err = run("", *flags)
    assert (code, out) == (2, "")
    assert "rankmux-client: " in err


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["sned", "print"], 'unknown subcommand "sned"; did you mean "send"?'),
        (["--port", "7117", "send", "print"], "send has to be the first word"),
        (
            ["send", "restart", "-f"],
            " (flags of the subcommand go first, then --, ",
        ),
        (["hold", "--tls-name", "here"], "--tls-name is 'here': it needs --tls or --tls-ca beside it"),
        (["hold", "--tls-key", "here"], "--tls-key is 'here': it needs --tls-cert beside it"),
    ],
)
def test_a_misplaced_flag_is_reported_with_its_place(arguments, advice):
    code, out, err = run("", *arguments)
    assert (code, out) == (2, "")
    assert advice in err


def test_help_fits_the_terminal():
    _, out, _ = run("", "wait", "--help", env={"COLUMNS": "80"})
    description = out.partition("\n\n")[2].partition("positional arguments")[0]
    assert "Joins, and waits" in description
    assert max(map(len, description.splitlines())) <= 80


def test_help_and_version():
    code, out, _ = run("", "--help")
    assert code == 0
    assert "@next" in out
    code, out, _ = run("", "--version")
    assert (code, out.split()[0]) == (0, "rankmux-client")


def test_the_server_stops(joined, stage):
    server = Server(port=0, seats=4)
    with server:
        process = stage.enter_context(Process("--port", server.address[1]))
        process.until("Assigned rank: 0")
    code, _, err = process.end()
    assert code == 5
    assert err == "rankmux-client: the server closed the connection: the server is going away\n"


def test_a_server_that_vanishes_under_a_command():
    def script(connection: Connection) -> None:
        connection.welcome()
        connection.read_until(0x02)
        connection.reset()

    with FakeServer(script) as fake:
        code, out, err = run("print\n", "--port", fake.port)
    assert code == 5
    assert out.endswith("The outcome is not known: print\n")
    assert err == "rankmux-client: the connection was lost: Connection reset by peer\n"


def test_a_server_that_never_answers():
    with FakeServer(Connection.until_gone) as fake:
        code, out, err = run("print\n", "--port", fake.port, "--connect-timeout", "0.2")
    assert (code, out) == (5, "")
    assert "did not answer within 0.2 s" in err


def test_a_server_of_another_kind():
    with FakeServer(lambda c: (c.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), c.until_gone())) as fake:
        code, _, err = run("print\n", "--port", fake.port)
    assert code == 5
    assert "not a rankmux server" in err


def test_a_server_that_lets_juniors_command():
    """The client checks again: it executes only commands from a senior."""

    def script(connection: Connection) -> None:
        connection.welcome()
        connection.send(Execute(12, 2, 1, 0, b"evil"), Execute(13, 9, 0, 0, b"worse"))
        assert connection.read_until(0x03)[8] == 2
        id_ = int.from_bytes(connection.read_until(0x02)[:4])
        connection.send(Refused(id_, 1, "no"))
        connection.until_gone()

    with FakeServer(script) as fake, Process("--port", fake.port) as process:
        process.until("Rejected, rank 9 does not outrank you: worse")
        process.type("x\n")
        _, out, _ = process.end()
    assert "Executed" not in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_the_room(joined, server, tmp_path, number):
    seat = tmp_path / "seat"
    ada, bob = joined("--seat", str(seat)), joined()
    ada.until("Seat: ")
    ada.process.send_signal(number)
    assert ada.end()[0] == 130
    assert not seat.exists()
    bob.until(re.escape("New rank: 0 of 1, was 1 (a member above you left)"))


def test_output_without_a_reader(joined, server):
    with Client(*server.address) as client:
        bob = joined()
        bob.process.stdout.close()
        bob.process.stdout = None
        client.command("print", quiet=True)
        assert bob.process.wait(PATIENCE_S) == 1
        assert bob.process.stderr.read() == b""


def test_at_a_terminal(joined):
    ada = joined("--plain", terminal=True)
    ada.until("Ctrl-D leaves")
    bob = joined("--plain", terminal=True)
    ada.type("print\n")
    ada.until(r"Done, 1 ok: print\r\n")
    bob.until(r"Executed: print\r\n")
    ada.type("\x04")
    bob.until("New rank: 0")
    assert ada.process.wait(PATIENCE_S) == 0
    bob.type("\x03")
    assert bob.process.wait(PATIENCE_S) == 130
