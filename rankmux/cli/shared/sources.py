"""The sources of a server's settings: flags, `RANKMUX_…` variables and a TOML file, and which value came from where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...config import Config, all_of, settings, unknown_setting
from ...errors import ConfigError
from ...system.reasons import file_reason
from ...system.small_files import read_small
from ...variables import value_of

__all__ = ["Sources", "load"]

_FILE_MAX_BYTES = 1 << 20
_KNOWN = {setting.name: setting for setting in settings()}


def load(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    path: str | None = None,
    wrong: Sequence[ConfigError] = (),
) -> tuple[Config, Sources]:
    """The settings from `flags` (by name), `environ`, the TOML file at `path` and the defaults, in that order.

    Also returns where each came from. Raises ConfigError, one for all values that are wrong, those in `wrong` first.
    """
    values: dict[str, Any] = {}
    sources = Sources(path)
    errors = list(wrong)
    try:
        table = _read_toml(path) if path is not None else {}
    except ConfigError as error:
        errors.append(error)
        table = {}
    errors += [unknown_setting(key, table[key], f" in {path}") for key in table if key not in _KNOWN]
    for name, setting in _KNOWN.items():
        variable = value_of(environ, setting.variable)
        if name in flags:
            value, sources[name] = flags[name], "flag"
        elif variable is not None:
            value, sources[name] = variable, "environment"
        elif name in table:
            value, sources[name] = table[name], "file"
        else:
            sources[name] = "default"
            continue
        try:
            values[name] = setting.read(sources.spelling(name), value)
        except ConfigError as error:
            errors.append(error)
    if errors:
        raise all_of(errors)
    try:
        config = Config(**values)
        _check_shared(config, values)
    except ConfigError as error:
        raise sources.as_written(error) from None
    return config, sources


def _check_shared(config: Config, values: Mapping[str, object]) -> None:
    """Settings of a cluster without one are an error: a second server alone would be a second leader."""
    if config.cluster:
        return
    idle = [
        name
        for name, value in values.items()
        if (name in ("room", "server_name") or name.startswith("cluster_")) and value != _KNOWN[name].default
    ]
    if idle:
        raise all_of([ConfigError(name, values[name], "requires cluster") for name in idle])


class Sources(dict[str, str]):
    """Where each setting came from: "flag", "environment", "file" (the one at `path`) or "default"."""

    def __init__(self, path: str | None = None) -> None:
        super().__init__()
        self._path = path

    def spelling(self, name: str) -> str:
        """The setting `name` as its user wrote it; other names stay as they are."""
        match self.get(name):
            case "flag":
                return _KNOWN[name].flag
            case "environment":
                return _KNOWN[name].variable
            case "file":
                return f"{name} in {self._path}"
        return name

    def as_written(self, error: ConfigError) -> ConfigError:
        """`error`, which names settings, with their names as the user wrote them."""
        for one in getattr(error, "errors", [error]):
            one.key = self.spelling(one.key)
        return error


def _read_toml(path: str) -> dict[str, Any]:
    import tomllib  # most servers start without a file

    try:
        data, _ = read_small(path, _FILE_MAX_BYTES, pipes=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ConfigError("--config", path, f"cannot read the file: {file_reason(error)}") from None
    try:
        return tomllib.loads(data.decode().removeprefix("\ufeff"))
    except UnicodeDecodeError:
        raise ConfigError("--config", path, "not a valid TOML file: expected UTF-8 text") from None
    except ValueError as error:
        raise ConfigError("--config", path, f"not a valid TOML file: {error}") from None
