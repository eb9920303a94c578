"""The log lines of both clients, all to the logger `rankmux.client`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable

from ..core.client.events import ExecuteReceived
from ..core.client.received import Rejected
from ..errors import CommandRefused

__all__ = [
    "report_callback_failure",
    "report_expired",
    "report_failure",
    "report_lateness",
    "report_no_more_events",
    "report_refusals",
    "report_turned_away",
    "report_unsent",
]

log = logging.getLogger("rankmux.client")


def report_failure(command: ExecuteReceived, error: BaseException, took_s: float) -> None:
    """A handler raised `error` after `took_s` seconds; `Rejected` is an answer, not a failure."""
    if not isinstance(error, Rejected):
        log.error(
            "the handler failed for command %d of rank %d", command.seq, command.sender_rank, exc_info=error
        )
    if command.ttl_ms and took_s * 1000 > command.ttl_ms:
        report_lateness(command, took_s)


def report_lateness(command: ExecuteReceived, took_s: float) -> None:
    """A handler finished after its command had expired."""
    log.warning(
        "the handler took %.1f s for command %d, which expired after %.1f s: its answer came too late",
        took_s,
        command.seq,
        command.ttl_ms / 1000,
    )


def report_expired(command: ExecuteReceived) -> None:
    """A command expired before its turn came, and was not run."""
    log.warning("command %d was not run: it waited here until it expired", command.seq)


def report_unsent(command: ExecuteReceived, error: Exception) -> None:
    """The result of a command could not be sent."""
    log.warning("the result of command %d was not sent: %s", command.seq, error)


def report_refusals(refusals: Iterable[CommandRefused]) -> None:
    """The server refused quiet commands that nobody waits for; a line for all that were refused alike."""
    for text, count in Counter(map(str, refusals)).items():
        log.warning("%s: %s", "a quiet command" if count == 1 else f"{count} quiet commands", text)


def report_turned_away(count: int) -> None:
    """Commands came that the inbox could not keep."""
    log.warning("%d commands were turned away: too many wait, and nothing runs them", count)


def report_no_more_events(error: Exception) -> None:
    """The callbacks of an asyncio client end, as its connection was lost for good."""
    log.debug("no more events: %s", error)


def report_callback_failure(error: Exception) -> None:
    """A callback of the user raised `error`."""
    log.error("a callback failed", exc_info=error)
