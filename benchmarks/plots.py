"""The plots of `docs/benchmarks.md`. Without matplotlib there are none."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import subjects
from benchmarks.measure import Cell

BURSTS = {f"fanout-{burst}": burst for burst in (1, 4, 16, 64, 256)}
BURST_MEMBERS = 1000
# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = {
    "bare": "#000000",
    "rankmux": "#D55E00",
    "rankmux-calls": "#F0E442",
    "rankmux-pure": "#E69F00",
    "asyncio": "#56B4E9",
    "uvloop": "#0072B2",
    "redis": "#CC79A7",
    "nats": "#009E73",
    "mosquitto": "#999999",
}
MARKERS = dict(zip(COLOURS, "osXDv^<>P", strict=True))


@dataclass(frozen=True)
class Plot:
    """The contents of a plot: its cells and its axis."""

    name: str
    title: str
    x_label: str
    y_label: str
    y_scale: str
    shows: Callable[[Cell], bool]
    x: Callable[[Cell], int]


PLOTS = (
    Plot(
        "cpu-over-members",
        "CPU per delivery over members, one command per turn",
        "members",
        "µs of CPU per delivery",
        "linear",
        lambda cell: cell.scenario == "fanout-1",
        lambda cell: cell.members,
    ),
    Plot(
        "cpu-over-burst",
        f"CPU per delivery over burst size, {BURST_MEMBERS:,} members",
        "commands per burst",
        "µs of CPU per delivery",
        "log",
        lambda cell: cell.scenario in BURSTS and cell.members == BURST_MEMBERS,
        lambda cell: BURSTS[cell.scenario],
    ),
    Plot(
        "memory-over-members",
        "Memory of an idle member",
        "members",
        "bytes of RSS per member",
        "log",
        lambda cell: cell.scenario == "memory",
        lambda cell: cell.members,
    ),
)


def draw(cells: Sequence[Cell], directory: Path) -> dict[str, Path]:
    """Draw the cells; the titles and files of the plots."""
    if importlib.util.find_spec("matplotlib") is None:
        print("no plots: matplotlib is not installed", file=sys.stderr)
        return {}
    directory.mkdir(parents=True, exist_ok=True)
    made = {}
    for plot in PLOTS:
        shown = [cell for cell in cells if plot.shows(cell)]
        if len(shown) > 1:
            path = directory / f"{plot.name}.png"
            _draw(plot, shown, path)
            made[plot.title] = path
    return made


def _draw(plot: Plot, cells: Sequence[Cell], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib import ticker

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for name in COLOURS:
        _line(axes, name, sorted((cell for cell in cells if name in cell.samples), key=plot.x), plot.x)
    axes.set(xscale="log", yscale=plot.y_scale, xlabel=plot.x_label, ylabel=plot.y_label, title=plot.title)
    if plot.y_scale == "linear":
        axes.set_ylim(bottom=0)
    ticks = sorted({plot.x(cell) for cell in cells})
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.grid(alpha=0.3, which="both", linewidth=0.5)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig(path, dpi=120, metadata={"Software": ""})
    plt.close(figure)


def _line(axes: Any, name: str, cells: Sequence[Cell], x: Callable[[Cell], int]) -> None:
    """One subject's medians, with bars from the lowest to the highest."""
    spreads = [
        (x(cell), spread) for cell in cells if (spread := cell.cost(name)) is not None and spread.median > 0
    ]
    if not spreads:
        return
    medians = [spread.median for _, spread in spreads]
    below = [spread.median - max(spread.least, 0.0) for _, spread in spreads]
    above = [spread.greatest - spread.median for _, spread in spreads]
    axes.errorbar(
        [at for at, _ in spreads],
        medians,
        yerr=(below, above),
        color=COLOURS[name],
        marker=MARKERS[name],
        markersize=5,
        capsize=2,
        linewidth=2.2 if name in ("rankmux", "bare") else 1.3,
        label=subjects.BY_NAME[name].title,
    )
