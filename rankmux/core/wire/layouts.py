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
    "COMMAND",
    "DONE",
    "DONE_FRAME",
    "DONE_LENGTH",
    "EXECUTE",
    "EXECUTE_FRAME",
    "EXECUTE_LENGTH",
    "HEAD",
    "HELLO",
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
    "TYPE_BYTES",
    "U16",
    "WELCOME",
    "WELCOME_FRAME",
    "WELCOME_LENGTH",
    "WHO",
]

LENGTH_BYTES = 4
TYPE_BYTES = 1

HEAD = Struct("!IB")
"""The length and the type."""

# From clients. HELLO is three numbers and the name; the token and the resume follow, each behind a U16.
HELLO = Struct("!BBB")
U16 = Struct("!H")
COMMAND = Struct("!IBIBI")
RESULT = Struct("!QB")
WHO = Struct("!III")

# From the server. ERROR is a U16 and a text.
WELCOME = Struct("!BQQQIIIIIH")
EXECUTE = Struct("!QIBI")
RANK = Struct("!QIIB")
ACCEPTED = Struct("!IQII")
REFUSED = Struct("!IH")
ROUTED = Struct("!IQIB")
DONE = Struct("!IIIIII")
MEMBERS = Struct("!IQIH")
MEMBER = Struct("!IQIB")
"""One member of MEMBERS up to its name; behind the name come a byte with the address's size and the address."""


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
