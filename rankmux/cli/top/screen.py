"""The screen of `rankmux-top`: four lines of numbers, a table of members, a line of keys. Knows no connection.

Needs `rich` (the extra `rankmux[top]`). Data from peers is shown as text, never read as markup;
`endpoint` has escaped it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .view import View

__all__ = ["Screen"]

_KEYS = "r l u a t sort  R reverse  / find  x throw out  q quit"
_COLUMNS = (
    ("rank", "rank"),
    ("name", ""),
    ("load", "load"),
    ("queue", "queue"),
    ("age", "age"),
    ("silent", "activity"),
)
_WIDE = 90  # from this many columns on, addresses and tickets are shown
_NARROW = 60  # with fewer columns, age and silence are shown only when sorted by, to leave room for names


class Screen:
    """Draws the last answer.

    `members`  how many there are
    `found`    how many of them are looked for: all, unless the view finds some
    `rows`     those in the answer
    `note`     what to show instead of the keys
    """

    def __init__(self, where: str) -> None:
        self.members = self.found = 0
        self.rows: list[dict[str, Any]] = []
        self.note = ""
        self._where = where
        self._console = Console(highlight=False)
        self._now: dict[str, Any] | None = None
        self._before: dict[str, Any] | None = None
        self._first = 0
        self._trouble = self._hint = ""

    def take(self, news: dict[str, Any]) -> None:
        """Take an answer of the endpoint."""
        totals = news["totals"]
        same = self._now is not None and self._now["instance"] == totals["instance"]
        self._before = self._now if same and not self._trouble else None
        self._now, self.rows, self._first = totals, news["members"], news["first"]
        self.members, self.found = totals["members"], news["found"]
        self._trouble = self._hint = ""

    def lost(self, why: str, hint: str) -> None:
        """Note that the endpoint did not answer, and what may help."""
        self._trouble, self._hint = why, hint

    def print(self, view: View) -> None:
        """Print the members once, to a terminal or a file."""
        self._console.print(self._head(), self._table(view, len(self.rows)))

    @contextmanager
    def live(self) -> Iterator[Callable[[RenderableType], None]]:
        """Use the terminal's alternate screen until the end."""
        with Live(console=self._console, screen=True, auto_refresh=False) as live:
            yield lambda drawn: live.update(drawn, refresh=True)

    def draw(self, view: View, rows: int) -> RenderableType:
        """The whole screen, with at most `rows` members."""
        bottom = Text(no_wrap=True, overflow="ellipsis")
        if self.note:
            bottom.append(self.note, "bold")
        else:
            if position := view.position(min(rows, len(self.rows)), self.found):
                bottom.append(f"{position}  ", "bold")
            bottom.append(_KEYS, "dim")
        if self._now is None and self._hint:
            return Group(self._head(), Text(f"{self._hint}\n"), bottom)
        return Group(self._head(), self._table(view, rows), bottom)

    def _head(self) -> Text:
        now = self._now
        head = Text(no_wrap=True, overflow="ellipsis")
        head.append("rankmux ", "bold")
        head.append(self._where.rstrip("/"), "dim")
        if self._trouble:
            head.append(f"  no answer: {self._trouble}", "bold red")
        elif now is not None:
            if now["server"]:
                head.append(f"  {now['server']} of {', '.join(now['servers'])}")
            head.append(f"  {now['state']}", "green" if now["ready"] else "yellow")
            head.append(f"  up {_span(now['uptime_s'])}  version {now['version']}", "dim")
        if now is None:
            return head.append("\n\n\n" if not self._hint else "\n")
        before, elapsed = self._before, now["at"] - self._before["at"] if self._before else 0.0

        def rate(key: str) -> str:
            return _count((now[key] - before[key]) / elapsed) if before and elapsed > 0 else "-"

        busy = (
            f"{100 * (now['turn_s'] - before['turn_s']) / elapsed:.0f} %" if before and elapsed > 0 else "-"
        )
        results = now["results"]
        ok = results.get("ok", 0)
        head.append(f"\n{now['members']} of {now['seats']} seats", "bold")
        head.append(f"   commands/s {rate('commands')}   deliveries/s {rate('deliveries')}   busy {busy}")
        head.append(f"   refused {_count(now['refused'])}")
        head.append(f"\nqueued {_bytes(now['queued_bytes'])} (longest {_bytes(now['queued_bytes_max'])})")
        head.append(f"   held back {now['paced']}", "yellow" if now["paced"] else "")
        closed = "  ".join(f"{reason} {_count(count)}" for reason, count in now["closed"].items()) or "none"
        head.append(f"   joined {_count(now['joins'])}   waiting {_count(now['waiting'])}")
        head.append(f"\nresults {_count(ok)} ok, {_count(sum(results.values()) - ok)} failed or ended early")
        if now["absent"]:
            head.append(f"   absent {_count(now['absent'])}", "yellow")
        if now["observers"]:
            head.append(f"   observers {_count(now['observers'])}")
        return head.append(f"   closed: {closed}")

    def _table(self, view: View, rows: int) -> Table:
        sort = view.sort
        wide, narrow = self._console.width >= _WIDE, self._console.width < _NARROW
        table = Table(box=box.SIMPLE_HEAD, expand=True, padding=(0, 0 if narrow else 1), show_edge=False)
        left_out = {"age", "activity"} - {sort} if narrow else set()
        for title, key in _COLUMNS:
            if key in left_out:
                continue
            style = "bold cyan" if key == sort else "dim"
            mark = "" if key != sort else " ▴" if view.reverse else " ▾"
            left = title == "name"
            table.add_column(
                title + mark,
                header_style=style,
                justify="left" if left else "right",
                no_wrap=True,
                ratio=1 if left else None,
            )
            if left and wide:
                table.add_column("address", header_style="dim", no_wrap=True)
                table.add_column("ticket", header_style="dim", justify="right", no_wrap=True)
        if self._now is not None and not self.found:
            table.add_row("", Text("nobody found" if self.members else "no members", "dim"))
        server = self._now["server"] if self._now is not None else ""
        for row in self.rows[:rows]:
            more = (Text(row["address"], "dim"), Text(str(row["ticket"]), "dim")) if wide else ()
            queue = _bytes(row["queued_bytes"]) if row["queued_bytes"] else "-"
            absent = row["state"] == "absent"
            elsewhere = server and not row["address"].endswith(f"@{server}")  # only that server knows
            times = {
                "age": "-" if absent or elsewhere else _span(row["age_s"]),
                "activity": _span(row["absent_s"]) if absent else "-" if elsewhere else _span(row["idle_s"]),
            }
            name = Text(overflow="ellipsis")
            if absent:  # in front: a long name is cut at its end
                name.append(f"absent, kept for {_span(row['kept_s'])}  ", "yellow")
            name.append(row["name"] or "(no name)", "dim" if absent else "")
            table.add_row(
                Text(str(row["rank"]), "bold"),
                name,
                *more,
                Text(str(row["load"])),
                Text(queue, "yellow" if row["paced"] else ""),
                *(Text(time) for key, time in times.items() if key not in left_out),
            )
        return table


def _count(number: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            return f"{number / (size if letter != 'k' else 1e3):.3g} {letter}"
    return f"{number:.0f}"


def _bytes(number: int) -> str:
    for size, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} B"


def _span(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
