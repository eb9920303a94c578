"""Makes the picture of the README: a server and three clients in real terminals (tmux), drawn by rich.

python docs/img/terminals.py

It comes twice: terminals.svg has two terminals side by side, terminals-narrow.svg is for telephones.
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
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

FOLDER = Path(__file__).parent
PROGRAMS = Path(sys.executable).parent
TMUX = ["tmux", "-L", "rankmux-picture", "-f", "/dev/null"]
COLUMNS, ROWS = 120, 20
SHOWN_COLUMNS = 40  # of those; as many as a telephone shows legibly. Longer lines are broken between words.
PATIENCE_S = 20.0


def tmux(*arguments: str) -> str:
    return subprocess.run([*TMUX, *arguments], check=True, capture_output=True, text=True).stdout


class Terminal:
    def __init__(self, name: str, columns: int, rows: int, port: int) -> None:
        self.name = name
        settings = f"RANKMUX_PORT={port}"
        if name == "server":  # short tickets: those of a clock are 16 digits long
            settings = f"RANKMUX_LISTEN_PORT={port} RANKMUX_FIRST_TICKET=1"
        shell = f"env PS1='$ ' PATH={PROGRAMS}:$PATH {settings} sh"
        tmux("new-session", "-d", "-s", name, "-x", str(columns), "-y", str(rows), shell)
        self.until(r"^\$")

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

    def shown(self, port: int) -> Text:
        text = self.text("-e").replace(str(port), "7117").rstrip("\n")
        # The time of day says nothing here, and would make each picture another one.
        return Text.from_ansi(re.sub(r"\d{4}-\d\d-\d\d[T ][\d:,.+-]+Z? INFO ", "", text))


def play(port: int) -> dict[str, Text]:
    """What each terminal shows at the end."""
    server = Terminal("server", COLUMNS, ROWS, port)
    server.type("rankmux-server -n 10", "^listening")
    names = ("ada", "bob", "cyd")
    clients = {name: Terminal(name, COLUMNS, ROWS, port) for name in names}
    for rank, name in enumerate(names):
        clients[name].type(f"rankmux-client --name {name}", f"^You are rank {rank}")
    ada, bob, cyd = clients.values()
    for rank, client in enumerate(clients.values()):
        client.until(f"^rank {rank} of 3")
    ada.type("reload", "^2 ok")
    bob.type("print", "^1 ok")
    cyd.type("@0 debug", "^Refused")
    tmux("send-keys", "-t", "ada", "C-d")
    for client, rank in ((bob, 0), (cyd, 1)):
        client.until(f"^You are rank {rank} now")
    server.until("ranking: 0 bob, 1 cyd")
    ada.until(r"^\$ $|\$\Z")
    return {"the server": server.shown(port), **{name: clients[name].shown(port) for name in names}}


def drawn(texts: dict[str, Text], beside: int) -> str:
    """The picture, with so many terminals side by side."""
    width = SHOWN_COLUMNS + 4
    console = Console(record=True, width=beside * width, file=io.StringIO())
    grid = Table.grid(padding=0)
    titles = list(texts)
    for row in (titles[at : at + beside] for at in range(0, len(titles), beside)):
        height = max(len(texts[title].wrap(console, SHOWN_COLUMNS)) for title in row) + 2
        grid.add_row(
            *(
                Panel(texts[title], title=title, title_align="left", height=height, width=width)
                for title in row
            )
        )
    console.print(grid)
    own_fonts = re.sub(
        r"@font-face \{\{.*?\n    \}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL
    )  # no foreign host
    frame = own_fonts.replace("Fira Code", "ui-monospace, Menlo, Consolas")
    return console.export_svg(title="rankmux", code_format=frame, unique_id="terminals")


def stop() -> None:
    """End the server first: tmux says SIGHUP to what runs in it, and to the server that means to reload."""
    deadline = time.monotonic() + PATIENCE_S
    with suppress(subprocess.CalledProcessError):
        tmux("send-keys", "-t", "server", "C-c")
        while (
            "stopped cleanly" not in tmux("capture-pane", "-p", "-t", "server")
            and time.monotonic() < deadline
        ):
            time.sleep(0.05)
    subprocess.run([*TMUX, "kill-server"], check=False, capture_output=True)


def main() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    try:
        texts = play(port)
    finally:
        stop()
    for name, beside in (("terminals.svg", 2), ("terminals-narrow.svg", 1)):
        (FOLDER / name).write_text(drawn(texts, beside))


if __name__ == "__main__":
    main()
