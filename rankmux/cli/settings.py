"""Every setting of the server in words for docs/settings.md: what it is for, its unit, its range, and why its value.

Names, defaults and ranges come from `Config`; the reasons stand here. Knows no server.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..config import Setting, settings

__all__ = ["WHY", "settings_page"]

WHY: dict[str, dict[str, str]] = {
    "Where it listens": {
        "seats": "Each costs a file descriptor, and half a KiB at rest. The system's limit of open files, less"
        " 96, is the most; that is checked at the start, not found out under load.",
        "host": "Loopback, so that no door is left open by mistake. A name is resolved once, at the start.",
        "port": "Below the ports that systems hand out by themselves. 0 is for tests: the first line of"
        " output has the real one.",
        "unix": "For members on one machine: who can open the file can join, and nobody else. Goes without"
        " TLS.",
        "insecure": "In the open it refuses to start without a token (or client certificates) and TLS; this says"
        " aloud that it is meant.",
        "max_payload": "Enough for a command line and for pieces of output, which results are cut into. A member may"
        " have one incomplete frame of this size in the server's memory, and a large frame holds up"
        " what is behind it.",
    },
    "Who may join": {
        "token_file": "A file, never the command line, which everybody on the machine can read; it must be closed"
        " to group and others. Two tokens, so that one can be changed without a moment at which"
        " nobody can join. Read again on SIGHUP.",
        "tls_cert": "With it, TLS from the first byte, 1.2 or 1.3. Read again on SIGHUP.",
        "tls_key": "Where certificate and key are handed out as two files. Read again on SIGHUP.",
        "tls_client_ca": "Tells members apart, where a token makes them all equals. Read again on SIGHUP.",
        "tls_client_names": "Where the CA signs for more clients than those of this server.",
    },
    "Who may look": {
        "admin": "Off, since it shows names and addresses of members to whoever can connect; it asks for no"
        " password, so it listens on loopback addresses alone unless `insecure` says otherwise.",
        "admin_unix": "The same for who can open the file.",
        "log_format": "One event a line in both; the JSON names are stable.",
        "log_level": "`info` tells who joins, leaves and commands; `warning` what somebody should look at.",
        "log_lines_per_s": "A flood of members or commands must not become a flood of lines; what is left out is"
        " counted.",
        "log_excerpt_bytes": "What peers sent is shown escaped and cut, so that no line is forged and none is long.",
    },
    "Before HELLO": {
        "greeting_max": "Strangers must not use up descriptors and memory; the newest is turned away with RESOURCE.",
        "greeting_max_per_address": "One machine alone must not use all of `greeting_max`.",
        "greeting_in_bytes": "A HELLO has at most 1,100 bytes; the rest is for what is sent right behind it.",
        "greeting_out_bytes": "Only one ERROR is ever sent to a stranger.",
        "handshake_timeout_s": "A client says HELLO at once; two seconds allow for a lost packet or two.",
        "tls_handshake_timeout_s": "The handshake is a round trip or two more, and work for both sides.",
    },
    "What a member is owed": {
        "slow_consumer": "`pace` loses nobody anything while a member recovers, at the price that its seniors wait;"
        " `evict` keeps the seniors' pace, at the price of the member.",
        "outbox_soft_bytes": "Some bursts fit into it, so that pacing is for who really does not keep up.",
        "outbox_hard_bytes": "What a turn or two can add on top of soft, before pacing shows. Where it is not set,"
        " it is at least soft and two of the largest payloads.",
        "outboxes_total_bytes": "Bounds the process, whatever the members do. What went to all is held once, and"
        " counted once.",
        "write_timeout_s": "How long one member may hold up its seniors. Long enough for a stop by a garbage collector"
        " or a lost packet, short enough for those who wait.",
        "send_buffer_bytes": "The kernel's part of the queue: larger, and a slow member shows later; smaller, and a"
        " turn's output does not fit in one call.",
    },
    "Silence": {
        "ping_ms": "Who vanishes without a word is found after this times (`pings_missed` + 1), half a minute;"
        " smaller finds it sooner, for a frame each way per member and interval.",
        "pings_missed": "One may be lost in a stall; two in a row are a sign.",
        "user_timeout_s": "The kernel's own view of a dead peer, for bytes that are under way; only where it knows"
        " TCP_USER_TIMEOUT (Linux).",
        "frame_timeout_s": "Who stalls in the middle of a frame holds memory for it.",
    },
    "One turn": {
        "read_budget_bytes": "So that who sends much does not keep the others waiting; the rest is read in the next"
        " turn, first.",
        "turn_budget_bytes": "Bounds how long a turn takes, and what it holds in memory.",
        "accept_budget": "A storm of new connections must not stop those that are there.",
        "tls_handshake_budget": "A step is mostly computing, and far more of it than anything else in a turn.",
        "io_uring": "The way into the kernel is a third of what a send costs. Where the kernel is older than 6.1 or"
        " forbids it, each send is a call of its own; `never` asks for that.",
    },
    "Results": {
        "waiting_max": "Bounds what a sender can make the server remember; over it, REFUSED BUSY.",
        "waiting_total_max": "A byte each, for all senders together.",
        "result_ttl_ms": "A sender that gives no time must not wait for ever for an executor that never answers.",
    },
    "The end": {
        "drain_s": "Last words should arrive; but who is going must not hold a descriptor for long.",
        "shutdown_drain_s": "What is queued should arrive before a restart. A service manager must wait for longer than"
        " this.",
    },
}
"""By section of the page: each setting, and why it is as it is."""

_UNITS = {"_s": "s", "_ms": "ms", "_bytes": "bytes"}
_OTHER_UNITS = {"max_payload": "bytes", "log_lines_per_s": "lines a second"}
_SIZES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))

_HEAD = """\
# Settings

Every setting of `rankmux-server` is a flag, an environment variable and a key of a TOML file, and is read in this
order: flag, variable, file, default. `--config FILE` (or `RANKMUX_CONFIG`) names the file; `--check-config` checks them
all with tokens and certificates, `--print-config` shows each with where it came from. A wrong value, or a key that does
not exist, stops the start with exit code 2 and says what is allowed.

```toml
seats = 200
host = "0.0.0.0"
token_file = "/etc/rankmux/token"
tls_cert = "/etc/rankmux/server.pem"
```

The token itself may stand in `RANKMUX_TOKEN` instead of a file. In Python, the keys are the keyword arguments of
[`rankmux.Server`](python.md#the-server). This page is made from the program by
`python -m rankmux.cli.reference docs`."""


def settings_page() -> Iterator[str]:
    """The lines of docs/settings.md."""
    known = {setting.name: setting for setting in settings()}
    yield _HEAD
    for title, names in WHY.items():
        yield from ("", f"## {title}")
        for name, why in names.items():
            setting = known[name]
            facts = [f"`{_flag(setting)}`", f"`{setting.variable}`", _default(setting), _allowed(setting)]
            what = setting.help[0].upper() + setting.help[1:]
            yield from ("", f"### {name}", "", f"{what}.", "", " · ".join(facts), "", why)


def _unit(setting: Setting) -> str:
    suffix = "_" + setting.name.rpartition("_")[2]
    unit = _OTHER_UNITS.get(setting.name) or _UNITS.get(suffix, "")
    return f" {unit}" if unit else ""


def _flag(setting: Setting) -> str:
    if setting.kind is bool:
        return setting.flag
    return f"{setting.flag} {'N' if setting.kind is not str else 'TEXT'}"


def _number(setting: Setting, value: float) -> str:
    return f"{value:g}" if isinstance(value, float) or setting.name == "port" else f"{value:,}"


def _default(setting: Setting) -> str:
    value = setting.default
    if isinstance(value, bool):
        return f"default {str(value).lower()}"
    if isinstance(value, int | float):
        whole = next((f" ({value // size} {unit})" for size, unit in _SIZES if value % size == 0), "")
        return f"default **{_number(setting, value)}{_unit(setting)}**{whole if _unit(setting) == ' bytes' else ''}"
    return f"default **{value}**" if value else "default: not set"


def _allowed(setting: Setting) -> str:
    if setting.choices:
        return "one of " + ", ".join(f"`{choice}`" for choice in setting.choices)
    if setting.low is not None and setting.high is not None:
        return f"{_number(setting, setting.low)} to {_number(setting, setting.high)}{_unit(setting)}"
    if setting.low is not None:
        return f"at least {_number(setting, setting.low)}{_unit(setting)}"
    return "true or false" if setting.kind is bool else "a text"
