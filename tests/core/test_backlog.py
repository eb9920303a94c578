"""Bytes at positions that only grow: the bytes and the ends of frames are kept until they are trimmed."""

from __future__ import annotations

from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from rankmux.core import backlog as module
from rankmux.core.backlog import Backlog

from ..support.strategies import with_length


@given(
    st.lists(
        st.lists(st.binary(min_size=1, max_size=30).map(with_length), min_size=1, max_size=4), min_size=1
    ),
    st.data(),
)
def test_the_log_gives_back_what_was_appended(turns, data):
    with mock.patch.object(module, "_BLOCK_BYTES", 50):
        log = Backlog()
        whole, borders = b"", [0]
        for frames in turns:
            octets = b"".join(frames)
            assert log.append(bytearray(octets)) == len(whole)
            whole += octets
            for frame in frames:
                borders.append(borders[-1] + len(frame))
        oldest = data.draw(st.integers(0, len(whole)))
        log.trim(oldest)
        assert log.start <= oldest
        assert log.end == len(whole)
        start = data.draw(st.integers(oldest, len(whole)))
        if start < len(whole):
            end = data.draw(st.integers(start + 1, len(whole)))
            view = log.view(start, end)
            assert view
            assert bytes(view) == whole[start : start + len(view)]
        assert log.border(start) == min(border for border in borders if border >= start)
