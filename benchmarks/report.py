"""The tables of the figures, and the page `docs/benchmarks.md` with its plots.

python -m benchmarks.report [RESULTS.json]      makes the page again from stored figures
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import build, measure, plots, scenarios, subjects
from benchmarks.measure import REFERENCE, Cell, Spread
from benchmarks.scenarios import Sample

PAGE = build.ROOT / "docs" / "benchmarks.md"
PROSE = build.HERE / "page.md"


@dataclass(frozen=True)
class Facts:
    """The facts about the figures: machine, versions, subjects left out and why, and duration."""

    machine: dict[str, str]
    versions: dict[str, str]
    left_out: dict[str, str]
    rounds: int
    seconds: float

    def stored(self) -> dict[str, object]:
        """The facts as stored in the results file."""
        return asdict(self)


def tables(cells: Sequence[Cell]) -> str:
    """All tables in Markdown, each under its heading."""
    return "\n\n".join(
        part
        for part in (_against_bare(cells), _side_by_side(cells), _latencies(cells), _failures(cells))
        if part
    )


def write_page(facts: Facts, cells: Sequence[Cell]) -> None:
    """Write `docs/benchmarks.md` and the plots in `docs/img/`."""
    PAGE.parent.mkdir(exist_ok=True)
    images = plots.draw(cells, PAGE.parent / "img")
    shown = "\n\n".join(f"![{title}](img/{path.name})" for title, path in images.items())
    parts = {
        "MACHINE": _machine(facts),
        "AGAINST_BARE": _against_bare(cells),
        "AGAINST_LIMITS": _against_limits(cells),
        "SIDE_BY_SIDE": _side_by_side(cells),
        "LATENCIES": _latencies(cells),
        "FAILURES": _failures(cells),
        "PLOTS": shown,
    }
    text = PROSE.read_text()
    for name, part in parts.items():
        text = text.replace(f"<!-- {name} -->", part)
    PAGE.write_text(text.strip() + "\n")
    print(f"written: {PAGE.relative_to(build.ROOT)} and {len(images)} plots", file=sys.stderr)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    aligned = ["---" if column < text_columns else "---:" for column in range(len(header))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, aligned, *rows))


def _figure(value: float) -> str:
    """Three significant digits, never in powers of ten."""
    if value == 0:
        return "0"
    digits = max(0, 2 - int(f"{value:e}".partition("e")[2]))
    return f"{value:,.{digits}f}"


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return f"**{_figure(spread.median)}** ({_figure(spread.least)} - {_figure(spread.greatest)})"


def _what(cell: Cell) -> str:
    return f"{scenarios.BY_NAME[cell.scenario].what}, N = {cell.members:,}"


def _unit(cell: Cell) -> str:
    scenario = scenarios.BY_NAME[cell.scenario]
    return f"{scenario.kind} / {scenario.unit}"


def _target(bound: float | None) -> str:
    return "-" if bound is None else f"≤ {bound:.2f}"


def _median(spread: Spread | None) -> str:
    return "-" if spread is None else _figure(spread.median)


def _against_bare(cells: Sequence[Cell]) -> str:
    """Ratios, for scenarios without an absolute limit."""
    rows = []
    for cell in cells:
        scenario = scenarios.BY_NAME[cell.scenario]
        fast, calls, pure = (cell.ratio(name) for name in ("rankmux", "rankmux-calls", "rankmux-pure"))
        if scenario.limit is None and (fast or pure):
            bare = _median(cell.cost(REFERENCE))
            ours = [_target(scenario.target), _spread(fast), _spread(calls)]
            ours += [_target(scenario.pure_target), _spread(pure)]
            rows.append([_what(cell), _unit(cell), bare, *ours])
    header = ["load", "cost", "bare C", "target", "rankmux / bare C", "without io_uring"]
    header += ["target, pure", "pure / bare C"]
    return _table(header, rows, text_columns=2) if rows else ""


def _against_limits(cells: Sequence[Cell]) -> str:
    """Scenarios with an absolute limit."""
    rows = []
    for cell in cells:
        scenario = scenarios.BY_NAME[cell.scenario]
        fast, pure = cell.cost("rankmux"), cell.cost("rankmux-pure")
        if scenario.limit is not None and (fast or pure):
            bare = _median(cell.cost(REFERENCE))
            limit = f"≤ {_figure(scenario.limit)}"
            rows.append([_what(cell), _unit(cell), bare, limit, _spread(fast), _spread(pure)])
    header = ["load", "cost", "bare C", "limit", "rankmux", "rankmux, pure Python"]
    return _table(header, rows, text_columns=2) if rows else ""


def _side_by_side(cells: Sequence[Cell]) -> str:
    names = _present(cells)
    rows = [[_what(cell), _unit(cell), *(_spread(cell.cost(name)) for name in names)] for cell in cells]
    return _table(["load", "cost", *_titles(names)], rows, text_columns=2)


def _latencies(cells: Sequence[Cell]) -> str:
    names = _present(cells)

    def shown(samples: Sequence[Sample] | None) -> str:
        if not samples:
            return "-"
        readings: tuple[Callable[[Sample], float], ...] = (
            lambda sample: sample.p50_us,
            lambda sample: sample.p99_us,
            lambda sample: sample.max_us,
        )
        return " / ".join(_figure(statistics.median(map(reading, samples)) / 1000) for reading in readings)

    rows = [
        [_what(cell), *(shown(cell.samples.get(name)) for name in names)]
        for cell in cells
        if any(sample.p50_us for samples in cell.samples.values() for sample in samples)
    ]
    return _table(["p50 / p99 / max, ms", *_titles(names)], rows) if rows else ""


def _failures(cells: Sequence[Cell]) -> str:
    return "\n".join(
        f"- {subjects.BY_NAME[name].title} did not finish “{_what(cell)}”: {' '.join(reason.split())}"
        for cell in cells
        for name, reason in cell.failures.items()
    )


def _present(cells: Sequence[Cell]) -> list[str]:
    return [name for name in subjects.BY_NAME if any(name in cell.samples for cell in cells)]


def _titles(names: Sequence[str]) -> list[str]:
    return [subjects.BY_NAME[name].title for name in names]


def _machine(facts: Facts) -> str:
    where = facts.machine
    taken = f"{where['processor']}, {where['cores']} cores, {where['memory']}, {where['kernel']}"
    length = f"rounds: {facts.rounds}, of {facts.seconds:g} s each"
    busy = f"load average before: {where['load_average']}"
    versions = _table(["server", "version"], facts.versions.items(), text_columns=2)
    lines = [f"Taken on {where['date']}: {taken}; {length}; {busy}.", "", versions]
    if facts.left_out:
        lines += [
            "",
            "Left out: " + "; ".join(f"{title} ({why})" for title, why in facts.left_out.items()) + ".",
        ]
    return "\n".join(lines)


def main() -> int:
    """Generate the page again from the results file."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else build.BUILD / "results.json"
    facts, cells = measure.load(path)
    write_page(Facts(**facts), cells)  # type: ignore[arg-type]
    return 0


if __name__ == "__main__":
    sys.exit(main())
