"""The texts of refused commands, in one place for both twins (PROTOCOL section 5)."""

from __future__ import annotations

from ..wire.codes import FrameType, RefusedCode, Target
from ..wire.layouts import REFUSED_FRAME, REFUSED_LENGTH

__all__ = ["no_successor", "overload", "refusal"]

# Plain numbers: a flood of commands that are refused runs through here.
_REFUSED_TYPE = int(FrameType.REFUSED)
_ONE, _NEXT, _SET = int(Target.ONE), int(Target.NEXT), int(Target.SET)
_NO_TARGET, _NOT_LOWER, _NO_SUCH_RANK, _BUSY, _DUPLICATE, _ABSENT, _NOT_FIRST = map(
    int,
    (
        RefusedCode.NO_TARGET,
        RefusedCode.NOT_LOWER,
        RefusedCode.NO_SUCH_RANK,
        RefusedCode.BUSY,
        RefusedCode.DUPLICATE,
        RefusedCode.ABSENT,
        RefusedCode.NOT_FIRST,
    ),
)


def refusal(id_: int, code: int, target: int, arg: int, members: int, size: int, limit: int) -> bytes:
    """The REFUSED frame for the command `id_` (section 5), with a text that says why."""
    if code == _NO_TARGET:
        text = "no ticket in the set holds a seat" if target == _SET else "nobody is below you"
    elif code == _NOT_LOWER:
        text = "no member of the set is below you" if target == _SET else f"rank {arg} is not below you"
    elif code == _NO_SUCH_RANK:
        text = f"there is no rank {arg}, the last one is {members - 1}"
    elif code == _BUSY:
        text = f"{limit} commands of yours wait for results, no more may"
    elif code == _DUPLICATE:
        text = f"a command with id {id_} waits for results already"
    elif code == _ABSENT:
        text = _absence(target, arg)
    elif code == _NOT_FIRST:
        text = "only the member with rank 0 may write the baton"
    else:
        text = f"the payload is {size} bytes, at most {limit} are allowed"
    return _frame(id_, code, text)


def _absence(target: int, arg: int) -> str:
    if target == _ONE:
        return f"the member with rank {arg} is absent"
    if target == _NEXT:
        return "the member directly below you is absent"
    if target == _SET:
        return "the members of the set that are below you are absent"
    return "everybody below you is absent"


def overload(id_: int, limit: int) -> bytes:
    """The REFUSED frame for the command `id_` when the whole room waits for too many results."""
    return _frame(id_, _BUSY, f"{limit} results are waited for in all, no more may be")


def _frame(id_: int, code: int, text: str) -> bytes:
    raw = text.encode()
    return REFUSED_FRAME.pack(REFUSED_LENGTH + len(raw), _REFUSED_TYPE, id_, code) + raw


def no_successor(id_: int, alone: bool) -> bytes:
    """The REFUSED frame for the YIELD `id_` of a member that has nobody present below it (section 10)."""
    return _frame(id_, _NO_TARGET, "nobody is below you" if alone else "everybody below you is absent")
