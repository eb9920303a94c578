"""What a person types, and what is shown of what others sent."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.cli.shared.client_words import parse_line, shown, tell
from rankmux.codes import Cause, Status
from rankmux.core.client.events import (
    CommandAccepted,
    CommandDone,
    ExecuteReceived,
    ExecuteRejected,
    Promoted,
    RefusalReceived,
    ResultRouted,
    ServerErrorReceived,
)
from rankmux.errors import ArgumentError


@pytest.mark.parametrize(
    ("line", "parsed"),
    [
        (b"print", ("all", b"print")),
        (b"  print a  b \r", ("all", b"print a  b")),
        (b"@all print", ("all", b"print")),
        (b"@next  reload now", ("next", b"reload now")),
        (b"@least build", ("least", b"build")),
        (b"@2 debug", (2, b"debug")),
        (b"@007 debug", (7, b"debug")),
        (b"@4294967295 x", (4294967295, b"x")),
        (b"@@home", ("all", b"@home")),
        (b"mail ada@home", ("all", b"mail ada@home")),
        (b"\xff\xfe", ("all", b"\xff\xfe")),
        (b"", None),
        (b"  \t ", None),
    ],
)
def test_lines(line, parsed):
    assert parse_line(line) == parsed


@pytest.mark.parametrize(
    "line",
    [
        b"@nobody x",
        b"@ x",
        b"@-1 x",
        b"@4294967296 x",
        b"@99999999999 x",
        b"@1.5 x",
        "@² x".encode(),
        b"@\xff x",
    ],
)
def test_lines_whose_target_is_not_understood(line):
    with pytest.raises(ArgumentError, match="@all, @next, @least or @ and a rank is expected"):
        parse_line(line)


@pytest.mark.parametrize("line", [b"@next", b"@2  ", b"@all"])
def test_lines_without_a_command(line):
    with pytest.raises(ArgumentError, match="a command is expected behind it"):
        parse_line(line)


@given(st.binary(max_size=40))
def test_any_line_is_understood_or_refused(line):
    parsed = None
    with suppress(ArgumentError):
        parsed = parse_line(line)
    assert parsed is None or (parsed[1] and parsed[1] in line)


@given(
    st.one_of(
        st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode(errors="surrogatepass"))
    )
)
def test_nobody_writes_on_our_terminal(payload):
    assert shown(payload).isprintable()


def test_what_is_shown():
    assert shown("é → ok".encode()) == "é → ok"
    assert shown(b"a\nb\x1b[31m\xff\\") == "a\\nb\\x1b[31m\\xff\\"


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        (ExecuteReceived(5, 0, 1, True, 0, b"print"), ["Received from rank 0: print"]),
        (ExecuteRejected(5, 3, 1, True, b"x"), ["Rejected, rank 3 does not outrank you: x"]),
        (Promoted(5, 2, 1, 4, Cause.LOST), ["New rank: 1 of 4, was 2 (a member before you was lost)"]),
        (CommandAccepted(1, 5, 1, 0), ["Sent to 1 member: cmd"]),
        (CommandAccepted(1, 5, 3, 2), ["Sent to 3 members: cmd", "Rejected for 2 members above you: cmd"]),
        (RefusalReceived(1, 2, "rank 0 is not below you"), ["Refused, rank 0 is not below you: cmd"]),
        (RefusalReceived(1, 2, "x\x1b[2J"), ["Refused, x\\x1b[2J: cmd"]),
        (ResultRouted(1, 9, 2, Status.OK, b""), []),
        (ResultRouted(1, 9, 2, Status.PART, b"half\n"), ["Rank 2: half"]),
        (ResultRouted(1, 9, 2, Status.FAILED, b""), ["Rank 2 failed"]),
        (ResultRouted(1, 9, 2, Status.REJECTED, b"no"), ["Rank 2 rejected it: no"]),
        (ResultRouted(1, 9, 2, Status.EXPIRED, b""), ["Rank 2 did not answer in time"]),
        (ResultRouted(1, 9, 2, Status.LEFT, b""), ["Rank 2 left before it answered"]),
        (CommandDone(1, 2, 0, 0, 0, 1), ["Done, 2 ok, 1 left: cmd"]),
        (ServerErrorReceived(8, "bye"), []),
    ],
)
def test_what_is_told(event, lines):
    assert list(tell(event, "cmd")) == lines
