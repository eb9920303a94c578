"""Text from elsewhere: nothing but printable characters is left of it, and what is printable stays."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from rankmux.system.printable import escaped


@given(st.text(st.characters()))
@example("\x1b]0;owned\x07")
@example("two\nlines\r\x0b\x0c\x1c\x85\u2028\u2029\0")
@example("\ud800")
def test_it_is_printable_and_says_the_same(text: str) -> None:
    shown = escaped(text)
    assert shown.isprintable()
    if text.isprintable():
        assert shown == text
    elif "\\" not in text:
        assert shown.encode("latin-1", "backslashreplace").decode("unicode_escape") == text
