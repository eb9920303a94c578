"""The texts of the prompt: a single line where one is expected, only printable characters, cut with a note."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.utils import get_cwidth

from rankmux.cli.prompt.words import fitted, place, promoted, welcomed
from rankmux.cli.shared.folding import Group
from rankmux.cli.shared.group_lines import group_lines, outline
from rankmux.codes import Cause, Status
from rankmux.core.client.events import Promoted, Welcomed

payloads = st.one_of(
    st.binary(max_size=3000),
    st.text(max_size=2000).map(lambda text: text.encode(errors="surrogatepass")),
    st.lists(st.sampled_from(["é", "日本", "\n", "\t", "\r\n", "\x1b[2J", "x" * 500]), max_size=300).map(
        lambda pieces: "".join(pieces).encode()
    ),
)


def text(line: list[tuple[str, str]]) -> str:
    return "".join(piece for _, piece in line)


@given(payloads)
def test_a_command_is_one_printable_line(payload):
    line = outline(payload)
    assert line.isprintable()
    assert ("more bytes" in line) >= (len(payload) > 1000)


@given(payloads, st.sampled_from([Status.OK, Status.FAILED, Status.PART]), st.integers(0, 100_000))
def test_results_are_printable_lines_and_not_too_many(payload, status, rest):
    lines = [text(line) for line in group_lines(Group((1, 2, 5), status, payload, len(payload) + rest))]
    assert all(line.isprintable() and len(line) < 2100 for line in lines)
    assert len(lines) <= 202
    assert lines[0].startswith("1-2, 5")


@pytest.mark.parametrize(
    ("group", "lines"),
    [
        (Group((1, 2, 3, 4, 7), Status.OK, b"done\n", 5), ["1-4, 7: done"]),
        (Group((3,), Status.FAILED, b"", 0), ["3 failed"]),
        (Group((3, 4), Status.LEFT, b"", 0), ["3-4 left before it answered"]),
        (Group((3,), Status.EXPIRED, b"half\nway\n", 9), ["3 did not answer in time:", "  half", "  way"]),
        (Group((1,), Status.OK, b"a\tb\r\nc", 6), ["1:", "  a       b", "  c"]),
        (Group((1,), Status.OK, "aé".encode()[:2], 9), ["1:", "  a", "  … 7 more bytes"]),
        (Group((1,), Status.OK, b"", 70_000), ["1: 70,000 bytes"]),
        (Group((1,), Status.OK, b"a\0", 2), [r"1: 2 bytes, not text: a\x00"]),
        (Group((1,), Status.OK, b"\0\1" * 50, 100), ["1: 100 bytes, not text: " + r"\x00\x01" * 32 + "…"]),
        (
            Group(tuple(range(0, 400, 2)), Status.OK, b"x", 1),
            ["0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, … (200 in all): x"],
        ),
    ],
)
def test_results(group, lines):
    assert [text(line) for line in group_lines(group)] == lines


@given(st.text(st.sampled_from("ab日本é̈ "), max_size=60), st.integers(0, 50))
def test_fitted_text_fits(words, columns):
    short = fitted(words, columns)
    assert get_cwidth(short) <= columns
    assert short == words or (short[-1:] in {"…", ""} and words.startswith(short[:-1]))
    if get_cwidth(words) <= columns:
        assert short == words


def test_lines_about_the_rank():
    assert place(0, 7) == "nobody is above you"
    assert place(6, 7) == "nobody is below you"
    assert place(3, 7) == ""
    assert place(0, 1) == "you are alone here"
    event = Welcomed(1, 1, 1, 2, 7, 9, 65536, 0)
    assert text(welcomed(event, again=False)) == "You are rank 2 of 7."
    assert text(welcomed(event, again=True)) == "Connected again: you are rank 2 of 7."
    told = text(promoted(Promoted(9, 1, 0, 7, Cause.LOST)))
    assert told == "You are rank 0 now, of 7: nobody is above you. (a member above you was lost)"
    assert text(promoted(Promoted(9, 6, 5, 6, Cause.LEFT))).startswith("You are rank 5 now, of 6. (")
