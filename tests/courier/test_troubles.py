"""Troubles: logged once, again when they change, and at the end of all of them."""

from __future__ import annotations

import pytest

from rankmux.courier.troubles import Troubles


class Told:
    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[str] = []
        self.troubles = Troubles(
            self.lines.append, lambda text: self.lines.append(f"over: {text}"), lambda: self.now
        )


@pytest.fixture
def told() -> Told:
    return Told()


def test_logged_once_and_not_every_second(told):
    for told.now in range(100):
        told.troubles.has("dial", "refused")
    assert told.lines == ["refused"]


def test_another_text_is_logged_every_ten_seconds_at_most(told):
    for told.now in range(25):
        told.troubles.has("dial", f"text {told.now}")
    assert told.lines == ["text 0", "text 10", "text 20"]


def test_over_is_logged_when_nothing_is_left(told):
    told.troubles.has("dial", "refused")
    told.troubles.has("append", "full")
    told.troubles.over("dial", text="a:1")
    assert told.lines == ["refused", "full"]
    told.troubles.over("append", text="a:1")
    told.troubles.over("append", text="a:1")
    assert told.lines == ["refused", "full", "over: a:1"]
    told.troubles.has("dial", "refused")
    assert told.lines[-1] == "refused"
