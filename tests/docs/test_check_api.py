"""The Python page against the public names, as far as possible without building the site."""

from __future__ import annotations

import re

import pytest

import rankmux
import rankmux.aio

from .check_api import entries, members, problems, public_names
from .pages import ROOT

PAGE = (ROOT / "docs" / "python.md").read_text()
ENTRIES = dict(re.findall(r"^::: ([\w.]+)\n((?:    .*\n)*)", PAGE, re.MULTILINE))
CLASSES = {
    name: value
    for name, value in entries().items()
    if isinstance(value, type) and "show_if_no_docstring: true" not in ENTRIES.get(name, "")
}
ONLY_BLOCKING = {
    "Client.keep_reading",  # with asyncio, the loop reads
    "Client.poll",
    "Client.wait",
    "ReceivedCommand.wait_cancelled",  # with asyncio, the handler is cancelled
}
ONLY_ASYNCIO = {
    "Client.connect",  # the blocking one does so when it is made
    "Client.events",
}


def test_every_name_has_an_entry():
    errors = {name for name in entries() if name.startswith("rankmux.errors.")}
    assert ENTRIES.keys() - {"rankmux.errors"} == entries().keys() - errors


@pytest.mark.parametrize("name", CLASSES)
def test_every_member_is_shown(name):
    """Members without a docstring are left out, unless the entry says otherwise."""
    kinds = CLASSES[name].__mro__
    for member in members(CLASSES[name]):
        assert any(getattr(vars(kind).get(member), "__doc__", None) for kind in kinds), (
            f"{member} says nothing"
        )


def test_every_name_is_in_the_table():
    table = PAGE[PAGE.index("| from | names |") :].split("\n\n")[0]
    row, row_aio, *_ = table.splitlines()[2:]
    modules = {"aio", "codes", "errors", "wire", "__version__"}
    assert set(re.findall(r"`(\w+)`", row.split("|")[2])) == set(rankmux.__all__) - modules
    assert {"Server", "ServerSettings", "RankmuxError"} >= set(rankmux.__all__) - modules - set(
        rankmux.aio.__all__
    )
    assert set(rankmux.aio.__all__) - set(rankmux.__all__) <= set(re.findall(r"`(\w+)`", row_aio))


def test_the_two_clients_have_the_same_members():
    """So nothing that one of them keeps for itself is public."""
    blocking, asyncio_ = (
        {
            f"{name}.{member}"
            for name in ("Client", "Receipt", "ReceivedCommand", "Watch", "Term")
            for member in members(getattr(module, name))
        }
        for module in (rankmux, rankmux.aio)
    )
    assert blocking - asyncio_ == ONLY_BLOCKING
    assert asyncio_ - blocking == ONLY_ASYNCIO
    assert members(rankmux.aio.Events) == set(), "it is only iterated over"


def test_the_differences_of_a_built_page():
    page = "".join(f'<h4 id="{name}" class="doc">' for name in public_names())
    assert problems(page) == []
    lacking = page.replace("rankmux.Client.rank", "rankmux.Client.take")
    assert problems(lacking) == [
        "not shown: rankmux.Client.rank",
        "shown, but not public: rankmux.Client.take",
    ]
