"""`rankmux-server set KEY=VALUE`, as a process beside a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..protocol.frames import Code
from ..support.operated import operate, operated, refused


@pytest.fixture
def where(tmp_path: Path) -> str:
    return str(tmp_path / "admin")


def test_seats_are_raised_and_lowered_without_evictions(where: str) -> None:
    with operated(where, seats=2) as server:
        first, second = server.line(2)
        refused(server, Code.FULL)
        assert operate("set", "--admin-unix", where, "seats=3") == (0, "seats is 3 (was 2)\n", "")
        third = server.join()
        assert third.joined.capacity == 3
        assert operate("set", "--admin-unix", where, "seats=1")[0] == 0
        first.ping()
        assert len(first.who().seats) == 3
        second.leave()
        third.leave()
        first.wait_for_total(1)
        refused(server, Code.FULL)
        first.leave()
        server.join()


def test_several_at_once_by_either_spelling(where: str) -> None:
    with operated(where) as server:
        code, out, _ = operate(
            "set", "--admin-unix", where, "log-level=debug", "slow_consumer=evict", "seats=4"
        )
        assert (code, out.splitlines()) == (
            0,
            ['log_level is "debug" (was "info")', 'slow_consumer is "evict" (was "pace")'],
        )
        assert 'setting changed: log_level is "debug" (was "info")' in server.log()
        assert operate("set", "--admin-unix", where, "seats=4") == (0, "no setting has changed\n", "")


def test_all_or_none_with_every_reason(where: str) -> None:
    with operated(where):
        wrong = ("seats=9", "seat=9", "port=7118", "write_timeout_s=never", "outbox_soft_bytes=99000000")
        code, out, said = operate("set", "--admin-unix", where, *wrong)
        assert (code, out) == (4, "")
        assert 'unknown setting "seat"; did you mean "seats"?' in said
        assert "port is 0: cannot change while the server runs: its sockets are open" in said
        assert "write_timeout_s is 'never'" in said
        assert operate("set", "--admin-unix", where, "seats=4")[1] == "no setting has changed\n"
        code, _, said = operate("set", "--admin-unix", where, "seats=999999")
        assert (code, "open files" in said) == (4, True)


@pytest.mark.parametrize("words", [(), ("seats",), ("=4",)])
def test_usage(where: str, words: tuple[str, ...]) -> None:
    code, _, said = operate("set", "--admin-unix", where, *words)
    assert (code, "KEY=VALUE" in said) == (2, True)
