"""The one build: packages, Cython extensions and extras.

``QUOTELIFE_BUILD`` is ``release`` (as if not set), ``debug`` or ``fuzz``. Debug builds the Cython code with bounds
and initialisation checks and C assertions. Fuzz does so too, with clang's sanitizers and coverage counters, and takes
only what the targets import (``tools/fuzz.py`` says it). Each keeps its objects apart.
"""

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup

MODE = os.environ.get("QUOTELIFE_BUILD") or "release"
if MODE not in ("release", "debug", "fuzz"):
    sys.exit(f"QUOTELIFE_BUILD must be release, debug or fuzz, not {MODE!r}")
CHECKED = MODE != "release"
ROOT = Path(__file__).parent
JOBS = os.cpu_count() or 1

# No fast-math, no contraction, no -march=native: decisions must be byte-equal wherever the build is the same.
COMPILE_ARGS = [
    "-std=c11",
    "-ffp-contract=off",
    "-fno-fast-math",
    "-fno-strict-aliasing",
    "-Wno-unused-function",
]
COMPILE_ARGS += (
    ["-O1", "-g", "-UNDEBUG", "-DCYTHON_WITHOUT_ASSERTIONS=0", "-DQUOTELIFE_PORTABLE"]
    if CHECKED
    else ["-O3", "-g0"]
)
LINK_ARGS: list[str] = []
if MODE == "fuzz":
    SANITIZE = ["-fsanitize=fuzzer-no-link,address,undefined", "-fno-sanitize-recover=all"]
    COMPILE_ARGS += [*SANITIZE, "-fno-omit-frame-pointer", "-gline-tables-only"]
    LINK_ARGS += SANITIZE
# What the fuzz targets import, and no more: tools/fuzz.py says what that is.
FUZZED = os.environ.get("QUOTELIFE_FUZZED", "").split()

DIRECTIVES = {
    "language_level": 3,
    "binding": True,
    "embedsignature": False,
    "boundscheck": CHECKED,
    "wraparound": False,
    "initializedcheck": CHECKED,
    "nonecheck": False,  # its raise needs the GIL: methods without it would not compile
    "overflowcheck": False,
    "cdivision": True,
}


def has_nghttp2() -> bool:
    """It is where compiler and linker look. An extension that lacks a header fails the whole install, even an optional
    one, so those that need it are only listed where it is found."""
    variable = {
        name: shlex.split(os.environ.get(name, "")) for name in ("CC", "CPPFLAGS", "CFLAGS", "LDFLAGS")
    }
    compiler = variable["CC"] or shlex.split(sysconfig.get_config_var("CC") or "cc")
    with tempfile.TemporaryDirectory() as folder:
        command = [*compiler, *variable["CPPFLAGS"], *variable["CFLAGS"], str(ROOT / "tools/has_nghttp2.c")]
        command += [*variable["LDFLAGS"], "-lnghttp2", "-o", f"{folder}/found"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:
            return False
    return done.returncode == 0


WITH_NGHTTP2 = has_nghttp2()


def left_out(name: str) -> bool:
    """Of a source or what was built of it: not for this build."""
    return name.startswith("native_") and not WITH_NGHTTP2


def extensions() -> list[Extension]:
    """One extension per ``.pyx`` under ``core/`` and ``server/``; the module name follows the path."""
    found = []
    for source in sorted([*(ROOT / "core").rglob("*.pyx"), *(ROOT / "server").rglob("*.pyx")]):
        relative = source.relative_to(ROOT)
        module = ".".join(relative.with_suffix("").parts[1:])
        if MODE == "fuzz" and module not in FUZZED:
            continue
        if left_out(source.name):
            continue
        found.append(
            Extension(
                module,
                [str(relative)],
                extra_compile_args=COMPILE_ARGS,
                extra_link_args=LINK_ARGS,
                libraries=["m", "nghttp2"] if source.name.startswith("native_") else ["m"],
            )
        )
    return found


def drop_stale(libs: list[Path], roots: list[Path]) -> list[Path]:
    """Delete from build folders what no longer has a source under ``roots`` or is left out; otherwise a module that was
    renamed or removed since the last build would be installed beside the new ones. Returns what was deleted."""
    dropped = []
    for lib in libs:
        for built in sorted(lib.rglob("*")):
            relative = built.relative_to(lib)
            if built.suffix in (".so", ".pyd"):
                relative = relative.with_name(relative.name.partition(".")[0] + ".pyx")
            wanted = any((root / relative).is_file() for root in roots)
            if built.suffix in (".so", ".pyd") and left_out(built.name):
                wanted = False
            if built.is_file() and not wanted:
                built.unlink()
                dropped.append(built)
    return dropped


SERVER = [
    "quotelife-client",
    "grpcio>=1.66.2",
    "grpcio-health-checking>=1.66",
    "grpcio-reflection>=1.66",
    "grpcio-status>=1.66",
    "googleapis-common-protos>=1.65",
    "uvloop>=0.20",
    "structlog>=24.1",
    "prometheus-client>=0.23.1",
    "typer>=0.15.4",
    "rich>=13.7",
    "picows>=1.20",
    "aiohttp>=3.11",
    "orjson>=3.10",
]
EXPORT = ["pyarrow>=15.0"]
LEARN = ["xgboost-cpu>=2.1.1", *EXPORT]
DEV = [
    "hpack>=4.0",
    "databento-dbn>=0.45",
    "duckdb>=1.0",
    "pytest>=8.2",
    "pytest-asyncio>=0.24",
    "pytest-randomly>=3.15",
    "pytest-xdist>=3.6.1",
    "hypothesis>=6.100",
    "mypy>=1.11",
    "ruff>=0.6",
    "psutil>=5.9",
    "types-PyYAML",
    "types-protobuf",
    "types-psutil",
    "grpc-stubs",
    "Cython>=3.1",
    "setuptools>=69",
]

core_packages = find_packages("core")
server_packages = find_packages("server")
if not WITH_NGHTTP2:
    sys.stderr.write("nghttp2 1.52 or newer was not found: built without the native gRPC front end\n")
drop_stale(sorted((ROOT / "build" / MODE).glob("lib*")), [ROOT / "core", ROOT / "server"])

setup(
    name="quotelife",
    version="0.1.0",
    description="Decides, in microseconds, how long a firm quote may live",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8")
    if (ROOT / "README.md").exists()
    else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=core_packages + server_packages,
    package_dir={"quotelife": "core/quotelife", "quotelife_server": "server/quotelife_server"},
    package_data={
        package: [
            "*.pyi",
            "*.pxd",
            "py.typed",
            "*.json",
            "builtin/*/*.json",
            "*.css",
            "*.html",
            "native/*",
            "native/*/*",
        ]
        for package in core_packages + server_packages
    },
    ext_modules=cythonize(
        extensions(),
        include_path=["core", "server"],
        build_dir=f"build/cython-{MODE}",
        compiler_directives=DIRECTIVES,
        nthreads=JOBS,
    ),
    options={"build": {"build_base": f"build/{MODE}"}, "build_ext": {"parallel": JOBS}},
    zip_safe=False,
    install_requires=["numpy>=1.26", "pydantic>=2.7", "PyYAML>=6.0", "tzdata>=2024.1", "zstandard>=0.22"],
    extras_require={"server": SERVER, "export": EXPORT, "learn": LEARN, "dev": [*DEV, *EXPORT, *LEARN]},
    entry_points={"console_scripts": ["quotelife = quotelife_server.cli:main"]},
)
