"""Simulated runs: one with its trace, or many from one seed on.

python -m tests.simulation --seed 7 --servers 2,3,5 -v
python -m tests.simulation --seed 0 --runs 1000 --servers 2,3,5
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import traceback

os.environ["RANKMUX_EXTENSION"] = "0"  # before anything of it is imported

from .storm import Storm

ENOUGH = 3  # seeds that fail: those behind would say nothing new


def one(seed: int, servers: int, seconds: float, verbose: bool) -> int:
    """Run one, and tell of it."""
    began = time.process_time()
    run = Storm(seed, servers, seconds, print if verbose else None).run()
    history, errors = run.crew.history, {code.name: count for code, count in run.crew.errors.items()}
    spent = time.process_time() - began
    print(f"seed {seed}, {servers} servers: {run.world.now - 1000:.0f} s simulated in {spent:.2f} s of CPU")
    print(f"befell: {dict(run.befell.most_common())}")
    print(f"ends: {dict(history.ends.most_common())}, errors: {errors}")
    print(
        f"{history.deliveries} deliveries of {len(history.commands)} commands, {len(history.lives)} connections"
    )
    print(f"{len(run.crew.reigns.reigns)} times at rank 0, {run.digests.compared} states compared")
    for violation in run.violations:
        print(f"violation: {violation}")
    return min(1, len(run.violations))


def many(seeds: range, servers: list[int], seconds: float) -> int:
    """Run them, and tell of those that fail."""
    failed = deliveries = compared = 0
    for seed in seeds:
        size = servers[seed % len(servers)]
        run = Storm(seed, size, seconds)
        try:
            violations = run.run().violations
        except Exception:  # noqa: BLE001 - it is told with its seed
            violations = [traceback.format_exc()]
        deliveries += run.crew.history.deliveries
        compared += run.digests.compared
        if violations:
            print(f"python -m tests.simulation --seed {seed} --servers {size} --seconds {seconds:g} -v")
            print(*violations[:5], sep="\n", flush=True)
            failed += 1
            if failed == ENOUGH:
                break
    print(f"{len(seeds)} runs: {deliveries} deliveries, {compared} states compared, {failed} failed")
    return min(1, failed)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--step", type=int, default=1, help="from seed to seed")
    parser.add_argument("--servers", default="0", help="by turns, such as 2,3,5; 0: one alone, without a log")
    parser.add_argument("--seconds", type=float, default=10.0, help="time with faults")
    parser.add_argument("-v", action="store_true", help="print the trace")
    arguments = parser.parse_args()
    servers = [int(word) for word in arguments.servers.split(",")]
    if not arguments.v:
        logging.disable()
    if arguments.runs == 1:
        return one(arguments.seed, servers[arguments.seed % len(servers)], arguments.seconds, arguments.v)
    end = arguments.seed + arguments.runs * arguments.step
    return many(range(arguments.seed, end, arguments.step), servers, arguments.seconds)


if __name__ == "__main__":
    sys.exit(main())
