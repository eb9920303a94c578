"""The history checker: a short run, and the detection of single errors inserted into its logs."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from . import nemesis as history
from .checker import History

Lines = list[list[str]]

pytestmark = pytest.mark.slow  # all tests use one run of some seconds


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Lines:
    """The lines of each process of a short run with faults and without violations."""
    folder = tmp_path_factory.mktemp("logs")
    kept = history.check(6.0, random.randrange(1 << 32), logs=str(folder))
    assert not kept.violations, kept.violations[:10]
    assert kept.deliveries > 1000
    return [path.read_text().splitlines(keepends=True) for path in sorted(Path(folder).glob("c*.log"))]


def judged(logs: Lines) -> list[str]:
    kept = History()
    for lines in logs:
        kept.read(lines)
    kept.check()
    return kept.violations


def edited(logs: Lines, kind: str, edit: Callable[[list[str], int], None]) -> list[str]:
    """The violations after an edit of one line of `kind`: the one in the middle, or else one near it.

    Not every line can be contradicted: a rank that no other member saw may be valid.
    """
    places = [
        (n, at) for n, lines in enumerate(logs) for at, line in enumerate(lines) if line.split()[1] == kind
    ]
    if kind == "E":  # to all, and not among the last ones that a member saw
        places = [(n, at) for n, at in places if logs[n][at].split()[7] == "0"]
    if kind == "M":  # not of an empty room
        places = [(n, at) for n, at in places if len(logs[n][at].split()) > 4]
    for part in sorted(range(1, 32), key=lambda part: abs(part - 16)):
        n, at = places[len(places) * part // 32]
        copy = [list(lines) for lines in logs]
        edit(copy[n], at)
        if violations := judged(copy):
            return violations
    return []


def changed(field: int, by: int) -> Callable[[list[str], int], None]:
    def edit(lines: list[str], at: int) -> None:
        words = lines[at].split()
        words[field] = str(int(words[field]) + by)
        lines[at] = " ".join(words) + "\n"

    return edit


def lost(lines: list[str], at: int) -> None:
    del lines[at]


def doubled(lines: list[str], at: int) -> None:
    lines.insert(at, lines[at])


def swapped(lines: list[str], at: int) -> None:
    ident = lines[at].split()[0]
    other = next((n for n in range(at + 1, len(lines)) if lines[n].split()[:2] == [ident, "E"]), at)
    lines[at], lines[other] = lines[other], lines[at]


def test_nothing_is_violated(logs: Lines) -> None:
    assert judged(logs) == []


@pytest.mark.parametrize(
    ("kind", "edit"),
    [
        ("E", lost),
        ("E", doubled),
        ("E", swapped),
        ("E", changed(2, 1)),  # its seq
        ("E", changed(3, 1)),  # its sender's rank
        ("E", changed(5, 1)),  # its sender
        ("E", changed(6, 1)),  # its number
        ("E", changed(9, 1)),  # its bytes
        ("Q", doubled),
        ("Q", changed(2, 1)),  # another command
        ("Q", changed(4, -1)),  # another rank
        ("G", changed(4, 1)),  # another baton
        ("U", changed(4, -5)),  # a ticket that was used
        ("W", lost),
        ("W", changed(4, 1)),  # its ticket
        ("J", changed(6, 1)),  # returned or not
        ("R", changed(3, 1)),  # a rank that another member has
        ("J", changed(2, 1000)),  # a ticket that does not increase
        ("M", changed(4, 1)),  # rank 0 is another member
        ("D", changed(3, 1)),  # one executor too many
        ("A", changed(3, 1)),  # another seq
        ("A", changed(5, 1)),  # another is rejected
        ("A", changed(6, 1)),  # another is absent
    ],
    ids=lambda value: (
        value if isinstance(value, str) else getattr(value, "__qualname__", "edit").split(".")[0]
    ),
)
def test_it_notices(logs: Lines, kind: str, edit: Callable[[list[str], int], None]) -> None:
    assert edited(logs, kind, edit)


def test_it_notices_a_ticket_that_is_twice_in_a_list() -> None:
    """It is no page of a longer list, which has as many members as are listed."""
    lines = ["c1.0 w \n", "c1.0 B 8 1\n", "c1.0 M 8 2 5 0 5 0\n"]
    assert "c1.0: a ticket is twice in the list of the members at 8" in judged([lines])
