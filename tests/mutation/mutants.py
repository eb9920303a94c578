"""A check of the tests: puts one mistake of mutants.txt at a time into a copy of the tree and runs its tests.

    python tests/mutation/mutants.py [WORD]

Tells which tests caught which mistake (those with WORD in their line), of many the first; fails when one survives, or
when it does not fit the source any more. Mistakes in the compiled twin are built, each in its copy.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 600
SHOWN = 4
SERVER = "server server_turns server_slow_readers server_clock server_cancels"
TESTS = {
    "room": f"room room_results room_scenes room_at_random dispatch deliveries ledger ranks kept snapshot {SERVER}"
    " server_at_random",
    "framing": f"batch receive dispatch fanout fanout_pieces ledger {SERVER} server_at_random",
    "streams": f"batch receive greeting {SERVER} server_at_random",
    "outbox": f"outbox backlog {SERVER} server_at_random",
    "reactor": f"reactor {SERVER}",
    "restart": "state_file server_state event_log server_log",
    "operate": "draining live_settings server/admin/test_status.py endpoint event_log",
    "runs": "runs",
    "simulated": "single",
    "cluster": "cluster",
    "shared": "core/cluster server/cluster/test_sequencer.py server/cluster/test_composing.py",
    "server": f"{SERVER} server_at_random server_limits server_observers connection server_memory",
}

FILES = {
    path.stem.removeprefix("test_"): str(path.relative_to(ROOT)) for path in ROOT.glob("tests/**/test_*.py")
}


@dataclass(frozen=True)
class Mutant:
    """`changes` are (text that occurs once in `file`, its replacement)."""

    name: str
    file: str
    group: str
    changes: tuple[tuple[str, str], ...]

    @property
    def compiled(self) -> bool:
        return self.file.endswith(".pxi")

    @property
    def tests(self) -> list[str]:
        return [FILES.get(name, f"tests/{name}") for name in TESTS[self.group].split()]

    def apply(self, package: Path) -> None:
        """Put it into its file; raises LookupError when it does not fit there any more."""
        path = package / self.file
        source = path.read_text()
        for old, new in self.changes:
            if not old or source.count(old) != 1:
                raise LookupError(f"{self.name}: stands {source.count(old)} times in {self.file}:\n{old}")
            source = source.replace(old, new)
        path.write_text(source)


def read_mutants() -> list[Mutant]:
    text = re.sub(
        r"^#.*\n", "", (ROOT / "tests" / "mutation" / "mutants.txt").read_text(), flags=re.MULTILINE
    )
    mutants = []
    for entry in text.split("\n== ")[1:]:
        head, _, body = entry.strip("\n").partition("\n")
        found = re.fullmatch(r"(.+) \[(\S+), (\w+)\]", head)
        assert found, head
        changes = []
        for place in body.split("\n@@\n"):
            lines = place.splitlines()
            old = "".join(line[1:] + "\n" for line in lines if line[0] in " -")
            new = "".join(line[1:] + "\n" for line in lines if line[0] in " +")
            changes.append((old, new))
        mutants.append(Mutant(found[1], found[2], found[3], tuple(changes)))
    return mutants


def failing(
    tests: list[str], mutant: Mutant | None = None, compiled: bool = False, enough: int = 0
) -> set[str]:
    """The tests that fail with `mutant` in the tree; of very many the first `enough`, if it is not 0."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        tree = Path(name)
        built = shutil.ignore_patterns("*.so", "_*.c", "__pycache__")
        for folder in ("rankmux", "tests"):
            shutil.copytree(ROOT / folder, tree / folder, ignore=built)
        for path in (*ROOT.glob("*.toml"), *ROOT.glob("*.py"), *ROOT.glob("*.md")):
            shutil.copy(path, tree)
        if mutant is not None:
            mutant.apply(tree / "rankmux")
        settings = {"HYPOTHESIS_PROFILE": "mutants", "RANKMUX_EXTENSION": "1" if compiled else "0"}
        environ = os.environ | settings
        if compiled:
            build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
            subprocess.run(build, cwd=tree, env=environ, check=True, capture_output=True)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--tb=no",
            "-rfE",
            "-p",
            "no:cacheprovider",
            f"--timeout={TIMEOUT_S // 2}",
            f"--maxfail={enough}",
        ]
        try:
            run = subprocess.run(
                [*command, *tests],
                cwd=tree,
                env=environ,
                check=False,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            return {"(it hangs)"}
    found = set(re.findall(r"^(?:FAILED|ERROR) tests/(\S+)", run.stdout, re.MULTILINE))
    return found or ({f"(exit code {run.returncode})"} if run.returncode else set())


def main(word: str = "") -> int:
    mutants = [
        mutant for mutant in read_mutants() if word in f"{mutant.name} [{mutant.file}, {mutant.group}]"
    ]
    survivors = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        known: dict[bool, set[str]] = {}
        for compiled in {mutant.compiled for mutant in mutants}:
            tests = {test: None for m in mutants if m.compiled is compiled for test in m.tests}
            known[compiled] = failing(list(tests), None, compiled)
            for test in sorted(known[compiled]):
                print(f"proves nothing, it fails without a mistake: {test}")

        def try_out(mutant: Mutant) -> set[str]:
            return failing(mutant.tests, mutant, mutant.compiled, SHOWN + len(known[mutant.compiled]))

        results = pool.map(try_out, mutants)
        for mutant, found in zip(mutants, results, strict=True):
            caught = sorted(found - known[mutant.compiled])
            survivors += not caught
            print(f"{mutant.name}: {', '.join(caught[:SHOWN]) or '*** SURVIVES ***'}", flush=True)
    print(f"\n{len(mutants) - survivors} of {len(mutants)} were caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
