"""The scenarios: each runs in a separate session and gives one cost per unit of work.

A cost is the server's CPU time in microseconds per unit, or memory in bytes, or a share; `kind` says which.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from benchmarks.session import Measurement, Session, SessionError
from benchmarks.subjects import Subject

TCP_MEM = Path("/proc/sys/net/ipv4/tcp_mem")
PAGE_SIZE = 4096
EXECUTE_SIZE = 22
SETTLE_S = 0.2

NONREADERS_BYTES = 64_000_000
NONREADERS_PAYLOAD = 1024
# With small receive buffers the kernel's memory is used on the server's side, where it is measured.
NONREADERS_RECEIVE_BUFFER = 4096
SEND_BUFFER_KERNEL_BYTES = 640 << 10


@dataclass(frozen=True)
class Sample:
    """One run of a scenario: its cost, and the figures of the load."""

    cost: float
    p50_us: float = 0.0
    p99_us: float = 0.0
    max_us: float = 0.0
    user_share: float = 0.0
    pings: int = 0


@dataclass(frozen=True)
class Scenario:
    """One load.

    `target`, `pure_target`: the bound of the ratio to bare C, for each twin; None for none.
    `limit`: the absolute bound, in the scenario's unit; None for none.
    `for_all`: servers of other protocols can run it.
    `complete_only`: it needs all of rankmux's protocol.
    `patient`: servers must wait for members that do not read.
    `setting`: prepares the machine for it.
    """

    name: str
    what: str
    unit: str
    members: tuple[int, ...]
    run: Callable[[Session, float], Sample]
    kind: str = "µs"
    target: float | None = None
    pure_target: float | None = None
    limit: float | None = None
    for_all: bool = False
    complete_only: bool = False
    patient: bool = False
    setting: Callable[[], AbstractContextManager[None]] = nullcontext

    def fits(self, subject: Subject) -> bool:
        """Whether `subject` can run the scenario: whether it has the required part of rankmux's protocol."""
        if subject.only and self.name not in subject.only:
            return False
        if self.complete_only and not subject.complete:
            return False
        return self.for_all or subject.protocol == "rankmux"


def _cpu(measured: Measurement) -> Sample:
    """The server's CPU time per unit."""
    return Sample(
        cost=1e6 * measured.cpu_s / measured.units,
        p50_us=measured.p50_us,
        p99_us=measured.p99_us,
        max_us=measured.max_us,
        user_share=measured.user_share,
    )


def _fill(session: Session) -> None:
    session.ask(f"open {session.seats}")
    time.sleep(SETTLE_S)


def _repeated(command: str) -> Callable[[Session, float], Sample]:
    """A scenario that is one command of the load, warmed up first."""

    def run(session: Session, seconds: float) -> Sample:
        _fill(session)
        session.ask(f"{command} {seconds / 3}")
        return _cpu(session.measure(f"{command} {seconds}"))

    return run


def _promote(session: Session, seconds: float) -> Sample:
    _fill(session)
    departures = max(2, min(20, session.seats // 10))
    session.ask(f"promote {max(1, departures // 4)}")
    return _cpu(session.measure(f"promote {departures}"))


def _join(session: Session, seconds: float) -> Sample:
    return _cpu(session.measure(f"open {session.seats}"))


def _memory(session: Session, seconds: float) -> Sample:
    """The cost of a member that has joined, has received a few messages, and is silent."""
    before = session.server.rss_bytes()
    _fill(session)
    session.ask("fanout 16 0")
    time.sleep(SETTLE_S)
    return Sample(cost=(session.server.rss_bytes() - before) / session.seats)


def _idle(session: Session, seconds: float) -> Sample:
    """The run ends before the 10 s of silence after which rankmux pings."""
    _fill(session)
    time.sleep(1.0)
    measured = session.measure("idle 5")
    return Sample(cost=100 * measured.cpu_s / measured.seconds, pings=measured.units)


def _nonreaders(session: Session, seconds: float) -> Sample:
    session.ask(f"open {session.seats} {NONREADERS_RECEIVE_BUFFER}")
    time.sleep(SETTLE_S)
    measured = session.measure(f"nonreaders {NONREADERS_BYTES} {NONREADERS_PAYLOAD}")
    one_copy = measured.units * (NONREADERS_PAYLOAD + EXECUTE_SIZE)
    return Sample(cost=measured.rss_growth_bytes / one_copy)


def _churned(session: Session, seconds: float) -> Sample:
    """Fan-out after ten times as many departures as members."""
    _fill(session)
    for _ in range(11):
        session.ask(f"part {session.seats * 10 // 11}")
        session.ask(f"open {session.seats}")
    session.ask(f"fanout 1 {seconds / 3}")
    return _cpu(session.measure(f"fanout 1 {seconds}"))


@contextmanager
def _room_for_full_send_buffers() -> Iterator[None]:
    """Let the kernel hold 5,000 full send buffers, about 3 GB: more than its usual limit for all of TCP.

    At that limit the kernel drops the sender's data, and only the limit would be measured.
    """
    before = TCP_MEM.read_text()
    needed = 5000 * SEND_BUFFER_KERNEL_BYTES // PAGE_SIZE
    low, pressure, high = (int(pages) for pages in before.split())
    if pressure >= needed:
        yield
        return
    try:
        TCP_MEM.write_text(f"{needed} {needed + 1} {2 * needed}")
    except OSError as refused:
        raise SessionError(
            f"nonreaders needs net.ipv4.tcp_mem of {needed} pages, or root to set it"
        ) from refused
    try:
        yield
    finally:
        TCP_MEM.write_text(f"{low} {pressure} {high}")


def _fan_out(
    burst: int, members: tuple[int, ...], target: float | None = None, pure: float | None = None
) -> Scenario:
    many = "one command per turn" if burst == 1 else f"bursts of {burst}"
    return Scenario(
        f"fanout-{burst}",
        f"fan-out, {many}",
        "delivery",
        members,
        _repeated(f"fanout {burst}"),
        target=target,
        pure_target=pure,
        for_all=True,
    )


SCENARIOS = (
    _fan_out(1, (100, 1000, 10000, 19000), 1.10, 1.25),
    _fan_out(4, (1000,)),
    _fan_out(16, (1000,)),
    _fan_out(64, (1000, 10000), 1.20, 2.0),
    _fan_out(256, (1000,), 1.30),
    Scenario(
        "everyone", "every member sends at once", "delivery", (1000,), _repeated("everyone"), target=1.5
    ),
    Scenario(
        "directed", "directed (ONE), bursts of 64", "command", (1000,), _repeated("directed 64"), target=1.25
    ),
    Scenario(
        "results",
        "ALL with results, every executor answers",
        "result",
        (1000, 10000),
        _repeated("results 1"),
        target=1.25,
        pure_target=3.0,
        complete_only=True,
    ),
    Scenario("promote", "rank 0 leaves", "promotion", (10000,), _promote, target=1.15),
    Scenario("join", "clients join", "join", (10000,), _join, target=1.75, for_all=True),
    Scenario("churned", "fan-out after 10 N departures", "delivery", (1000,), _churned, target=1.10),
    Scenario(
        "memory",
        "memory of an idle member",
        "member",
        (1000, 10000, 19000),
        _memory,
        kind="bytes",
        limit=600.0,
        for_all=True,
    ),
    Scenario("idle", "an idle server", "core", (10000,), _idle, kind="%", limit=0.5, for_all=True),
    Scenario(
        "nonreaders",
        "members that read nothing while 64 MB go out to all",
        "copy of what went out",
        (5000,),
        _nonreaders,
        kind="x",
        limit=1.3,
        complete_only=True,
        patient=True,
        setting=_room_for_full_send_buffers,
    ),
)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def sample(scenario: Scenario, subject: Subject, members: int, seconds: float) -> Sample:
    """Run `scenario` once with `subject` and `members` members."""
    extra = subject.patient if scenario.patient else ()
    with scenario.setting(), Session(subject, members, extra) as session:
        return scenario.run(session, seconds)
