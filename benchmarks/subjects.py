"""The servers compared: how to start them, whether they are installed, and their versions."""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import build

# No limit may end a member that does not read: the scenario measures memory.
PATIENT_RANKMUX = (
    *("--outbox-soft-bytes", "1000000000"),
    *("--outbox-hard-bytes", "1000000000"),
    *("--outboxes-total-bytes", "1000000000000"),
    *("--write-timeout-s", "600"),
    *("--user-timeout-s", "600"),
    *("--ping-ms", "600000"),
)
RANKMUX_FLAGS = ("--port", "0", "--log-level", "warning")


@dataclass(frozen=True)
class Subject:
    """A server under test.

    `command`: gets the seats, a free port and an empty directory.
    `announces`: the server picks a port itself and prints `listening on HOST:PORT`.
    `missing`: the reason why it cannot run here, or None.
    `complete`: it has all of rankmux's protocol that the scenarios need, with results and bounded memory.
    `patient`: the flags that make it wait for members that do not read, without limit.
    `only`: the scenarios it takes part in, if not all.
    """

    name: str
    title: str
    protocol: str
    command: Callable[[int, int, Path], Sequence[str]]
    missing: Callable[[], str | None]
    version: Callable[[], str]
    announces: bool = False
    complete: bool = True
    environment: dict[str, str] = field(default_factory=dict)
    patient: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    @property
    def is_ours(self) -> bool:
        """Whether it belongs to the promised ratios: rankmux, or bare C."""
        return self.name == "bare" or self.name.startswith("rankmux")


def _first_match(command: Sequence[str], pattern: str) -> str:
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(pattern, shown.stdout + shown.stderr)
    return found[0] if found else "version unknown"


def _needs_program(name: str) -> Callable[[], str | None]:
    return lambda: None if _program(name) else f"{name} is not installed"


def _program(name: str) -> str | None:
    # Debian installs some servers outside the user's PATH; a wheel's is beside Python.
    beside = Path(sys.executable).parent
    return shutil.which(name) or shutil.which(name, path=f"/usr/sbin:/usr/local/sbin:{beside}")


def _rankmux(*flags: str) -> Callable[[int, int, Path], list[str]]:
    command = [sys.executable, "-m", "rankmux", "server", *RANKMUX_FLAGS, *flags]
    return lambda seats, _port, _directory: [*command, "-n", str(seats)]


def _missing_rankmux(extension: bool) -> Callable[[], str | None]:
    def missing() -> str | None:
        if importlib.util.find_spec("rankmux") is None:
            return "rankmux is not installed"
        if extension and importlib.util.find_spec("rankmux._framing") is None:
            return "the extension is not built"
        return None

    return missing


def _rankmux_version(mode: str) -> Callable[[], str]:
    def version() -> str:
        shown = subprocess.run(
            [sys.executable, "-m", "rankmux", "server", "--version"],
            capture_output=True,
            text=True,
            check=False,
            cwd=build.ROOT,
            env={"RANKMUX_EXTENSION": mode, "PATH": "/usr/bin:/bin"},
        )
        return shown.stdout.strip() or "version unknown"

    return version


def _bare(seats: int, _port: int, _directory: Path) -> list[str]:
    return [str(build.program("bare")), str(seats)]


def _missing_bare() -> str | None:
    return None if build.compiler() else "there is no C compiler"


def _asyncio(*loop: str) -> Callable[[int, int, Path], list[str]]:
    return lambda seats, _port, _directory: [
        sys.executable,
        "-m",
        "benchmarks.asyncio_server",
        str(seats),
        *loop,
    ]


def _missing_uvloop() -> str | None:
    return None if importlib.util.find_spec("uvloop") else "uvloop is not installed"


def _uvloop_version() -> str:
    from importlib.metadata import version

    return f"uvloop {version('uvloop')}, Python {platform.python_version()}"


def _redis(seats: int, port: int, directory: Path) -> list[str]:
    settings = {
        "port": port,
        "bind": "127.0.0.1",
        "dir": directory,
        "save": "",
        "maxclients": seats + 16,
        "tcp-backlog": 4096,
        "loglevel": "warning",
        # No slow receiver may be dropped: a lost message would be a delivery without a cost.
        "client-output-buffer-limit": "pubsub 0 0 0",
    }
    options = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    return [_program("redis-server") or "", *options]


def _nats(seats: int, port: int, directory: Path) -> list[str]:
    config = directory / "nats.conf"
    config.write_text(f'listen: "127.0.0.1:{port}"\nmax_connections: {seats + 16}\nmax_pending: 1GB\n')
    return [_program("nats-server") or "", "-c", str(config)]


def _mosquitto(_seats: int, port: int, directory: Path) -> list[str]:
    config = directory / "mosquitto.conf"
    settings = (
        f"listener {port} 127.0.0.1",
        "allow_anonymous true",
        "max_queued_messages 0",
        "persistence false",
        "set_tcp_nodelay true",
        "log_type error",
    )
    config.write_text("\n".join(settings) + "\n")
    return [_program("mosquitto") or "", "-c", str(config)]


ALL = (
    Subject(
        "bare",
        "bare C",
        "rankmux",
        _bare,
        _missing_bare,
        lambda: _first_match([build.compiler() or "cc", "--version"], r".+") + " -O2",
        announces=True,
        patient=("0", "600000"),
    ),
    Subject(
        "rankmux",
        "rankmux",
        "rankmux",
        _rankmux(),
        _missing_rankmux(extension=True),
        _rankmux_version("1"),
        announces=True,
        environment={"RANKMUX_EXTENSION": "1"},
        patient=PATIENT_RANKMUX,
    ),
    Subject(
        "rankmux-calls",
        "rankmux, a call per send",
        "rankmux",
        _rankmux("--io-uring", "never"),
        _missing_rankmux(extension=True),
        _rankmux_version("1"),
        announces=True,
        environment={"RANKMUX_EXTENSION": "1"},
        only=("fanout-1", "fanout-64", "fanout-256", "everyone", "directed", "results", "promote"),
    ),
    Subject(
        "rankmux-pure",
        "rankmux, pure Python",
        "rankmux",
        _rankmux(),
        _missing_rankmux(extension=False),
        _rankmux_version("0"),
        announces=True,
        environment={"RANKMUX_EXTENSION": "0"},
        patient=PATIENT_RANKMUX,
    ),
    Subject(
        "asyncio",
        "asyncio",
        "rankmux",
        _asyncio(),
        lambda: None,
        lambda: f"Python {platform.python_version()}",
        announces=True,
        complete=False,
    ),
    Subject(
        "uvloop",
        "uvloop",
        "rankmux",
        _asyncio("uvloop"),
        _missing_uvloop,
        _uvloop_version,
        announces=True,
        complete=False,
    ),
    Subject(
        "redis",
        "Redis",
        "redis",
        _redis,
        _needs_program("redis-server"),
        lambda: "Redis " + _first_match([_program("redis-server") or "", "--version"], r"(?<=v=)[\d.]+"),
    ),
    Subject(
        "nats",
        "NATS",
        "nats",
        _nats,
        _needs_program("nats-server"),
        lambda: "NATS " + _first_match([_program("nats-server") or "", "--version"], r"(?<=v)[\d.]+"),
    ),
    Subject(
        "mosquitto",
        "mosquitto",
        "mqtt",
        _mosquitto,
        _needs_program("mosquitto"),
        lambda: "mosquitto " + _first_match([_program("mosquitto") or "", "-h"], r"(?<=version )[\d.]+"),
    ),
)
BY_NAME = {subject.name: subject for subject in ALL}
