"""The sources of a server's settings: which one counts, and errors that name the key as its user wrote it."""

from __future__ import annotations

import dataclasses

import pytest

from rankmux.cli.shared.sources import load
from rankmux.config import Config, Setting, settings
from rankmux.errors import ConfigError, UnknownSetting

named = pytest.mark.parametrize("setting", settings(), ids=lambda setting: setting.name)


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
