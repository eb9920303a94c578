"""The shape of the code: who may import whom, what a module lists as public, how long a file may be."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import rankmux

from .twins import PARTS, PURE

PACKAGE = Path(rankmux.__file__).parent
MAX_LINES = 450

# Whom of ours a module may import, from the bottom up: a row names only rows before it. A new module gets its row.
# Below the line there is no I/O, no clock and no thread; `_framing` and the like are .pyx and .pxd.
BELOW = {
    "errors": "",
    "codes": "",
    "layout": "codes errors",
    "client_frames": "layout codes errors",
    "server_frames": "layout codes errors",
    "wire": "client_frames server_frames layout codes errors",
    "verdicts": "wire codes errors",
    "links": "",
    "deliveries": "",
    "_framing_py": "links verdicts wire codes errors",
    "_ledger_py": "_framing_py codes",
    "_dispatch_py": "_framing_py _ledger_py deliveries verdicts codes",
    "_flush_py": "deliveries links",
    "_layout": "",
    "_ranks": "",
    "_uring": "",
    "_framing": "_layout _framing_py links verdicts wire codes errors",
    "_ledger": "_framing _ranks _layout codes",
    "_dispatch": "_ledger _framing _ranks _layout _dispatch_py deliveries verdicts codes",
    "_flush": "_uring _ranks _layout links",
    "framing": "_flush _dispatch _ledger _framing _flush_py _dispatch_py _ledger_py _framing_py errors",
    "ranks": "errors",
    "outbox": "deliveries framing wire codes errors",
    "room": "ranks outbox deliveries framing wire codes errors",
    "session": "framing verdicts wire codes errors",
    "client_arguments": "codes errors",
    "client_events": "wire codes errors",
    "client_waiting": "wire layout codes errors",
    "client_states": "codes",
    "client_results": "client_events codes errors",
    "client_standing": "client_events wire layout codes",
    "client_session": "client_standing client_states client_waiting client_events framing wire layout codes errors",
    "client_membership": "client_session",
    "client_liveness": "client_session errors",
    "client_inbox": "client_session client_results client_events wire codes errors",
    "client_reconnect": "codes errors",
}
# Above it: the server, then the client; neither knows the other.
ABOVE = {
    "config": "codes errors",
    "reactor": "links",
    "background": "",
    "tls": "config links errors",
    "peers": "tls session wire codes errors",
    "jsonlines": "",
    "listener": "jsonlines config reactor links errors",
    "flow": "deliveries codes",
    "memory": "",
    "interest": "reactor peers outbox links",
    "writing": "interest memory tls config peers outbox deliveries",
    "connections": "jsonlines writing interest flow tls config reactor peers outbox deliveries links session"
    " wire codes errors",
    "liveness": "config connections peers wire codes errors",
    "journal": "jsonlines peers room ranks wire codes errors",
    "access": "jsonlines tls config codes errors",
    "asking": "peers framing wire",
    "handshakes": "connections peers",
    "intake": "access asking handshakes listener connections config reactor peers room session framing tls links"
    " wire codes errors",
    "linepipe": "",
    "logpipe": "jsonlines linepipe",
    "systemd": "errors",
    "stats": "room ranks",
    "view": "stats config connections listener peers room",
    "metrics": "view stats framing peers codes",
    "admin_http": "",
    "admin_sockets": "listener config errors",
    "admin_routes": "metrics view admin_http",
    "admin": "admin_routes admin_sockets admin_http jsonlines view config reactor links",
    "onlookers": "admin view config reactor errors",
    "shutdown": "view jsonlines connections listener peers",
    "server": "shutdown onlookers view stats jsonlines"
    " access intake memory background config connections journal listener liveness peers reactor"
    " room session outbox deliveries ranks links framing wire codes errors",
    "client_stream": "codes errors",
    "client_link": "client_stream client_liveness client_session client_events wire codes errors",
    "client_engine": "client_link client_stream client_reconnect client_inbox client_session"
    " client_events client_arguments wire codes errors",
    "client_executing": "client_arguments client_events codes errors",
    "client_receipt": "client_executing client_results client_events client_arguments codes errors",
    "client_calls": "client_engine client_receipt client_executing client_link client_inbox client_session"
    " client_events codes errors",
    "client": "client_calls client_engine client_receipt client_executing client_link client_stream client_reconnect"
    " client_membership client_session client_inbox client_results client_events client_arguments wire codes errors",
    "aio_waiting": "",
    "aio_stream": "client_stream",
    "aio_link": "client_executing client_liveness client_inbox client_session client_events",
    "aio_connection": "aio_link aio_stream aio_waiting client_stream client_reconnect client_session client_events"
    " client_arguments errors",
    "aio_receipt": "aio_connection client_executing client_results client_events client_arguments codes",
    "aio_handlers": "aio_receipt aio_connection aio_link aio_waiting client_executing client_session codes errors",
    "aio_events": "aio_connection client_events errors",
    "aio": "aio_handlers aio_events aio_receipt aio_connection aio_waiting client_executing client_stream"
    " client_reconnect client_membership client_inbox client_session client_results client_events client_arguments"
    " wire codes errors",
}
ROWS = {**BELOW, **ABOVE}
NO_IO = {"asyncio", "logging", "os", "selectors", "socket", "ssl", "threading", "time"}


def _name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


# A .pyx and its .pxd are one module, known by the .pyx.
SOURCES = {
    _name(path): path for suffix in ("pxd", "py", "pyx") for path in sorted(PACKAGE.rglob(f"*.{suffix}"))
}
MODULES = {name: path for name, path in SOURCES.items() if path.suffix == ".py"}
COMPILED = [name for name, path in SOURCES.items() if path.suffix == ".pyx"]
TOP = {name for name in SOURCES if name in {"__init__", "__main__"} or name.split(".")[0] == "cli"}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}
PUBLIC = sorted(
    name for name, tree in TREES.items() if len(tree.body) > 1 and (name[0] != "_" or name == "__init__")
)


def _imports(name: str) -> set[str]:
    """Every module that a source imports, absolute, wherever in the file: `rankmux.wire`, `socket`."""
    package = ["rankmux", *SOURCES[name].parent.relative_to(PACKAGE).parts]
    found = set()
    for node in _running(TREES[name]) if name in TREES else _pyx_imports(SOURCES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            bare = origin in {"rankmux", "rankmux.cli"}
            found |= {f"{origin}.{alias.name}" for alias in node.names} if bare else {origin}
    return found


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`; to name a type is not to depend on its module."""
    if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
        yield node
        for child in ast.iter_child_nodes(node):
            yield from _running(child)


def _pyx_imports(path: Path) -> list[ast.stmt]:
    """A .pyx and its .pxd are not Python, but their import statements are, once `cimport` is read as `import`."""
    sources = [source for source in {path, path.with_suffix(".pxd")} if source.is_file()]
    statements = re.findall(
        r"^[ \t]*((?:from[ \t]+\S+[ \t]+)?c?import[ \t]+(?:\([^)]*\)|[^\n#]+))",
        "\n".join(source.read_text() for source in sources),
        re.MULTILINE,
    )
    text = "\n".join(statements)
    return ast.parse(re.sub(r"\bcimport\b", "import", text)).body


def _ours(name: str) -> set[str]:
    """Those of the package itself; `__init__` stands for what it re-exports."""
    ours = {module.removeprefix("rankmux.") for module in _imports(name) if module.startswith("rankmux")}
    return {module if module in SOURCES else "__init__" for module in ours}


def _foreign(name: str) -> set[str]:
    return {module.partition(".")[0] for module in _imports(name)} - {"rankmux"}


def test_every_module_has_its_row():
    assert set(SOURCES) - set(ROWS) - TOP == set()


def test_the_table_points_down():
    order = list(ROWS)
    for name, allowed in ROWS.items():
        assert set(allowed.split()) <= set(order[: order.index(name)]), name


@pytest.mark.parametrize("name", sorted(ROWS.keys() & SOURCES.keys()))
def test_arrows_point_down(name):
    assert _ours(name) - set(ROWS[name].split()) == set()


@pytest.mark.parametrize("name", sorted(BELOW.keys() & SOURCES.keys()))
def test_no_io_below_the_line(name):
    allowed = {"os"} if name == "framing" else set()  # it reads RANKMUX_EXTENSION, once, to choose the twin
    assert _foreign(name) & NO_IO - allowed == set()


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.startswith("cli.")))
def test_the_command_line_uses_what_is_public(name):
    assert [module for module in _ours(name) - {"__init__"} if module.startswith("_")] == []


def test_threads_start_in_one_place():
    """One server, embedded, may run in a thread of its own; nothing else in the library starts any."""
    starting = {"Thread", "ThreadPoolExecutor"}
    calls = {
        name: {
            ast.unparse(node.func).rpartition(".")[2] for node in ast.walk(tree) if isinstance(node, ast.Call)
        }
        for name, tree in TREES.items()
    }
    assert len([name for name in calls if calls[name] & starting and name not in TOP]) <= 1


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
