"""`rankmux-server room reset NAME`: deletes the log that the servers of a cluster share, so that a new room begins.

Exit codes: 0 reset, 2 wrong usage or settings, 4 servers of the room are up, 5 NATS cannot be used.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import replace

from ..config import Config
from ..courier.settings import CourierSettings
from ..errors import ConfigError
from ..system.extras import how_to_get
from ..system.printable import escaped
from ..variables import value_of
from .shared.exit_codes import Exit
from .shared.parsers import Form, Parser
from .shared.sources import Sources, load

__all__ = ["main", "parser"]

_FLAGS = ("cluster", "cluster_creds", "cluster_tls_ca", "cluster_tls_cert", "cluster_tls_key")

_EPILOG = """\
All members of the room lose their seats, and tickets begin anew from the clock. Stop the servers of the room first: one
that is up ends with exit code 3 when it sees that its log is another one. Where NATS is, and with which credentials, is
said by the same flags, RANKMUX_ variables and TOML file as for the server.

examples:
  rankmux-server room reset main --cluster nats://127.0.0.1:4222
  rankmux-server room reset main --config /etc/rankmux/rankmux.toml

exit codes:
  0  reset, or there was no such room
  2  usage or settings
  4  servers of the room are up
  5  NATS cannot be used
"""


def main(argv: list[str]) -> int:
    """Reset the room; the exit code."""
    arguments = parser().parse_args(argv)
    try:
        config, sources = _config(arguments, os.environ)
    except ConfigError as error:
        return _complain(Exit.USAGE, *str(error).splitlines())
    try:
        from ..courier.connection import ApiError, Unreachable
        from ..courier.resetting import StillUp, reset
    except ImportError:
        text = f"a cluster needs nats-py, which is not installed: {how_to_get('cluster')}"
        return _complain(Exit.USAGE, text)
    silent_s = 0.0 if arguments.force else config.cluster_down_s
    try:
        entries = asyncio.run(reset(_settings(config), silent_s))
    except StillUp as error:
        text = (
            f"servers of the room have written {error.age_s:.1f} s ago: stop them first, and try again "
            f"when they have been silent for {silent_s:g} s, or give --force"
        )
        return _complain(Exit.REFUSED, text)
    except (Unreachable, ApiError) as error:
        return _complain(Exit.NOT_CONNECTED, f"NATS cannot be used: {error}")
    except ConfigError as error:
        return _complain(Exit.USAGE, *str(sources.as_written(error)).splitlines())
    except (OSError, ValueError) as error:
        return _complain(Exit.USAGE, f"the credentials or certificates for NATS cannot be used: {error}")
    print(
        f"the room {config.room} had {entries} entries, and is gone"
        if entries
        else f"there was no room {config.room}"
    )
    return Exit.OK


def parser() -> argparse.ArgumentParser:
    """Its flags."""
    parser = Parser(
        prog="rankmux-server room",
        description="Deletes the log of a room that several servers share.",
        epilog=_EPILOG,
        formatter_class=Form,
        allow_abbrev=False,
    )
    parser.add_argument("action", choices=["reset"], help="what to do")
    parser.add_argument("room", metavar="NAME", help="the name of the room")
    parser.add_argument("--config", metavar="FILE", help="the server's TOML file, with cluster in it")
    for name in _FLAGS:
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, dest=name, metavar=name.rpartition("_")[2].upper(), help="as of the server")
    parser.add_argument("--force", action="store_true", help="even if servers of the room are up")
    return parser


def _config(arguments: argparse.Namespace, environ: Mapping[str, str]) -> tuple[Config, Sources]:
    """The server's settings. Raises ConfigError."""
    flags = {name: value for name in _FLAGS if (value := getattr(arguments, name)) is not None}
    config, sources = load(flags, environ, arguments.config or value_of(environ, "RANKMUX_CONFIG"))
    if not config.cluster:
        raise ConfigError("--cluster", "", "expected nats://HOST:PORT of a NATS server")
    return replace(config, room=arguments.room), sources


def _settings(config: Config) -> CourierSettings:
    urls = tuple(url.strip() for url in config.cluster.split(","))
    creds, ca = config.cluster_creds, config.cluster_tls_ca
    certificate, key = config.cluster_tls_cert, config.cluster_tls_key
    return CourierSettings(urls, config.room, "reset", 1, creds, ca, certificate, key)


def _complain(code: Exit, *texts: str) -> Exit:
    for text in texts:
        print(f"rankmux-server room: {escaped(text)}", file=sys.stderr)
    return code
