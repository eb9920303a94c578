"""A crew that follows one that was killed: it takes over the seats that the other's log has."""

from __future__ import annotations

from pathlib import Path

import pytest

from .workload import inherited

WHOLE = "c1.0 H 7 2000 0 1000 20000\nc1.0 S 20001 0 1 0 900 1100\n"


@pytest.mark.parametrize("torn", ["", "c", "c1.1", "c1.1 H", "c1.1 H 9 2000 0", "c1.1 S 3"])
def test_a_line_that_was_being_written_is_left_out(tmp_path: Path, torn: str) -> None:
    log = tmp_path / "c1.log"
    log.write_text(WHOLE + torn)
    (seat,) = inherited(str(log))
    assert (int.from_bytes(seat.secret), seat.number) == (7, 120_001)


def test_none_is_inherited_from_nobody() -> None:
    assert inherited("-") == []
