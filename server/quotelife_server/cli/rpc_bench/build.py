"""The programs of ``bench rpc`` that are not Python, built where what they need is there and kept for the next run.

They come from ``native/``: the spinning client (C), client and server of gRPC C++, and a server of gRPC Go. What protoc
makes of the wire's messages it makes of the descriptors that the Python package brings, so that no ``.proto`` file
has to be at hand.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor

from quote_expiry.v1 import quote_expiry_service_pb2

SOURCES = Path(__file__).parent / "native"
COMMAND_S = 600.0
KEPT = 4  # builds of one program, for trees that are measured in turns
APT = "apt-get install -y"


class BuildError(Exception):
    """One line that says what failed, and what to do."""


@dataclass(slots=True)
class Programs:
    """Where each program is, or why it is not there."""

    paths: dict[str, Path] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def cache_folder() -> Path:
    """Where built programs are kept."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "quotelife" / "bench-rpc"


def build_all(cache: Path, tell: Callable[[str], None]) -> Programs:
    """Builds what is not in ``cache`` yet. ``tell`` hears what is being built."""
    programs = Programs()
    for name, kit in KITS.items():
        if lacking := [each for each in kit.needs if shutil.which(each) is None]:
            programs.missing[name] = f"no {', '.join(lacking)} here: {kit.mend}"
            continue
        try:
            tell(f"building {name}")
            folder = _kept(cache, name, kit)
        except BuildError as error:
            programs.missing[name] = f"{error}; needs: {kit.mend}"
            continue
        for path in folder.iterdir():
            programs.paths[path.name] = path
    return programs


def descriptors(
    file: FileDescriptor = quote_expiry_service_pb2.DESCRIPTOR,
) -> descriptor_pb2.FileDescriptorSet:
    """The file and all that it imports, those first."""
    out = descriptor_pb2.FileDescriptorSet()
    seen: set[str] = set()

    def add(each: FileDescriptor) -> None:
        if each.name not in seen:
            seen.add(each.name)
            for other in each.dependencies:
                add(other)
            each.CopyToProto(out.file.add())

    add(file)
    return out


def run(command: Sequence[str | Path], cwd: Path, **environment: str) -> str:
    """What the command says. Raises ``BuildError`` with the first line that tells why."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=COMMAND_S,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"{command[0]} took more than {COMMAND_S:.0f} s") from None
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        why = next((line for line in said if "error" in line.lower()), said[0] if said else "it says nothing")
        raise BuildError(f"{command[0]} failed: {why[:300]}")
    return done.stdout


def _kept(cache: Path, name: str, kit: "Kit") -> Path:
    """The folder with the built program: that of an earlier run where nothing it was made of has changed."""
    digest = hashlib.sha256("\n".join(run(each, SOURCES) for each in kit.versions).encode())
    digest.update(descriptors().SerializeToString(deterministic=True))
    for source in sorted(each for each in SOURCES.rglob("*") if each.is_file()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    folder = cache / f"{name}-{digest.hexdigest()[:16]}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as at:
            work, out = Path(at) / "work", Path(at) / "out"
            work.mkdir()
            out.mkdir()
            kit.make(work, out)
            if not folder.is_dir():  # another run may have been faster
                out.rename(folder)
    older = sorted(cache.glob(f"{name}-*"), key=lambda each: each.stat().st_mtime)[:-KEPT]
    for each in older:
        if each != folder:
            shutil.rmtree(each, ignore_errors=True)
    return folder


def _protoc(work: Path, *options: str) -> None:
    (work / "descriptors").write_bytes(descriptors().SerializeToString())
    names = [file.name for file in descriptors().file]
    run(["protoc", "--descriptor_set_in=descriptors", *options, *names], work)


def _spin(work: Path, out: Path) -> None:
    run(["gcc", "-O2", "-o", out / "spin", SOURCES / "spin.c"], work)


def _cpp(work: Path, out: Path) -> None:
    plugin = shutil.which("grpc_cpp_plugin")
    _protoc(work, "--cpp_out=.", "--grpc_out=.", f"--plugin=protoc-gen-grpc={plugin}")
    flags = run(["pkg-config", "--cflags", "grpc++", "protobuf"], work).split()
    libraries = run(["pkg-config", "--libs", "grpc++", "protobuf"], work).split()
    shared = sorted(work.rglob("*.cc"))
    own = [SOURCES / "noop_server.cc", SOURCES / "client.cc"]

    def compiled(source: Path) -> Path:
        target = work / f"{source.name}.o"
        run(["g++", "-std=c++17", "-O2", "-I", work, *flags, "-c", source, "-o", target], work)
        return target

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        *objects, server, client = pool.map(compiled, [*shared, *own])
    for name, main in (("cpp-server", server), ("cpp-client", client)):
        run(["g++", "-o", out / name, main, *objects, *libraries], work)


def _go(work: Path, out: Path) -> None:
    for source in (SOURCES / "go").iterdir():
        shutil.copy(source, work)
    own = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOBIN": str(work), "CGO_ENABLED": "0"}
    plugin = work / "protoc-gen-go"
    run(["go", "build", "-o", plugin, "google.golang.org/protobuf/cmd/protoc-gen-go"], work, **own)
    _protoc(work, "--go_out=.", "--go_opt=module=quotelife.dev", f"--plugin=protoc-gen-go={plugin}")
    run(["go", "build", "-o", out / "go-server", "."], work, **own)


@dataclass(frozen=True, slots=True)
class Kit:
    """What a build takes: commands, how to get them, which of them make a build another one, and how it goes."""

    needs: tuple[str, ...]
    mend: str
    versions: tuple[tuple[str, ...], ...]
    make: Callable[[Path, Path], None]


KITS = {
    "spinning_client": Kit(("gcc",), f"{APT} gcc libc6-dev", (("gcc", "--version"),), _spin),
    "grpc_cpp": Kit(
        ("g++", "pkg-config", "protoc", "grpc_cpp_plugin"),
        f"{APT} g++ pkg-config libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc",
        (("g++", "--version"), ("pkg-config", "--modversion", "grpc++", "protobuf")),
        _cpp,
    ),
    "grpc_go": Kit(
        ("go", "protoc"),
        f"Go from https://go.dev/dl and {APT} protobuf-compiler",
        (("go", "version"), ("protoc", "--version")),
        _go,
    ),
}
