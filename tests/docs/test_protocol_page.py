"""docs/protocol.md against the server: the worked example byte by byte, the vectors, and the client in C."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from rankmux import Client
from rankmux.codes import CLIENT_FRAMES, SERVER_FRAMES
from rankmux.server.server import Server
from rankmux.wire import decode

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "protocol.md").read_text()
STORY = re.findall(
    r"^  (ada|bob) ([<>]) ([0-9a-f. ]+)$",
    re.search(r'^```text title="On the wire"\n(.*?)^```', PAGE, re.DOTALL | re.MULTILINE)[1],
    re.MULTILINE,
)
VECTORS = re.findall(r"^\| ([A-Z]+).* \| `([0-9a-f]+)` \|$", PAGE, re.MULTILINE)
OTHERWISE = {"STOP": "CANCEL", "SETBATON": "BATON"}  # one name on the page, two directions
DEADLINE_S = 30.0


def receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := sock.recv(size - len(data))):
        data += more
    return data


def test_the_worked_example():
    assert len(STORY) > 10
    with ExitStack() as stack:
        server = stack.enter_context(Server(port=0, seats=10, first_ticket=1))
        socks: dict[str, socket.socket] = {}
        for who, direction, text in STORY:
            if who not in socks:
                socks[who] = stack.enter_context(socket.create_connection(server.address, DEADLINE_S))
            octets = text.replace(" ", "")
            if direction == ">":
                socks[who].sendall(bytes.fromhex(octets))
            else:
                assert re.fullmatch(octets, receive(socks[who], len(octets) // 2).hex()), text
        assert socks["ada"].recv(1) == b""  # after LEAVE


@pytest.mark.parametrize(("name", "octets"), VECTORS)
def test_the_vectors(name, octets):
    data = bytes.fromhex(octets)
    frame = decode(data[4], data[5:], CLIENT_FRAMES | SERVER_FRAMES)
    assert frame.encode() == data
    kind = type(frame).__name__.removesuffix("Frame").upper()
    assert OTHERWISE.get(kind, kind) == name


def test_there_are_vectors():
    assert {name for name, _ in VECTORS} == {
        *("HELLO", "COMMAND", "RESULT", "WHO", "PING", "LEAVE", "WELCOME", "EXECUTE"),
        *("RANK", "ACCEPTED", "REFUSED", "ROUTED", "DONE", "MEMBERS", "ERROR"),
        *("CANCEL", "YIELD", "YIELDED", "BATON", "CHANGED"),
    }


@pytest.fixture(scope="module")
def minimal(tmp_path_factory):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here (Debian: apt install gcc libc6-dev)")
    program = tmp_path_factory.mktemp("c") / "minimal"
    strict = ["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *strict, "-o", program, DOCS / "minimal.c"], check=True)
    return program


class Process:
    """The client in C; `says` reads its next line."""

    def __init__(self, stack: ExitStack, program: Path, server: Server) -> None:
        self.process = stack.enter_context(
            subprocess.Popen(
                [program, *map(str, server.address), "cee"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                bufsize=1,
            )
        )
        stack.callback(self.process.kill)

    def says(self, line: str) -> None:
        assert self.process.stdout.readline() == line + "\n"

    def types(self, line: str) -> None:
        self.process.stdin.write(line + "\n")


def test_the_client_in_c_obeys_and_commands(minimal):
    with ExitStack() as stack:
        server = stack.enter_context(Server(port=0, seats=10, ping_ms=400))
        ada = stack.enter_context(Client(*server.address, name="ada"))
        cee = Process(stack, minimal, server)
        cee.says("rank 1")
        receipt = ada.command("print", results=True, timeout=DEADLINE_S)
        assert [(result.rank, result.payload) for result in receipt] == [(1, b"done by C")]
        cee.says("execute: print")

        cee.types("too high")
        cee.says("refused: nobody is below you")

        bob = stack.enter_context(
            Client(*server.address, name="bob", handler=lambda command: command.payload)
        )
        ada.close()
        cee.says("new rank 0")
        cee.types("hello")
        cee.says("sent to 1, rejected for 0")
        assert bob.wait_for_rank(1, DEADLINE_S)
        bob.poll(DEADLINE_S)
        cee.says("rank 1 answers, status 0: hello")
        cee.says("done, 1 ok")
        assert not bob.wait_for_rank(
            0, 1.5
        )  # a member that does not answer its PINGs has been evicted by then

        cee.process.stdin.close()
        assert cee.process.wait(DEADLINE_S) == 0
        assert bob.wait_for_rank(0, DEADLINE_S)


def test_the_client_in_c_rejects_commands_from_below(minimal):
    """The client checks again, in case a server lets a junior's command through."""
    welcome = next(octets for name, octets in VECTORS if name == "WELCOME")  # rank 2
    execute = "0000001782000000000000002a0000000201000013887072696e74"
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(DEADLINE_S)
        program = [minimal, *map(str, listener.getsockname()), "cee"]
        process = stack.enter_context(
            subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        )
        stack.callback(process.kill)
        sock, _ = listener.accept()
        stack.enter_context(sock)
        sock.settimeout(DEADLINE_S)
        assert receive(sock, 15).hex() == next(octets for name, octets in VECTORS if name == "HELLO").replace(
            "616461", "636565"
        )
        sock.sendall(bytes.fromhex(welcome + execute))
        assert receive(sock, 14).hex() == "0000000a03000000000000002a02"
