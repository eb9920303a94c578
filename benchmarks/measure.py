"""Rounds of samples: every subject once per round, so that drift of the machine affects all alike."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks import scenarios
from benchmarks.scenarios import Sample, Scenario
from benchmarks.session import SessionError
from benchmarks.subjects import Subject

REFERENCE = "bare"
STEADY_ROUNDS = 3
OTHERS_S = 10.0


@dataclass(frozen=True)
class Spread:
    """The median of some values, with the lowest and the highest."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


@dataclass
class Cell:
    """All samples of one scenario with one number of members, by subject; index i is round i. Failures are kept too."""

    scenario: str
    members: int
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def cost(self, subject: str) -> Spread | None:
        """The cost of a unit with `subject`."""
        samples = self.samples.get(subject)
        return Spread.of([sample.cost for sample in samples]) if samples else None

    def pair_ratios(self, subject: str) -> list[float]:
        """The ratio of the cost with `subject` to that with bare C, round by round."""
        pairs = zip(self.samples.get(subject, ()), self.samples.get(REFERENCE, ()), strict=False)
        return [ours.cost / bare.cost for ours, bare in pairs if bare.cost > 0]

    def ratio(self, subject: str) -> Spread | None:
        """The median of these ratios."""
        ratios = self.pair_ratios(subject)
        return Spread.of(ratios) if ratios else None


def run_cell(
    scenario: Scenario,
    members: int,
    subjects: Sequence[Subject],
    rounds: int,
    seconds: float,
    *,
    loud: bool = True,
) -> Cell:
    """Measure one cell.

    A subject that fails is noted, and left out of the following rounds. The others, which are there for orientation,
    take part until their runs have taken 10 s. Costs other than CPU time per unit vary little: three rounds.
    """
    cell = Cell(scenario.name, members)
    if scenario.kind != "µs":
        rounds = min(rounds, STEADY_ROUNDS)
    taking_part = [subject for subject in subjects if scenario.fits(subject)]
    spent_s = dict.fromkeys([subject.name for subject in taking_part], 0.0)
    for number in range(rounds):
        for subject in list(taking_part):
            started = time.monotonic()
            try:
                sample = scenarios.sample(scenario, subject, members, seconds)
            except SessionError as error:
                cell.failures[subject.name] = str(error)
                taking_part.remove(subject)
                print(error, file=sys.stderr)
                continue
            cell.samples.setdefault(subject.name, []).append(sample)
            spent_s[subject.name] += time.monotonic() - started
            if spent_s[subject.name] > OTHERS_S and not subject.is_ours:
                taking_part.remove(subject)
            if loud:
                shown = f"{sample.cost:.4g} {scenario.kind}"
                print(
                    f"{scenario.name} N={members} {number + 1}/{rounds} {subject.name}: {shown}",
                    file=sys.stderr,
                )
    return cell


def save(path: Path, facts: dict[str, object], cells: Sequence[Cell]) -> None:
    """Write measured cells, with the machine's facts, as the source of the report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"facts": facts, "cells": [asdict(cell) for cell in cells]}, indent=1))


def load(path: Path) -> tuple[dict[str, str], list[Cell]]:
    """Load a file written by `save`."""
    stored = json.loads(path.read_text())
    return stored["facts"], list(_cells(stored["cells"]))


def _cells(stored: Sequence[dict[str, object]]) -> Iterator[Cell]:
    for cell in stored:
        samples = cell["samples"]
        assert isinstance(samples, dict)
        read = {name: [Sample(**sample) for sample in several] for name, several in samples.items()}
        yield Cell(str(cell["scenario"]), int(str(cell["members"])), read, dict(cell["failures"]))  # type: ignore[call-overload]
