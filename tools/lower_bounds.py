#!/usr/bin/env python3
"""Print a pip constraints file that pins every ``NAME>=VERSION`` of both distributions to that version.

Where the two name different versions of a package the higher one is taken: both have to hold.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BOUND = re.compile(r"([A-Za-z0-9._-]+)>=([0-9][0-9.]*)")


def requirements(root: Path) -> Iterator[str]:
    """Every string of ``setup.py``, which is read and not run, and the client's dependencies."""
    for node in ast.walk(ast.parse((root / "setup.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
    client = tomllib.loads((root / "clients" / "python" / "pyproject.toml").read_text(encoding="utf-8"))
    yield from client["project"]["dependencies"]


def lower_bounds(root: Path) -> dict[str, str]:
    bounds: dict[str, str] = {}
    for requirement in requirements(root):
        match = BOUND.fullmatch(requirement)
        if match is None:
            continue
        name, version = match[1].lower(), match[2]
        bounds[name] = max(bounds.get(name, "0"), version, key=_numbers)
    return bounds


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


if __name__ == "__main__":
    sys.stdout.writelines(f"{name}=={version}\n" for name, version in sorted(lower_bounds(ROOT).items()))
