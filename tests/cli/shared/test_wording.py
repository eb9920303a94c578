"""Error texts, and the display of text from other members."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.cli.shared.line_writer import LineWriter
from rankmux.cli.shared.wording import complain, shown, why
from rankmux.codes import ErrorCode
from rankmux.errors import ArgumentError, AuthError, ConnectionLost, ServerError


@given(
    st.one_of(
        st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode(errors="surrogatepass"))
    )
)
def test_shown_text_is_printable(payload):
    assert shown(payload).isprintable()


def test_shown_text_escapes_what_is_not_printable():
    assert shown("é → ok".encode()) == "é → ok"
    assert shown(b"a\nb\x1b[31m\xff\\") == "a\\nb\\x1b[31m\\xff\\"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ConnectionLost("it broke"), "it broke"),
        (ServerError(ErrorCode.FULL, "no\x1b seat"), "the server closed the connection: no\\x1b seat"),
        (
            AuthError(ErrorCode.AUTH, "wrong token"),
            "the server closed the connection: wrong token; set the token with --token-file",
        ),
        (ArgumentError("name", "x", "y is expected"), "--name is 'x': y is expected"),
    ],
)
def test_reasons_for_a_missing_connection(error, line):
    assert why(error) == line


HOSTILE = "\x1b]0;owned\x07\r\x9b2J\x00\u202e\n"


@pytest.mark.parametrize(
    "error",
    [ServerError(ErrorCode.PROTOCOL, HOSTILE), ConnectionLost(HOSTILE), AuthError(ErrorCode.AUTH, HOSTILE)],
)
def test_a_reason_is_one_printable_line(error):
    assert "owned" in why(error)
    assert why(error).isprintable()


def test_a_complaint_is_one_printable_line(capfd):
    complain(HOSTILE)
    [line] = capfd.readouterr().err.splitlines()
    assert "owned" in line
    assert line.isprintable()


def test_a_line_is_one_printable_line(tmp_path):
    with (tmp_path / "log").open("w", encoding="utf-8") as file:
        LineWriter(file).write(HOSTILE)
    [line] = (tmp_path / "log").read_text("utf-8").splitlines()
    assert line.isprintable()
