"""Generate the Python stubs of ``proto/`` into ``clients/python``, or compare them with what is checked in.

    python tools/gen_proto.py            # rewrite the stubs
    python tools/gen_proto.py --check    # exit 1 and name the files that differ

Generated code must never be newer than the protobuf runtime it meets, so the compiler is pinned to the oldest
grpcio-tools that the clients support: 1.66.2, whose code asks for protobuf 5.27 and grpcio 1.66 or newer.
Raise it together with the lower bounds in ``clients/python/pyproject.toml`` and ``setup.py``. The compiler
lives in a virtual environment of its own under ``build/``, because a development environment holds a newer
one.
"""

import argparse
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

GRPCIO_TOOLS = "1.66.2"
ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
OUT = ROOT / "clients" / "python"
PACKAGE = Path("quote_expiry") / "v1"
ENVIRONMENT = ROOT / "build" / f"protoc-{GRPCIO_TOOLS}"


def compiler() -> Path:
    """Python that has the pinned grpcio-tools; made on first use."""
    python = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / "complete"
    if not stamp.exists():
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        # grpc_tools of that age still imports pkg_resources, which setuptools 81 dropped.
        needs = [f"grpcio-tools=={GRPCIO_TOOLS}", f"grpcio=={GRPCIO_TOOLS}", "setuptools<81"]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *needs], check=True)
        stamp.touch()
    return python


def generate(out: Path) -> None:
    """Write the stubs of every proto file below ``out``."""
    sources = sorted(str(path.relative_to(PROTO)) for path in (PROTO / PACKAGE).glob("*.proto"))
    command: list[str | Path] = [compiler(), "-m", "grpc_tools.protoc", f"-I{PROTO}"]
    command += [f"--python_out={out}", f"--pyi_out={out}", f"--grpc_python_out={out}", *sources]
    subprocess.run(command, check=True, cwd=PROTO)
    for grpc_stub in (out / PACKAGE).glob("*_pb2_grpc.py"):
        if "class " not in grpc_stub.read_text(encoding="utf-8"):
            grpc_stub.unlink()  # a file without services gets an empty stub
    for folder in (out / PACKAGE, out / PACKAGE.parent):
        (folder / "__init__.py").write_text("", encoding="utf-8")
        (folder / "py.typed").write_text("", encoding="utf-8")


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.suffix in (".py", ".pyi")]
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in files}


def main() -> int:
    parser = argparse.ArgumentParser(description="Generate or check the Python stubs of the API.")
    parser.add_argument("--check", action="store_true", help="compare with what is checked in, write nothing")
    if not parser.parse_args().check:
        (OUT / PACKAGE).mkdir(parents=True, exist_ok=True)
        for old in (OUT / PACKAGE).glob("*_pb2*"):
            old.unlink()
        generate(OUT)
        return 0
    with tempfile.TemporaryDirectory() as fresh:
        (Path(fresh) / PACKAGE).mkdir(parents=True)
        generate(Path(fresh))
        want = contents(Path(fresh) / PACKAGE.parent)
        have = contents(OUT / PACKAGE.parent)
    differing = sorted(name for name in want.keys() | have.keys() if want.get(name) != have.get(name))
    for name in differing:
        sys.stderr.write(f"clients/python/quote_expiry/{name} differs from proto/: run `make proto`\n")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
