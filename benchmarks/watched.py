"""The cost of the admin page: CPU per delivery and the p99 of a turn, with no page open and with ten.

One server on one core holds all members; the load and the pages have the other core. Each page sends the requests of
the real one, once a second, for its visible rows, and no two pages show the same rows, so that they share no work.
Runs without and with pages alternate (ABBA), so that drift of the machine affects both.

    python -m benchmarks.watched
    python -m benchmarks.watched --members 1000 --pages 10 --bursts 1,64 --pairs 6 --seconds 3
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import machine, subjects
from benchmarks.measure import Spread
from benchmarks.process import cores
from benchmarks.session import Session, SessionError

EVERY_S = 1.0  # as rankmux/server/admin/page.html does
ROWS = 36  # the rows of a wide window, with its margins
PATIENCE_S = 10.0
WARM_UP_S = 0.5
_BUCKET = re.compile(r'^rankmux_turn_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True)
class Sample:
    """One run: the server's CPU time per delivery, its turns, and how long the slowest rounds took for the load."""

    cpu_us: float
    turn_p99_ms: float
    round_p99_ms: float


class Pages:
    """Open pages, each a thread of this process on the load's core. A context manager."""

    def __init__(self, port: int, count: int) -> None:
        self.answers = [0] * count
        self._port = port
        self._failure: BaseException | None = None
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=self._look, args=(n,)) for n in range(count)]

    def __enter__(self) -> Pages:
        for thread in self._threads:
            thread.start()
        deadline = time.monotonic() + PATIENCE_S
        while not all(self.answers):
            if self._failure or time.monotonic() > deadline:
                self._close()
                raise SessionError(f"the pages get no answer: {self._failure}")
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        if self._failure:
            raise SessionError(f"a page got no answer: {self._failure}")

    def _close(self) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join()

    def _look(self, number: int) -> None:
        os.sched_setaffinity(0, {cores().load})  # only this thread
        self._closing.wait(EVERY_S * number / len(self._threads))
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        happened = closed = 0
        try:
            while not self._closing.is_set():
                where = f"first={number * ROWS}&count={ROWS}&sort=rank"
                connection.request("GET", f"/live.json?{where}&after={happened}&closed_after={closed}")
                news = json.loads(connection.getresponse().read())
                happened, closed = news["happened"], news["closed"]
                self.answers[number] += 1
                self._closing.wait(EVERY_S)
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            self._failure = error
        finally:
            connection.close()


def turns(port: int) -> dict[float, float]:
    """The cumulative histogram of turn times since the start."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return {float(bound): float(count) for bound, count in _BUCKET.findall(text)}


def quantile_s(before: dict[float, float], after: dict[float, float], share: float) -> float:
    """The quantile between two readings of a histogram, interpolated within a bucket (as in Prometheus)."""
    counts = {bound: after[bound] - before[bound] for bound in after}
    wanted = share * max(counts.values())
    low = below = 0.0
    for bound, count in counts.items():
        if count >= wanted:
            return low if bound == float("inf") else low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, count
    raise ValueError("a histogram has a bucket for everything")


def sample(session: Session, port: int, pages: int, burst: int, seconds: float) -> Sample:
    """One run with `pages` pages."""
    with Pages(port, pages):
        session.ask(f"fanout {burst} {WARM_UP_S}")
        before = turns(port)
        measured = session.measure(f"fanout {burst} {seconds}")
        after = turns(port)
    return Sample(
        1e6 * measured.cpu_s / measured.units, 1e3 * quantile_s(before, after, 0.99), measured.p99_us / 1e3
    )


def show(burst: int, pages: int, pairs: Sequence[tuple[Sample, Sample]]) -> None:
    """A table of medians with lowest and highest; the last column is the median of the pairs' ratios."""
    print(f"\nbursts of {burst}, {len(pairs)} pairs: median (least - greatest)\n")
    print(f"{'':<24}{'no page':>30}{f'{pages} pages':>30}{'ratio':>24}")
    for title, key in (
        ("CPU per delivery, µs", "cpu_us"),
        ("turn p99, ms", "turn_p99_ms"),
        ("round p99 (load), ms", "round_p99_ms"),
    ):
        without = [float(getattr(one, key)) for one, _ in pairs]
        with_ = [float(getattr(other, key)) for _, other in pairs]
        ratios = [b / a for a, b in zip(without, with_, strict=True)]
        cells = [_cell(values, ".3g") for values in (without, with_)]
        print(f"{title:<24}{cells[0]:>30}{cells[1]:>30}{_cell(ratios, '.3f'):>24}")


def _cell(values: Sequence[float], form: str) -> str:
    spread = Spread.of(values)
    return f"{spread.median:{form}} ({spread.least:{form}} - {spread.greatest:{form}})"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.watched", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--bursts", default="1,64", help="burst sizes, separated by commas")
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of each run")
    parser.add_argument("--subject", choices=["rankmux", "rankmux-pure"], default="rankmux")
    asked = parser.parse_args(argv)
    subject = subjects.BY_NAME[asked.subject]
    if reason := subject.missing():
        print(f"{subject.title}: {reason}", file=sys.stderr)
        return 1
    print("; ".join(f"{name} {value}" for name, value in machine.facts().items()))
    print(subject.version())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    try:
        with Session(subject, asked.members, ["--admin", str(port)]) as session:
            session.ask(f"open {asked.members}")
            for burst in map(int, asked.bursts.split(",")):
                pairs: list[tuple[Sample, Sample]] = []
                for number in range(asked.pairs):
                    counts = (0, asked.pages) if number % 2 == 0 else (asked.pages, 0)
                    found = {count: sample(session, port, count, burst, asked.seconds) for count in counts}
                    pairs.append((found[0], found[asked.pages]))
                show(burst, asked.pages, pairs)
    except SessionError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
