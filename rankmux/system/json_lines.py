"""The log formats: text for people, and JSON, one object per line, with a stable event name and a key for each fact.

A logging call carries a text for people and, through `tagged`, the same facts for machines. docs/logs.md lists the
events, and a test compares it with the code. Records without a tag, from other libraries, have the event "message".
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from .printable import escaped

__all__ = ["LINE_MAX_BYTES", "JsonFormatter", "TextFormatter", "tagged"]

LINE_MAX_BYTES = 4000
"""The maximum length of a line, below PIPE_BUF, so that a pipe takes it whole or not at all."""


def tagged(event: str, **facts: object) -> dict[str, Any]:
    """The `extra` of a logging call. Facts must not be named `event`, `at`, `level` or `text`."""
    return {"event": event, "facts": facts}


class TextFormatter(logging.Formatter):
    """Shows times as ISO 8601 has them: local, with the offset of the time zone.

    A message is one line, and without effect on a terminal: some quote what came over a wire.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """As Formatter.formatMessage; unprintable characters as in a Python literal."""
        return escaped(super().formatMessage(record))

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        """As Formatter.formatTime: `2026-01-31T10:30:00.250+01:00`."""
        local = time.localtime(record.created)
        zone = time.strftime("%z", local)
        milliseconds = int(record.created % 1 * 1000)
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{milliseconds:03}{zone[:3]}:{zone[3:5]}"


class JsonFormatter(logging.Formatter):
    """Formats a record as `at` (UTC), `level`, `event`, `text`, the facts, and `traceback` if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """As Formatter.format; in ASCII, and never longer than LINE_MAX_BYTES."""
        line: dict[str, object] = {
            "at": _moment(record.created),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", "message"),
            "text": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        text = json.dumps(line, default=str)
        while len(text) > LINE_MAX_BYTES:  # halve the longest value until it fits
            key = max(line, key=lambda name: len(json.dumps(line[name], default=str)))
            value = line[key]
            whole = value if isinstance(value, str) else json.dumps(value, default=str)
            line[key] = whole[: len(whole) // 2] + "…"
            text = json.dumps(line, default=str)
        return text


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03}Z"
