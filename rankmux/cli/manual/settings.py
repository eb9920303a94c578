"""The text of docs/settings.md: each setting's purpose, unit and range, and the reason for its default.

Names, defaults and ranges come from `Config`; the reasons are here. Knows no server.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...config import Setting, settings
from ...server.fixed_settings import FIXED, SHARED

__all__ = ["WHY", "settings_page"]

WHY: dict[str, dict[str, str]] = {
    "Listening": {
        "seats": "Each seat costs one file descriptor, and half a KiB of memory when idle. The maximum is the"
        " system's limit of open files, less 96 and `observers_max`; this is checked at start, not discovered under"
        " load. With fewer seats than members nobody has to go, and nobody new is admitted until there is room.",
        "host": "Loopback by default, so that nothing is exposed by mistake. A name is resolved once, at start.",
        "port": "The default is below the range from which systems assign ports automatically. 0 is for tests: the"
        " first line of output shows the port in use.",
        "unix": "For members on the same machine: access is controlled by the file's permissions. Cannot be combined"
        " with TLS.",
        "insecure": "Without it, the server refuses to start on an address other than loopback unless it has TLS and"
        " a token (or client certificates).",
        "max_payload": "Enough for a command line, and for the pieces that long results are cut into. The server may"
        " hold one incomplete frame of this size per member, and a large frame delays everything behind it.",
    },
    "Authentication": {
        "token_file": "A file rather than a flag, because everyone on the machine can read command lines; it must"
        " not be accessible to group or others. It may hold two tokens, so that a token can be replaced without"
        " locking anyone out. Read again on SIGHUP.",
        "tls_cert": "If set, connections use TLS 1.2 or 1.3 from the first byte. Read again on SIGHUP.",
        "tls_key": "For certificate and key in two files. Read again on SIGHUP.",
        "tls_client_ca": "Certificates tell members apart; with a token alone, all of them are equal. Read again on"
        " SIGHUP.",
        "tls_client_names": "For a CA that also signs certificates for clients of other servers.",
    },
    "Admin endpoint and log": {
        "admin": "Off by default, because it asks for no password and shows names and addresses of members to anyone"
        " who can connect. For the same reason it listens on loopback addresses only, unless `insecure` is set.",
        "admin_unix": "Access is controlled by the file's permissions. Only here can a member be thrown out"
        " (`rankmux-server kick`), a setting changed (`set`) and the server drained (`drain`).",
        "metrics": "For Prometheus on another host, also without `insecure`: whoever can connect may read, but here are"
        " only figures of the whole room, no names, no addresses, and nothing to act with. Keep it inside your network"
        " all the same.",
        "log_format": "One event per line in both formats; the names in the JSON are stable.",
        "log_level": "`info` includes joins, departures and commands; `warning` only includes events that need"
        " attention.",
        "log_lines_per_s": "A flood of members or commands must not become a flood of lines.",
        "log_excerpt_bytes": "Payloads may be confidential, and a log is often read by more people than the room has"
        " members; by default it only has their size. What is shown is escaped and cut, so that no line can be forged"
        " and none is long.",
    },
    "Before HELLO": {
        "greeting_max": "Strangers must not use up descriptors and memory; any further connection gets ERROR"
        " RESOURCE.",
        "greeting_max_per_address": "A single machine must not use up all of `greeting_max`.",
        "greeting_in_bytes": "A HELLO has at most 1,100 bytes; the rest is room for frames sent right after it.",
        "greeting_out_bytes": "A stranger is never sent more than one ERROR.",
        "handshake_timeout_s": "A client sends HELLO at once; two seconds allow for a lost packet or two. Bytes that"
        " trickle in do not extend it.",
        "tls_handshake_timeout_s": "The TLS handshake adds one or two round trips, and work for both sides.",
    },
    "Backpressure": {
        "slow_consumer": "With `pace`, no data is lost while a slow member recovers, but its seniors have to"
        " wait. With `evict`, the seniors keep their pace, and the slow member is disconnected.",
        "outbox_soft_bytes": "Large enough for a few bursts, so that senders are paced only for members that really"
        " do not keep up.",
        "outbox_hard_bytes": "Leaves room for the output of a turn or two beyond the soft limit before pacing takes"
        " effect. If not set, it is at least the soft limit plus two payloads of the largest size.",
        "outboxes_total_bytes": "Bounds the memory of the process, whatever the members do. Data sent to everyone is"
        " held once and counted once.",
        "write_timeout_s": "Bounds how long one member may hold up its seniors: long enough for a garbage"
        " collection or a lost packet, short enough for the members that wait.",
        "send_buffer_bytes": "The kernel's part of the queue. If larger, a slow member is noticed later; if smaller,"
        " a turn's output does not fit into one call.",
    },
    "Liveness": {
        "ping_ms": "A member that vanishes silently is detected after this time multiplied by (`pings_missed`"
        " + 1): half a minute by default. A smaller value detects it sooner, at the price of one frame each way per"
        " member and interval.",
        "pings_missed": "One ping may get lost in a stall; two in a row mean that the member is gone.",
        "user_timeout_s": "The kernel's check for a dead peer while bytes are in flight; only on systems with"
        " TCP_USER_TIMEOUT (Linux).",
        "frame_timeout_s": "A member that stalls in the middle of a frame holds memory for it.",
    },
    "Turn budgets": {
        "read_budget_bytes": "Keeps a busy sender from delaying the others; the rest is read first in the next"
        " turn.",
        "turn_budget_bytes": "Bounds how long a turn takes, and how much memory it needs.",
        "turn_budget_frames": "Small frames make work that their bytes do not show. No member may keep the others"
        " waiting with them.",
        "accept_budget": "A burst of new connections must not stall the members.",
        "tls_handshake_budget": "A step is mostly computation, and costs far more than anything else in a turn.",
        "io_uring": "Entering the kernel is about a third of the cost of a send. On a kernel that is older than 6.1"
        " or forbids io_uring, and with `never`, each send is a separate call.",
    },
    "Results": {
        "waiting_max": "Bounds how much state a sender can make the server keep; beyond it, commands are refused with"
        " BUSY.",
        "waiting_total_max": "One byte each, for all senders together.",
        "result_ttl_ms": "A sender that sets no limit must not wait forever for an executor that never answers.",
    },
    "Seats": {
        "keep_max_s": "A client asks for its own keep; a minute outlasts the restart of a program or a change of"
        " network. While rank 0 is absent nobody leads, and an absent member takes a seat.",
        "state": "Written by a clean stop, read and deleted by the next start: kept seats, tickets and the baton go on."
        " It holds names, addresses and hashes of secrets, and is readable by its owner only. One server uses it at a"
        " time; a killed server leaves none, and the next start is a new instance.",
        "observers_max": "Observers are in no count and pace nobody, but each costs a descriptor (checked at start,"
        " with `seats`) and, if it watches, a copy of each event. One that does not read is disconnected at"
        " `outbox_soft_bytes`.",
        "first_ticket": "Tickets serve as fencing tokens, so they must keep growing over restarts. Set it in tests, or"
        " where the clock may have gone back.",
    },
    "Cluster": {
        "cluster": "Several servers with one room: fan-out is divided among them, and the line outlives any of them."
        " Needs the extra `cluster` and NATS servers with JetStream. Empty by default: one server alone depends on"
        " nothing.",
        "room": "Servers with the same name and the same NATS account share one room.",
        "server_name": "Shown beside each member, and in the log. Two servers with one name work, but nobody can tell"
        " them apart.",
        "cluster_replicas": "Of three copies, one may be lost without a gap in service, of five two. One copy is for"
        " trying it out: when its disk is lost, so is the room.",
        "cluster_creds": "A file rather than a flag, because everyone on the machine can read command lines. Nobody"
        " else may be able to read it: whoever has the seed can write the log.",
        "cluster_tls_ca": "For NATS servers with certificates of a CA of your own.",
        "cluster_tls_cert": "For NATS servers that require client certificates.",
        "cluster_tls_key": "For certificate and key in two files.",
        "cluster_fence_s": "An election among NATS servers takes 4 to 9 seconds; this sits them out. A server that"
        " cannot write for longer drops its members, which return elsewhere.",
        "cluster_down_s": "Longer than `cluster_fence_s`, so that a server has stopped acting before its members are"
        " taken out. Also bounds `ping_ms` times (`pings_missed` + 1), whose default is lowered to fit.",
    },
    "Closing and shutdown": {
        "drain_s": "The last frames should arrive, but a departing client must not hold a descriptor for long.",
        "shutdown_drain_s": "Queued data should arrive before a restart. A service manager must wait longer than"
        " this.",
    },
}
"""By section of the page: each setting, and the reason for its default."""

_UNITS = {"_s": "s", "_ms": "ms", "_bytes": "bytes"}
_OTHER_UNITS = {"max_payload": "bytes", "log_lines_per_s": "lines a second"}
_SIZES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))

_HEAD = """\
# Settings

Every setting of `rankmux-server` can be given as a flag, as an environment variable, and as a key of a TOML file. If
it is given more than once, the flag takes precedence over the variable, and the variable over the file. `--config
FILE` (or `RANKMUX_CONFIG`) names the file. `--print-config` shows every setting and where its value came from;
`--check-config` also checks everything a start would, including tokens and certificates. With a wrong value or an
unknown key, the server does not start: it prints each wrong value with the allowed ones, and exits with code 2. An
empty variable counts as not set.
A variable that looks misspelt, or that Kubernetes sets for a Service, is ignored with a warning. So are `RANKMUX_HOST`,
`RANKMUX_PORT` and `RANKMUX_UNIX`, which tell clients where the server is: the server's are `RANKMUX_LISTEN_HOST` and
so on. `RANKMUX_TOKEN_FILE` is for both; a server that cannot use that file does not start, rather than go without a
token.

```toml
seats = 200
host = "0.0.0.0"
token_file = "/etc/rankmux/token"
tls_cert = "/etc/rankmux/server.pem"
```

The token itself can be in `RANKMUX_TOKEN` instead of a file. In Python, the keys are the keyword arguments of
[`rankmux.Server`](python.md#the-server).

Each setting says whether it can change while the server runs: by
[`rankmux-server set`](operations.md#change-a-setting), or in the file, which SIGHUP has the server read again. This
page is generated by `python -m rankmux.cli.manual.reference docs`."""


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
            yield from ("", f"### {name}", "", f"{what}.", "", " · ".join(facts), "", why, "", _change(name))


def _change(name: str) -> str:
    """Whether it can change while the server runs."""
    shared = "; the same at all servers of a cluster" if name in SHARED else ""
    if name in FIXED:
        return f"*Needs a restart: {FIXED[name]}{shared}.*"
    return f"*Can change while the server runs{', except in a cluster' if shared else ''}.*"


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
        whole = next(
            (f" ({value // size} {unit})" for size, unit in _SIZES if value and value % size == 0), ""
        )
        return f"default **{_number(setting, value)}{_unit(setting)}**{whole if _unit(setting) == ' bytes' else ''}"
    return f"default **{value}**" if value else "default: not set"


def _allowed(setting: Setting) -> str:
    if setting.choices:
        return "one of " + ", ".join(f"`{choice}`" for choice in setting.choices)
    if setting.low is not None and setting.high is not None:
        return f"{_number(setting, setting.low)} to {_number(setting, setting.high)}{_unit(setting)}"
    if setting.low is not None:
        return f"at least {_number(setting, setting.low)}{_unit(setting)}"
    return "true or false" if setting.kind is bool else "text"
