"""The layouts of all frames: the fixed part of each body, and with its head for frames that are written in one piece.

A frame's `length` counts the type byte and the body. Payloads and texts behind a fixed part have no layout here.
Both twins, pacing and statistics take the sizes and places of fields from here; the extension checks its sizes.
"""

from __future__ import annotations

from struct import Struct

__all__ = [
    "ACCEPTED",
    "ACCEPTED_FRAME",
    "ACCEPTED_LENGTH",
    "BATON",
    "CHANGED",
    "COMMAND",
    "DONE",
    "DONE_FRAME",
    "DONE_LENGTH",
    "EXECUTE",
    "EXECUTE_FRAME",
    "EXECUTE_LENGTH",
    "HEAD",
    "HELLO",
    "KEEP",
    "LENGTH_BYTES",
    "MEMBER",
    "MEMBERS",
    "MEMBERS_LENGTH",
    "RANK",
    "RANK_FRAME",
    "RANK_LENGTH",
    "REFUSED",
    "REFUSED_FRAME",
    "REFUSED_LENGTH",
    "RESULT",
    "ROUTED",
    "ROUTED_FRAME",
    "ROUTED_LENGTH",
    "STOP",
    "TICKET",
    "TYPE_BYTES",
    "U16",
    "U32",
    "WELCOME",
    "WELCOME_FRAME",
    "WELCOME_KEEP",
    "WELCOME_LENGTH",
    "WHO",
    "YIELDED",
]

LENGTH_BYTES = 4
TYPE_BYTES = 1

HEAD = Struct("!IB")
"""The length and the type."""

# From clients. HELLO is three numbers and the name; the token and the resume follow, each behind a U16.
HELLO = Struct("!BBB")
U16 = Struct("!H")
U32 = Struct("!I")
"""The id of a CANCEL, a YIELD or a BATON to the server."""
KEEP = Struct("!IQ")
"""The resume of HELLO up to its secret: keep_ms, last_seq."""
TICKET = Struct("!Q")
"""One of the tickets in front of the payload of a COMMAND to SET."""
COMMAND = Struct("!IBIBI")
RESULT = Struct("!QB")
WHO = Struct("!III")

# From the server. ERROR is a U16 and a text.
WELCOME = Struct("!BQQQIIIIIH")
WELCOME_KEEP = Struct("!BI")
"""The resume of WELCOME: how (0 new, 1 returned), keep_ms granted."""
EXECUTE = Struct("!QIBI")
RANK = Struct("!QIIB")
ACCEPTED = Struct("!IQIII")
REFUSED = Struct("!IH")
ROUTED = Struct("!IQIB")
DONE = Struct("!IIIIIII")
MEMBERS = Struct("!IQIH")
MEMBER = Struct("!IQIBB")
"""One member of MEMBERS up to its name; behind the name come a byte with the address's size and the address."""

STOP = Struct("!Q")
YIELDED = Struct("!IQQII")
BATON = Struct("!QQ")
CHANGED = Struct("!QBQIIB")
"""CHANGED up to the name."""


def _with_head(body: Struct) -> Struct:
    return Struct(HEAD.format + body.format[1:])


WELCOME_FRAME = _with_head(WELCOME)
EXECUTE_FRAME = _with_head(EXECUTE)
RANK_FRAME = _with_head(RANK)
ACCEPTED_FRAME = _with_head(ACCEPTED)
REFUSED_FRAME = _with_head(REFUSED)
ROUTED_FRAME = _with_head(ROUTED)
DONE_FRAME = _with_head(DONE)

# Their `length`, to which the size of a payload, a text or a list is added.
WELCOME_LENGTH = TYPE_BYTES + WELCOME.size
EXECUTE_LENGTH = TYPE_BYTES + EXECUTE.size
RANK_LENGTH = TYPE_BYTES + RANK.size
ACCEPTED_LENGTH = TYPE_BYTES + ACCEPTED.size
REFUSED_LENGTH = TYPE_BYTES + REFUSED.size
ROUTED_LENGTH = TYPE_BYTES + ROUTED.size
DONE_LENGTH = TYPE_BYTES + DONE.size
MEMBERS_LENGTH = TYPE_BYTES + MEMBERS.size
