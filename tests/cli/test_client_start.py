"""The start of rankmux-client: it imports only the modules it needs, and Ctrl-C ends it without a traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rankmux.cli import client, server
from rankmux.cli.top import program as top

from ..support.script import PATIENCE_S, environment

HEAVY = {
    *("asyncio", "binascii", "dataclasses", "inspect", "logging", "shutil", "ssl", "subprocess", "typing"),
    *("rankmux.aio", "rankmux.client", "rankmux.config", "rankmux.tokens"),
}


def imported(arguments: list[str], **variables: object) -> set[str]:
    """The modules that a whole run imports; editable installs add further ones, hence -S."""
    script = "import sys; from rankmux.cli.client import main; main(); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", script, *arguments],
        capture_output=True,
        text=True,
        env=environment(**variables),
        timeout=PATIENCE_S,
        check=True,
    )
    return set(done.stderr.splitlines()[-1].split())


def test_send_through_a_held_seat_imports_little(scene):
    seat = scene.hold()
    scene.work("cat")
    modules = imported(["send", "--seat", str(seat), "--wait", "print"])
    assert "rankmux.cli.commands.send" in modules
    assert modules & HEAVY == set()


def test_the_version_imports_next_to_nothing():
    assert imported(["--version"]) & (HEAVY | {"argparse", "socket"}) == set()


@pytest.mark.parametrize("program", [client, server, top])
def test_the_version(program, capsys):
    assert program.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("rankmux-")


@pytest.mark.parametrize("arguments", [["--version"], ["--port", "0"], ["--check-config"]])
def test_a_server_and_an_extension_that_there_cannot_be(arguments):
    code, said = ended("rankmux.cli.server", *arguments)
    assert (code, said) == (2, f"rankmux-server: {NO_SUCH_CHOICE}")


@pytest.mark.parametrize(
    "arguments", [["hold"], ["send", "x"], ["who"], ["wait"], ["work", "--", "true"], ["--plain"]]
)
def test_a_client_and_an_extension_that_there_cannot_be(arguments):
    code, said = ended("rankmux.cli.client", *arguments)
    assert (code, said) == (2, f"rankmux-client: {NO_SUCH_CHOICE}")


@pytest.mark.parametrize("module", ["rankmux.cli.client", "rankmux.cli.top.program"])
def test_a_version_that_has_nothing_to_do_with_the_extension(module):
    assert ended(module, "--version") == (0, "")


def test_an_extension_that_cannot_be_loaded():
    hidden = "import sys; sys.modules['rankmux._framing'] = None; from rankmux.cli.server import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", hidden, "--port", "0"],
        env=environment(RANKMUX_EXTENSION="1"),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("rankmux-server: RANKMUX_EXTENSION is '1', and the extension cannot be loaded: ")


NO_SUCH_CHOICE = "RANKMUX_EXTENSION is 'x': expected 0 (never), 1 (or fail) or auto\n"


def ended(module: str, *arguments: str) -> tuple[int, str]:
    """Exit code and standard error of a program."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment(RANKMUX_EXTENSION="x"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments", [["hold"], ["send", "x"], []])
def test_ctrl_c_before_it_has_begun(monkeypatch, arguments):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "import_module", interrupted)
    monkeypatch.setattr(client, "parser", interrupted)
    assert client.main(arguments) == 130


@pytest.mark.parametrize(
    ("columns", "width"),
    [("100", 100), ("0", 80), ("", 80), ("x", 80), ("²", 80), ("9" * 5000, 80), (None, 80)],
)
def test_the_width_of_the_help_is_that_of_the_terminal(columns, width, monkeypatch, capsys):
    """The same width as argparse gets from shutil, which is slow to import."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("os.get_terminal_size", lambda *_: (_ for _ in ()).throw(OSError))
    with pytest.raises(SystemExit):
        client.main(["send", "--help"])
    description = capsys.readouterr().out.split("\n\n")[1]
    assert width - 10 < max(map(len, description.splitlines())) <= width - 2
