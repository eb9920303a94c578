"""Flags and argument types that several subcommands share."""

from __future__ import annotations

import argparse

__all__ = [
    "SEAT_VARIABLE",
    "add_keep_flags",
    "add_offer_flag",
    "add_reconnect_flag",
    "add_seat_flag",
    "number_from",
    "seconds",
]

SEAT_VARIABLE = "RANKMUX_SEAT"
"""Environment variable with the path of a held seat's control socket, for the programs that the seat starts."""

_SECONDS_MAX = 4_000_000


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
