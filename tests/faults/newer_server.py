"""A server of the next release, which speaks a newer version in the log: python -m tests.faults.newer_server server"""

from __future__ import annotations

import sys

from rankmux.__main__ import main
from rankmux.core.cluster.fold import VERSION, Fold

if __name__ == "__main__":
    assert Fold.__init__.__defaults__ == (VERSION,)
    Fold.__init__.__defaults__ = (VERSION + 1,)
    sys.exit(main())
