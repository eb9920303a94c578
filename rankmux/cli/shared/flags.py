"""The parsers of rankmux-client's subcommands: what they have in common, and how each is found.

A subcommand is a module of this package with `parser()` and `main(argv)`. Help, shell completion and man pages are all
made from the parsers.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import NoReturn

from ..seat.socket import SEAT_VARIABLE
from .connection_flags import add_connection_flags

__all__ = [
    "SUBCOMMANDS",
    "add_joining_flags",
    "add_offer_flag",
    "add_reconnect_flag",
    "add_seat_flag",
    "number_from",
    "seconds",
    "subcommand_parser",
    "subcommand_parsers",
]

SUBCOMMANDS: dict[str, str] = {
    "hold": "rankmux.cli.commands.hold",
    "send": "rankmux.cli.commands.send",
    "work": "rankmux.cli.commands.work",
    "wait": "rankmux.cli.commands.wait",
    "who": "rankmux.cli.commands.who",
    "completion": "rankmux.cli.manual.completion",
    "man": "rankmux.cli.manual.man",
}
"""Each subcommand and the module that has its `parser` and `main`."""


class _Form(argparse.RawDescriptionHelpFormatter):
    """Wraps a description, which is one line; what has lines of its own stays as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


class _Parser(argparse.ArgumentParser):
    """Says what to do about words that it has no place for."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments") and any(
            action.nargs in {"+", "*"} for action in self._actions
        ):
            message += " (our own flags go first, then --, then all the rest as it is)"
        super().error(message)


def subcommand_parser(name: str, description: str, examples: str, exit_codes: str) -> argparse.ArgumentParser:
    """A parser of the usual form; `examples` and `exit_codes` are the end of its help."""
    return _Parser(
        prog=f"rankmux-client {name}",
        description=description,
        epilog=f"examples:\n{examples}\nexit codes:\n{exit_codes}",
        formatter_class=_Form,
        allow_abbrev=False,
    )


def subcommand_parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each subcommand."""
    return {name: import_module(module).parser() for name, module in SUBCOMMANDS.items()}


def add_joining_flags(parser: argparse.ArgumentParser) -> None:
    """Where the server is, with --connect-timeout: --timeout is about what the subcommand does."""
    add_connection_flags(parser, timeout_flag="--connect-timeout")


_PRIVATE = f"a private one, of which only the programs that are started here know, by {SEAT_VARIABLE}"


def add_offer_flag(parser: argparse.ArgumentParser, default: str = _PRIVATE) -> None:
    """Where the held seat is offered; `default` says in words where it is without the flag."""
    parser.add_argument(
        "--seat",
        metavar="PATH",
        help=f"offer the seat to `send` and `who` at this socket (default: {default})",
    )


def add_seat_flag(parser: argparse.ArgumentParser) -> None:
    """Which held seat is used."""
    parser.add_argument(
        "--seat",
        metavar="PATH",
        help="use the seat that is held there (default: the one that"
        f" {SEAT_VARIABLE} names; if that is not set, join for this alone)",
    )


def add_reconnect_flag(parser: argparse.ArgumentParser) -> None:
    """Whether a lost connection is made again."""
    parser.add_argument(
        "--reconnect",
        action="store_true",
        help="when there is no server, or the connection is lost, try again until there is; the new seat is the last",
    )


def seconds(text: str) -> float:
    """A time in seconds, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 4_000_000:
        raise argparse.ArgumentTypeError(f"{text!r}: seconds are expected, more than 0 and at most 4000000")
    return value


class number_from:  # noqa: N801 - it reads as a function, and argparse names it in messages
    """A whole number of at least `least`, for argparse."""

    def __init__(self, least: int) -> None:
        self._least = least

    def __call__(self, text: str) -> int:
        if text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) >= self._least:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r}: a number of at least {self._least} is expected")
