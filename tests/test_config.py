"""Every setting: its sources, its allowed values, and errors that name the key as its user wrote it."""

from __future__ import annotations

import dataclasses
import re

import pytest

from rankmux.config import Config, Setting, load, settings
from rankmux.errors import ConfigError, UnknownSetting

SETTINGS = settings()
NUMBERS = [s for s in SETTINGS if s.kind in (int, float)]
named = pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)


def other(setting: Setting) -> object:
    """An allowed value that is not the default."""
    if setting.choices:
        return next(choice for choice in setting.choices if choice != setting.default)
    if setting.kind is bool:
        return not setting.default
    if setting.kind is str:
        return "nats://elsewhere:4222" if setting.name == "cluster" else "elsewhere"
    if setting.name == "cluster_replicas":
        return 5
    assert isinstance(setting.default, int | float)
    more = setting.kind(setting.default + 1)
    return more if setting.high is None or more <= setting.high else setting.kind(setting.default - 1)


def as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


OF_CLUSTERS = {"room", "server_name"} | {
    setting.name for setting in settings() if setting.name.startswith("cluster_")
}


def load_one(setting: Setting, flags=(), environ=(), path=None) -> tuple[object, str]:
    """One setting's value and source; ConfigErrors of rules between settings aside."""
    flags, environ = dict(flags), dict(environ)
    if setting.name in (
        "tls_key",
        "tls_client_ca",
        "tls_client_names",
    ):  # they require other settings
        flags |= {"tls_cert": "cert.pem"}
        if setting.name == "tls_client_names":
            flags |= {"tls_client_ca": "ca.pem"}
    if setting.name in OF_CLUSTERS and (flags or environ or path):
        flags |= {"cluster": "nats://a"}
        if setting.name == "cluster_fence_s":
            flags |= {"cluster_down_s": 60}
    config, sources = load(flags, environ, path)
    return getattr(config, setting.name), sources[setting.name]


def test_defaults_are_allowed_and_frozen():
    config, sources = load({}, {})
    assert config == Config()
    assert set(sources.values()) == {"default"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seats = 5


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


@named
def test_a_flag_beats_the_environment_beats_the_file(setting, tmp_path):
    value = other(setting)
    text = as_text(value)
    default = as_text(setting.default)
    path = tmp_path / "rankmux.toml"
    quoted = f'"{text}"' if setting.kind is str else text
    path.write_text(f"{setting.name} = {quoted}\n")
    environ = {setting.variable: text}
    assert load_one(setting) == (setting.default, "default")
    assert load_one(setting, path=str(path)) == (value, "file")
    assert load_one(setting, environ=environ) == (value, "environment")
    assert load_one(setting, flags={setting.name: text}) == (value, "flag")
    assert load_one(setting, flags={setting.name: value}) == (value, "flag")
    if default:
        assert load_one(setting, environ={setting.variable: default}, path=str(path)) == (
            setting.default,
            "environment",
        )
        flags = {setting.name: default}
        assert load_one(setting, flags=flags, environ=environ, path=str(path)) == (setting.default, "flag")


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


@pytest.mark.parametrize("value", [2.0, 2.5, "2.0"])
def test_a_whole_number_is_whole(value):
    with pytest.raises(ConfigError, match="whole number"):
        load({"seats": value}, {})


@named
def test_an_error_names_the_key_as_it_was_written(setting, tmp_path):
    wrong = 5 if setting.kind is str else "wrong"
    path = tmp_path / "rankmux.toml"
    path.write_text(f"{setting.name} = {wrong!r}\n")
    with pytest.raises(ConfigError) as caught:
        load({}, {}, str(path))
    assert caught.value.key == f"{setting.name} in {path}"
    with pytest.raises(ConfigError) as caught:
        load({setting.name: wrong}, {})
    assert caught.value.key == setting.flag
    if setting.kind is not str:
        with pytest.raises(ConfigError) as caught:
            load({}, {setting.variable: "wrong"})
        assert (caught.value.key, caught.value.value) == (setting.variable, "wrong")
    with pytest.raises(ConfigError) as caught:
        Config(**{setting.name: wrong})
    assert caught.value.key == setting.name


def test_choices():
    with pytest.raises(ConfigError, match=r"expected one of debug, info, warning, error$"):
        load({"log_level": "INFO!"}, {})


@pytest.mark.parametrize("toml", ["seats = ", "[seats]\n", "seat = 5", "seats = 1\nseats = 2", "\xff"])
def test_an_invalid_file(toml, tmp_path):
    path = tmp_path / "rankmux.toml"
    path.write_bytes(toml.encode("latin-1"))
    with pytest.raises(ConfigError):
        load({}, {}, str(path))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="there is no such file") as caught:
        load({}, {}, str(tmp_path / "none.toml"))
    assert caught.value.key == "--config"


def test_an_unknown_key_suggests_a_similar_one(tmp_path):
    path = tmp_path / "rankmux.toml"
    path.write_text("sets = 5\n")
    with pytest.raises(UnknownSetting) as caught:
        load({}, {}, str(path))
    assert (caught.value.key, caught.value.value) == ("sets", 5)
    assert str(caught.value) == f'unknown setting "sets" in {path}; did you mean "seats"?'
    path.write_text("zzz = 5\n")
    with pytest.raises(
        UnknownSetting,
        match=r'unknown setting "zzz" in .*rankmux.toml; rankmux-server --print-config lists all of them',
    ):
        load({}, {}, str(path))


def test_settings_of_a_cluster_alone(tmp_path):
    """A server meant for a shared room, alone because one setting is missing, would be a second leader."""
    path = tmp_path / "rankmux.toml"
    path.write_text('room = "east"\ncluster_down_s = 20.0\n')
    with pytest.raises(ConfigError) as caught:
        load({"server_name": "s1"}, {}, str(path))
    assert str(caught.value).splitlines() == [
        f"room in {path} is 'east': requires cluster",
        "--server-name is 's1': requires cluster",
        f"cluster_down_s in {path} is 20.0: requires cluster",
    ]


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
