"""`rankmux-client man [SUBCOMMAND]`: man pages, generated from the parsers."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from ..client import SUBCOMMANDS
from ..shared.flags import subcommand_parser
from ..shared.wording import printed
from .pages import Page, Parameter, pages

__all__ = ["main", "man_page", "parser"]

_EXAMPLES = """\
  rankmux-client man send | man -l -
  rankmux-client man wait > ~/.local/share/man/man1/rankmux-client-wait.1
"""


def parser() -> argparse.ArgumentParser:
    """The parser."""
    parser = subcommand_parser(
        "man",
        "Prints the man page of rankmux-client, or of a subcommand.",
        _EXAMPLES,
        "  0  printed\n  1  standard output cannot be written\n  2  usage\n",
    )
    parser.add_argument(
        "subcommand", nargs="?", choices=tuple(SUBCOMMANDS), metavar="SUBCOMMAND", help="the subcommand"
    )
    return parser


def _roff(text: str) -> str:
    """`text`, escaped for roff."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga").replace("'", "\\(aq")
    return re.sub(r"^(?=\.)", r"\\&", escaped, flags=re.MULTILINE)


def _roff_term(parameter: Parameter) -> str:
    names = ", ".join(f"\\fB{_roff(flag)}\\fR" for flag in parameter.flags)
    value = f"\\fI{_roff(parameter.metavar)}\\fR" if parameter.metavar else ""
    return " ".join(filter(None, (names, value)))


def man_page(page: Page, others: list[Page]) -> str:
    """`page` in the man macros, with references to `others`."""
    name = page.command.replace(" ", "-")
    lines = [
        f'.TH "{name.upper()}" 1 "" "rankmux" "rankmux"',
        ".SH NAME",
        f"{_roff(name)} \\- {_roff(page.brief[0].lower() + page.brief[1:])}",
        ".SH SYNOPSIS",
        _roff(page.usage),
        ".SH DESCRIPTION",
        _roff(page.description),
        ".SH OPTIONS",
    ]
    for parameter in page.parameters:
        lines += [".TP", _roff_term(parameter), _roff(parameter.help)]
    for title, text in page.sections:
        lines += [f'.SH "{_roff(title.upper())}"'] if title else []
        lines += [".nf", _roff(text.rstrip("\n")), ".fi"]
    pointers = ", ".join(f"{_roff(other.command.replace(' ', '-'))}(1)" for other in others if other != page)
    return "\n".join([*lines, '.SH "SEE ALSO"', pointers]) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the man page; the exit code."""
    arguments = parser().parse_args(argv)
    all_pages = pages()
    page = next(page for page in all_pages if page.subcommand == (arguments.subcommand or ""))
    return printed(man_page(page, all_pages))
