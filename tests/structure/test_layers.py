"""The house keeps its order: imports and cimports point downward only, and the core touches no outside world."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "core" / "quotelife"

# Lower may not import higher; names in one set may import each other.
LAYERS = [
    {"errors", "units", "clock", "instruments", "records", "inputs", "config", "news", "arena", "checksum"},
    {"feed", "capture"},
    {"book"},
    {"windows"},
    {"features"},
    {"model", "counterparty"},
    {"decision"},
    {"quotes"},
    {"engine"},
    {"journal", "replay", "explain"},
    {"learn", "sim", "bench"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
# config is L0 for everyone who reads it, and knows no layer above.
FORBIDDEN_IN_CORE = {
    "asyncio",
    "socket",
    "grpc",
    "google",
    "quote_expiry",
    "uvloop",
    "aiohttp",
    "picows",
    "structlog",
}
_CIMPORT = re.compile(r"^\s*from\s+([\w.]+)\s+cimport\b|^\s*cimport\s+([\w.]+)", re.MULTILINE)
_IMPORT = re.compile(r"^\s*from\s+([\w.]+)\s+import\b|^\s*import\s+([\w.]+)", re.MULTILINE)


def core_sources() -> list[Path]:
    return sorted(p for p in CORE.rglob("*") if p.suffix in {".py", ".pyx", ".pxd", ".pyi"})


def imported(path: Path) -> set[str]:
    text = path.read_text(encoding="utf-8")
    names: set[str] = set()
    if path.suffix in {".py", ".pyi"}:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module)
            elif isinstance(node, ast.ImportFrom) and node.level:
                raise AssertionError(f"{path}: relative imports hide the layer; write it out")
        return names
    for pattern in (_CIMPORT, _IMPORT):
        names.update(a or b for a, b in pattern.findall(text))
    return names


def layer_of(path: Path) -> int | None:
    part = path.relative_to(CORE).parts[0]
    return LEVEL.get(part.split(".")[0])


def violations(path: Path, level: int, names: set[str]) -> list[str]:
    found = []
    for name in names:
        parts = name.split(".")
        if parts[0] == "quotelife" and len(parts) > 1:
            if parts[1] not in LEVEL:
                found.append(f"{path.name}: {name} has no place in the layers")
            elif LEVEL[parts[1]] > level:
                found.append(f"{path.name}: imports {name}, which stands above it")
        elif parts[0] in FORBIDDEN_IN_CORE or parts[0] in {"quotelife_server", "quotelife_client", "core"}:
            found.append(f"{path.name}: imports {name}, which the core must not know")
    return found


@pytest.mark.parametrize("path", core_sources(), ids=lambda p: str(p.relative_to(CORE)))
def test_imports_point_downward(path: Path) -> None:
    if path.name == "__init__.py" and path.parent == CORE:
        return
    level = layer_of(path)
    assert level is not None, f"{path} has no place in the layers"
    assert violations(path, level, imported(path)) == []


def test_the_rule_itself_sees_a_violation() -> None:
    assert violations(CORE / "book" / "x.pyx", LEVEL["book"], {"quotelife.engine"})
    assert violations(CORE / "book" / "x.pyx", LEVEL["book"], {"asyncio"})
    assert not violations(CORE / "book" / "x.pyx", LEVEL["book"], {"quotelife.records", "libc.stdint"})


def test_no_import_by_the_source_tree() -> None:
    pattern = re.compile(r"^\s*(?:from|import)\s+(?:core|server)\.", re.MULTILINE)
    for folder in ("core", "server", "clients", "tests", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not pattern.search(path.read_text(encoding="utf-8")), path


def banned_calls(text: str) -> list[str]:
    banned = {("time", "time"), ("time", "time_ns"), ("time", "monotonic"), ("time", "monotonic_ns"),
              ("datetime", "now"), ("datetime", "utcnow"), ("random", "random")}  # fmt: skip
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Name) and function.id == "print":
                found.append("print")
            if (
                isinstance(function, ast.Attribute)
                and isinstance(function.value, ast.Name)
                and (function.value.id, function.attr) in banned
            ):
                found.append(f"{function.value.id}.{function.attr}")
    return found


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda p: str(p.relative_to(CORE)))
def test_core_asks_no_clock_and_prints_nothing(path: Path) -> None:
    if path.relative_to(CORE).parts[0] in {"learn", "bench"}:
        return
    assert banned_calls(path.read_text(encoding="utf-8")) == []


def test_cython_asks_no_clock() -> None:
    pattern = re.compile(r"\btime\.(time|monotonic|perf_counter)|clock_gettime|gettimeofday|\bprint\(")
    for path in CORE.rglob("*.pyx"):
        if path.name != "bench.pyx":
            assert not pattern.search(path.read_text(encoding="utf-8")), path


def test_only_the_offline_part_knows_xgboost() -> None:
    """The server reads boosters without it: so does every module of the core that it imports."""
    for path in core_sources():
        if path.relative_to(CORE).parts[0] != "learn":
            assert not any(name.startswith("xgboost") for name in imported(path)), path


def imported_at_once(path: Path) -> set[str]:
    """Without what a function imports when it is called."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if for_types or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [ast.Pass()]
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_the_server_never_imports_the_offline_part() -> None:
    """A command of the offline part does, when it runs and not before: ``serve`` is a command too."""
    cli = ROOT / "server" / "quotelife_server" / "cli"
    for path in (ROOT / "server").rglob("*.py"):
        for name in imported_at_once(path) if path.is_relative_to(cli) else imported(path):
            assert not name.startswith(("quotelife.learn", "xgboost", "sklearn")), f"{path}: {name}"


def test_the_list_of_commands_loads_nothing_that_only_some_of_them_need() -> None:
    """Every command waits for this before it begins, ``kill`` among them."""
    heavy = (
        "numpy",
        "pydantic",
        "grpc",
        "google.protobuf",
        "aiohttp",
        "asyncio",
        "structlog",
        "quotelife.engine",
    )
    program = (
        "import sys, quotelife_server.cli.commands; "
        f"print(*(name for name in sys.modules if (name + '.').startswith({tuple(f'{name}.' for name in heavy)})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True
    )
    assert not done.stdout.split()


def test_neither_the_service_nor_the_list_of_commands_loads_the_offline_part() -> None:
    program = (
        "import sys, quotelife_server.app, quotelife_server.cli.commands, quotelife_server.cli.serve; "
        "sys.exit(any(name.startswith(('quotelife.learn', 'xgboost')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
