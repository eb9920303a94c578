"""The comparison of the Python clients: rounds with each load once for every library, and the ratios within a round.

Run by `python -m benchmarks.compare clients`.
"""

from __future__ import annotations

import importlib.util
import json
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from benchmarks import build, subjects
from benchmarks.measure import Spread
from benchmarks.process import Pinned, cores
from benchmarks.session import Running, SessionError

__all__ = ["LIBRARIES", "LOADS", "Figures", "missing", "run", "sample", "table", "versions"]

_PATIENCE_S = 120.0
_SENDS = 21


@dataclass(frozen=True)
class Library:
    """A client library: its server, the protocol of the other side, the module that it needs."""

    title: str
    server: str
    needs: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    program: str = ""
    distribution: str = ""

    @property
    def protocol(self) -> str:
        """The protocol of the other side."""
        return subjects.BY_NAME[self.server].protocol


_FAST, _PURE = {"RANKMUX_EXTENSION": "1"}, {"RANKMUX_EXTENSION": "0"}
LIBRARIES = {
    "rankmux": Library("rankmux", "rankmux", environment=_FAST),
    "rankmux-aio": Library("rankmux.aio", "rankmux", environment=_FAST),
    "rankmux-pure": Library("rankmux, pure Python", "rankmux", environment=_PURE, program="rankmux"),
    "rankmux-aio-pure": Library(
        "rankmux.aio, pure Python", "rankmux", environment=_PURE, program="rankmux-aio"
    ),
    "redis": Library("redis-py", "redis", "redis", distribution="redis"),
    "redis-aio": Library("redis-py, asyncio", "redis", "redis", distribution="redis"),
    "nats": Library("nats-py", "nats", "nats", distribution="nats-py"),
}


@dataclass(frozen=True)
class Goal:
    """The goal of a library: the ratio to `beside` in the same round, or an absolute figure."""

    library: str
    figure: str
    limit: float
    beside: str = ""


@dataclass(frozen=True)
class Load:
    """One load: how many messages, the role of the other side, and the goals."""

    what: str
    count: int
    quick: int
    libraries: tuple[str, ...]
    figures: dict[str, str]
    goals: tuple[Goal, ...]
    other: str = ""
    seats: int = 10


_CPU = {"cpu_us": "µs of CPU"}
_OURS = ("rankmux", "rankmux-aio", "rankmux-pure", "rankmux-aio-pure")
LOADS = {
    "receive": Load(
        "receive a command and run a plain function",
        100_000,
        20_000,
        (*_OURS, "redis", "redis-aio", "nats"),
        _CPU,
        (Goal("rankmux", "cpu_us", 0.8, "redis"), Goal("rankmux-aio", "cpu_us", 1.0, "nats")),
        "feeder",
    ),
    "receive-async": Load(
        "receive a command and run a coroutine function",
        100_000,
        20_000,
        ("rankmux-aio", "rankmux-aio-pure", "nats"),
        _CPU,
        (Goal("rankmux-aio", "cpu_us", 1.0, "nats"),),
        "feeder",
    ),
    "request": Load(
        "one command to one worker, and its result: `request()`",
        3000,
        500,
        (*_OURS, "nats"),
        {"cpu_us": "µs of CPU", "p50_us": "p50, µs"},
        tuple(
            Goal(name, figure, 0.9, "nats")
            for name in ("rankmux", "rankmux-aio")
            for figure in ("p50_us", "cpu_us")
        ),
        "answer",
    ),
    "send": Load(
        "send quiet commands, `commands()`",
        100_000,
        20_000,
        (*_OURS, "nats"),
        _CPU,
        (Goal("rankmux", "cpu_us", 1.0, "nats"), Goal("rankmux-aio", "cpu_us", 1.0, "nats")),
        "sink",
    ),
    "send-each": Load(
        "send a quiet command, a call each",
        100_000,
        20_000,
        (*_OURS, "nats"),
        _CPU,
        (),
        "sink",
    ),
    "gather": Load(
        "gather a result from each of the members",
        10_000,
        1000,
        _OURS,
        _CPU,
        (Goal("rankmux", "cpu_us", 3.0), Goal("rankmux-aio", "cpu_us", 3.0)),
        "crew",
        10_010,
    ),
    "idle": Load(
        "an idle client of many in a process",
        10_000,
        1000,
        ("rankmux-aio", "rankmux-aio-pure"),
        {"bytes": "bytes of memory"},
        (Goal("rankmux-aio", "bytes", 12 * 1024),),
        seats=10_500,
    ),
    "program": Load(
        "`rankmux-client send` through a held seat",
        _SENDS,
        5,
        ("rankmux",),
        {"cpu_ms": "ms of CPU", "bare_ms": "ms of CPU of `python -c ''`"},
        (Goal("rankmux", "cpu_ms", 45.0),),
    ),
}


@dataclass
class Figures:
    """The measured values, by load, library and figure, one for each round."""

    values: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)

    def note(self, load: str, library: str, figures: dict[str, float]) -> None:
        """Add one round."""
        of_library = self.values.setdefault(load, {}).setdefault(library, {})
        for figure, value in figures.items():
            of_library.setdefault(figure, []).append(value)

    def of(self, load: str, library: str, figure: str) -> list[float]:
        """The values, one for each round."""
        return self.values.get(load, {}).get(library, {}).get(figure, [])

    def ratios(self, load: str, goal: Goal) -> list[float]:
        """The values that a goal limits: the ratio within each round, or the figure."""
        ours = self.of(load, goal.library, goal.figure)
        if not goal.beside:
            return ours
        return [
            one / other for one, other in zip(ours, self.of(load, goal.beside, goal.figure), strict=False)
        ]


def missing(name: str) -> str | None:
    """The reason why a library cannot be measured here, or None."""
    library = LIBRARIES[name]
    if library.needs and importlib.util.find_spec(library.needs) is None:
        return f"the Python module {library.needs} is not installed"
    return subjects.BY_NAME[library.server].missing()


def versions(names: Sequence[str]) -> dict[str, str]:
    """The version of each library and its server, by the title of the library."""
    found = {}
    for name in names:
        library = LIBRARIES[name]
        own = [f"{library.needs} {version(library.distribution)}"] if library.needs else []
        found[library.title] = ", ".join([*own, subjects.BY_NAME[library.server].version()])
    return found


class _Program(Pinned):
    """A program of `benchmarks.clients` on one core."""

    def __init__(self, module: str, arguments: Sequence[object], core: int, library: Library) -> None:
        super().__init__(
            [sys.executable, "-m", f"benchmarks.clients.{module}", *map(str, arguments)],
            core,
            environment=library.environment,
            directory=build.ROOT,
            stdin=subprocess.PIPE,
        )

    def line(self, what: str) -> str:
        """The next line of its output; raises SessionError if there is none."""
        stdout = self.process.stdout
        assert stdout is not None
        ready, _, _ = select.select([stdout], [], [], _PATIENCE_S)
        line = stdout.readline().decode().strip() if ready else ""
        if not line:
            raise SessionError(f"{self.process.args}: no {what}")
        return line

    def go(self) -> None:
        """Start it."""
        stdin = self.process.stdin
        assert stdin is not None
        stdin.write(b"go\n")
        stdin.flush()


def sample(name: str, load: str, count: int) -> dict[str, float]:
    """One run of a load with one library."""
    library, plan = LIBRARIES[name], LOADS[load]
    program = library.program or name
    where = cores()
    with ExitStack() as stack:
        server = stack.enter_context(Running(subjects.BY_NAME[library.server], plan.seats))
        if load == "program":
            return _sends(server.port, count)

        def measured() -> _Program:
            begun = _Program("measured", [program, load, server.port, count], where.load, library)
            stack.enter_context(begun)
            begun.line("'ready'")
            return begun

        def other(role: str) -> _Program:
            arguments = [role, library.protocol, server.port, count]
            begun = _Program("others", arguments, where.server, library)
            stack.enter_context(begun)
            begun.line("'ready'")
            return begun

        match plan.other:
            case "feeder":
                feeder = other("feeder")  # the first to connect
                ours = measured()
                feeder.go()
            case "answer":
                ours = measured()
                answer = _Program("measured", [program, "answer", server.port, count], where.server, library)
                stack.enter_context(answer).line("'ready'")
                ours.go()
            case "":
                ours = measured()
            case role:
                ours = measured()
                other(role)
                ours.go()
        figures: dict[str, float] = json.loads(ours.line("figures"))
        return figures


def _sends(port: int, count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="rankmux-bench-") as directory:
        seat = str(Path(directory) / "seat")
        client = [sys.executable, "-P", "-m", "rankmux", "client"]
        address = ["--host", "127.0.0.1", "--port", str(port)]
        with Pinned([*client, "hold", *address, "--seat", seat], cores().server, stderr=subprocess.DEVNULL):
            deadline_s = time.monotonic() + _PATIENCE_S
            while not Path(seat).exists() and time.monotonic() < deadline_s:
                time.sleep(0.05)
            send = [*client, "send", "--seat", seat, "hello"]
            bare = [sys.executable, "-P", "-c", ""]
            ours, theirs = zip(*((_cpu_ms(send), _cpu_ms(bare)) for _ in range(count)), strict=True)
    return {"cpu_ms": Spread.of(ours).median, "bare_ms": Spread.of(theirs).median}


def _cpu_ms(command: Sequence[str]) -> float:
    def used_s() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before_s = used_s()
    subprocess.run(command, check=False, capture_output=True)
    return 1e3 * (used_s() - before_s)


def run(
    loads: Sequence[str], libraries: Sequence[str], rounds: int, *, quick: bool, loud: bool = True
) -> Figures:
    """Measure; libraries alternate within a round, in reverse order in every second round."""
    figures = Figures()
    for load in loads:
        plan = LOADS[load]
        names = [name for name in plan.libraries if name in libraries]
        for number in range(rounds):
            for name in names if number % 2 == 0 else reversed(names):
                found = sample(name, load, plan.quick if quick else plan.count)
                figures.note(load, name, found)
                if loud:
                    shown = ", ".join(f"{value:.4g} {figure}" for figure, value in found.items())
                    print(f"{load} {number + 1}/{rounds} {name}: {shown}", file=sys.stderr)
    return figures


def table(figures: Figures) -> str:
    """Both tables in Markdown: the cost with each library, and the goals."""
    rows = [
        f"| {LOADS[load].what} | {unit} | {LIBRARIES[name].title} | {_spread(values)} |"
        for load, of_load in figures.values.items()
        for figure, unit in LOADS[load].figures.items()
        for name in of_load
        if (values := figures.of(load, name, figure))
    ]
    goals = [
        f"| {LOADS[load].what} | {LOADS[load].figures[goal.figure]} | {LIBRARIES[goal.library].title} | "
        f"{LIBRARIES[goal.beside].title if goal.beside else '-'} | ≤ {goal.limit:,g} | {_spread(ratios)} |"
        for load in figures.values
        for goal in LOADS[load].goals
        if (ratios := figures.ratios(load, goal))
    ]
    return "\n".join(
        [
            "| load | unit | client | cost |",
            "| --- | --- | --- | ---: |",
            *rows,
            "",
            "| load | figure | client | beside | goal | reached |",
            "| --- | --- | --- | --- | ---: | ---: |",
            *goals,
        ]
    )


def _spread(values: Sequence[float]) -> str:
    spread = Spread.of(values)
    return f"**{spread.median:,.3g}** ({spread.least:,.3g} - {spread.greatest:,.3g})"
