"""Attackers in a separate process: `python -m tests.attack KIND HOST PORT OPTIONS`, the options as JSON.

The process prints "ready" when its connections are open and its bytes prepared. It begins at a line on standard input,
prints "gone" when the first bytes are sent, and "finished" when its members have received all expected frames. It ends
with a line of figures in JSON when standard input is closed, or after some time in any case.
"""

from __future__ import annotations

import json
import resource
import sys

from .bursts import BURSTS
from .debts import DEBTS
from .floods import FLOOD_ATTACKS
from .tls_floods import TLS_FLOODS

ATTACKS = {**FLOOD_ATTACKS, **TLS_FLOODS, **BURSTS, **DEBTS}


def main(kind: str, host: str, port: str, options: str) -> int:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    crowd = ATTACKS[kind](host, int(port), **json.loads(options))
    print("ready", flush=True)
    if sys.stdin.readline():
        crowd.go()
        print("gone", flush=True)
        crowd.run()
    print(json.dumps(crowd.report()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
