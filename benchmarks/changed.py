"""The cost of notifying watchers: CPU per CHANGED delivered, against CPU per EXECUTE in the same burst.

All members watch, and both frames have the same length. The changes are yields, two for each: no other event costs the
server less, and what the yields cost without watchers is subtracted. Runs of both frames alternate (ABBA) in the
same session, so that drift of the machine affects both.

    python -m benchmarks.changed
    python -m benchmarks.changed --members 1000 --bursts 2,64 --pairs 6 --seconds 1
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import machine, subjects
from benchmarks.measure import Spread
from benchmarks.session import Session, SessionError

WARM_UP_S = 0.3
TARGET = 1.2


@dataclass(frozen=True)
class Pair:
    """CPU time per delivery, in µs: of EXECUTE, of CHANGED, and of the same changes without watchers."""

    execute_us: float
    told_us: float
    untold_us: float

    @property
    def changed_us(self) -> float:
        """The cost of the notification alone."""
        return self.told_us - self.untold_us

    @property
    def ratio(self) -> float:
        """CHANGED to EXECUTE."""
        return self.changed_us / self.execute_us


def _cpu_us(session: Session, command: str) -> float:
    measured = session.measure(command)
    return 1e6 * measured.cpu_s / measured.units


def measure(watched: Session, unwatched: Session, burst: int, pairs: int, seconds: float) -> list[Pair]:
    """Pairs of runs with `burst` frames in a turn; the order of the two alternates."""
    execute, change = f"fanout {burst} {seconds}", f"changes {burst} {seconds}"
    for session in (watched, unwatched):
        session.ask(f"fanout {burst} {WARM_UP_S}")
        session.ask(f"changes {burst} {WARM_UP_S}")
    found = []
    for number in range(pairs):
        commands = (execute, change) if number % 2 == 0 else (change, execute)
        cost = {command: _cpu_us(watched, command) for command in commands}
        found.append(Pair(cost[execute], cost[change], _cpu_us(unwatched, change)))
    return found


def open_rooms(watched: Session, unwatched: Session) -> None:
    """Fill both rooms; the members of the first watch."""
    watched.ask("watch")
    for session in (watched, unwatched):
        session.ask(f"open {session.seats}")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns 1 if a median ratio is above the target."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.changed", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--bursts", default="2,64", help="burst sizes, even, separated by commas")
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds of each run")
    parser.add_argument("--subject", choices=["rankmux", "rankmux-pure"], default="rankmux")
    asked = parser.parse_args(argv)
    subject = subjects.BY_NAME[asked.subject]
    if reason := subject.missing():
        print(f"{subject.title}: {reason}", file=sys.stderr)
        return 1
    print("; ".join(f"{name} {value}" for name, value in machine.facts().items()))
    print(subject.version())
    above = False
    try:
        with Session(subject, asked.members) as watched, Session(subject, asked.members) as unwatched:
            open_rooms(watched, unwatched)
            for burst in map(int, asked.bursts.split(",")):
                pairs = measure(watched, unwatched, burst, asked.pairs, asked.seconds)
                ratio = Spread.of([pair.ratio for pair in pairs])
                above = above or ratio.median > TARGET
                print(f"\nbursts of {burst}, {len(pairs)} pairs: µs per delivery, median (least - greatest)")
                for title, values in (
                    ("EXECUTE", [pair.execute_us for pair in pairs]),
                    ("CHANGED", [pair.changed_us for pair in pairs]),
                    ("the changes themselves", [pair.untold_us for pair in pairs]),
                ):
                    spread = Spread.of(values)
                    print(f"{title:<24}{spread.median:.3g} ({spread.least:.3g} - {spread.greatest:.3g})")
                print(
                    f"{'CHANGED / EXECUTE':<24}{ratio.median:.2f} ({ratio.least:.2f} - {ratio.greatest:.2f});"
                    f" at most {TARGET}"
                )
    except SessionError as error:
        print(error, file=sys.stderr)
        return 1
    return int(above)


if __name__ == "__main__":
    sys.exit(main())
