"""A log that does what no log may, and whether its servers notice: python -m tests.simulation.broken_log KIND SEED.

Prints why each server ended; one that did not end prints nothing.
"""

from __future__ import annotations

import logging
import os
import sys

os.environ["RANKMUX_EXTENSION"] = "0"  # before anything of it is imported

from .storm import Storm


def main() -> None:
    kind, seed = sys.argv[1:]
    logging.disable()
    run = Storm(seed, 3)
    log, world = run.log, run.world
    assert log is not None
    log.trouble = 0.0
    for node in run.nodes:
        node.start()
    run.crew.start()
    world.run(world.now + 4.0)
    if kind == "delete":
        log.delete()
    elif kind == "roll back":
        log.roll_back(log.last - log.least_read + 5)  # some that all have read
    elif kind == "fork":  # seen by the one that reads all of it anew
        run.nodes[0].kill()
        log.fork(log.last - 5)
        run.nodes[0].start()
    world.run(world.now + 3.0)
    for node in run.nodes:
        print(*node.failed)


if __name__ == "__main__":
    main()
