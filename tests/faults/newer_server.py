"""A server of the next release, which speaks a newer version in the log: python -m tests.faults.newer_server server

SETTLED_S in the environment: after how many seconds the room goes on to it.
"""

from __future__ import annotations

import os
import sys

from rankmux.__main__ import main
from rankmux.core.cluster.fold import VERSION, Fold
from rankmux.core.cluster.upgrade import SETTLED_S, Upgrade

if __name__ == "__main__":
    assert Fold.__init__.__defaults__ == (VERSION,)
    Fold.__init__.__defaults__ = (VERSION + 1,)
    assert Upgrade.__init__.__defaults__ == (SETTLED_S,)
    Upgrade.__init__.__defaults__ = (float(os.environ.get("SETTLED_S", "120")),)
    sys.exit(main())
