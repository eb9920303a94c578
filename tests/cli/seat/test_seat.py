"""A held seat that joins: slow name lookups, and several addresses of which the first does not answer."""

from __future__ import annotations

import signal
import time

import pytest

from ...support.script import Running, code_of

# The lookup of any name hangs for longer than any test waits, as with a DNS server that does not answer.
HANGING_LOOK_UP = """
import socket, sys, time
look_up = socket.getaddrinfo
def hang(host, *arguments, flags=0, **others):
    if flags & socket.AI_NUMERICHOST:
        return look_up(host, *arguments, flags=flags, **others)
    print("looking up", host, flush=True)
    time.sleep(100)
socket.getaddrinfo = hang
from rankmux.cli.client import main
code = main()
print("ended with", code, flush=True)
sys.exit(code)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_a_name_is_looked_up(number):
    with Running("-c", HANGING_LOOK_UP, "hold", "--reconnect", "--host", "somewhere") as holder:
        holder.until("looking up somewhere")
        begun = time.monotonic()
        assert holder.end(number) == code_of(number)
        assert time.monotonic() - begun < 20
    assert "Traceback" not in holder.err


def test_a_name_that_takes_too_long_to_look_up():
    with Running("-c", HANGING_LOOK_UP, "hold", "--connect-timeout", "0.2", "--host", "somewhere") as holder:
        assert holder.end() == 5
    assert "somewhere:7117 did not answer within 0.2 s" in holder.err
