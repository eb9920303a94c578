"""rankmux-server's flags, logging, signals and exit codes, around one Server.

Exit codes: 0 stopped cleanly; 1 stopped cleanly, but the kept seats are lost; 2 wrong usage or settings, including an
address in use; 128 + n stopped at once by a second signal n.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import selectors
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from ..config import Config, Setting, settings
from ..errors import AddressInUse, ConfigError, LogBroken
from ..server.file_limit import check_file_limit
from ..server.intake.auth import read_tokens
from ..server.server import Server
from ..server.state_file import state_trouble
from ..system.json_lines import JsonFormatter, TextFormatter, tagged
from ..system.line_pipe import LinePipe
from ..system.log_pipe import PipeHandler
from ..system.memory import no_long_pauses
from ..system.service_manager import Notifier, handed_sockets
from ..variables import doubtful, value_of
from .manual.settings import WHY
from .shared.parsers import Form, Parser, subcommands_text, unknown_words
from .shared.sources import Sources, load
from .shared.streams import open_missing
from .shared.versions import version

__all__ = ["main", "parser"]

log = logging.getLogger("rankmux")

_SHORT = {"seats": "-n"}
_FILES = frozenset(
    {"unix", "admin_unix", "state", "token_file", "tls_cert", "tls_key", "tls_client_ca"}
    | {f"cluster_{name}" for name in ("creds", "tls_ca", "tls_cert", "tls_key")}
)
"""The settings that are paths."""
_SUBCOMMANDS = {
    "status": "show what a running server does",
    "kick": "throw a member out of a running server",
    "set": "change settings of a running server",
    "drain": "let the members of a running server finish, and stop it",
    "room": "delete the room of a cluster",
}
_STATE_LOST = 1
_LOG_BROKEN = 3
_OUT_OF_MEMORY = 70


def main(argv: list[str] | None = None) -> int:
    """Run a server until SIGINT or SIGTERM; returns the exit code."""
    open_missing()
    flags = parser()
    known, others = flags.parse_known_args(argv)
    arguments = vars(known)
    path = arguments.pop("config") or value_of(os.environ, "RANKMUX_CONFIG")
    check_only, print_only = arguments.pop("check_config"), arguments.pop("print_config")
    doubts = dict(doubtful(os.environ, [setting.variable for setting in settings()]))
    sources = Sources()
    try:
        given = {name: value for name, value in arguments.items() if value is not None}
        config, sources = load(given, os.environ, path, unknown_words(others, flags, tuple(_SUBCOMMANDS)))
        if check_only or print_only:
            _complain(*doubts.values())
        if print_only:
            _show(config, sources)
            return 0
        tokens = read_tokens(config, os.environ)
        _raise_file_limit(config)
        if check_only:
            trouble = state_trouble(config) if config.state else ""
            in_use = _try(config, tokens)
            _complain(*(f"{where} is in use, perhaps by a running server" for where in in_use))
            _complain(*filter(None, (trouble,)))
            _show(config, sources)
            return 0
        _log_to_stderr(config)
        for name, text in doubts.items():
            log.warning("%s", text, extra=tagged("variable_ignored", variable=name))
        handed = handed_sockets(os.environ)
        if "" in handed:
            _warn_of_unused(config, sources)
        server = Server(
            config,
            tokens=tokens,
            selector=_selector(),
            listener=handed.get(""),
            admin_listener=handed.get("admin"),
            source=lambda: load(given, os.environ, path)[0],
        )
    except ConfigError as error:
        _complain(*([] if sources else doubts.values()), *str(sources.as_written(error)).splitlines())
        return 2
    notifier = Notifier(os.environ)
    stop = _Stop(server, notifier)
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, stop)
    reload = _Reload(server, notifier)
    signal.signal(signal.SIGHUP, reload)
    with suppress(OSError):  # its reader may be gone
        LinePipe(1).write(_what(server).encode())
    for where in server.admin_where:
        facts = tagged("admin_listening", where=where)
        what = "metrics" if where.endswith("/metrics") else "admin endpoint"
        logging.getLogger("rankmux.admin").info("%s: %s", what, where, extra=facts)
    try:
        while not (server.ready or server.stopped):  # a cluster's log is still being read
            server.step(notifier.interval_s)
            notifier.alive(time.monotonic())
        notifier.ready(_what(server))
        _run(server, notifier, reload)
    except LogBroken as error:
        log.critical("%s", error, extra=tagged("log_broken", error=str(error)))
        server.close()
        return _LOG_BROKEN
    except MemoryError:  # of a server alone it is not the end
        log.critical("no memory: this server leaves its cluster", extra=tagged("out_of_memory"))
        return _OUT_OF_MEMORY
    return stop.code or (_STATE_LOST if server.state_lost else 0)


def _complain(*texts: str) -> None:
    for text in texts:
        print(f"rankmux-server: {text}", file=sys.stderr)


def _what(server: Server) -> str:
    seats = server.config.seats
    return f"listening on {server.where} for {seats} {'client' if seats == 1 else 'clients'}"


def _run(server: Server, notifier: Notifier, reload: _Reload) -> None:
    no_long_pauses()
    if not notifier:
        server.serve_forever()
    while not server.stopped:
        server.step(notifier.interval_s)
        notifier.alive(time.monotonic())
        reload.end()


class _Reload:
    """The signal handler for SIGHUP, and what the service manager is told before and after."""

    def __init__(self, server: Server, notifier: Notifier) -> None:
        self._server = server
        self._notifier = notifier
        self._asked = False

    def __call__(self, _signum: int, _frame: object) -> None:
        self._notifier.reloading(time.monotonic())
        self._server.reload()
        self._asked = True

    def end(self) -> None:
        """A turn is over: report it if everything has been read again."""
        if self._asked:
            self._asked = False  # first, for a signal may come at any time
            if self._server.reloading or not self._notifier.reloaded(_what(self._server)):
                self._asked = True


class _Stop:
    """The signal handler: the first signal stops cleanly, the second at once, the third ends the process."""

    def __init__(self, server: Server, notifier: Notifier) -> None:
        self._server = server
        self._notifier = notifier
        self._seen = 0
        self.code = 0

    def __call__(self, signum: int, _frame: object) -> None:
        self._seen += 1
        if self._seen == 1:
            self._server.stop()
            self._notifier.stopping()
        elif self._seen == 2:
            self.code = 128 + signum
            self._server.stop(0.0)
        else:
            os._exit(128 + signum)


_DESCRIPTION = "Holds up to N clients, ranks them by arrival, and passes each command down the ranks."
_EPILOG = """\
Every setting can be given as a flag, as an environment variable (RANKMUX_SEATS=10), and as a key of the TOML file
named by --config or RANKMUX_CONFIG (seats = 10). A flag takes precedence over a variable, a variable over the file.
An empty variable counts as not set. The token can be in RANKMUX_TOKEN instead of a file.

examples:
  rankmux-server -n 10
  rankmux-server --admin 7118 --log-format json
  rankmux-server --config rankmux.toml --check-config
  rankmux-server status
  rankmux-server kick 1790000000000003
  rankmux-server set seats=100
  rankmux-server drain
  rankmux-server --cluster nats://a,nats://b,nats://c --room main --server-name s1
  rankmux-server room reset main --cluster nats://a,nats://b,nats://c

signals:
  SIGINT, SIGTERM  stop cleanly: accept no more connections, send queued bytes for up to --shutdown-drain-s;
                   a second signal stops at once
  SIGHUP           read the configuration file, tokens and certificates again; the log says which settings have
                   changed, and which need a restart

exit codes:
  0  stopped cleanly
  1  stopped cleanly, but the seats could not be written to the file of --state: the log says why
  2  wrong usage or settings, including an address in use
  3  in a cluster: the room's log cannot be gone on with, or is not for this server; the last line says why
  70  in a cluster: out of memory; start it again
  130, 143  stopped at once, by a second SIGINT or SIGTERM
"""


def parser() -> argparse.ArgumentParser:
    """The parser, with a flag for each setting."""
    parser = Parser(
        prog="rankmux-server",
        usage="rankmux-server SUBCOMMAND ...\n       rankmux-server [FLAG ...]",
        description=f"{subcommands_text(_SUBCOMMANDS)}\n\n{_DESCRIPTION}",
        epilog=_EPILOG,
        formatter_class=Form,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=version("rankmux-server"))
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings")
    parser.add_argument(
        "--check-config",
        action="store_true",
        help="check everything a start would: settings, tokens, certificates, addresses, extras; then show the "
        "settings and exit. An address in use is reported, but is not an error",
    )
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="show all settings and where each value came from, and exit",
    )
    known = {setting.name: setting for setting in settings()}
    for title, names in WHY.items():
        group = parser.add_argument_group(title[0].lower() + title[1:] if title[1].islower() else title)
        for name in names:
            _add(group, known[name])
    return parser


def _add(group: argparse._ArgumentGroup, setting: Setting) -> None:
    names = [_SHORT[setting.name]] if setting.name in _SHORT else []
    names.append(setting.flag)
    if setting.kind is bool:
        group.add_argument(
            *names, dest=setting.name, action=argparse.BooleanOptionalAction, default=None, help=setting.help
        )
        return
    shown = f"{setting.help} (default: {setting.default})" if setting.default != "" else setting.help
    metavar = "N" if setting.kind is not str else setting.name.rpartition("_")[2].upper()
    if setting.choices:
        metavar = f"{{{','.join(setting.choices)}}}"
    elif setting.name in _FILES:
        metavar = "FILE"
    group.add_argument(*names, dest=setting.name, metavar=metavar, help=shown.replace("%", "%%"))


# Substitutes for an address in use, by setting, so that the rest can be checked too.
_ELSEWHERE: dict[str, Callable[[Config], Config]] = {
    "host": lambda config: replace(config, port=0),
    "unix": lambda config: replace(config, unix="", host="127.0.0.1", port=0),
    "admin": lambda config: replace(config, admin=config.admin.rpartition(":")[0] + ":0"),
    "admin_unix": lambda config: replace(config, admin_unix=""),
    "metrics": lambda config: replace(config, metrics=""),
}


def _try(config: Config, tokens: tuple[bytes, ...]) -> list[str]:
    """Start a server and close it at once, to find every error of a start. Raises ConfigError.

    Returns the addresses in use, which are no error: the check may run beside the server.
    """
    in_use: list[str] = []
    config = replace(config, state="")  # a start would take up what is in it
    while True:
        try:
            Server(config, tokens=tokens).close()
        except AddressInUse as error:
            in_use.append(str(error.value))
            config = _ELSEWHERE[error.key](config)
        else:
            return in_use


def _show(config: Config, sources: dict[str, str]) -> None:
    """Print the settings as TOML, even to a pipe that is closed early."""
    shown = ""
    for setting in settings():
        value = getattr(config, setting.name)
        text = json.dumps(value, ensure_ascii=False)  # the same in TOML for strings, numbers and booleans
        shown += f"{setting.name} = {text}  # {sources[setting.name]}\n"
    try:
        sys.stdout.write(shown)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else the flush at exit would fail


def _selector() -> selectors.BaseSelector | None:
    """The selector named by RANKMUX_SELECTOR, for tests of systems without epoll."""
    kinds: dict[str, type[selectors.BaseSelector]] = {
        "poll": selectors.PollSelector,
        "select": selectors.SelectSelector,
    }
    kind = kinds.get(os.environ.get("RANKMUX_SELECTOR", ""))
    return kind() if kind is not None else None


def _warn_of_unused(config: Config, sources: dict[str, str]) -> None:
    """Settings of an address have no effect: the service manager has opened the socket."""
    for name in ("host", "port", "unix"):
        if sources[name] != "default":
            text = "%s (%s) is not used: the service manager has opened the socket; change it there (ListenStream)"
            facts = tagged("setting_ignored", name=name, source=sources[name])
            log.warning(text, name, getattr(config, name), extra=facts)


def _raise_file_limit(config: Config) -> None:
    """Check at start, not under load, that there can be a connection per seat and observer."""
    check_file_limit(config)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _log_to_stderr(config: Config) -> None:
    handler = PipeHandler(2)
    text = TextFormatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(JsonFormatter() if config.log_format == "json" else text)
    logger = logging.getLogger("rankmux")
    logger.addHandler(handler)
    logger.setLevel(config.log_level.upper())
    # Python itself would write to standard error, and wait for its reader.
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").addHandler(handler)
    sys.unraisablehook = _log_unraisable


def _log_unraisable(what: sys.UnraisableHookArgs) -> None:
    """Log an exception in a destructor."""
    facts = tagged("mistake", where="cleanup")
    log.error("bug in a cleanup: %r", what.exc_value, extra=facts)
