"""`python -m rankmux client SUBCOMMAND` as a script runs it: real processes on pipes, awaited by their output."""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

from rankmux import Client
from rankmux.server.server import Server

PATIENCE_S = 30.0
_TEMPORARY = tempfile.TemporaryDirectory(prefix="rankmux-tests-")  # for files of killed scripts


def environment(**variables: object) -> dict[str, str]:
    """Our environment, without the variables that configure rankmux-client."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RANKMUX_") or k == "RANKMUX_EXTENSION"}
    return {
        **kept,
        "PYTHONPATH": str(Path.cwd()),
        "TMPDIR": _TEMPORARY.name,
        **{k: str(v) for k, v in variables.items()},
    }


class Running:
    """A Python program as a process. `said` is its standard output and error so far."""

    def __init__(self, *arguments: object, env: dict[str, object] | None = None, **options: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=environment(**(env or {})),
            **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )
        self.said = {"out": "", "err": ""}
        self._poller = selectors.DefaultSelector()
        for name, file in (("out", self.process.stdout), ("err", self.process.stderr)):
            if file is not None:
                self._poller.register(file.fileno(), selectors.EVENT_READ, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._poller.close()
        for file in (self.process.stdin, self.process.stdout, self.process.stderr):
            if file is not None:
                with suppress(BrokenPipeError):
                    file.close()

    @property
    def out(self) -> str:
        return self.said["out"]

    @property
    def err(self) -> str:
        return self.said["err"]

    def _read(self, deadline: float) -> None:
        ready = self._poller.select(max(0.0, deadline - time.monotonic()))
        assert ready, f"it says no more: {self.said}"
        for key, _ in ready:
            data = os.read(key.fd, 65536)
            self.said[key.data] += data.decode(errors="surrogateescape")
            if not data:
                self._poller.unregister(key.fd)

    def until(self, pattern: str, stream: str = "") -> re.Match[str]:
        """Read until `pattern` appears in the output, on either stream or on the one named."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            texts = [self.said[stream]] if stream else list(self.said.values())
            for text in texts:
                if match := re.search(pattern, text):
                    return match
            assert self._poller.get_map(), f"it ended without {pattern!r}: {self.said}"
            self._read(deadline)

    def stop_reading(self, stream: str) -> None:
        """Close our end of that stream."""
        [key] = [key for key in self._poller.get_map().values() if key.data == stream]
        self._poller.unregister(key.fd)
        file = {"out": self.process.stdout, "err": self.process.stderr}[stream]
        assert file is not None
        file.close()

    def end(self, number: int | None = None) -> int:
        """Send the signal `number`, read all output, wait; returns the exit code."""
        if number is not None:
            self.process.send_signal(number)
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()
        deadline = time.monotonic() + PATIENCE_S
        while self._poller.get_map():
            self._read(deadline)
        return self.process.wait(PATIENCE_S)


class Script(Running):
    """One run of rankmux-client."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__("-m", "rankmux", "client", *arguments, **options)


def run(*arguments: object, text: bytes = b"", **options: object) -> tuple[int, str, str]:
    """A complete run: exit code, output, errors."""
    with Script(*arguments, **options) as script:
        out, err = script.process.communicate(text, timeout=PATIENCE_S)
        return script.process.returncode, out.decode(errors="surrogateescape"), err.decode()


class Stage:
    """A server, and scripts that join it."""

    def __init__(self, stack: ExitStack, directory: Path, seats: int = 8) -> None:
        self._stack = stack
        self.directory = directory
        self.server = stack.enter_context(Server(port=0, seats=seats))
        self.port = self.server.address[1]

    def start(self, subcommand: str, *arguments: object, **options: object) -> Script:
        whose = () if "--name" in arguments else ("--name", "")
        return self._stack.enter_context(
            Script(subcommand, "--port", self.port, *whose, *arguments, **options)
        )

    def joined(self, subcommand: str, *arguments: object, **options: object) -> Script:
        """A script that has its rank."""
        script = self.start(subcommand, *arguments, **options)
        script.until(r"Assigned rank: \d+\n")
        return script

    def hold(self, *arguments: object) -> Path:
        """Hold a seat; its path."""
        path = self.directory / f"seat{len(list(self.directory.iterdir()))}"
        self.joined("hold", "--seat", path, *arguments)
        return path

    def work(self, program: str, *arguments: object, **options: object) -> Script:
        """An executor whose program is a shell script."""
        return self.joined("work", *arguments, "--", "sh", "-c", program, **options)

    def client(self, **options: object) -> Client:
        return self._stack.enter_context(Client(*self.server.address, **options))

    def run(self, subcommand: str, *arguments: object, **options: object) -> tuple[int, str, str]:
        return run(subcommand, "--port", self.port, *arguments, **options)


@contextmanager
def staged(directory: Path, seats: int = 8) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(stack, directory, seats)


def eventually(condition: Callable[[], object], within_s: float = PATIENCE_S) -> float:
    """Poll until `condition` holds, for effects in other processes; returns the seconds elapsed."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() < start + within_s, "it did not come to that"
        time.sleep(0.005)
    return time.monotonic() - start


def alive(pid: int) -> bool:
    """Whether that process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def json_lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


ENDING = (signal.SIGINT, signal.SIGTERM)


def code_of(number: int) -> int:
    """The exit code of a program that holds a seat, ended by that signal."""
    return 0 if number == signal.SIGTERM else 130
