"""Lines of standard input: the same lines for any chunking, and the beginning of an overlong one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmux.cli.shared import line_cutter
from rankmux.cli.shared.line_cutter import LineCutter


def cut(text: bytes, sizes: list[int], limit: int = 100) -> list[bytes]:
    cutter, lines = LineCutter(limit), []
    for size in sizes:
        if piece := text[:size]:
            lines += cutter.feed(piece)
        text = text[size:]
    return [*lines, *(cutter.feed(text) if text else ()), *cutter.feed(b"")]


@given(
    st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b"")), max_size=9),
    st.lists(st.integers(1, 9)),
)
def test_lines_are_the_same_in_any_chunks(lines, sizes):
    assert cut(b"".join(line + b"\n" for line in lines), sizes) == lines


def test_the_last_line_may_lack_its_line_break():
    assert cut(b"one\ntwo", [2, 3]) == [b"one", b"two"]


@pytest.mark.parametrize("end", [b"\n", b""])
def test_the_beginning_of_an_overlong_line_is_kept(monkeypatch, end):
    monkeypatch.setattr(line_cutter, "_MARGIN_BYTES", 4)
    lines = cut(b"short\n" + b"x" * 100 + b"\nnext\n" + b"y" * 50 + end, [3] * 60, limit=10)
    assert [line[:1] for line in lines] == [b"s", b"x", b"n", b"y"]
    assert all(10 < len(line) < 20 for line in lines if line[:1] in b"xy")
