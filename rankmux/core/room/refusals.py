"""The REFUSED frames, with a text that says why (PROTOCOL section 5)."""

from __future__ import annotations

from ..wire.codes import RefusedCode
from ..wire.frames import Refused

__all__ = ["overload", "refusal"]


def refusal(id_: int, code: int, arg: int, members: int, size: int, limit: int) -> bytes:
    """The REFUSED frame for the command `id_` (section 5), with a text that says why."""
    if code == RefusedCode.NO_TARGET:
        text = "nobody is below you"
    elif code == RefusedCode.NOT_LOWER:
        text = f"rank {arg} is not below you"
    elif code == RefusedCode.NO_SUCH_RANK:
        text = f"there is no rank {arg}, the last one is {members - 1}"
    elif code == RefusedCode.BUSY:
        text = f"{limit} commands of yours wait for results, no more may"
    elif code == RefusedCode.DUPLICATE:
        text = f"a command with id {id_} waits for results already"
    else:
        text = f"the payload is {size} bytes, at most {limit} are allowed"
    return Refused(id_, code, text).encode()


def overload(id_: int, limit: int) -> bytes:
    """The REFUSED frame for the command `id_` when the whole room waits for too many results."""
    return Refused(id_, RefusedCode.BUSY, f"{limit} results are waited for in all, no more may be").encode()
