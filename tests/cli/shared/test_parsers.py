"""The form of help and error texts: words stay whole at any width, the order, the suggestions."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module

import pytest

from rankmux.cli import client, kick, room, serving
from rankmux.cli.manual.settings import WHY
from rankmux.cli.shared.parsers import unknown_words
from rankmux.cli.top import program as top
from rankmux.config import settings

PARSERS = {
    "client": client.parser,
    "server": serving.parser,
    "top": top.parser,
    "kick": kick.parser,
    "room": room.parser,
    **{name: import_module(client.subcommand_module(name)).parser for name in client.SUBCOMMANDS},
}


def shown(make: Callable[[], object], columns: int, monkeypatch) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    return make().format_help()


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.parametrize("columns", [40, 80])
def test_no_word_of_the_help_is_broken(name, columns, monkeypatch):
    wide = shown(PARSERS[name], 9_999, monkeypatch).partition("\n\n")[2].split()
    text = shown(PARSERS[name], columns, monkeypatch)
    usage, _, rest = text.partition("\n\n")
    signs = [word for word in rest.split() if word != "#"]  # a comment of several lines
    assert signs == [word for word in wide if word != "#"]
    for line in rest.splitlines():
        assert len(line) <= columns or len(re.sub(r"^ *(# )?", "", line).split()) == 1, line
    assert "-\n" not in usage


@pytest.mark.parametrize(
    ("name", "subcommands"), [("client", client.SUBCOMMANDS), ("server", ["kick", "room"])]
)
def test_subcommands_come_first(name, subcommands, monkeypatch):
    text = shown(PARSERS[name], 80, monkeypatch)
    for subcommand in subcommands:
        assert re.search(rf"^  {subcommand} +\w", text.partition("options:")[0], re.MULTILINE)
    assert text.startswith(f"usage: rankmux-{name} SUBCOMMAND ...\n       rankmux-{name} [FLAG ...]\n")


def test_the_flags_of_the_server_are_in_groups(monkeypatch):
    """Those of the page about settings, in its order; a choice lists its values."""
    text = shown(serving.parser, 9_999, monkeypatch)
    sections = re.split(r"^(\S.*):\n", text, flags=re.MULTILINE)
    groups = dict(zip(sections[1::2], sections[2::2], strict=True))
    for title, names in WHY.items():
        flags = re.findall(r"^  (?:-n N, )?(--[a-z-]+)", groups[title[0].lower() + title[1:]], re.MULTILINE)
        assert flags == ["--" + name.replace("_", "-") for name in names]
    for setting in settings():
        assert not setting.choices or f"{setting.flag} {{{','.join(setting.choices)}}}" in text


def test_connecting_has_one_flag_in_all_programs():
    for name in client.SUBCOMMANDS:
        flags = PARSERS[name]()._option_string_actions
        assert ("--host" in flags) == ("--connect-timeout" in flags)
    assert "--connect-timeout" in client.parser()._option_string_actions
    assert "--timeout" not in client.parser()._option_string_actions


@pytest.mark.parametrize(
    ("words", "subcommands", "said"),
    [
        ([], (), []),
        (["--seat", "3"], (), ['unknown flag "--seat"; did you mean "--seats"?']),
        (["--seat=3"], (), ['unknown flag "--seat"; did you mean "--seats"?']),
        (["--qqq"], (), ['unknown flag "--qqq"; rankmux-server --help lists all flags']),
        (["x"], (), ['unknown argument "x"; it is one too many']),
        (["rom", "reset"], ("kick", "room"), ['unknown subcommand "rom"; did you mean "room"?']),
        (["qqq"], ("kick", "room"), ['unknown subcommand "qqq"; there are kick, room']),
        (
            ["--prot", "1", "--seat", "2"],
            (),
            [
                'unknown flag "--prot"; did you mean "--port"?',
                'unknown flag "--seat"; did you mean "--seats"?',
            ],
        ),
    ],
)
def test_words_that_are_not_known(words, subcommands, said):
    assert list(map(str, unknown_words(words, serving.parser(), subcommands))) == said
