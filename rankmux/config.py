"""Every setting of the server, one frozen dataclass: from flags, `RANKMUX_…` variables, a TOML file, in that order.

A setting is a field; what it is for, its unit (in its name), its range and its kind stand beside it, and everything
else is derived: the flag `--write-timeout-s`, the variable `RANKMUX_WRITE_TIMEOUT_S`, the key `write_timeout_s`. Every
error names the key as its user wrote it, the value, and what is allowed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import isnan
from pathlib import Path
from typing import Any

from .core.wire.codes import DEFAULT_MAX_PAYLOAD, DEFAULT_PORT
from .errors import ConfigError

__all__ = ["Config", "Setting", "load", "settings"]


_OUTBOX_HARD_BYTES = 8 << 20


@dataclass(frozen=True)
class Setting:
    """What is known of one setting beside its value. `low` and `high` bound numbers, `choices` texts."""

    name: str
    kind: type
    default: object
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """As it is written on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """As it is written in the environment."""
        return "RANKMUX_" + self.name.upper()

    @property
    def allowed(self) -> str:
        """What may stand there, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices) + " is expected"
        if self.kind is bool:
            return "true or false is expected"
        if self.kind is str:
            return "a text is expected"
        number = "a whole number" if self.kind is int else "a number"
        if self.low is not None and self.high is not None:
            return f"{number} from {self.low:.10g} to {self.high:.10g} is expected"
        return (
            f"{number} of at least {self.low:.10g} is expected"
            if self.low is not None
            else f"{number} is expected"
        )

    def read(self, key: str, value: object) -> object:
        """The value of the right kind and in range; raises ConfigError, which names it `key`."""
        if isinstance(value, str) and self.kind is not str:
            value = self._parse(key, value)
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not self.kind:
            raise ConfigError(key, value, self.allowed)
        if self.choices and value not in self.choices:
            raise ConfigError(key, value, self.allowed)
        if isinstance(value, int | float) and self.kind is not bool:
            low_enough = self.high is None or value <= self.high
            if not low_enough or (self.low is not None and value < self.low) or isnan(value):
                raise ConfigError(key, value, self.allowed)
        return value

    def _parse(self, key: str, text: str) -> object:
        try:
            if self.kind is bool:
                return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[
                    text.lower()
                ]
            return self.kind(text)
        except (KeyError, ValueError):
            raise ConfigError(key, text, self.allowed) from None


def _setting(
    default: Any, what: str, low: float | None = None, high: float | None = None, *choices: str
) -> Any:
    return field(default=default, metadata={"help": what, "low": low, "high": high, "choices": choices})


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of a server with their defaults. Raises ConfigError on a value that is not allowed."""

    seats: int = _setting(64, "members at most (N)", 1, 1_000_000)
    host: str = _setting(
        "127.0.0.1", "address to listen on; one that is not loopback needs a token or mTLS, and TLS"
    )
    port: int = _setting(DEFAULT_PORT, "port to listen on; 0 takes a free one", 0, 65_535)
    unix: str = _setting("", "Unix socket to listen on instead, mode 0600")
    insecure: bool = _setting(False, "listen in the open without a token or without TLS")
    token_file: str = _setting(
        "", "file with the token that clients must show, or two, one a line; empty: all may join"
    )
    tls_cert: str = _setting("", "PEM file with the server's certificate and its chain; empty: no TLS")
    tls_key: str = _setting("", "PEM file with the key of tls_cert; empty: it is in the same file")
    tls_client_ca: str = _setting(
        "", "PEM file with the CAs whose client certificates may join; empty: none is asked for"
    )
    tls_client_names: str = _setting(
        "", "names in client certificates that may join, by commas; empty: all of the CA"
    )
    max_payload: int = _setting(DEFAULT_MAX_PAYLOAD, "largest payload in bytes", 1, 16 * 1024 * 1024)
    admin: str = _setting(
        "", "HOST:PORT for people and monitors, or a PORT of the loopback address; empty: nobody may look"
    )
    admin_unix: str = _setting("", "Unix socket for the same, mode 0600")
    log_format: str = _setting("text", "for people, or a JSON object a line", None, None, "text", "json")
    log_level: str = _setting("info", "what is logged", None, None, "debug", "info", "warning", "error")
    greeting_max: int = _setting(256, "connections that have not said HELLO, in all", 1, 1_000_000)
    greeting_max_per_address: int = _setting(64, "the same, from one address", 1, 1_000_000)
    greeting_in_bytes: int = _setting(
        4096, "what is taken from a connection before its HELLO is whole", 64, 4096
    )
    greeting_out_bytes: int = _setting(
        1024, "what is sent to a connection that has not said HELLO", 64, 65_536
    )
    handshake_timeout_s: float = _setting(
        2.0, "from accepting a connection to its HELLO, however it drips", 0.01, 3600
    )
    tls_handshake_timeout_s: float = _setting(
        3.0, "the same with TLS, whose handshake is part of it", 0.01, 3600
    )
    frame_timeout_s: float = _setting(10.0, "from the first to the last byte of a frame", 0.01, 3600)
    io_uring: str = _setting(
        "auto",
        "hand a turn's sends to the kernel in one call where that can be done",
        None,
        None,
        "auto",
        "never",
    )
    slow_consumer: str = _setting(
        "pace", "over the soft limit: its senders wait, or it goes", None, None, "pace", "evict"
    )
    outbox_soft_bytes: int = _setting(1 << 20, "what a member may be owed before its senders are paced", 1024)
    outbox_hard_bytes: int = _setting(
        _OUTBOX_HARD_BYTES,
        "what a member may be owed before it is thrown out",
        1024,
    )
    outboxes_total_bytes: int = _setting(
        1 << 30, "memory of all outboxes; over it, who is owed the most goes first", 1024
    )
    write_timeout_s: float = _setting(
        10.0, "how long a member may take no bytes, or stay over the soft limit", 0.01, 3600
    )
    send_buffer_bytes: int = _setting(256 * 1024, "SO_SNDBUF: what the kernel holds for a member", 4096)
    ping_ms: int = _setting(10_000, "silence after which a member is pinged", 10, 3_600_000)
    pings_missed: int = _setting(2, "pings without a byte in between after which a member is lost", 1, 1000)
    user_timeout_s: float = _setting(
        20.0, "TCP_USER_TIMEOUT: how long sent bytes may stay unacknowledged", 1, 3600
    )
    read_budget_bytes: int = _setting(64 * 1024, "read from one member in a turn", 1024)
    turn_budget_bytes: int = _setting(1 << 20, "read from all members in a turn", 1024)
    accept_budget: int = _setting(64, "connections accepted in a turn", 1, 100_000)
    tls_handshake_budget: int = _setting(4, "steps of TLS handshakes in a turn", 1, 100_000)
    waiting_max: int = _setting(1024, "commands of one sender that wait for results", 1, 1_000_000)
    waiting_total_max: int = _setting(
        4_194_304, "results that are waited for in all, each executor of a command counted", 1, 1 << 40
    )
    result_ttl_ms: int = _setting(
        60_000, "how long results are waited for if the command does not say", 1, 0xFFFF_FFFF
    )
    drain_s: float = _setting(1.0, "after LEAVE or an ERROR: how long the last bytes may take", 0.01, 60)
    shutdown_drain_s: float = _setting(10.0, "at shutdown: how long the last bytes may take", 0.01, 3600)
    log_lines_per_s: int = _setting(10, "log lines of one kind in a second; more are counted", 1, 1_000_000)
    log_excerpt_bytes: int = _setting(128, "what a log line shows of a peer's bytes", 1, 65_536)

    def __post_init__(self) -> None:
        for setting in settings():
            object.__setattr__(self, setting.name, setting.read(setting.name, getattr(self, setting.name)))
        if self.outbox_hard_bytes == _OUTBOX_HARD_BYTES:
            # Unless it was set to something else, a large frame alone does not throw out who takes everything.
            most = max(_OUTBOX_HARD_BYTES, self.outbox_soft_bytes + 2 * self.max_payload)
            object.__setattr__(self, "outbox_hard_bytes", most)
        if self.outbox_hard_bytes < self.outbox_soft_bytes:
            expected = f"at least outbox_soft_bytes ({self.outbox_soft_bytes}) is expected"
            raise ConfigError("outbox_hard_bytes", self.outbox_hard_bytes, expected)
        for key, needed in (
            ("tls_key", "tls_cert"),
            ("tls_client_ca", "tls_cert"),
            ("tls_client_names", "tls_client_ca"),
        ):
            if getattr(self, key) and not getattr(self, needed):
                raise ConfigError(key, getattr(self, key), f"it needs {needed} to be set as well")
        if self.unix and self.tls_cert:
            raise ConfigError(
                "unix", self.unix, "a Unix socket goes without TLS: who may open it is a matter of its mode"
            )

    @property
    def client_names(self) -> frozenset[str]:
        """`tls_client_names`, taken apart."""
        return frozenset(name.strip() for name in self.tls_client_names.split(",") if name.strip())


_KINDS: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}


def settings() -> tuple[Setting, ...]:
    """All settings, in the order in which they are told to people."""
    return tuple(Setting(f.name, _KINDS[str(f.type)], f.default, **f.metadata) for f in fields(Config))


def load(
    flags: Mapping[str, object], environ: Mapping[str, str], path: str | None = None
) -> tuple[Config, dict[str, str]]:
    """The settings from `flags` (by name), else `environ`, else the TOML file at `path`, else the defaults.

    Returns them with where each came from: "flag", "environment", "file" or "default". Raises ConfigError.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    table = _read_toml(path) if path is not None else {}
    known = {setting.name: setting for setting in settings()}
    for key in table:
        if key not in known:
            raise ConfigError(key, table[key], f"there is no such setting; there are {', '.join(known)}")
    for name, setting in known.items():
        if name in flags:
            values[name], sources[name] = setting.read(setting.flag, flags[name]), "flag"
        elif setting.variable in environ:
            values[name], sources[name] = (
                setting.read(setting.variable, environ[setting.variable]),
                "environment",
            )
        elif name in table:
            values[name], sources[name] = setting.read(f"{name} in {path}", table[name]), "file"
        else:
            sources[name] = "default"
    return Config(**values), sources


def _read_toml(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text())
    except OSError as error:
        raise ConfigError(
            "--config", path, f"a file that can be read is expected ({error.strerror})"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("--config", path, f"a TOML file is expected ({error})") from None
