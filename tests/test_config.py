"""Every setting: its description, its allowed values, and what is contradictory among several."""

from __future__ import annotations

import re

import pytest

from rankmux.config import Config, settings
from rankmux.errors import ConfigError

SETTINGS = settings()
NUMBERS = [s for s in SETTINGS if s.kind in (int, float)]
named = pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)


def test_the_defaults_that_others_rely_on():
    config = Config()
    assert (config.host, config.port, config.seats, config.max_payload) == ("127.0.0.1", 7117, 64, 65_536)
    assert (config.ping_ms, config.result_ttl_ms, config.waiting_max) == (10_000, 60_000, 1024)
    assert (config.outbox_soft_bytes, config.outbox_hard_bytes) == (1 << 20, 8 << 20)
    assert (config.write_timeout_s, config.frame_timeout_s, config.handshake_timeout_s) == (10, 10, 2)


@named
def test_names_are_derived(setting):
    assert setting.flag == "--" + setting.name.replace("_", "-")
    front = "RANKMUX_LISTEN_" if setting.name in {"host", "port", "unix"} else "RANKMUX_"
    assert setting.variable == front + setting.name.upper()
    assert setting.help
    assert "\n" not in setting.help
    assert type(setting.default) is setting.kind


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.name)
def test_bounds(setting):
    """At the bound, and just outside."""
    step = 1 if setting.kind is int else 0.001
    for bound, outside in ((setting.low, -step), (setting.high, step)):
        if bound is None:
            continue
        assert setting.read("key", setting.kind(bound)) == bound
        with pytest.raises(ConfigError) as caught:
            setting.read("key", setting.kind(bound + outside))
        bounds = re.findall(r"[-\d.e+]+", setting.allowed)
        assert f"{bound:.10g}" in bounds, "as one would type it, not 1e+06"
        assert str(caught.value).endswith(setting.allowed)
    assert None not in (setting.low, setting.high), "every number has bounds"


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.name)
@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        "1x",
        "0x10",
        "nan",
        "-inf",
        "inf",
        "1e999",
        "1e300",
        "9" * 400,
        "9" * 5000,
        None,
        True,
        [],
        "true",
    ],
)
def test_invalid_numbers(setting, value):
    with pytest.raises(ConfigError) as caught:
        setting.read("--this", value)
    assert caught.value.key == "--this"
    shown = "true" if value is True else repr(caught.value.value)
    assert str(caught.value) == f"--this is {shown}: {setting.allowed}"


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.name)
@pytest.mark.parametrize("value", [2**31, 2**63, 2**64, 10**400, -1, -(2**63)])
def test_numbers_that_no_kernel_takes(setting, value):
    """Except where they are bytes in Python's hands."""
    if setting.high >= value >= setting.low:
        assert setting.name.endswith(("_bytes", "_ms", "_max")) or setting.name == "first_ticket"
        return
    with pytest.raises(ConfigError):
        setting.read("key", value)


def test_the_hard_limit_is_not_below_the_soft_one():
    Config(outbox_soft_bytes=2000, outbox_hard_bytes=2000)
    with pytest.raises(ConfigError, match="at least outbox_soft_bytes") as caught:
        Config(outbox_soft_bytes=2000, outbox_hard_bytes=1999)
    assert caught.value.key == "outbox_hard_bytes"


@pytest.mark.parametrize("value", ["5", 5.0])
def test_a_value_given_in_code_has_its_kind(value):
    """A text or a float would pass here, and fail where the server counts."""
    try:
        seats = Config(seats=value).seats
    except ConfigError:
        return
    assert type(seats) is int


def test_the_hard_limit_leaves_room_for_large_payloads_unless_it_is_set():
    assert Config(max_payload=16 << 20).outbox_hard_bytes == (1 << 20) + (32 << 20)
    assert Config(outbox_soft_bytes=16 << 20).outbox_hard_bytes == (16 << 20) + 2 * 65_536
    assert Config(max_payload=16 << 20, outbox_hard_bytes=9 << 20).outbox_hard_bytes == 9 << 20


CLUSTER = "nats://a:4222"


@pytest.mark.parametrize(
    ("key", "others", "good", "bad"),
    [
        ("cluster_down_s", {"cluster_fence_s": 12.0}, [15.0], [14.99]),
        ("cluster_down_s", {"cluster_fence_s": 40.0}, [50.0], [49.99, 15.0]),
        ("ping_ms", {}, [5000], [5001, 9999]),
        ("ping_ms", {"pings_missed": 4}, [3000], [3001]),
        ("ping_ms", {"cluster_down_s": 30.0}, [10_000], [10_001]),
        ("cluster_replicas", {}, [1, 3, 5], [2, 4]),
        (
            "cluster",
            {},
            ["nats://a", "nats://joe:word@a:4222", "nats://[::1]:4222", "tls://a:4222", "nats://a, tls://b"],
            [
                "a:4222",
                "http://a",
                "nats://a,b",
                "nats://a,",
                "nats://",
                "nats://:4222",
                "nats://joe@",
                "nats://a:0",
                "nats://a:99999",
                "nats://a:b",
            ],
        ),
        ("room", {}, ["main", "a-b_1", "x" * 64], ["", "a.b", "a b", "a/b", "é", "x" * 65]),
        ("server_name", {}, ["", "s1", "a-b_1.c", "x" * 64], ["a b", "a/b", "é", "x" * 65]),
        ("state", {}, [""], ["/var/lib/rankmux/state"]),
    ],
)
def test_settings_of_a_cluster_fit_together(key, others, good, bad):
    for value in good:
        Config(**{"cluster": CLUSTER, **others, key: value})
    for value in bad:
        with pytest.raises(ConfigError) as caught:
            Config(**{"cluster": CLUSTER, **others, key: value})
        assert caught.value.key == key


def test_settings_of_a_cluster_mean_nothing_without_one():
    config = Config(cluster_down_s=2.0, cluster_replicas=2, room="a b", server_name="a b", state="/a/file")
    assert config.ping_ms == 10_000


def test_pings_are_as_frequent_as_a_cluster_needs_unless_they_are_set():
    assert Config(cluster=CLUSTER).ping_ms == 5000
    assert Config(cluster=CLUSTER, pings_missed=4).ping_ms == 3000
    assert Config(cluster=CLUSTER, cluster_down_s=60.0).ping_ms == 10_000
