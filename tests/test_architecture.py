"""The shape of the code: who may import whom, what a module lists as public, how long a file may be."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

import rankmux

from .support.twins import PARTS, PURE

PACKAGE = Path(rankmux.__file__).parent
MAX_LINES = 450

# From the bottom up: a module imports from its own row and from rows before it. A folder's own files stand above its
# subfolders; a row that names a file is about that file alone.
ROWS = [
    "errors",
    "_twin",
    "system",
    "core/wire",
    "core/room",
    "core/client",
    "core",
    "config",
    "server/sockets",
    "server/connections",
    "server/kernel",
    "server/intake",
    "server/admin",
    "server",
    "client",
    "aio",
    "cli/shared",
    "cli/programs",
    "cli/seat",
    "cli/commands",
    "cli/prompt",
    "cli",
    "cli/top",
    "cli/manual",
]
FACE = {"__init__", "__main__", "codes", "wire"}
"""What users import, and `python -m rankmux`: above all rows."""
PENDING = {
    "framing",
    "_framing_py",
    "_ledger_py",
    "_dispatch_py",
    "_flush_py",
    "client.receipt",
    "core.client.received",
}
"""Modules that do not keep to this yet: on the wrong floor, in a circle, or in the core and logging."""
NO_IO = {
    "asyncio",
    "logging",
    "os",
    "select",
    "selectors",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
}


def _name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


# A .pyx and its .pxd are one module, known by the .pyx.
SOURCES = {
    _name(path): path for suffix in ("pxd", "py", "pyx") for path in sorted(PACKAGE.rglob(f"*.{suffix}"))
}
MODULES = {name: path for name, path in SOURCES.items() if path.suffix == ".py"}
COMPILED = [name for name, path in SOURCES.items() if path.suffix == ".pyx"]
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}
PUBLIC = sorted(
    name for name, tree in TREES.items() if len(tree.body) > 1 and (name[0] != "_" or name == "__init__")
)


def _row(name: str) -> int:
    """The number of the row that `name`, a module, stands in."""
    path = name.replace(".", "/")
    return max((len(row), number) for number, row in enumerate(ROWS) if f"{path}/".startswith(f"{row}/"))[1]


def _imports(name: str) -> set[str]:
    """Every module that a module imports, wherever in its file: `rankmux.core.room.turn`, `socket`."""
    package = ["rankmux", *MODULES[name].parent.relative_to(PACKAGE).parts]
    found = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            for alias in node.names:
                member = f"{origin}.{alias.name}"
                found.add(member if member.removeprefix("rankmux.") in SOURCES else origin)
    return found


def _ours(name: str) -> set[str]:
    """Those of the package itself, without `rankmux.`; `__version__` is everybody's."""
    return {module.removeprefix("rankmux.") for module in _imports(name) if module.startswith("rankmux.")}


def test_every_row_is_there():
    missing = {
        row
        for row in ROWS
        if not (PACKAGE / row).is_dir() and not (PACKAGE / row).with_suffix(".py").is_file()
    }
    assert missing <= {"_twin", "server/kernel"}


@pytest.mark.parametrize("name", sorted(MODULES.keys() - FACE - PENDING))
def test_arrows_point_down(name):
    above = {other for other in _ours(name) - PENDING if other in FACE or _row(other) > _row(name)}
    assert above == set(), f"{name} stands below them"


def test_no_circles():
    """Not between two files either; to name a type, under TYPE_CHECKING, counts as well."""
    left = {name: _ours(name) - {name} for name in MODULES.keys() - PENDING}
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}


@pytest.mark.parametrize(
    "name", sorted(name for name in MODULES.keys() - PENDING if name.startswith("core."))
)
def test_the_core_does_no_io(name):
    assert {module.partition(".")[0] for module in _imports(name)} & NO_IO == set()


def test_few_files_lie_at_the_top():
    assert len([name for name in SOURCES if "." not in name and SOURCES[name].parent == PACKAGE]) <= 20


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.startswith("cli.")))
def test_the_command_line_uses_what_is_public(name):
    assert [module for module in _ours(name) if module.startswith("_")] == []


def test_threads_start_in_one_place():
    """One server, embedded, may run in a thread of its own; nothing else in the library starts any."""
    starting = {"Thread", "ThreadPoolExecutor"}
    calls = {
        name: {
            ast.unparse(node.func).rpartition(".")[2] for node in ast.walk(tree) if isinstance(node, ast.Call)
        }
        for name, tree in TREES.items()
    }
    assert len([name for name in calls if calls[name] & starting and not name.startswith("cli.")]) <= 1


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_says_what_lives_in_it(name):
    tree = TREES[name]
    assert not tree.body or ast.get_docstring(tree), "no docstring"


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_module_has_one_job(name):
    assert len(SOURCES[name].read_text().splitlines()) <= MAX_LINES, "one of its jobs wants out"


@pytest.mark.parametrize("name", PUBLIC)
def test_all_is_complete_and_unique(name):
    module = importlib.import_module(f"rankmux.{name}".removesuffix(".__init__"))
    listed = module.__all__
    assert len(set(listed)) == len(listed), "listed twice"
    assert [public for public in listed if not hasattr(module, public)] == [], "listed, but not there"
    assert _defined(TREES[name]) - {*listed, "TYPE_CHECKING"} == set(), "public, but not listed"


def _defined(tree: ast.Module) -> set[str]:
    """The public names that a module makes itself: classes, functions, constants, types; not its `log` and the like."""
    names = set()
    for node in tree.body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {
                    target.id
                    for target in targets
                    if isinstance(target, ast.Name) and not target.id.islower()
                }
            case ast.AnnAssign(target=ast.Name(id=name)) if not name.islower():
                names.add(name)
    return {name for name in names if not name.startswith("_")}


def test_the_twins_are_made_of_these():
    assert set(COMPILED) == set(PARTS)
    assert {name for name in MODULES if name.endswith("_py")} == {f"{name}_py" for name in PARTS}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_one_twin_offers_what_the_others_does(name):
    public = importlib.import_module(f"rankmux.{name}_py").__all__
    listed = re.search(r"^__all__ = (\[.*?\])", SOURCES[name].read_text(), re.MULTILINE | re.DOTALL)
    assert listed is not None
    assert ast.literal_eval(listed[1]) == public
    stub = ast.parse(SOURCES[name].with_suffix(".pyi").read_text())
    assert [node.names[0].name for node in stub.body if isinstance(node, ast.ImportFrom)] == public


def test_the_twins_offer_the_same(framing):
    for name in set().union(*(importlib.import_module(f"rankmux.{part}_py").__all__ for part in PARTS)):
        assert callable(getattr(framing, name)) == callable(getattr(PURE, name))
    assert framing.Event is PURE.Event
    assert framing.Observe is PURE.Observe


@pytest.mark.parametrize("name", sorted(MODULES))
def test_no_exception_is_swallowed(name):
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: a bare except"
            everything = ast.unparse(node.type) in {"Exception", "BaseException"}
            silent = all(isinstance(statement, ast.Pass) for statement in node.body)
            assert not (everything and silent), f"line {node.lineno}: swallows everything"


def test_types_are_for_its_users_too():
    assert (PACKAGE / "py.typed").is_file()
