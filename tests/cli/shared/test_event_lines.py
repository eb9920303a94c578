"""The parsing of typed lines, and events as lines."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.cli.shared.event_lines import (
    counts_text,
    parse_line,
    promotion_text,
    rejection_text,
    result_text,
)
from rankmux.codes import Cause, Status
from rankmux.core.client.events import ExecuteRejected, Promoted
from rankmux.core.client.results import Counts, RoutedResult
from rankmux.errors import ArgumentError


@pytest.mark.parametrize(
    ("line", "parsed"),
    [
        (b"print", ("all", b"print")),
        (b"  print a  b \r", ("all", b"  print a  b")),
        (b"@all print", ("all", b"print")),
        (b"@next  reload now", ("next", b" reload now")),
        (b" @next reload now", ("next", b"reload now")),
        (b"\tprint", ("all", b"\tprint")),
        (b"@least build", ("least", b"build")),
        (b"@2 debug", ("2", b"debug")),
        (b"@007 debug", ("007", b"debug")),
        (b"@4294967295 x", ("4294967295", b"x")),
        (b"@@home", ("all", b"@home")),
        (b"@ada@home x", ("ada@home", b"x")),
        (b"@web-*,!web-3 x", ("web-*,!web-3", b"x")),
        (b"mail ada@home", ("all", b"mail ada@home")),
        (b"\xff\xfe", ("all", b"\xff\xfe")),
        (b"", None),
        (b"  \t ", None),
    ],
)
def test_lines(line, parsed):
    found = parse_line(line)
    assert (found and (found[0].text, found[1])) == parsed


@pytest.mark.parametrize(
    "line",
    [
        b"@ x",
        b"@4294967296 x",
        b"@99999999999 x",
        b"@5-1 x",
        b"@1,,2 x",
        b"@! x",
        b"@ticket:x y",
    ],
)
def test_lines_whose_target_is_not_understood(line):
    with pytest.raises(ArgumentError, match="expected all, next, least, ranks"):
        parse_line(line)


@pytest.mark.parametrize("line", [b"@next", b"@2  ", b"@all"])
def test_lines_without_a_command(line):
    with pytest.raises(ArgumentError, match="expected a command after it"):
        parse_line(line)


@given(st.binary(max_size=40))
def test_any_line_is_understood_or_refused(line):
    parsed = None
    with suppress(ArgumentError):
        parsed = parse_line(line)
    assert parsed is None or (parsed[1] and parsed[1] in line)


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (RoutedResult(2, 9, Status.OK, b""), ""),
        (RoutedResult(2, 9, Status.PART, b"half\n"), "Rank 2: half"),
        (RoutedResult(2, 9, Status.FAILED, b""), "Rank 2 failed"),
        (RoutedResult(2, 9, Status.REJECTED, b"no\x1b[2J"), "Rank 2 rejected it: no\\x1b[2J"),
        (RoutedResult(2, 9, Status.EXPIRED, b""), "Rank 2 did not answer in time"),
        (RoutedResult(2, 9, Status.LEFT, b""), "Rank 2 left before it answered"),
    ],
)
def test_results(result, line):
    assert result_text(result) == line


def test_events():
    assert rejection_text(ExecuteRejected(5, 3, 1, True, b"x")) == "Rejected, rank 3 does not outrank you: x"
    line = "New rank: 1 of 4, was 2 (a member above you was lost)"
    assert promotion_text(Promoted(5, 2, 1, 4, Cause.LOST)) == line
    line = "New rank: 1 of 4, was 2 (a member above you stepped back)"
    assert promotion_text(Promoted(5, 2, 1, 4, Cause.YIELDED)) == line
    assert counts_text(Counts(2, 0, 0, 0, 1)) == "2 ok, 1 left"
    assert counts_text(Counts(0, 0, 0, 0, 0)) == "nobody"
