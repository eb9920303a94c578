"""A batch as bytes: runs of frames of one member each, results before commands, in their order of arrival.

Each run is u64 ticket · u32 size · whole RESULT or COMMAND frames, so that the loop that reads sockets also decodes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from struct import Struct

from ...errors import SnapshotError

__all__ = ["check_run", "encode", "runs"]

_RUN = Struct("!QI")


def encode(frames: list[tuple[int, bytes, int]]) -> bytes:
    """The bytes of a batch with these frames (`Batch.frames`)."""
    out = bytearray()
    for ticket, run in groupby(frames, key=itemgetter(0)):
        octets = b"".join(frame for _, frame, _ in run)
        out += _RUN.pack(ticket, len(octets)) + octets
    return bytes(out)


def runs(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The runs (ticket, frames) of an encoded batch. Raises SnapshotError at one that is not whole."""
    at = 0
    while at < len(data):
        if len(data) - at < _RUN.size:
            raise SnapshotError("it ends inside the head of a run")
        ticket, size = _RUN.unpack_from(data, at)
        at += _RUN.size
        if len(data) - at < size:
            raise SnapshotError("it ends inside a run")
        yield ticket, data[at : at + size]
        at += size


def check_run(frames: bytes, taken: int, events: Sequence[object]) -> None:
    """Raises SnapshotError unless `Batch.feed` took all of `frames` as commands and results."""
    if events or taken != len(frames):
        raise SnapshotError("a run holds something else than whole commands and results")
