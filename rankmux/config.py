"""The server's settings: one frozen dataclass, and a description of each.

A setting is a field with its purpose, range and type beside it; a unit is part of its name. The rest is derived: the
flag `--write-timeout-s`, the variable `RANKMUX_WRITE_TIMEOUT_S` (`RANKMUX_LISTEN_HOST`: clients have `RANKMUX_HOST`),
the key `write_timeout_s`. Every error names the key as the user wrote it, the value, and the values allowed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from math import isnan
from typing import Any
from urllib.parse import urlsplit

from .core.wire.codes import DEFAULT_MAX_PAYLOAD, DEFAULT_PORT
from .errors import ConfigError, ConfigErrors, UnknownSetting
from .hosts import bare_host

__all__ = ["Config", "Setting", "all_of", "configured", "settings", "unknown_setting"]


_OUTBOX_HARD_BYTES = 8 << 20
_PING_MS = 10_000
_ALSO_OF_CLIENTS = frozenset({"host", "port", "unix"})
"""RANKMUX_HOST and these tell clients where the server is: to listen there would often be impossible, or wrong."""


@dataclass(frozen=True)
class Setting:
    """The description of one setting. `low` and `high` bound numbers, `choices` lists the words allowed."""

    name: str
    kind: type
    default: object
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """Its spelling on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its spelling in the environment."""
        return f"RANKMUX_{'LISTEN_' * (self.name in _ALSO_OF_CLIENTS)}{self.name.upper()}"

    @property
    def allowed(self) -> str:
        """The values allowed, in words."""
        if self.choices:
            return "expected one of " + ", ".join(self.choices)
        if self.kind is bool:
            return "expected true or false"
        if self.kind is str:
            return "expected a string"
        number = "expected a whole number" if self.kind is int else "expected a number"
        if self.low is not None and self.high is not None:
            return f"{number} from {self.low:.10g} to {self.high:.10g}"
        return f"{number} of at least {self.low:.10g}" if self.low is not None else number

    def read(self, key: str, value: object) -> object:
        """`value`, converted and checked; raises a ConfigError that names `key`."""
        if isinstance(value, str) and self.kind is not str:
            value = self._parse(key, value)
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            try:
                value = float(value)
            except OverflowError:
                raise ConfigError(key, "an enormous number", self.allowed) from None
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

    seats: int = _setting(64, "maximum number of members (N)", 1, 1_000_000)
    host: str = _setting(
        "127.0.0.1",
        "address to listen on, or a name for all its addresses; other than on loopback, TLS and a token or "
        "client certificates are required",
    )
    port: int = _setting(DEFAULT_PORT, "port to listen on; 0 picks a free one", 0, 65_535)
    unix: str = _setting("", "Unix socket to listen on instead, mode 0600")
    insecure: bool = _setting(False, "listen on any address without TLS or without a token")
    token_file: str = _setting(
        "",
        "file with the token that clients must send, or with two, one per line; empty: no token is required",
    )
    tls_cert: str = _setting("", "PEM file with the server's certificate and its chain; empty: no TLS")
    tls_key: str = _setting("", "PEM file with the private key of tls_cert; empty: it is in the same file")
    tls_client_ca: str = _setting(
        "", "PEM file with the CAs that sign client certificates; empty: no client certificate is required"
    )
    tls_client_names: str = _setting(
        "", "names allowed in client certificates, separated by commas; empty: any name"
    )
    max_payload: int = _setting(DEFAULT_MAX_PAYLOAD, "largest payload in bytes", 1, 16 * 1024 * 1024)
    admin: str = _setting("", "HOST:PORT of the admin endpoint, or a PORT on loopback; empty: off")
    admin_unix: str = _setting("", "Unix socket of the admin endpoint, mode 0600; empty: off")
    metrics: str = _setting(
        "",
        "HOST:PORT where /metrics, /healthz and /readyz can be read, by anyone, or a PORT on loopback; empty: off",
    )
    log_format: str = _setting(
        "text", "text for people, or one JSON object per line", None, None, "text", "json"
    )
    log_level: str = _setting("info", "lowest level logged", None, None, "debug", "info", "warning", "error")
    greeting_max: int = _setting(256, "connections that have not sent HELLO, in total", 1, 1_000_000)
    greeting_max_per_address: int = _setting(
        64, "connections that have not sent HELLO, from one address", 1, 1_000_000
    )
    greeting_in_bytes: int = _setting(
        4096, "bytes read from a connection before its HELLO is complete", 64, 4096
    )
    greeting_out_bytes: int = _setting(1024, "bytes sent to a connection that has not sent HELLO", 64, 65_536)
    handshake_timeout_s: float = _setting(2.0, "time from accept to a complete HELLO", 0.01, 3600)
    tls_handshake_timeout_s: float = _setting(
        3.0, "the same with TLS, including the TLS handshake", 0.01, 3600
    )
    frame_timeout_s: float = _setting(10.0, "time from the first to the last byte of a frame", 0.01, 3600)
    io_uring: str = _setting(
        "auto",
        "submit a turn's sends to the kernel in one call, where supported",
        None,
        None,
        "auto",
        "never",
    )
    slow_consumer: str = _setting(
        "pace", "above the soft limit: pace its senders, or evict the member", None, None, "pace", "evict"
    )
    outbox_soft_bytes: int = _setting(
        1 << 20, "bytes queued for a member before its senders are paced", 1024, 1 << 44
    )
    outbox_hard_bytes: int = _setting(
        _OUTBOX_HARD_BYTES, "bytes queued for a member before it is evicted", 1024, 1 << 44
    )
    outboxes_total_bytes: int = _setting(
        1 << 30,
        "memory of all outboxes; above it, the member with the most queued bytes is evicted first",
        1024,
        1 << 44,
    )
    write_timeout_s: float = _setting(
        10.0, "how long a member may accept no bytes, or stay above the soft limit", 0.01, 3600
    )
    send_buffer_bytes: int = _setting(
        256 * 1024, "SO_SNDBUF: the kernel's send buffer of each member", 4096, 1 << 30
    )
    ping_ms: int = _setting(_PING_MS, "silence after which a member is pinged", 10, 3_600_000)
    pings_missed: int = _setting(
        2, "pings in a row, with no byte received in between, after which a member is lost", 1, 1000
    )
    user_timeout_s: float = _setting(
        20.0, "TCP_USER_TIMEOUT: how long sent bytes may stay unacknowledged", 1, 3600
    )
    read_budget_bytes: int = _setting(64 * 1024, "bytes read from one member per turn", 1024, 1 << 28)
    turn_budget_bytes: int = _setting(1 << 20, "bytes read from all members per turn", 1024, 1 << 28)
    turn_budget_frames: int = _setting(
        16_384,
        "frames taken from all members per turn, in equal shares; a PING or WHO counts as 8 "
        "(an eighth of it without the extension)",
        8,
        1 << 28,
    )
    accept_budget: int = _setting(64, "connections accepted per turn", 1, 100_000)
    tls_handshake_budget: int = _setting(4, "TLS handshake steps per turn", 1, 100_000)
    keep_max_s: float = _setting(
        60.0, "how long the seat of a lost connection is kept at most; 0: never", 0, 86_400
    )
    state: str = _setting("", "file that holds the kept seats over a planned restart; empty: they end")
    observers_max: int = _setting(16, "connections that look on without a seat", 0, 100_000)
    first_ticket: int = _setting(
        0, "ticket of the first member; 0: the Unix time in ms, times 1,000, so that tickets grow", 0, 1 << 53
    )
    cluster: str = _setting(
        "", "nats://HOST:PORT of NATS servers, separated by commas: share the room through them; empty: alone"
    )
    room: str = _setting("main", "name of the room that the servers of a cluster share")
    server_name: str = _setting("", "name of this server in its cluster; empty: the host's name")
    cluster_replicas: int = _setting(3, "NATS servers that keep a copy of the room's log: 1, 3 or 5", 1, 5)
    cluster_creds: str = _setting(
        "", "file with the NATS credentials of this server: a JWT and an nkey seed, or a seed alone"
    )
    cluster_tls_ca: str = _setting(
        "", "PEM file with the CAs of the NATS servers' certificates; empty: the system's"
    )
    cluster_tls_cert: str = _setting("", "PEM file with the certificate that this server shows to NATS")
    cluster_tls_key: str = _setting("", "PEM file with the private key of cluster_tls_cert")
    cluster_fence_s: float = _setting(
        12.0, "time without an entry of its own in the log after which a server drops its members", 1, 3600
    )
    cluster_down_s: float = _setting(
        15.0, "silence in the log after which a server is taken for dead, and its members for gone", 2, 3600
    )
    waiting_max: int = _setting(1024, "commands of one sender awaiting results", 1, 1_000_000)
    waiting_total_max: int = _setting(
        4_194_304, "results awaited in total, one for each executor of a command", 1, 1 << 40
    )
    result_ttl_ms: int = _setting(
        60_000, "how long results are awaited if the command sets no limit", 1, 0xFFFF_FFFF
    )
    drain_s: float = _setting(1.0, "time to deliver the last bytes after LEAVE or ERROR", 0.01, 60)
    shutdown_drain_s: float = _setting(10.0, "time to deliver queued bytes at shutdown", 0.01, 3600)
    log_lines_per_s: int = _setting(
        10, "log lines of one kind per second; any more are only counted", 1, 1_000_000
    )
    log_excerpt_bytes: int = _setting(0, "bytes of a command's payload shown in the log; 0: none", 0, 65_536)

    def __post_init__(self) -> None:
        errors: list[ConfigError] = []
        for setting in settings():
            try:
                value = setting.read(setting.name, getattr(self, setting.name))
                if setting.name == "host":
                    value = bare_host("host", self.host)
                object.__setattr__(self, setting.name, value)
            except ConfigError as error:
                errors.append(error)
        if not errors:
            errors += self._contradictions()
        if errors:
            raise all_of(errors)

    def _contradictions(self) -> Iterator[ConfigError]:
        """What is wrong with values that are allowed each by itself."""
        if self.outbox_hard_bytes == _OUTBOX_HARD_BYTES:
            # With the default, one large frame must not evict a member that keeps up.
            most = max(_OUTBOX_HARD_BYTES, self.outbox_soft_bytes + 2 * self.max_payload)
            object.__setattr__(self, "outbox_hard_bytes", most)
        if self.outbox_hard_bytes < self.outbox_soft_bytes:
            expected = f"expected at least outbox_soft_bytes ({self.outbox_soft_bytes})"
            yield ConfigError("outbox_hard_bytes", self.outbox_hard_bytes, expected)
        for key, needed in (
            ("tls_key", "tls_cert"),
            ("tls_client_ca", "tls_cert"),
            ("tls_client_names", "tls_client_ca"),
        ):
            if getattr(self, key) and not getattr(self, needed):
                yield ConfigError(key, getattr(self, key), f"requires {needed}")
        if self.cluster:
            yield from self._contradictions_in_cluster()
        if self.unix and self.tls_cert:
            expected = "a Unix socket does not use TLS, its file mode controls access; unset tls_cert"
            yield ConfigError("unix", self.unix, expected)

    def _contradictions_in_cluster(self) -> Iterator[ConfigError]:
        if not _is_word(self.room) or "." in self.room:
            yield ConfigError("room", self.room, "expected up to 64 letters, digits, - and _")
        for url in self.cluster.split(","):
            if not _is_nats_url(url.strip()):
                expected = "expected nats://HOST:PORT or tls://HOST:PORT, several with commas between them"
                yield ConfigError("cluster", self.cluster, expected)
        if not self.server_name:
            object.__setattr__(self, "server_name", os.uname().nodename or "server")
        if not _is_word(self.server_name):
            yield ConfigError("server_name", self.server_name, "expected up to 64 letters, digits, - . and _")
        if self.cluster_replicas not in (1, 3, 5):
            yield ConfigError("cluster_replicas", self.cluster_replicas, "expected 1, 3 or 5")
        if self.cluster_down_s < 1.25 * self.cluster_fence_s:
            least = 1.25 * self.cluster_fence_s
            expected = f"expected at least {least:g}, 1.25 times cluster_fence_s"
            yield ConfigError("cluster_down_s", self.cluster_down_s, expected)
        most = int(self.cluster_down_s * 1000 / (self.pings_missed + 1))
        if self.ping_ms == _PING_MS:
            object.__setattr__(self, "ping_ms", min(_PING_MS, most))
        if self.ping_ms > most:
            expected = (
                f"expected at most {most} in a cluster: a member that is cut off with its server must have given up "
                f"within cluster_down_s ({self.cluster_down_s:g})"
            )
            yield ConfigError("ping_ms", self.ping_ms, expected)
        if self.state:
            yield ConfigError("state", self.state, "a cluster keeps its seats in its log; unset it")

    def adopt(self, other: Config) -> None:
        """Become equal to `other`: for the server whose own settings these are (`server.live_settings`)."""
        for setting in settings():
            object.__setattr__(self, setting.name, getattr(other, setting.name))

    @property
    def client_names(self) -> frozenset[str]:
        """`tls_client_names`, split."""
        return frozenset(name.strip() for name in self.tls_client_names.split(",") if name.strip())


def _is_nats_url(text: str) -> bool:
    """Whether it says where one NATS server is; the port may be left out."""
    try:
        parts = urlsplit(text)
        return parts.scheme in {"nats", "tls"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_word(text: str) -> bool:
    return 0 < len(text) <= 64 and text.isascii() and all(char.isalnum() or char in "-._" for char in text)


_KINDS: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}


def settings() -> tuple[Setting, ...]:
    """All settings, in the order of the documentation."""
    return tuple(Setting(f.name, _KINDS[str(f.type)], f.default, **f.metadata) for f in fields(Config))


def configured(chosen: Mapping[str, Any], config: Config | None = None) -> Config:
    """Those of `config`, else the defaults, with what a program has chosen, by name. Raises ConfigError."""
    known = {setting.name for setting in settings()}
    for key, value in chosen.items():
        if key not in known:
            raise unknown_setting(key, value)
    return replace(config or Config(), **chosen)


def unknown_setting(key: str, value: object, where: str = "") -> UnknownSetting:
    """The error for a setting that there is not; `where` says where it was read, with a space before it."""
    if isinstance(value, dict):
        advice = "settings stand at the top of the file, not in a section"
        return UnknownSetting(key, value, advice, where=where)
    similar = get_close_matches(key, [setting.name for setting in settings()], 1)
    advice = f'did you mean "{similar[0]}"?' if similar else "rankmux-server --print-config lists all of them"
    return UnknownSetting(key, value, advice, where=where)


def all_of(errors: list[ConfigError]) -> ConfigError:
    """One error for all of them."""
    return errors[0] if len(errors) == 1 else ConfigErrors(errors)
