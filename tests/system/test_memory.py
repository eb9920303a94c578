"""The collector looks at young objects only, and at all of them when memory is given back."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc
from rankmux.system.memory import give_back, no_long_pauses
no_long_pauses()
full = lambda: gc.get_stats()[2]["collections"]
before, kept = full(), []
for i in range(300_000):
    kept.append([i])
assert full() == before, "a pause"
old = []
old.append(old)
gc.collect(1)
del old
found = gc.get_stats()[2]["collected"]
give_back()
assert full() == before + 1
assert gc.get_stats()[2]["collected"] > found, "a cycle that had grown old"
"""


def test_no_full_collection_while_objects_grow_in_number() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=60)
