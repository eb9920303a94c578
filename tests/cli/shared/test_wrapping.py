"""Lines at the width of a terminal: no word is broken, nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.cli.shared.wrapping import wrapped


def texts(line: list[tuple[str, str]], columns: int) -> list[str]:
    return ["".join(text for _, text in row) for row in wrapped(line, columns)]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", [""]),
        ("short", ["short"]),
        ("exactly ten", ["exactly", "ten"]),
        ("exactly 10", ["exactly 10"]),
        ("exactly 10 more", ["exactly 10", "more"]),
        ("a-word-that-is-wide", ["a-word-that-is-wide"]),
        ("and a-word-that-is-wide too", ["and a-word-that-is-wide too"]),
        ("a-word-that-is then goes on", ["a-word-that-is then", "goes on"]),
        ("  indented by two", ["  indented", "  by two"]),
        ("/who  lists them all", ["/who ", "     lists", "     them", "     all"]),
        ("two  spaces within", ["two ", "    spaces", "    within"]),
    ],
)
def test_lines(text, rows):
    assert texts([("", text)], 10) == rows


PIECES = st.lists(st.tuples(st.sampled_from("ab"), st.text("xyz  ", max_size=12)), max_size=5)


@given(PIECES, st.integers(4, 30))
def test_no_word_is_broken_and_styles_stay(line, columns):
    whole = "".join(text for _, text in line)
    rows = list(wrapped(line, columns))
    assert " ".join(texts(line, columns)).split() == whole.split()
    for row in texts(line, columns):
        assert len(row.rstrip()) <= columns or max(map(len, row.split())) > columns // 2
    styled = [(style, char) for style, text in line for char in text if char != " "]
    assert [(style, char) for row in rows for style, text in row for char in text if char != " "] == styled
