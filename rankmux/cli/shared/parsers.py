"""The form of all parsers: help that wraps at words, complaints of one line that propose what may have been meant."""

from __future__ import annotations

import argparse
import os
import re

from ...errors import ConfigError, UnknownSetting

TYPE_CHECKING = False  # as of `typing`, whose import would cost `send` five milliseconds
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

__all__ = ["Form", "Parser", "subcommand_parser", "subcommands_text", "unknown_words"]


def _columns() -> int:
    """The width of the terminal, as of `shutil.get_terminal_size`."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdecimal() and 0 < len(columns) <= 5 and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:  # not a terminal
        return 80


class Form(argparse.RawDescriptionHelpFormatter):
    """Wraps at the width of the terminal, never within a word; text with line breaks keeps them."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)  # else argparse imports shutil, at each start

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(
            piece for line in _joined(text.splitlines()) for piece in _wrapped(line, width, indent)
        )

    def _split_lines(self, text: str, width: int) -> list[str]:
        return _wrapped(" ".join(text.split()), width)


_FRONT = re.compile(r"( *)(\S.*?  +(# )?)?")
"""An item's indent, its term, if two spaces follow that, and the sign of a comment: its further lines begin there."""


def _wrapped(line: str, width: int, indent: str = "") -> list[str]:
    """`line` in pieces of at most `width` characters, or of a word that is longer; the further ones are indented."""
    import textwrap

    front = _FRONT.match(line)
    assert front is not None
    further = " " * min(front.end() - len(front[3] or ""), max(width - 24, width // 2)) + (front[3] or "")
    wrapper = textwrap.TextWrapper(
        width,
        initial_indent=indent,
        subsequent_indent=indent + further,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapper.wrap(line) or [""]


def _joined(lines: list[str]) -> list[str]:
    """`lines`, with those that go on with the one before, by their indent, joined to it."""
    joined: list[str] = []
    for line in lines:
        before = joined[-1] if joined else ""
        front = _FRONT.match(before)
        assert front is not None
        goes_on = front.end() if front[2] else 0 if before[:1].strip() and before[-1] != ":" else -1
        if line and len(line) - len(line.lstrip()) == goes_on:
            joined[-1] += " " + line.lstrip()
        else:
            joined.append(line)
    return joined


class Parser(argparse.ArgumentParser):
    """Complains in a line or two, where argparse shows all flags first, and proposes similar ones."""

    def error(self, message: str) -> NoReturn:
        front = "unrecognized arguments: "
        if message.startswith(front):
            words = message.removeprefix(front).split(" ")
            message = "; ".join(map(str, unknown_words(words, self, ())))
            if any(action.nargs in {"+", "*"} for action in self._actions):
                message += " (flags of the subcommand go first, then --, then all the rest as it is)"
        self.exit(2, f"{self.prog}: {message}\n{self.prog} --help explains its usage\n")


def unknown_words(
    words: Sequence[str], parser: argparse.ArgumentParser, subcommands: Sequence[str]
) -> list[ConfigError]:
    """An error for each of the `words` that `parser` has no use for, with what may have been meant."""
    if not words:
        return []
    from difflib import get_close_matches

    errors: list[ConfigError] = []
    for before, word in zip(["", *words], words, strict=False):
        flag, _, value = word.partition("=")
        if word.startswith("-") and len(word) > 1:
            similar = get_close_matches(flag, parser._option_string_actions, 1)
            advice = f'did you mean "{similar[0]}"?' if similar else f"{parser.prog} --help lists all flags"
            errors.append(UnknownSetting(flag, value, advice, "flag"))
        elif not before.startswith("-"):  # else it is the value of a flag that is not known
            similar = get_close_matches(word, subcommands, 1)
            advice = f'did you mean "{similar[0]}"?' if similar else f"there are {', '.join(subcommands)}"
            kind, advice = ("subcommand", advice) if subcommands else ("argument", "it is one too many")
            errors.append(UnknownSetting(word, "", advice, kind))
            if subcommands:
                break  # what follows are its arguments
    return errors


def subcommand_parser(name: str, description: str, examples: str, exit_codes: str) -> argparse.ArgumentParser:
    """A parser of the usual form; `examples` and `exit_codes` are the end of its help."""
    return Parser(
        prog=f"rankmux-client {name}",
        description=description,
        epilog=f"examples:\n{examples}\nexit codes:\n{exit_codes}",
        formatter_class=Form,
        allow_abbrev=False,
    )


def subcommands_text(subcommands: Mapping[str, str]) -> str:
    """The subcommands of a program, for the beginning of its help."""
    width = max(map(len, subcommands))
    lines = [f"  {name:{width}}  {what}" for name, what in subcommands.items()]
    return "\n".join(["subcommands, each with --help:", *lines, "", "without a subcommand:"])
