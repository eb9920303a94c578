"""`rankmux-server`: flags, logging, signals and exit codes around one Server. Exit codes: 0 stopped, 2 usage or settings."""

from __future__ import annotations

import argparse
import logging
import os
import resource
import signal
import sys
from pathlib import Path

from .. import __version__
from ..config import Config, Setting, load, settings
from ..errors import ConfigError
from ..framing import TWIN
from ..server import Server

__all__ = ["main"]

_RESERVED_FILES = 96
_SHORT = {"seats": "-n"}


def main(argv: list[str] | None = None) -> int:
    """Run a server until SIGINT or SIGTERM; returns the exit code."""
    arguments = vars(_parser().parse_args(argv))
    path = arguments.pop("config") or os.environ.get("RANKMUX_CONFIG")
    try:
        config, _ = load({k: v for k, v in arguments.items() if v is not None}, os.environ, path)
        tokens = _read_tokens(config)
        _raise_file_limit(config)
        _log_to_stderr(config)
        server = Server(config, tokens=tokens)
    except ConfigError as error:
        print(f"rankmux-server: {error}", file=sys.stderr)
        return 2
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _Stop(server))
    host, port = server.address
    print(f"listening on {host}:{port} for {config.seats} clients", flush=True)
    server.serve_forever()
    return 0


class _Stop:
    """The first signal stops in order, the second at once."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._seen = False

    def __call__(self, signum: int, frame: object) -> None:
        if self._seen:
            os._exit(128 + signum)
        self._seen = True
        self._server.stop()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rankmux-server",
        description="Holds at most N clients, ranks them by arrival, and passes each command down the ranks.",
        epilog="Every flag is a RANKMUX_... variable too (RANKMUX_SEATS=10), and a key of the TOML file of --config.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action="version", version=f"rankmux-server {__version__} ({TWIN} framing, Python {_python()})"
    )
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings")
    for setting in settings():
        _add(parser, setting)
    return parser


def _add(parser: argparse.ArgumentParser, setting: Setting) -> None:
    names = [_SHORT[setting.name]] if setting.name in _SHORT else []
    shown = f"{setting.help} (default: {setting.default})" if setting.default != "" else setting.help
    metavar = "N" if setting.kind is not str else setting.name.rpartition("_")[2].upper()
    parser.add_argument(*names, setting.flag, dest=setting.name, metavar=metavar, help=shown.replace("%", "%%"))


def _read_tokens(config: Config) -> tuple[bytes, ...]:
    if not config.token_file:
        return ()
    try:
        token = Path(config.token_file).read_bytes().strip()
    except OSError as error:
        expected = f"a file that can be read is expected ({error.strerror})"
        raise ConfigError("--token-file", config.token_file, expected) from None
    if not token:
        raise ConfigError("--token-file", config.token_file, "a file with a token in it is expected, this one is empty")
    return (token,)


def _raise_file_limit(config: Config) -> None:
    """Each connection is a file: find out now whether so many seats can be had, not under load."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = config.seats + _RESERVED_FILES
    if hard != resource.RLIM_INFINITY and needed > hard:
        most = hard - _RESERVED_FILES
        raise ConfigError("--seats", config.seats, f"at most {most} is expected: the system allows {hard} open files")
    if soft != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _log_to_stderr(config: Config) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("rankmux")
    logger.addHandler(handler)
    logger.setLevel(config.log_level.upper())


def _python() -> str:
    return ".".join(map(str, sys.version_info[:3]))


if __name__ == "__main__":
    sys.exit(main())
