"""A server process with an admin socket, and the subcommands of rankmux-server beside it, as processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..protocol.frames import Code, Hello
from ..protocol.process import ROOT, Server, environment


def operate(*arguments: str, **variables: str) -> tuple[int, str, str]:
    """Run `rankmux-server ARGUMENTS`; exit code, standard output and standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "rankmux", "server", *arguments],
        cwd=ROOT,
        env={**environment(False), **variables},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@contextmanager
def operated(where: str, *flags: str, seats: int = 4) -> Iterator[Server]:
    """A server with an admin socket at `where`."""
    server = Server(seats, "--admin-unix", where, *flags)
    try:
        yield server
    finally:
        server.stop()


def refused(server: Server, code: Code) -> None:
    """A newcomer gets this ERROR."""
    peer = server.connect()
    peer.send(Hello(1, 0, "", b"", b""))
    peer.expect_error(code)
