"""`rankmux-server status`: what a running server does, as a few lines or as JSON.

Exit codes: 0 printed, 2 wrong usage, 5 no answer.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

from .shared.operating import WHERE, Gone, ask, operating_parser, say, unexpected

__all__ = ["main", "parser", "summary"]

_PROGRAM = "rankmux-server status"
_OK = 200

_EPILOG = f"""\
{WHERE}

examples:
  rankmux-server status
  rankmux-server status --json | jq .members

exit codes:
  0  printed
  1  standard output cannot be written
  2  usage, or no Unix socket is configured
  5  no answer: the server is not running, or the socket is not yours to open
"""


def main(argv: list[str]) -> int:
    """Print the status; the exit code."""
    arguments = parser().parse_args(argv)
    try:
        status, text = ask(_PROGRAM, arguments, "GET", "/live.json?closed_after=999999999999999")
    except Gone as gone:
        return gone.code
    try:
        totals = json.loads(text)["totals"]
        lines = [json.dumps(totals)] if arguments.json else list(summary(totals))
    except (ValueError, KeyError, TypeError):
        return unexpected(_PROGRAM, arguments, status, text[:200])
    return say(_PROGRAM, *lines)


def parser() -> argparse.ArgumentParser:
    """Its flags."""
    parser = operating_parser("status", "Prints what a running server does.", _EPILOG)
    parser.add_argument("--json", action="store_true", help="print all figures, as one JSON object")
    return parser


def summary(totals: Mapping[str, Any]) -> Iterator[str]:
    """The lines for people."""
    where = totals["where"]
    server = f", server {totals['server']} of {', '.join(totals['servers'])}" if totals["server"] else ""
    yield f"{totals['state']} on {where} for {_span(totals['uptime_s'])}, rankmux {totals['version']}{server}"
    absent = f", {totals['absent']} of them absent" if totals["absent"] else ""
    yield f"members: {totals['members']} of {totals['seats']} seats{absent}; observers: {totals['observers']}"
    yield (
        f"since the start: {totals['joins']} joined, {totals['commands']} commands, "
        f"{totals['deliveries']} deliveries, {totals['refused']} refused"
    )
    yield (
        f"now: {totals['waiting']} commands wait for results, {totals['queued_bytes']} bytes are queued, "
        f"{totals['paced']} senders are paced"
    )
    closed = ", ".join(f"{reason} {count}" for reason, count in totals["closed"].items())
    yield f"connections closed: {closed or 'none'}"


def _span(seconds: float) -> str:
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if minutes < 2:
        return f"{int(seconds)} s"
    if hours < 2:
        return f"{minutes} min"
    return f"{hours} h" if hours < 48 else f"{hours // 24} days"
