"""Every compiled module has a stub, and the two name the same public things."""

import ast
import importlib
import importlib.util
import inspect
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted([*(ROOT / "core").rglob("*.pyx"), *(ROOT / "server").rglob("*.pyx")])


def stub_names(path: Path) -> dict[str, set[str]]:
    """Public names of a stub; for a class its public members too (``""`` holds the module's own)."""
    out: dict[str, set[str]] = {"": set()}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            out[""].add(node.name)
            members = out.setdefault(node.name, set())
            for item in node.body:
                if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
                    members.add(item.name)
                elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                    members.add(item.target.id)
                elif isinstance(item, ast.Assign):
                    members.update(t.id for t in item.targets if isinstance(t, ast.Name))
        elif isinstance(node, ast.FunctionDef):
            out[""].add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            out[""].add(node.target.id)
    return {
        owner: {n for n in names if not n.startswith("_")}
        for owner, names in out.items()
        if not owner.startswith("_")
    }


def live_names(module: object) -> dict[str, set[str]]:
    name = module.__name__  # type: ignore[attr-defined]
    out: dict[str, set[str]] = {"": set()}
    for key, value in vars(module).items():
        if key.startswith("_") or inspect.ismodule(value):
            continue
        home = getattr(value, "__module__", name)
        if (inspect.isclass(value) or callable(value)) and home != name:
            continue
        out[""].add(key)
        if inspect.isclass(value):
            members = {k for k in vars(value) if not k.startswith("_")}
            if issubclass(value, tuple):
                members = set(getattr(value, "_fields", ()))
            out[key] = members
    return out


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_stub_names_what_the_module_has(path: Path) -> None:
    stub_path = path.with_suffix(".pyi")
    assert stub_path.is_file(), f"{path.name} has no stub"
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts[1:])
    if path.name.startswith("native_") and importlib.util.find_spec(name) is None:
        pytest.skip("built without nghttp2")
    module = importlib.import_module(name)
    stub, live = stub_names(stub_path), live_names(module)
    constants = {
        n for n in live[""] if not (inspect.isclass(getattr(module, n)) or callable(getattr(module, n)))
    }
    imported = {
        n for n in constants if n not in stub[""] and f"{n} =" not in path.read_text(encoding="utf-8")
    }
    assert live[""] - imported == stub[""]
    for owner, members in stub.items():
        if owner and not issubclass(getattr(module, owner), tuple):
            enum_extra = {"name", "value"} if hasattr(getattr(module, owner), "__members__") else set()
            assert live[owner] - enum_extra == members, owner
