"""A guard against accidents for CI: the extension's CPU per delivery against the bare C loop's.

N = 1,000, bursts of 1 and of 64. The best of five alternating pairs counts, and it fails only above twice the target:
a shared machine is too noisy for more.

    python -m benchmarks.ratio
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks import measure, scenarios, subjects

MEMBERS = 1000
SECONDS = 0.4
ALLOWANCE = 2.0
GUARDED = ("fanout-1", "fanout-64")


def main(argv: Sequence[str] | None = None) -> int:
    """Print each ratio and its bound; returns 1 if a ratio is above its bound."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ratio", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--subject", choices=list(subjects.BY_NAME), default="rankmux")
    asked = parser.parse_args(argv)
    pair = [subjects.BY_NAME[measure.REFERENCE], subjects.BY_NAME[asked.subject]]
    for subject in pair:
        if reason := subject.missing():
            print(f"{subject.title}: {reason}", file=sys.stderr)
            return 1
    failed = False
    for name in GUARDED:
        scenario = scenarios.BY_NAME[name]
        assert scenario.target is not None
        cell = measure.run_cell(scenario, MEMBERS, pair, asked.pairs, SECONDS, loud=False)
        ratios = sorted(cell.pair_ratios(asked.subject))
        bound = ALLOWANCE * scenario.target
        good = len(ratios) > 0 and not cell.failures and ratios[0] <= bound
        failed = failed or not good
        shown = " ".join(f"{ratio:.2f}" for ratio in ratios)
        print(
            f"{name} N={MEMBERS}: {shown} x bare C; the best may be {bound:.2f}: {'ok' if good else 'FAILED'}"
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
