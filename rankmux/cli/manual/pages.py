"""The three programs' parsers as plain data, for shell completion, man pages and the reference.

Knows no shell and no markup. Defaults are those of an empty environment.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from importlib import import_module

from ..client import SUBCOMMANDS, subcommand_module
from ..client import parser as client_parser

__all__ = ["PROGRAM", "PROGRAMS", "Kind", "Page", "Parameter", "pages"]

PROGRAM = "rankmux-client"
PROGRAMS = (PROGRAM, "rankmux-server", "rankmux-top")
"""All programs."""

_FILES = {"PATH", "FILE"}
_COMMANDS = {"PROGRAM"}


class Kind(Enum):
    """The kind of a parameter's value."""

    NONE = "no value: a switch"
    TEXT = "any text"
    WORD = "one of a set of words"
    FILE = "a path"
    COMMAND = "a program"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A flag, or, without `flags`, a positional argument. `words` are the values of Kind.WORD."""

    flags: tuple[str, ...]
    metavar: str
    kind: Kind
    words: tuple[str, ...]
    repeated: bool
    required: bool
    help: str

    @property
    def brief(self) -> str:
        """The beginning of the help, for a menu."""
        return re.split(r"[;.:(] ?", self.help, maxsplit=1)[0].strip()


@dataclass(frozen=True, slots=True)
class Page:
    """A parser. `sections` are the parts of its epilog as (title, text); a title may be empty."""

    program: str
    subcommand: str
    description: str
    parameters: tuple[Parameter, ...]
    sections: tuple[tuple[str, str], ...]

    @property
    def command(self) -> str:
        """The command without arguments."""
        return f"{self.program} {self.subcommand}".rstrip()

    @property
    def brief(self) -> str:
        """The first sentence of the description, without its full stop."""
        return re.split(r"[.:;](?: |$)", self.description, maxsplit=1)[0]

    @property
    def flags(self) -> tuple[Parameter, ...]:
        """The flags."""
        return tuple(parameter for parameter in self.parameters if parameter.flags)

    @property
    def positionals(self) -> tuple[Parameter, ...]:
        """The positional arguments."""
        return tuple(parameter for parameter in self.parameters if not parameter.flags)

    @property
    def usage(self) -> str:
        """`rankmux-client hold [--seat PATH] ...` in one line."""
        words = [self.command]
        for flag in self.flags:
            value = f" {flag.metavar}" if flag.metavar else ""
            words.append(f"[{flag.flags[-1]}{value}]")
        for positional in self.positionals:
            dots = " ..." if positional.repeated else ""
            words.append(
                f"{positional.metavar}{dots}" if positional.required else f"[{positional.metavar}{dots}]"
            )
        return " ".join(words)


def _parameter(parser: argparse.ArgumentParser, action: argparse.Action) -> Parameter:
    words = tuple(map(str, action.choices or ()))
    chosen = f"{{{','.join(words)}}}" if words else action.dest.upper()
    metavar = "" if action.nargs == 0 else str(action.metavar or chosen)
    if not words and (named := re.fullmatch(r"\{(.*)\}", metavar)):
        words = tuple(word for word in named[1].split(",") if word.islower())
    if action.nargs == 0:
        kind = Kind.NONE
    elif words:
        kind = Kind.WORD
    elif metavar in _FILES:
        kind = Kind.FILE
    else:
        kind = Kind.COMMAND if metavar in _COMMANDS else Kind.TEXT
    return Parameter(
        tuple(action.option_strings),
        metavar,
        kind,
        words,
        repeated=action.nargs in {"+", "*"} or isinstance(action, argparse._AppendAction),
        required=action.nargs not in {"*", "?"},
        help=(action.help or "") % {**vars(action), "prog": parser.prog},
    )


def _page(program: str, subcommand: str, parser: argparse.ArgumentParser) -> Page:
    sections: list[tuple[str, str]] = []
    for line in (parser.epilog or "").splitlines():
        title = re.fullmatch(r"(\S.*):", line)
        if title or not sections:
            sections.append((title[1], "") if title else ("", line + "\n"))
        else:
            sections[-1] = sections[-1][0], sections[-1][1] + line + "\n"
    return Page(
        program,
        subcommand,
        (parser.description or "").rpartition("\n\n")[2],  # without the list of subcommands, which have pages
        tuple(_parameter(parser, action) for action in parser._actions),
        tuple((title, text.strip("\n") + "\n") for title, text in sections),
    )


@contextmanager
def _no_variables() -> Iterator[None]:
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("RANKMUX_")}
    try:
        yield
    finally:
        os.environ.update(hidden)


def pages(program: str = PROGRAM) -> list[Page]:
    """The page of a program, then one for each of its subcommands."""
    with _no_variables():
        if program == PROGRAM:
            own: argparse.ArgumentParser = client_parser()
            modules = {name: subcommand_module(name) for name in SUBCOMMANDS}
        else:
            module = "rankmux.cli.top.program" if program == "rankmux-top" else "rankmux.cli.serving"
            own = import_module(module).parser()
            modules = (
                {}
                if program == "rankmux-top"
                else {
                    name: f"rankmux.cli.{'change' if name == 'set' else name}"
                    for name in ("status", "kick", "set", "drain", "room")
                }
            )
        subcommands = [_page(program, name, import_module(path).parser()) for name, path in modules.items()]
        return [_page(program, "", own), *subcommands]
