"""Runs of the frames that come in numbers, EXECUTE and ROUTED, taken off a client's stream in one call.

Only what a server that keeps to the protocol sends (PROTOCOL sections 5 and 6): a run ends before the first frame that
is anything else, which is then judged by itself. `runs.pxi` is the compiled twin.
"""

from __future__ import annotations

from ..._twin import twin
from ..wire.codes import ExecuteFlag, FrameType, Status
from ..wire.layouts import EXECUTE, HEAD, LENGTH_BYTES, ROUTED
from .events import ExecuteReceived
from .results import RoutedResult

__all__ = ["ENDS", "STATUSES", "cut_executes", "cut_results"]

STATUSES: dict[int, Status] = {int(status): status for status in Status}
ENDS = len(STATUSES) - 1
"""The number of statuses that end an executor: all but PART, from 0 on."""
_WANTED = int(ExecuteFlag.RESULT_WANTED)


@twin
def cut_executes(
    data: bytearray, cursor: int, max_length: int, rank: int, seq: int, kind: type[ExecuteReceived]
) -> tuple[list[ExecuteReceived], int, int]:
    """The EXECUTEs from `cursor` on that a member of `rank`, which has seen `seq` last, is to run.

    Returns them as `kind`, where they end, and the bytes of their payloads.
    """
    run: list[ExecuteReceived] = []
    size, end = 0, len(data)
    while end - cursor >= HEAD.size:
        length, type_ = HEAD.unpack_from(data, cursor)
        stop = cursor + LENGTH_BYTES + length
        if type_ != FrameType.EXECUTE or not EXECUTE.size < length <= max_length or stop > end:
            break
        at = cursor + HEAD.size
        number, sender_rank, flags, ttl_ms = EXECUTE.unpack_from(data, at)
        if flags & ~_WANTED or number <= seq or sender_rank >= rank:
            break
        seq = number
        payload = bytes(data[at + EXECUTE.size : stop])
        size += len(payload)
        run.append(kind(seq, sender_rank, rank, flags == _WANTED, ttl_ms, payload))
        cursor = stop
    return run, cursor, size


@twin
def cut_results(
    data: bytearray, cursor: int, max_length: int, kind: type[RoutedResult], statuses: dict[int, Status]
) -> tuple[int, list[RoutedResult], list[int], int, int]:
    """The ROUTEDs from `cursor` on that belong to the same command as the first.

    Returns its id, the results as `kind`, how many of them have each of the final statuses, where they end, and the
    bytes of their payloads.
    """
    run: list[RoutedResult] = []
    ends = [0] * ENDS
    id_ = -1
    size, end = 0, len(data)
    while end - cursor >= HEAD.size:
        length, type_ = HEAD.unpack_from(data, cursor)
        stop = cursor + LENGTH_BYTES + length
        if type_ != FrameType.ROUTED or not ROUTED.size < length <= max_length or stop > end:
            break
        at = cursor + HEAD.size
        number, ticket, rank, status = ROUTED.unpack_from(data, at)
        if status not in statuses or (number != id_ and run):
            break
        id_ = number
        if status < ENDS:
            ends[status] += 1
        payload = bytes(data[at + ROUTED.size : stop])
        size += len(payload)
        run.append(kind(rank, ticket, statuses[status], payload))
        cursor = stop
    return id_, run, ends, cursor, size
