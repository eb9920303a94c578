"""`python -m rankmux demo`: a server and its clients as real processes, with a transcript of their output.

Every step waits for the lines that prove it, never for time to pass. The demo sees only what a user at a terminal
sees: command lines, standard input and standard output.
"""

from __future__ import annotations

import argparse
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import IO, Self

__all__ = ["main"]

_PATIENCE_S = 20.0  # for the slowest machines; usually a step takes milliseconds
_STAMP = re.compile(r"^[-\d]+T[:.\d]+[-+]\d+:\d+ [A-Z]+ ")


class _DemoFailed(Exception):
    """An expected line did not appear."""


class _Actor:
    """A process in the demo. Its output is shown after its name as far as a step waits for it."""

    def __init__(self, name: str, *arguments: str, stop_signal: int | None = None) -> None:
        # The user's settings must not reach the demo's processes.
        environment = {
            k: v for k, v in os.environ.items() if not k.startswith("RANKMUX_") or k == "RANKMUX_EXTENSION"
        }
        self.name = name
        self._stop_signal = stop_signal
        self._process = subprocess.Popen(  # noqa: S603 - this program, with fixed arguments
            [sys.executable, "-m", "rankmux", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input: IO[bytes] = self._process.stdin
        self._output: IO[bytes] = self._process.stdout
        self._unseen = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        with suppress(BrokenPipeError):
            self._input.close()
        self._output.close()

    def type(self, line: str) -> None:
        """Type a line into the process."""
        _show(self.name, f"> {line}")
        self._input.write(line.encode() + b"\n")
        self._input.flush()

    def until(self, pattern: str) -> re.Match[str]:
        """Show the output of the process up to the first line that matches `pattern`."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while (line := self._line(deadline_s)) is not None:
            line = _STAMP.sub("", line)
            _show(self.name, line)
            if match := re.search(pattern, line):
                return match
        raise _DemoFailed(f"{self.name} ended without printing '{pattern}'")

    def leave(self) -> int:
        """End the process cleanly and show its last lines; its exit code."""
        if self._stop_signal is None:
            _show(self.name, "(leaves)")
            self._input.close()
        else:
            _show(self.name, "(SIGTERM)")
            self._process.send_signal(self._stop_signal)
        return self.rest()

    def rest(self) -> int:
        """Show the output of the process until it ends; its exit code."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while (line := self._line(deadline_s)) is not None:
            _show(self.name, _STAMP.sub("", line))
        return self._process.wait()

    def _line(self, deadline_s: float) -> str | None:
        with selectors.DefaultSelector() as poller:
            poller.register(self._output, selectors.EVENT_READ)
            while (end := self._unseen.find(b"\n")) < 0:
                if not poller.select(max(0.0, deadline_s - time.monotonic())):
                    raise _DemoFailed(f"{self.name} was silent for {_PATIENCE_S:g} s")
                data = os.read(self._output.fileno(), 65536)
                if not data:
                    return None
                self._unseen += data
        line = self._unseen[:end].decode(errors="replace")
        del self._unseen[: end + 1]
        return line


def _show(name: str, text: str) -> None:
    print(f"{name:>6} | {text}", flush=True)


def _say(text: str) -> None:
    print(f"\n{text}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 0 if every step succeeded."""
    argparse.ArgumentParser(
        prog="python -m rankmux demo",
        description="Starts a server and some clients, and shows commands, rejections, departures and promotions.",
    ).parse_args(argv)
    try:
        with ExitStack() as stage:
            _play(stage)
    except _DemoFailed as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _play(stage: ExitStack) -> None:
    _say("A server with three seats.")
    server = stage.enter_context(
        _Actor(
            "server",
            "server",
            "--port",
            "0",
            "--seats",
            "3",
            "--first-ticket",
            "1",
            stop_signal=signal.SIGTERM,
        )
    )
    port = server.until(r"listening on .*:(\d+) ")[1]

    def client(name: str) -> _Actor:
        return stage.enter_context(_Actor(name, "client", "--port", port, "--name", name))

    _say("First come, first served: the first to join ranks highest.")
    ada = client("ada")
    ada.until("Assigned rank: 0")
    bob = client("bob")
    bob.until("Assigned rank: 1")
    cyd = client("cyd")
    cyd.until("Assigned rank: 2")
    server.until("joined: cyd")

    _say("There is no fourth seat.")
    client("dan").rest()
    server.until("rejected")

    _say("A command goes to everyone below, who execute it.")
    ada.type("print")
    for executor in (bob, cyd):
        executor.until("Executed: print")
    ada.until("Done")
    server.until("command")

    _say("It is rejected for everyone above.")
    bob.type("report")
    cyd.until("Executed: report")
    bob.until("Done")
    server.until("command")

    _say("No one can command a senior.")
    cyd.type("@0 reboot")
    cyd.until("Refused")

    _say("A command to one member: by rank, to the next below, to the least busy.")
    ada.type("@2 debug")
    cyd.until("Executed: debug")
    ada.until("Done")
    server.until("command")
    bob.type("@next reload")
    cyd.until("Executed: reload")
    bob.until("Done")
    server.until("command")
    ada.type("@least build")
    bob.until("Executed: build")
    ada.until("Done")
    server.until("command")
    ada.type("@everyone hello")
    ada.until("Refused")

    _say("The highest leaves, and everyone below moves up, without gaps.")
    ada.leave()
    bob.until("New rank: 0")
    cyd.until("New rank: 1")
    server.until("ranking:")

    _say("The second is in command now; a newcomer joins at the end of the line.")
    eve = client("eve")
    eve.until("Assigned rank: 2")
    server.until("joined: eve")
    bob.type("print")
    for executor in (cyd, eve):
        executor.until("Executed: print")
    bob.until("Done")
    server.until("command")

    _say("The server stops, and its clients learn why.")
    server.leave()
    for member in (bob, cyd, eve):
        member.rest()


if __name__ == "__main__":
    sys.exit(main())
