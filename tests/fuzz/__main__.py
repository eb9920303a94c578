"""`python -m tests.fuzz [--seconds 60] [decoder] [session] [client]`: the time is for all targets together.

With atheris where it is installed, guided by coverage; else with random bytes and mangled
frames. Exit code 0: nothing was found. The corpus is kept in `--corpus FOLDER`, if one is given.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMES = ("decoder", "session", "client")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[[], *NAMES], help="all of them, if none is named")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", metavar="FOLDER")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    targets = arguments.targets or list(NAMES)
    if arguments.here:
        _fuzz(targets[0], arguments.seconds, arguments.seed, arguments.corpus)
        return 0
    worst = 0
    for target in targets:  # a process each: atheris does not return
        command = [sys.executable, "-m", "tests.fuzz", "--here", target, "--seed", str(arguments.seed)]
        command += ["--seconds", str(arguments.seconds / len(targets))]
        if arguments.corpus:
            command += ["--corpus", str(Path(arguments.corpus) / target)]
        began = time.monotonic()
        code = subprocess.run(command, check=False).returncode
        print(
            f"fuzz {target}: {'nothing found' if not code else f'FOUND ({code})'}, {time.monotonic() - began:.0f} s"
        )
        worst = max(worst, abs(code))
    return min(worst, 1)


def _fuzz(name: str, seconds: float, seed: int, corpus: str | None) -> None:
    if importlib.util.find_spec("atheris") is None:
        _at_random(name, seconds, seed)
        return
    import atheris

    with atheris.instrument_imports(include=["rankmux"]):  # nothing of rankmux may have been imported before
        from .seeds import SEEDS
        from .targets import TARGETS
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(corpus or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(SEEDS[name]):
            (folder / f"seed-{number}").write_bytes(data)
        flags = [f"-max_total_time={max(1, round(seconds))}", f"-seed={seed}", "-max_len=700", "-verbosity=0"]
        flags += ["-print_final_stats=1", f"-artifact_prefix={tempfile.gettempdir()}/"]
        atheris.Setup([sys.argv[0], *flags, str(folder)], TARGETS[name])
        atheris.Fuzz()


def _at_random(name: str, seconds: float, seed: int) -> None:
    from .seeds import SEEDS
    from .targets import TARGETS

    draw, until, tries = random.Random(seed), time.monotonic() + seconds, 0
    while time.monotonic() < until:
        for data in mangled(draw, SEEDS[name], 200):
            TARGETS[name](data)
            tries += 1
    print(f"without atheris: {tries} inputs")


def mangled(draw: random.Random, seeds: list[bytes], count: int) -> list[bytes]:
    """Random inputs: seeds with pieces overwritten, inserted, removed or duplicated."""
    made = []
    for _ in range(count):
        data = bytearray(draw.choice(seeds))
        for _ in range(draw.randrange(1, 6)):
            at = draw.randrange(len(data) + 1)
            upto = min(len(data), at + draw.randrange(6))
            match draw.randrange(4):
                case 0:
                    data[at:upto] = draw.randbytes(upto - at)
                case 1:
                    data[at:at] = draw.randbytes(draw.randrange(1, 6))
                case 2:
                    del data[at:upto]
                case _:
                    data[at:at] = data[max(0, at - 40) : at]
        made.append(bytes(data))
    return made


if __name__ == "__main__":
    sys.exit(main())
