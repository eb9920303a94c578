"""Shell completion and man pages: generated from the parsers, and accepted by the shells."""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rankmux.cli.manual.completion import SHELLS
from rankmux.cli.manual.man import man_page
from rankmux.cli.manual.pages import PROGRAMS, Kind, pages

from ...support.script import PATIENCE_S, environment, run

PAGES = pages()
ALL_PAGES = [page for program in PROGRAMS for page in pages(program)]
SUBCOMMANDS = [page.subcommand for page in PAGES if page.subcommand]

LINES = {
    "rankmux-server ki": ["kick"],
    "rankmux-server --log-fo": ["--log-format"],
    "rankmux-server --log-level ": ["debug", "error", "info", "warning"],
    "rankmux-server --token-file /etc/host": ["/etc/host.conf", "/etc/hostname", "/etc/hosts"],
    "rankmux-server kick --adm": ["--admin-unix"],
    "rankmux-top --sort ": ["activity", "age", "load", "queue", "rank"],
    "rankmux-top --o": ["--once"],
    "ho": ["hold"],
    "w": ["wait", "who", "work"],
    "--tls-c": ["--tls-ca", "--tls-cert"],
    "hold --re": ["--reconnect"],
    "send --to ": ["all", "least", "next"],
    "work --par": ["--parallel"],
    "completion ": ["bash", "fish", "zsh"],
    "hold --seat /etc/host": ["/etc/host.conf", "/etc/hostname", "/etc/hosts"],
}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory) -> Path:
    """A directory with the completion script of each shell."""
    directory = tmp_path_factory.mktemp("completion")
    for shell in SHELLS:
        code, out, _ = run("completion", shell)
        assert code == 0
        (directory / shell).write_text(out)
    return directory


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def said_by(*command: str) -> list[str]:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=environment()
    )
    assert done.stderr == ""
    return sorted(line.partition("\t")[0] for line in done.stdout.split("\n") if line)


def matches(line: str, found: list[str]) -> bool:
    wanted = LINES[line]
    if "/etc/" in line:
        return set(found) & set(wanted) != set() and all(name.startswith("/etc/host") for name in found)
    return [word for word in found if not word.startswith("-") or line[-1] != " "] == wanted


def bash_says(scripts: Path, *words: str) -> list[str]:
    ask = """
        . "$1"/bash; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _${1//-/_}
        [ ${#COMPREPLY[@]} -eq 0 ] || printf '%s\\n' "${COMPREPLY[@]}"
    """
    program = () if words[0].startswith("rankmux-") else ("rankmux-client",)
    return said_by("bash", "-c", ask, "bash", str(scripts), *program, *words)


def whole(line: str) -> str:
    """A line that begins with the program."""
    return line if line.startswith("rankmux-") else f"rankmux-client {line}"


@needs("bash")
@pytest.mark.parametrize("line", LINES)
def test_bash(scripts, line):
    assert matches(line, bash_says(scripts, *line.split(" ")))


@needs("bash")
def test_bash_after_the_dashes_completes_programs(scripts):
    assert set(bash_says(scripts, "work", "--", "printen")) == {"printenv"}
    assert bash_says(scripts, "work", "--", "printenv", "/etc/hostn") == ["/etc/hostname"]


@needs("fish")
@pytest.mark.parametrize("line", LINES)
def test_fish(scripts, line):
    found = said_by("fish", "--no-config", "-c", f"source {scripts}/fish; complete -C '{whole(line)}'")
    assert matches(line, found)


@needs("fish")
@pytest.mark.parametrize(
    "front", ["wait", "wait --", "work --parallel 2 --grace 1 --", "work --local-errors"]
)
def test_fish_completes_programs(scripts, front):
    ask = f"source {scripts}/fish; complete -C 'rankmux-client {front} printen'"
    assert said_by("fish", "--no-config", "-c", ask) == ["printenv"]


@needs("zsh")
@pytest.mark.parametrize("line", LINES)
def test_zsh(scripts, line):
    """Runs at a terminal, because zsh does not complete elsewhere."""
    controller, end = os.openpty()
    process = subprocess.Popen(
        ["zsh", "-f", "-i"],
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
        env={**environment(), "TERM": "dumb", "PS1": "> "},
    )
    os.close(end)
    seen = ""

    def until(condition: Callable[[str], bool]) -> None:
        nonlocal seen
        deadline = time.monotonic() + PATIENCE_S
        with selectors.DefaultSelector() as poller:
            poller.register(controller, selectors.EVENT_READ)
            while not condition(seen.replace("\a", "")):
                assert poller.select(max(0.0, deadline - time.monotonic())), f"it says no more: {seen!r}"
                seen += os.read(controller, 65536).decode(errors="replace")

    try:
        set_up = (
            "unset zle_bracketed_paste; autoload -Uz compinit; compinit -u -D",
            f". {scripts}/zsh; zstyle ':completion:*' verbose no; print 'READY'' NOW'",
        )
        for command in set_up:
            os.write(controller, command.encode() + b"\n")
        until(lambda text: "READY NOW\r" in text)
        seen = ""
        os.write(controller, f"{whole(line)}\t".encode())
        wanted = {word.rpartition("/")[2] for word in LINES[line] if "/" not in word or Path(word).exists()}
        until(lambda text: all(word in text for word in wanted))
    finally:
        process.kill()
        process.wait()
        os.close(controller)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_flag_is_offered(scripts, shell):
    text = (scripts / shell).read_text()
    for page in ALL_PAGES:
        assert page.subcommand in text
        for flag in page.flags:
            assert all(name.lstrip("-") in text for name in flag.flags)


def test_the_facts_are_those_of_the_parsers():
    by_name = {page.subcommand: page for page in PAGES}
    to = next(flag for flag in by_name["send"].flags if "--to" in flag.flags)
    assert (to.kind, to.words) == (Kind.WORD, ("all", "next", "least"))
    seat = next(flag for flag in by_name["hold"].flags if "--seat" in flag.flags)
    assert seat.kind is Kind.FILE
    assert [page.positionals[0].kind for page in (by_name["work"], by_name["wait"])] == [Kind.COMMAND] * 2


def test_the_environment_does_not_change_the_manual(monkeypatch):
    monkeypatch.setenv("RANKMUX_PORT", "12345")
    assert pages() == PAGES
    assert os.environ["RANKMUX_PORT"] == "12345"


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.command)
def test_man_pages(page):
    text = man_page(page, ALL_PAGES)
    plain = text.replace("\\-", "-")
    for flag in page.flags:
        assert all(name in plain for name in flag.flags)
    if shutil.which("groff"):
        done = subprocess.run(
            ["groff", "-man", "-Tutf8", "-ww", "-b"],
            input=text.encode(),
            capture_output=True,
            timeout=PATIENCE_S,
            check=True,
        )
        assert done.stderr == b""


@pytest.mark.parametrize("subcommand", ["", *SUBCOMMANDS])
def test_man_and_help_run(subcommand):
    code, out, err = run("man", *filter(None, [subcommand]))
    assert (code, err) == (0, "")
    assert out.startswith(".TH ")
    code, out, err = run(*filter(None, [subcommand]), "--help")
    assert (code, err) == (0, "")
    assert "examples:" in out
    if subcommand:
        assert "exit codes:" in out


@pytest.mark.parametrize("page", [page.command.replace(" ", "-") for page in ALL_PAGES])
def test_each_page_by_its_name(page):
    name = page.removeprefix("rankmux-client-")
    code, out, err = run("man", name)
    assert (code, err) == (0, "")
    assert out.startswith(f'.TH "{page.upper()}" 1 ')


def test_all_pages_into_a_directory(tmp_path):
    assert run("man", "--into", tmp_path) == (0, "", "")
    names = {page.command.replace(" ", "-") for page in ALL_PAGES}
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.1" for name in names}
    assert run("man", "--into", tmp_path / "none") == (
        1,
        "",
        f"rankmux-client: cannot write into {tmp_path / 'none'}: there is no such directory\n",
    )


def test_usage():
    assert run("completion")[0] == 2
    assert run("completion", "csh")[0] == 2
    assert run("man", "nothing")[0] == 2
