"""`rankmux-client man [PAGE]`: the man pages of all programs, generated from their parsers."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path

from ...system.reasons import file_reason
from ..client import SUBCOMMANDS
from ..shared.parsers import subcommand_parser
from ..shared.wording import complain, printed
from .pages import PROGRAM, PROGRAMS, Page, Parameter, pages

__all__ = ["main", "man_page", "parser"]

_EXAMPLES = """\
  rankmux-client man send | man -l -
  rankmux-client man rankmux-server | man -l -
  rankmux-client man --into ~/.local/share/man/man1
"""


_PAGES = (
    *(PROGRAM, "rankmux-server", "rankmux-top"),
    *(f"rankmux-server-{name}" for name in ("status", "kick", "set", "drain", "room")),
)
"""Those that are no subcommands of rankmux-client."""


def parser() -> argparse.ArgumentParser:
    """The parser."""
    parser = subcommand_parser(
        "man",
        "Prints a man page, or writes all of them into a directory.",
        _EXAMPLES,
        "  0  printed, or written\n  1  it cannot be written\n  2  usage\n",
    )
    parser.add_argument(
        "page",
        nargs="?",
        choices=(*SUBCOMMANDS, *_PAGES),
        metavar="PAGE",
        help=f"a subcommand of {PROGRAM} ({', '.join(SUBCOMMANDS)}), or {', '.join(_PAGES[1:])}"
        f" (default: {PROGRAM})",
    )
    parser.add_argument("--into", metavar="DIRECTORY", help="write all pages into this directory, as NAME.1")
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
    name = _name(page)
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
    pointers = ", ".join(f"{_roff(_name(other))}(1)" for other in others if other != page)
    return "\n".join([*lines, '.SH "SEE ALSO"', pointers]) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the man page; the exit code."""
    arguments = parser().parse_args(argv)
    by_name = {_name(page): page for program in PROGRAMS for page in pages(program)}
    all_pages = list(by_name.values())
    if arguments.into is None:
        name = arguments.page or PROGRAM
        return printed(man_page(by_name[f"{PROGRAM}-{name}" if name in SUBCOMMANDS else name], all_pages))
    if not os.path.isdir(arguments.into):
        complain(f"cannot write into {arguments.into}: there is no such directory")
        return 1
    try:
        for name, page in by_name.items():
            Path(arguments.into, f"{name}.1").write_text(man_page(page, all_pages))
    except OSError as error:
        complain(f"cannot write into {arguments.into}: {file_reason(error)}")
        return 1
    return 0


def _name(page: Page) -> str:
    return page.command.replace(" ", "-")
