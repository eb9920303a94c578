"""Log lines for machines: one JSON object a line, with a stable name for what happened and a key for each fact.

Who logs says the same twice: in words for people, and with `tagged` for machines. docs/logs.md lists all of it, and a
test holds the two together. What was not tagged (of another library in this process) is "message".
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any

__all__ = ["LINE_MAX_BYTES", "JsonFormatter", "tagged"]

LINE_MAX_BYTES = 4000
"""A line at most: below PIPE_BUF, so that a pipe takes it whole or not at all."""


def tagged(event: str, **facts: object) -> dict[str, Any]:
    """What goes into `extra` of a logging call. `event`, `at`, `level` and `text` are not names for facts."""
    return {"event": event, "facts": facts}


class JsonFormatter(logging.Formatter):
    """`at` (UTC), `level`, `event`, `text`, the facts, and `traceback` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """As of Formatter; in ASCII, and never longer than LINE_MAX_BYTES."""
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
        while len(text) > LINE_MAX_BYTES:  # what is longest is cut, until it fits
            key = max(line, key=lambda name: len(json.dumps(line[name], default=str)))
            value = line[key]
            whole = value if isinstance(value, str) else json.dumps(value, default=str)
            line[key] = whole[: len(whole) // 2] + "…"
            text = json.dumps(line, default=str)
        return text


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03}Z"
