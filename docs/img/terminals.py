"""Makes docs/img/terminals.svg: a server and three clients in real terminals (tmux), drawn by rich.

python docs/img/terminals.py
"""

from __future__ import annotations

import io
import re
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

PICTURE = Path(__file__).with_suffix(".svg")
PROGRAMS = Path(sys.executable).parent
TMUX = ["tmux", "-L", "rankmux-picture", "-f", "/dev/null"]
COLUMNS, ROWS = 44, 14
PATIENCE_S = 20.0


def tmux(*arguments: str) -> str:
    return subprocess.run([*TMUX, *arguments], check=True, capture_output=True, text=True).stdout


class Terminal:
    def __init__(self, name: str, columns: int, rows: int, port: int) -> None:
        self.name = name
        shell = f"env PS1='$ ' PATH={PROGRAMS}:$PATH RANKMUX_PORT={port} sh"
        tmux("new-session", "-d", "-s", name, "-x", str(columns), "-y", str(rows), shell)
        self.until("$")

    def text(self, *flags: str) -> str:
        return tmux("capture-pane", "-p", "-t", self.name, *flags)

    def until(self, pattern: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not re.search(pattern, self.text("-J"), re.MULTILINE):
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.name} does not show {pattern!r}:\n{self.text()}")
            time.sleep(0.05)

    def type(self, line: str, shows: str) -> None:
        tmux("send-keys", "-t", self.name, "-l", line)
        tmux("send-keys", "-t", self.name, "Enter")
        self.until(shows)

    def panel(self, title: str, port: int, height: int | None = None) -> Panel:
        shown = self.text("-e").replace(str(port), "7117").rstrip("\n")
        # The time of day says nothing here, and would make each picture another one.
        return Panel(
            Text.from_ansi(re.sub(r"\d{4}-\d\d-\d\d [\d:,]+ INFO ", "", shown)),
            title=title,
            title_align="left",
            height=height,
        )


def play(port: int) -> Console:
    server = Terminal("server", 3 * COLUMNS + 8, 12, port)
    server.type("rankmux-server -n 10", "^listening")
    names = ("ada", "bob", "cyd")
    clients = {name: Terminal(name, COLUMNS, ROWS, port) for name in names}
    for rank, name in enumerate(names):
        clients[name].type(f"rankmux-client --name {name}", f"^Assigned rank: {rank}")
    ada, bob, cyd = clients.values()
    ada.type("reload config", "^Done, 2 ok")
    bob.type("print", "^Done, 1 ok")
    cyd.type("@0 debug", "^Refused")
    tmux("send-keys", "-t", "ada", "C-d")
    for client, rank in ((bob, 0), (cyd, 1)):
        client.until(f"^New rank: {rank}")
    server.until("ranking: 0 bob, 1 cyd")

    below = Table.grid(padding=(0, 0))
    below.add_row(*(clients[name].panel(name, port, ROWS + 2) for name in names))
    console = Console(record=True, width=3 * (COLUMNS + 4), file=io.StringIO())
    console.print(Group(server.panel("the server", port), below))
    return console


def stop() -> None:
    """End the server first: tmux says SIGHUP to what runs in it, and to the server that means to reload."""
    deadline = time.monotonic() + PATIENCE_S
    with suppress(subprocess.CalledProcessError):
        tmux("send-keys", "-t", "server", "C-c")
        while "stopped:" not in tmux("capture-pane", "-p", "-t", "server") and time.monotonic() < deadline:
            time.sleep(0.05)
    subprocess.run([*TMUX, "kill-server"], check=False, capture_output=True)


def main() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    try:
        console = play(port)
    finally:
        stop()
    own_fonts = re.sub(
        r"@font-face \{\{.*?\n    \}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL
    )  # no foreign host
    frame = own_fonts.replace("Fira Code", "ui-monospace, Menlo, Consolas")
    PICTURE.write_text(console.export_svg(title="rankmux", code_format=frame, unique_id="terminals"))


if __name__ == "__main__":
    main()
