"""`python -m tests.faults.connector HOST PORT RATE SECONDS`: RATE joins and leaves per second; prints the total.

For a loopback address. A separate process, so that it does not delay the tests' witness.
"""

from __future__ import annotations

import socket
import sys
import time

from ..protocol.frames import Hello, Leave, encode_all

AT_ONCE = 8
BOTH = encode_all(Hello(), Leave())


def main(host: str, port: int, rate: float, seconds: float) -> int:
    count = 0
    began = time.monotonic()
    while (now := time.monotonic()) < began + seconds:
        if count > (now - began) * rate:
            time.sleep(0.001)
            continue
        socks = [socket.create_connection((host, port)) for _ in range(AT_ONCE)]
        for sock in socks:
            sock.sendall(BOTH)
        for sock in socks:
            sock.recv(200)
            sock.close()
        count += AT_ONCE
    print(count)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
