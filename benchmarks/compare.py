"""The comparison of rankmux with a bare C loop and the usual alternatives.

    python -m benchmarks.compare                                      everything; writes docs/benchmarks.md
    python -m benchmarks.compare --quick                              the same, shorter and with fewer rounds
    python -m benchmarks.compare --scenario fanout-1 --subjects bare,rankmux --pairs 5
    python -m benchmarks.compare clients                              the Python clients, beside others

With --scenario, --subjects or --members it only prints its tables; --write makes it write the page all the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import build, machine, measure, report, scenarios, subjects
from benchmarks.clients import compare as clients

RESULTS = build.BUILD / "results.json"


@dataclass(frozen=True)
class Plan:
    """The rounds of each cell, and the seconds measured in each run."""

    rounds: int
    seconds: float


FULL = Plan(rounds=5, seconds=1.0)
QUICK = Plan(rounds=3, seconds=0.4)
QUICK_MEMBERS = 10000


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
        return names

    return parse


def _clients(argv: Sequence[str]) -> int:
    """Measure the Python clients, and print their tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare clients", description=clients.__doc__.partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="3 rounds, with fewer messages")
    parser.add_argument("--load", type=_names(list(clients.LOADS)), default=list(clients.LOADS))
    parser.add_argument("--clients", type=_names(list(clients.LIBRARIES)), default=list(clients.LIBRARIES))
    parser.add_argument("--pairs", type=int, help=f"rounds (default: {FULL.rounds})")
    asked = parser.parse_args(argv)
    rounds = asked.pairs or (QUICK if asked.quick else FULL).rounds
    present = []
    for name in asked.clients:
        if reason := clients.missing(name):
            print(f"left out: {clients.LIBRARIES[name].title}: {reason}", file=sys.stderr)
        else:
            present.append(name)
    print("; ".join(f"{name} {value}" for name, value in machine.facts().items()))
    for title, version in clients.versions(present).items():
        print(f"{title}: {version}")
    print(clients.table(clients.run(asked.load, present, rounds, quick=asked.quick)))
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="3 rounds, shorter runs, at most 10,000 members")
    parser.add_argument("--scenario", type=_names(list(scenarios.BY_NAME)), help="names, separated by commas")
    parser.add_argument("--subjects", type=_names(list(subjects.BY_NAME)), help="names, separated by commas")
    parser.add_argument(
        "--members", type=lambda text: [int(number) for number in text.split(",")], metavar="N,..."
    )
    parser.add_argument("--pairs", type=int, help=f"rounds (default: {FULL.rounds})")
    parser.add_argument(
        "--seconds", type=float, help=f"seconds measured in each run (default: {FULL.seconds})"
    )
    parser.add_argument(
        "--write", action="store_true", help="write docs/benchmarks.md even after a partial run"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file for the figures as JSON")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the tables; write the page after a complete run."""
    given = sys.argv[1:] if argv is None else argv
    if given[:1] == ["clients"]:
        return _clients(given[1:])
    asked = _arguments(argv)
    plan = QUICK if asked.quick else FULL
    rounds, seconds = asked.pairs or plan.rounds, asked.seconds or plan.seconds
    wanted = [subjects.BY_NAME[name] for name in asked.subjects or subjects.BY_NAME]
    left_out = {subject.title: reason for subject in wanted if (reason := subject.missing())}
    present = [subject for subject in wanted if subject.title not in left_out]
    for title, reason in left_out.items():
        print(f"left out: {title}: {reason}", file=sys.stderr)

    facts = report.Facts(
        machine=machine.facts(),
        versions={subject.title: subject.version() for subject in present},
        left_out=left_out,
        rounds=rounds,
        seconds=seconds,
    )
    cells = []
    for name in asked.scenario or scenarios.BY_NAME:
        scenario = scenarios.BY_NAME[name]
        for members in asked.members or scenario.members:
            if asked.quick and members > QUICK_MEMBERS:
                continue
            cells.append(measure.run_cell(scenario, members, present, rounds, seconds))
            measure.save(asked.results, facts.stored(), cells)
    print(report.tables(cells))
    if asked.write or not (asked.scenario or asked.subjects or asked.members):
        report.write_page(facts, cells)
    return 0


if __name__ == "__main__":
    sys.exit(main())
