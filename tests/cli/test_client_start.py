"""The start of the programs: they import only the modules they need, and Ctrl-C ends them without a traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rankmux.cli import client, server
from rankmux.cli.top import program as top

from ..support.script import PATIENCE_S, environment

HEAVY = {
    *("asyncio", "binascii", "dataclasses", "inspect", "logging", "shutil", "ssl", "subprocess", "typing"),
    *(
        "contextlib",
        "rankmux.aio",
        "rankmux.client",
        "rankmux.config",
        "rankmux.core.wire.codes",
        "rankmux.tokens",
    ),
}
COSTLY = {"argparse", "collections", "enum", "functools", "re", "select", "signal", "socket"}
"""Modules that cost more than all that it takes to print a line."""


def imported(arguments: list[str], module: str = "rankmux.cli.client", **variables: object) -> set[str]:
    """The modules that a whole run imports; editable installs add further ones, hence -S."""
    script = f"import sys; from {module} import main; main(); print(*sys.modules, file=sys.stderr)"
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


@pytest.mark.parametrize("program", [client, server, top])
def test_the_version_imports_next_to_nothing(program, monkeypatch):
    monkeypatch.delenv("RANKMUX_EXTENSION", raising=False)  # 1 loads it, as a check
    assert imported(["--version"], program.__name__) & (HEAVY | COSTLY) == set()


@pytest.mark.parametrize("program", [client, server, top])
def test_the_version_imports_few_modules(program, monkeypatch):
    """Beside those that the interpreter has at its start. There are 18 to 20, half of them of the package itself."""
    monkeypatch.delenv("RANKMUX_EXTENSION", raising=False)
    bare = subprocess.run(
        [sys.executable, "-S", "-c", "import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
    )
    further = imported(["--version"], program.__name__) - set(bare.stdout.split())
    assert len(further) <= 22, sorted(further)


@pytest.mark.parametrize("program", [client, server, top])
def test_the_version(program, capsys):
    assert program.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("rankmux-")


@pytest.mark.parametrize("program", [client, server, top])
@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", "<&-", ">&-", "2>&-"])
def test_the_version_with_closed_streams(program, closed):
    done = shell(f'"$0" -m {program.__name__} --version {closed}', sys.executable)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("rankmux-") == (closed in {"<&-", "2>&-"})


def test_a_complaint_about_the_extension_with_standard_error_closed():
    done = shell('"$0" -m rankmux server --version 2>&-', sys.executable, RANKMUX_EXTENSION="x")
    assert (done.returncode, done.stdout) == (2, "")


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


def shell(line: str, *arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
    """A line of shell, run to its end; the first argument is its `$0`."""
    return subprocess.run(
        ["sh", "-c", line, *arguments],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


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

    monkeypatch.setattr(client, "subcommand_module", interrupted)
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
