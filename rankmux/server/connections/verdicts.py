"""Verdicts on connections: returned by the code that finds something out, acted on in `registry` alone."""

from __future__ import annotations

from typing import NamedTuple

from .closes import CloseReason

__all__ = ["Broken", "End", "Failed", "Verdict"]


class End(NamedTuple):
    """Its life ends for this reason. It still gets the bytes that it is owed, and an ERROR if the reason has one.

    `input_ended`: the peer's end of stream was read.
    """

    reason: CloseReason
    detail: str = ""
    input_ended: bool = False


class Broken(NamedTuple):
    """It takes no more bytes: `error` is the errno. Frames that it sent before still count."""

    error: int
    detail: str = ""


class Failed(NamedTuple):
    """Its stream failed with the errno `error`; nothing more goes in or out."""

    error: int
    detail: str = ""


Verdict = End | Broken | Failed | None
"""None: nothing has to happen."""
