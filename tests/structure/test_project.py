"""Facts the project states about itself in more than one place agree."""

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reference.longest import LONGEST_FIRST

ROOT = Path(__file__).resolve().parents[2]


def test_changelog_and_builds_name_one_version() -> None:
    setup = re.search(r'version="([^"]+)"', (ROOT / "setup.py").read_text(encoding="utf-8"))
    client = re.search(
        r'^version = "([^"]+)"', (ROOT / "clients/python/pyproject.toml").read_text(), re.MULTILINE
    )
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert setup is not None and client is not None and newest is not None
    assert setup[1] == client[1] == newest[1]


def test_readme_fits_a_page_and_names_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    assert "make run" in text and "make test" in text


def anchors(path: Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_readme_and_docs_point_at_files_and_headings_that_exist() -> None:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", page.read_text(encoding="utf-8")):
            there = page.parent / target if target else page
            assert there.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(there), f"{page.name}: {target}#{anchor}"


def test_no_fast_math_and_no_machine_specific_code() -> None:
    flags = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert "-ffp-contract=off" in flags
    assert '"-ffast-math"' not in flags and '"-march=native"' not in flags


def test_cython_sources_keep_the_line_length() -> None:
    """What ruff does not read keeps the length that ruff would ask for."""
    for path in sorted((ROOT / "core").rglob("*.py[xdi]")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert len(line) <= 120, f"{path.relative_to(ROOT)}:{number}"


def test_every_dependency_bound_reaches_the_lowest_build() -> None:
    printed = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "lower_bounds.py")], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    pinned = dict(line.split("==") for line in printed)
    for name, version in re.findall(r'"([A-Za-z-]+)>=([0-9.]+)"', (ROOT / "setup.py").read_text()):
        assert pinned[name.lower()] == version
    assert pinned["protobuf"]  # the client's alone


def test_ci_may_not_skip_recorded_data() -> None:
    assert "export CI=1" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_build_folders_lose_modules_without_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module renamed since the last build is not installed beside the new one; all that has a source stays."""
    root, lib = tmp_path / "core", tmp_path / "build" / "lib.linux"
    (root / "quotelife").mkdir(parents=True)
    (lib / "quotelife").mkdir(parents=True)
    for name in ("kept.pyx", "kept.pyi", "plain.py"):
        (root / "quotelife" / name).touch()
    kept = {"kept.cpython-311-x86_64-linux-gnu.so", "kept.pyi", "plain.py"}
    stale = {"gone.cpython-311-x86_64-linux-gnu.so", "gone.pyi", "gone.py"}
    for name in kept | stale:
        (lib / "quotelife" / name).touch()
    dropped = setup_file(monkeypatch)["drop_stale"]([lib], [root])
    assert {each.name for each in dropped} == stale
    assert {each.name for each in (lib / "quotelife").iterdir()} == kept


def setup_file(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """setup.py as it stands, without what it would build."""
    monkeypatch.setattr("setuptools.setup", lambda **_: None)
    monkeypatch.setattr("Cython.Build.cythonize", lambda *_, **__: [])
    monkeypatch.chdir(ROOT)
    return runpy.run_path(str(ROOT / "setup.py"))


OLD = "#define NGHTTP2_VERSION_NUM 0x012b00\nconst char *nghttp2_version(int);\n"
NEW = OLD.replace("0x012b00", "0x013400")
VERSION = 'const char *nghttp2_version(int least) { return least ? "1" : 0; }'


@pytest.mark.parametrize(
    ("header", "library", "found"),
    [
        (NEW, VERSION, True),
        (OLD, VERSION, False),
        ("#error", VERSION, False),
        (NEW, "int something_else;", False),
        (NEW, "", False),
    ],
    ids=["there", "too old", "no header", "another library", "no library"],
)
def test_the_native_front_end_is_built_where_nghttp2_is(
    header: str, library: str, found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header without a library would fail the whole install; what was built before is not installed again."""
    include, lib = tmp_path / "nghttp2", tmp_path / "lib"
    include.mkdir()
    lib.mkdir()
    (include / "nghttp2.h").write_text(header)
    built = lib / "native_call.cpython-311-x86_64-linux-gnu.so"
    built.touch()
    shared = lib / "libnghttp2.so"
    if library:
        command = ["gcc", "-shared", "-x", "c", "-", "-o", str(shared)]
        subprocess.run(command, input=library, text=True, check=True)
    else:
        shared.write_text("no library")
    monkeypatch.setenv("CC", f"gcc -I{tmp_path}")
    monkeypatch.setenv("LDFLAGS", f"-L{lib}")
    monkeypatch.delenv("CPPFLAGS", raising=False)
    monkeypatch.delenv("CFLAGS", raising=False)
    made = setup_file(monkeypatch)
    assert made["has_nghttp2"]() is found
    native = [each.name for each in made["extensions"]() if "native_" in each.name]
    assert bool(native) is found
    made["drop_stale"]([lib], [ROOT / "server" / "quotelife_server" / "transport"])
    assert built.exists() is found


def test_the_files_that_are_begun_first_exist() -> None:
    assert [name for name in LONGEST_FIRST if not (ROOT / "tests" / name).is_file()] == []
    assert len(set(LONGEST_FIRST)) == len(LONGEST_FIRST)
