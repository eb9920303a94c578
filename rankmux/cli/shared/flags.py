"""Flags and argument types that several subcommands share, and the form of their parsers."""

from __future__ import annotations

import argparse
import os

from ...errors import ConfigError, UnknownSetting

TYPE_CHECKING = False  # as of `typing`, whose import would cost `send` five milliseconds
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

__all__ = [
    "SEAT_VARIABLE",
    "Parser",
    "add_keep_flags",
    "add_offer_flag",
    "add_reconnect_flag",
    "add_seat_flag",
    "number_from",
    "seconds",
    "subcommand_parser",
    "unknown_words",
]

SEAT_VARIABLE = "RANKMUX_SEAT"
"""Environment variable with the path of a held seat's control socket, for the programs that the seat starts."""

_SECONDS_MAX = 4_000_000


def _columns() -> int:
    """The width of the terminal, as of `shutil.get_terminal_size`."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdecimal() and 0 < len(columns) <= 5 and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:  # not a terminal
        return 80


class _Form(argparse.RawDescriptionHelpFormatter):
    """Wraps a description of one line; a text that has line breaks stays as it is."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)  # else argparse imports shutil, at each start

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


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
        formatter_class=_Form,
        allow_abbrev=False,
    )


_PRIVATE = f"a private one, passed to the programs started here in {SEAT_VARIABLE}"


def add_offer_flag(parser: argparse.ArgumentParser, default: str = _PRIVATE) -> None:
    """Add --seat for a client that holds a seat; `default` describes the default."""
    parser.add_argument(
        "--seat",
        metavar="PATH",
        help=f"offer the seat to `send` and `who` at this socket (default: {default})",
    )


def add_seat_flag(parser: argparse.ArgumentParser) -> None:
    """Add --seat for a subcommand that uses a held seat."""
    parser.add_argument(
        "--seat",
        metavar="PATH",
        help=f"use the seat held at this socket (default: the one named by {SEAT_VARIABLE}; without it, join just"
        " for this run)",
    )


def add_reconnect_flag(parser: argparse.ArgumentParser) -> None:
    """Add --reconnect."""
    parser.add_argument(
        "--reconnect",
        action="store_true",
        help="when the server cannot be reached or the connection is lost, keep trying; the new rank is the last one",
    )


def add_keep_flags(parser: argparse.ArgumentParser) -> None:
    """Add --keep and what goes with it."""
    parser.add_argument(
        "--keep",
        type=seconds,
        metavar="S",
        help="have the server keep the seat, with its rank, for up to this many seconds after the connection is lost"
        " (the server may grant less), and come back to it",
    )
    parser.add_argument(
        "--keep-file",
        metavar="FILE",
        help="with --keep: keep the secret of the seat in this file (made if there is none; locked while in use), so"
        " that a program that is started again comes back to the seat; SIGTERM then leaves the seat kept",
    )
    parser.add_argument(
        "--hook-absent",
        metavar="PROGRAM",
        help="with --keep: run this when the connection is lost and the seat is kept, with RANKMUX_REASON",
    )
    parser.add_argument(
        "--hook-back",
        metavar="PROGRAM",
        help="with --keep: run this when the connection is back in its seat, with RANKMUX_RANK",
    )


def seconds(text: str, most: int = _SECONDS_MAX) -> float:
    """A time in seconds, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= most:
        raise argparse.ArgumentTypeError(f"{text!r}: expected seconds, more than 0 and at most {most}")
    return value


class number_from:  # noqa: N801 - it reads as a function, and argparse names it in messages
    """A whole number of at least `least`, for argparse."""

    def __init__(self, least: int) -> None:
        self._least = least

    def __call__(self, text: str) -> int:
        if text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) >= self._least:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of at least {self._least}")
