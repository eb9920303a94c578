"""The shape of the code: the layers, the core without I/O, public names, docstrings, the length of files."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

import rankmux
from rankmux import _twin

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
    "core/cluster",
    "core/client",
    "core",
    "hosts",
    "variables",
    "config",
    "tokens",
    "courier",
    "server/sockets",
    "server/connections",
    "server/kernel",
    "server/intake",
    "server/cluster",
    "server/admin",
    "server",
    "client",
    "aio",
    "cli/manual/settings",  # the groups of flags, which the server's help has too
    "cli/shared",
    "cli/programs",
    "cli/seat",
    "cli/commands",
    "cli/prompt",
    "cli",
    "cli/top",
    "cli/manual",
    "pytest_plugin",
]
FACE = {"__init__", "__main__", "codes", "wire"}
"""The modules that users import, and `python -m rankmux`: above all rows."""
PENDING = {
    "cli.seat.loop",
    "cli.seat.socket",
}
"""Modules that do not keep to this yet: on the wrong floor, in a circle, or in the core and logging."""
PENDING_DOCSTRINGS = {
    "aio.events",
    "aio.receipt",
    "aio.waiters",
    "cli.commands.holding",
    "cli.commands.results",
    "cli.prompt.editing",
    "cli.prompt.members",
    "cli.prompt.words",
    "cli.seat.channel",
    "cli.seat.requests",
    "cli.shared.connection_flags",
    "cli.shared.folding",
    "cli.shared.line_writer",
    "cli.shared.wording",
    "client.base",
    "client.receipt",
    "core.client.arguments",
    "core.client.backoff",
    "core.client.events",
    "core.client.inbox",
    "core.client.keepalive",
    "core.client.pending",
    "core.client.seat",
    "core.client.sent",
    "core.room.deliveries",
    "core.wire.fields",
    "core.wire.violations",
    "server.connections.closes",
    "server.connections.verdicts",
}
"""Modules whose first line is a clause yet, not a noun phrase."""
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


MODULES = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
PARTS = sorted(PACKAGE.rglob("*.pxi"))
"""The compiled twin, part by part; `_framing.pyx` includes them all."""
IN_C = sorted(path for suffix in ("h", "pxd", "pxi", "pyx") for path in PACKAGE.rglob(f"*.{suffix}"))
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}
PUBLIC = sorted(
    name for name, tree in TREES.items() if len(tree.body) > 1 and (name[0] != "_" or name == "__init__")
)


def _row(name: str) -> int:
    """The index of the row of the module `name`."""
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
                found.add(member if member.removeprefix("rankmux.") in MODULES else origin)
    return found


def _ours(name: str) -> set[str]:
    """The imports from the package itself, without `rankmux.`; every module may import `__version__`."""
    return {module.removeprefix("rankmux.") for module in _imports(name) if module.startswith("rankmux.")}


def test_every_row_is_there():
    missing = {
        row
        for row in ROWS
        if not (PACKAGE / row).is_dir() and not (PACKAGE / row).with_suffix(".py").is_file()
    }
    assert missing == set()


@pytest.mark.parametrize("name", sorted(MODULES.keys() - FACE - PENDING))
def test_imports_point_down(name):
    above = {other for other in _ours(name) - PENDING if other in FACE or _row(other) > _row(name)}
    assert above == set(), f"{name} stands below them"


def test_what_the_extension_imports_does_not_import_the_extension():
    """Which of the two came first would decide whether that works."""
    imports = re.findall(r"^from \.(\S*) import (.+)$", (PACKAGE / "_framing.pyx").read_text(), re.MULTILINE)
    members = [
        f"{base}.{name.split()[0]}".strip(".") for base, names in imports for name in names.split(", ")
    ]
    found, left = set(), {name if name in MODULES else name.rpartition(".")[0] for name in members}
    while left:
        found |= left
        left = {other for name in left for other in _ours(name)} - found
    assert len(found) > 10
    assert "_twin" not in found


def test_no_import_cycles():
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


@pytest.mark.parametrize("path", IN_C, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_kernel_folder_includes_c_headers(path):
    text = re.sub(r'""".*?"""|/\*.*?\*/|#(?! *include)[^\n]*', "", path.read_text(), flags=re.DOTALL)
    declared = re.search(r"^\s*(cdef extern from|#\s*include)", text, re.MULTILINE)
    assert not declared or path.is_relative_to(PACKAGE / "server" / "kernel")


def test_few_files_are_at_the_top():
    assert len(list(PACKAGE.glob("*.py*"))) <= 12


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.startswith("cli.")))
def test_the_command_line_uses_public_names(name):
    assert [
        module for module in _ours(name) - {"_twin"} if module.startswith("_")
    ] == []  # --version names the twin


@pytest.mark.parametrize("name", sorted(name for name in MODULES if not name.startswith("courier.")))
def test_the_courier_alone_speaks_with_nats(name):
    """nats-py requires asyncio, and a server without a cluster needs neither."""
    assert "nats" not in {module.partition(".")[0] for module in _imports(name)}


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.startswith("server.")))
def test_the_server_has_no_second_loop(name):
    assert "asyncio" not in {module.partition(".")[0] for module in _imports(name)}


def test_threads_start_in_one_place():
    """An embedded server may run in a separate thread; no other part of the library starts one."""
    starting = {"Thread", "ThreadPoolExecutor"}
    calls = {
        name: {
            ast.unparse(node.func).rpartition(".")[2] for node in ast.walk(tree) if isinstance(node, ast.Call)
        }
        for name, tree in TREES.items()
    }
    assert len([name for name in calls if calls[name] & starting and not name.startswith("cli.")]) <= 1


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_opens_with_its_job(name):
    """A noun phrase that names it, or a sentence about it."""
    if not MODULES[name].read_text():
        return
    first = (ast.get_docstring(TREES[name]) or "").partition("\n\n")[0]
    assert first.endswith((".", ":")), "no docstring, or one without an end"
    clause = re.match(r"(How|What|When|Where|Whether|Who|Why)\b", first)
    assert not clause or name in PENDING_DOCSTRINGS, "a clause, not a noun phrase"


@pytest.mark.parametrize("path", [*MODULES.values(), *PARTS], ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_has_one_job(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES, "one of its jobs wants out"


@pytest.mark.parametrize("name", PUBLIC)
def test_all_is_complete_and_unique(name):
    module = importlib.import_module(f"rankmux.{name}".removesuffix(".__init__"))
    listed = module.__all__
    assert len(set(listed)) == len(listed), "listed twice"
    assert [public for public in listed if not hasattr(module, public)] == [], "listed, but not there"
    assert _defined(TREES[name]) - set(listed) == set(), "public, but not listed"


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
    return {name for name in names if not name.startswith("_") and name != "TYPE_CHECKING"}


MIRRORED = ("core", "courier", "server", "system", "cli")
"""The clients' tests are by what a user does: they run on the blocking client and on the asyncio one."""
TESTS = Path(__file__).parent


@pytest.mark.parametrize(
    "path",
    [path.relative_to(TESTS) for folder in MIRRORED for path in sorted((TESTS / folder).rglob("test_*.py"))],
    ids=str,
)
def test_tests_mirror_the_package(path):
    """It begins with the name of a module of the same folder, or with that of the folder."""
    folder = PACKAGE / path.parent
    subjects = {
        file.stem
        for file in folder.glob("*.*")
        if file.suffix in {".html", ".py", ".pxd", ".pxi", ".pyx"} and not file.stem.startswith("__")
    }
    name = path.stem.removeprefix("test_")
    found = [subject for subject in {*subjects, folder.name} if f"{name}_".startswith(f"{subject}_")]
    assert found, f"no {name} in rankmux/{path.parent}"


def test_every_loop_exists_twice(framing):
    """A compiled part is beside the module that defines it, and exports the same names."""
    beside = {path.with_suffix(".py") for path in PARTS} & set(MODULES.values())
    decorated = {path for path in MODULES.values() if re.search(r"^@twin$", path.read_text(), re.MULTILINE)}
    assert decorated <= beside
    for name, pure in _twin.PURE.items():
        assert callable(getattr(framing, name)) == callable(pure)


@pytest.mark.parametrize("path", PARTS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_compiled_part_keeps_to_its_layer(path):
    """The core does no I/O in C either; all parts are included from one place."""
    text = path.read_text()
    assert not re.search(r"^\s*(from\s|import\s|cimport\s)", text, re.MULTILINE), (
        "imports stand in _framing.pyx"
    )
    if path.is_relative_to(PACKAGE / "core"):
        assert "extern from" not in text
        assert not re.search(r"\bc_\w+\(|\berrno\b", text), "calls the system"
    assert f'include "{path.relative_to(PACKAGE)}"' in (PACKAGE / "_framing.pyx").read_text()


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
