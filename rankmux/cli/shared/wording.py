"""What the subcommands say to people, on standard error.

What others sent is shown in a line, shortened, with everything unprintable escaped. It knows no connection.
"""

from __future__ import annotations

import sys
from contextlib import suppress

from ...errors import AuthError, ConnectionLost, RankmuxError, ServerError
from .client_words import shown
from .streams import Unwritable, put

__all__ = ["PROGRAM", "brief", "complain", "counted", "printed", "unwritten", "why"]

PROGRAM = "rankmux-client"
_BRIEF_MAX = 80


def complain(text: str) -> None:
    """A line on standard error, if that takes any: what is done does not depend on who reads about it."""
    with suppress(Unwritable):
        put(sys.stderr, f"{PROGRAM}: {text}\n")


def printed(text: str) -> int:
    """Write `text` on standard output; the exit code."""
    try:
        put(sys.stdout, text)
    except Unwritable as error:
        unwritten(error)
        return 1
    return 0


def unwritten(error: Unwritable) -> None:
    """Say why standard output ends here; who has stopped reading it knows."""
    if not error.reader_gone:
        complain(f"standard output cannot be written: {error}")


def brief(payload: bytes) -> str:
    """The beginning of a command, in a line."""
    text = shown(payload[: _BRIEF_MAX + 1])
    return text if len(text) <= _BRIEF_MAX else text[: _BRIEF_MAX - 1] + "…"


def counted(members: object) -> str:
    """`1 member`, `2 members`."""
    return "1 member" if members == 1 else f"{members} members"


def why(error: RankmuxError) -> str:
    """Why there is no connection, in a line."""
    if isinstance(error, ServerError):
        where = "; --token-file names the one to show" if isinstance(error, AuthError) else ""
        return f"the server ended the connection: {shown(error.text.encode())}{where}"
    return error.reason if isinstance(error, ConnectionLost) else str(error)
