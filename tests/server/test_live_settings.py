"""Settings that change while the server runs: by name, and by reading them again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest

from rankmux.config import Config, settings
from rankmux.errors import ConfigError
from rankmux.server.fixed_settings import FIXED, SHARED
from rankmux.server.server import Server

from ..support.memory_log import cluster


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    """`log_level` is that of the whole process."""
    logger = logging.getLogger("rankmux")
    before = logger.level
    yield
    logger.setLevel(before)


def other_value(config: Config, name: str) -> str:
    """Another value that is allowed."""
    setting = next(one for one in settings() if one.name == name)
    now = getattr(config, name)
    if setting.choices:
        return next(choice for choice in setting.choices if choice != now)
    if setting.kind is str:
        return ""
    return str(now - 1 if name == "seats" else max(1, now // 2))


def test_every_setting_changes_or_gives_the_reason_why_not() -> None:
    server = Server(port=0)
    try:
        for setting in settings():
            name = setting.name
            wish = {name: other_value(server.config, name)}
            if name in FIXED:
                with pytest.raises(ConfigError, match="cannot change while the server runs: "):
                    server.change(wish)
            else:
                server.change(wish)
                assert getattr(server.config, name) == setting.read(name, wish[name])
    finally:
        server.close()


def test_the_parts_that_keep_values_of_their_own_get_the_new_ones() -> None:
    server = Server(port=0)
    try:
        server.change(
            {
                "seats": "3",
                "waiting_max": "4",
                "waiting_total_max": "5",
                "result_ttl_ms": "6",
                "outbox_soft_bytes": "2048",
                "outbox_hard_bytes": "4096",
                "log_level": "warning",
                "log_lines_per_s": "7",
                "log_excerpt_bytes": "8",
                "turn_budget_frames": "16",
                "tls_handshake_budget": "9",
            }
        )
        room, outbox, intake = server.room, server.connections.outbox, server._turns._intake
        assert (room.seats, room._waiting_max, room._waiting_total_max, room._result_ttl_ms) == (3, 4, 5, 6)
        assert (outbox.soft, outbox.hard) == (2048, 4096)
        assert intake._work in (16, 2)  # with the extension, and without
        assert intake._handshakes.budget == 9
        event_log = server._turns._event_log
        assert (event_log._lines_per_s, event_log._excerpt_bytes) == (7, 8)
        assert logging.getLogger("rankmux").level == logging.WARNING
    finally:
        server.close()


def test_a_wrong_value_beside_a_good_one_changes_nothing() -> None:
    server = Server(port=0)
    try:
        with pytest.raises(ConfigError, match="outbox_hard_bytes"):
            server.change({"seats": "3", "outbox_soft_bytes": "9000", "outbox_hard_bytes": "2000"})
        assert (server.config.seats, server.room.seats) == (64, 64)
    finally:
        server.close()


def test_the_settings_of_another_server_made_from_the_same_config_stay() -> None:
    config = Config(port=0)
    servers = [Server(config), Server(config)]
    try:
        servers[0].change({"seats": "3"})
        assert [server.config.seats for server in servers] == [3, 64]
        assert config.seats == 64
    finally:
        for server in servers:
            server.close()


def test_in_a_cluster_shared_settings_stay() -> None:
    with cluster(2) as made:
        server = made.servers[0]
        for name in SHARED - FIXED.keys():
            with pytest.raises(ConfigError, match="the same at all servers of the cluster"):
                server.change({name: other_value(server.config, name)})
        assert server.change({"log_lines_per_s": "5"}) == ["log_lines_per_s is 5 (was 10)"]


def test_read_again(caplog: pytest.LogCaptureFixture) -> None:
    """Settings changed there are adopted; those set by hand and unchanged there stay."""
    read = Config(port=0, seats=10)
    server = Server(read, source=lambda: read)
    caplog.set_level(logging.INFO, "rankmux.server")
    try:
        server.change({"write_timeout_s": "3"})
        read = replace(read, seats=20, ping_ms=500)
        server.reload()
        server.step(0.0)
        assert (server.config.seats, server.room.seats, server.config.write_timeout_s) == (20, 20, 3.0)
        assert server.config.ping_ms == 10_000
        assert "setting changed: seats is 20 (was 10)" in caplog.messages
        assert any(
            text.startswith("ping_ms stays 10000; 500, as it was read now, cannot be taken over")
            for text in caplog.messages
        )
    finally:
        server.close()


def test_settings_that_cannot_be_read_again_stay(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Config:
        raise ConfigError("seats", "many", "expected a whole number")

    server = Server(Config(port=0), source=broken)
    try:
        server.reload()
        server.step(0.0)
        assert server.config.seats == 64
        assert (
            "reload failed, the settings stay as they are: seats is 'many': expected a whole number"
            in caplog.text
        )
    finally:
        server.close()
