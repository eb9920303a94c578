"""The fenced blocks of a page of documentation, and a stand-in for the reader's machine.

A block's title states its purpose; it follows the language, ```sh title="Shows", or in a bold line above the
block, where pages are read without the site, too. The output shown in a block is a pattern: `…` is any text.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..support.nats_nodes import free_ports, nats_server
from ..support.script import environment

ROOT = Path(__file__).parents[2]
MODULES = {"client": "rankmux.cli.client", "server": "rankmux.cli.server", "top": "rankmux.cli.top.program"}
_BLOCK = re.compile(
    r"^#+ (?P<section>.*?)$"
    r"|(?:^\*\*(?P<above>[^\n]*)\*\*\n\n)?"
    r"^```(?P<language>\w+)(?: title=\"(?P<title>.*?)\")?\n(?P<text>.*?)^```",
    re.DOTALL | re.MULTILINE,
)
_PORT, _ADMIN_PORT = "7117", "7118"
_CLUSTER_PORTS = ("4221", "4222", "4223", "6221", "6222", "6223", "7121", "7122", "7123")


@dataclass(frozen=True)
class Block:
    """One fenced block; `section` is the heading above it."""

    section: str
    language: str
    title: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of `page` that name their language, in order."""
    section = ""
    for found in _BLOCK.finditer(page.read_text()):
        if found["section"] is not None:
            section = found["section"]
        else:
            yield Block(section, found["language"], found["title"] or found["above"] or "", found["text"])


def patterns(text: str) -> list[re.Pattern[str]]:
    """The pattern of each line in a block of output."""
    lines = [re.escape(line).replace("…", ".*?") for line in text.splitlines() if line.strip(" …")]
    return [re.compile(re.sub(r"(?:\\ )+", r"[ \\t]+", line)) for line in lines]


class Desk:
    """A directory, the programs on the path, and free ports in place of the usual ones."""

    def __init__(self, directory: Path, port: int | None = None) -> None:
        self.directory = directory / "desk"
        self.directory.mkdir()
        others = (_ADMIN_PORT, *_CLUSTER_PORTS)
        free = map(str, free_ports(len(others) + 1))
        self._ports = {_PORT: str(port or next(free)), **dict(zip(others, free, strict=False))}
        programs = directory / "bin"
        programs.mkdir()
        for name in ("client", "server", "top"):
            file = programs / f"rankmux-{name}"
            file.write_text(f'#!/bin/sh\nexec {sys.executable} -m {MODULES[name]} "$@"\n')
            file.chmod(0o700)
        nats = programs / "nats-server"
        nats.write_text(f'#!/bin/sh\nexec {nats_server()} "$@"\n')
        nats.chmod(0o700)
        python = programs / "python3"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o700)
        self.environment = environment(
            RANKMUX_PORT=self._ports[_PORT],
            RANKMUX_LISTEN_PORT=self._ports[_PORT],
            PATH=f"{programs}:{os.environ['PATH']}",
            HOME=self.directory,
        ) | {"PYTHONPATH": str(ROOT)}

    def moved(self, text: str) -> str:
        """`text` with these ports."""
        for usual, ours in self._ports.items():
            text = re.sub(rf"\b{usual}\b", ours, text)
        return text
