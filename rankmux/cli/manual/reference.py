"""`python -m rankmux.cli.manual.reference docs`: the generator of the reference pages in docs/.

A test compares the pages in docs/ with its output.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ...config import settings
from ...system.extras import how_to_get
from .pages import Page, pages
from .settings import settings_page

__all__ = ["PAGES", "main"]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _program(page: Page, left_out: frozenset[str]) -> Iterator[str]:
    """The lines of a section about `page`, without the flags in `left_out`."""
    parameters = [p for p in page.parameters if not left_out.intersection(p.flags)]
    usage = page.usage if not left_out else f"{page.command} [FLAG ...]"
    yield from (
        f"## {page.command}",
        "",
        page.description,
        "",
        "```text",
        usage,
        "```",
        "",
        "| | |",
        "|---|---|",
    )
    for parameter in parameters:
        terms = [" ".join(filter(None, (flag, parameter.metavar))) for flag in parameter.flags]
        term = ", ".join(f"`{term}`" for term in terms or [parameter.metavar])
        yield f"| {_cell(term)} | {_cell(parameter.help)} |"
    for title, text in page.sections:
        heading = [f"{title[:1].upper()}{title[1:]}:", ""] if title else []
        yield from ("", *heading, "```text", text.rstrip("\n"), "```")


_MADE = "Generated from the program's own parsers by `python -m rankmux.cli.manual.reference docs`."


def _client() -> Iterator[str]:
    yield from ("# rankmux-client: reference", "", f"{_MADE} For how to use it, see [scripts](cli.md).")
    for page in pages():
        yield ""
        yield from _program(page, frozenset())


def _server() -> Iterator[str]:
    more = "Each of the [settings](settings.md) is a flag as well: `write_timeout_s` is `--write-timeout-s`."
    yield from ("# rankmux-server: reference", "", f"{_MADE} {more}", "")
    left_out = frozenset(setting.flag for setting in settings()) - {"--seats"}
    own, *subcommands = pages("rankmux-server")
    yield from _program(own, left_out)
    for page in subcommands:
        yield ""
        yield from _program(page, frozenset())


def _top() -> Iterator[str]:
    more = f"It needs `rich`: {how_to_get('top')}."
    yield from ("# rankmux-top: reference", "", f"{_MADE} {more}", "")
    [page] = pages("rankmux-top")
    yield from _program(page, frozenset())


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "rankmux-client.md": _client,
    "rankmux-server.md": _server,
    "rankmux-top.md": _top,
    "settings.md": settings_page,
}
"""The generator of each page's lines."""


def main(argv: list[str]) -> int:
    """Write all pages into the given directory; the exit code."""
    if len(argv) != 1 or not Path(argv[0]).is_dir():
        print("usage: python -m rankmux.cli.manual.reference DIRECTORY", file=sys.stderr)
        return 2
    for name, lines in PAGES.items():
        Path(argv[0], name).write_text("\n".join(lines()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
