"""Replays one run with its trace: python -m tests.simulation --seed N [--servers K] [--seconds S] [-v]."""

from __future__ import annotations

import argparse
import os
import sys
import time

os.environ["RANKMUX_EXTENSION"] = "0"

from .storm import storm


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", default=str(int.from_bytes(os.urandom(4))))
    parser.add_argument("--servers", type=int, default=0, help="0: one alone, without a log")
    parser.add_argument("--seconds", type=float, default=12.0, help="of faults")
    parser.add_argument("-v", action="store_true", help="print the trace")
    arguments = parser.parse_args()
    began = time.process_time()
    run = storm(arguments.seed, arguments.servers, arguments.seconds, print if arguments.v else None)
    history = run.crew.history
    print(
        f"seed {run.world.seed}: {run.world.now - 1000:.0f} s simulated in {time.process_time() - began:.2f} s of CPU"
    )
    print(f"befell: {dict(run.befell.most_common())}")
    print(
        f"ends: {dict(history.ends.most_common())}, errors: { {e.name: n for e, n in run.crew.errors.items()} }"
    )
    print(
        f"{history.deliveries} deliveries of {len(history.commands)} commands, {len(history.lives)} connections"
    )
    print(f"{len(run.crew.reigns.reigns)} reigns, {run.digests.compared} states compared")
    for violation in run.violations[:20]:
        print(f"violation: {violation}")
    return min(1, len(run.violations))


if __name__ == "__main__":
    sys.exit(main())
