"""The clients: how each is built, and the cases that it goes through. Everything built stays under build/clients."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import google.rpc

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
BUILD = ROOT / "build" / "clients"
BIN = BUILD / "bin"
PROTO = ROOT / "proto"
RPC_PROTO = Path(google.rpc.__path__[0]).parents[1]  # of googleapis-common-protos
PROTO_PATHS = (PROTO, HERE / "proto", RPC_PROTO)
API = "quote_expiry.v1.QuoteExpiryService"
REQUEST = {"instrument": "BTC-USDT", "side": "SIDE_BUY"}
AT_ONCE = 64
PROGRAM_CASES = (
    *("unary", "stream", "server_stream", "watch", "deadline", "cancel", "error", "metadata", "gzip", "load"),
)


class Unbuilt(Exception):
    """What is missing, and how to get it."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a case goes. ``papers``: the name of the certificate to show, "" for none, ``None`` without TLS."""

    address: str
    folder: Path
    papers: str | None
    calls: int
    seconds: int

    def files(self, ca: str = "ours") -> dict[str, Path]:
        """Of TLS, by name; empty without it."""
        if self.papers is None:
            return {}
        files = {"ca": self.folder / f"{ca}.pem"}
        if self.papers:
            files["certificate"] = self.folder / f"{self.papers}.pem"
            files["key"] = self.folder / f"{self.papers}.key"
        return files


Run = Callable[[Target, float], tuple[bool, str]]


@dataclass(frozen=True, slots=True)
class Case:
    """``run`` says whether it passed, and a note; ``service``: which of the three addresses; ``control``: it is tried
    through grpc.aio, too."""

    name: str
    run: Run
    service: str = "plain"
    papers: str | None = None
    control: bool = True


@dataclass(frozen=True, slots=True)
class Client:
    """``drains``: a load in the middle of which the service leaves."""

    name: str
    build: Callable[[], None]
    cases: Sequence[Case]
    drains: Case | None = None
    fast: bool = False
    tells_deadlines: bool = True


# --- programs of ours over a library of others ------------------------------------------------------------------------


def _program(
    command: Sequence[str | Path], case: str, ca: str, target: Target, limit_s: float
) -> tuple[bool, str]:
    arguments = {"target": target.address, "cases": case, "calls": target.calls, "seconds": target.seconds}
    arguments |= {"at_once": AT_ONCE, "protos": ",".join(map(str, PROTO_PATHS))}
    arguments |= target.files(ca)
    words = [f"{name}={value}" for name, value in arguments.items()]
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=limit_s, check=False)
    for line in done.stdout.splitlines():
        told = json.loads(line)
        if told["case"] == case:
            return bool(told["ok"]), str(told["note"])
    return False, f"status {done.returncode}: {done.stderr.strip()[-300:]}"


def _of_program(
    name: str, build: Callable[[], None], command: Sequence[str | Path], *more: str, fast: bool = False
) -> Client:
    def case(name: str, what: str, ca: str = "ours", **where: str | None) -> Case:
        return Case(name, partial(_program, command, what, ca), **where)  # type: ignore[arg-type]

    cases = [case(each, each) for each in (*PROGRAM_CASES, *more)]
    cases += [
        case("mTLS", "unary", service="mutual", papers="oms"),
        case("mTLS stream", "stream", service="mutual", papers="oms"),
        case("no certificate", "refused", service="mutual", papers=""),
        case("not ours", "refused", service="mutual", papers="stranger"),
        case("wrong CA", "refused", "theirs", service="mutual", papers="oms"),
        case("goaway", "goaway", service="aging"),
    ]
    return Client(name, build, cases, case("drain", "drain", service="aging"), fast)


def _needs(command: str, mend: str) -> str:
    found = shutil.which(command)
    if found is None:
        raise Unbuilt(f"{command} is not there; {mend}")
    return found


def _do(command: Sequence[str | Path], folder: Path = ROOT, **environment: str) -> None:
    import os

    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        told = (done.stderr + done.stdout).strip()
        raise Unbuilt(f"{' '.join(map(str, command[:3]))} failed: {told[-600:]}")


def _copied(name: str) -> Path:
    """The sources of a client under build/, where what is generated may lie beside them."""
    folder = BUILD / name
    shutil.copytree(HERE / name, folder, dirs_exist_ok=True)
    return folder


def _newer(product: Path, *folders: Path) -> bool:
    """The product is there, and newer than all of its sources."""
    if not product.exists():
        return False
    made = product.stat().st_mtime
    return all(each.stat().st_mtime <= made for folder in (*folders, PROTO) for each in folder.rglob("*"))


def _cpp() -> None:
    program = BIN / "client-cpp"
    if _newer(program, HERE / "cpp", HERE / "proto"):
        return
    mend = "apt-get install -y g++ pkg-config libgrpc++-dev protobuf-compiler-grpc"
    compiler, protoc, plugin = (_needs(each, mend) for each in ("g++", "protoc", "grpc_cpp_plugin"))
    flags = subprocess.run(
        [_needs("pkg-config", mend), "--cflags", "--libs", "grpc++", "protobuf"],
        capture_output=True,
        text=True,
        check=False,
    )
    if flags.returncode:
        raise Unbuilt(f"grpc++ is not there; {mend}")
    folder = BUILD / "cpp"
    folder.mkdir(parents=True, exist_ok=True)
    BIN.mkdir(parents=True, exist_ok=True)
    includes = [f"-I{each}" for each in PROTO_PATHS]
    sources = ["quote_expiry/v1/types.proto", "quote_expiry/v1/quote_expiry_service.proto", "health.proto"]
    sources += ["google/rpc/status.proto", "google/rpc/error_details.proto"]
    outputs = [f"--cpp_out={folder}", f"--grpc_out={folder}", f"--plugin=protoc-gen-grpc={plugin}"]
    _do([protoc, *includes, *outputs, *sources])
    units = [HERE / "cpp" / "client.cc", *folder.rglob("*.pb.cc")]
    _do([compiler, "-O2", "-std=c++17", f"-I{folder}", *units, "-o", program, *flags.stdout.split()])


GO_MEND = "get Go 1.26 or newer and put its bin folder on PATH"


def _go_tools(name: str, *programs: str) -> None:
    """The tools that go.mod of a folder names, in its versions."""
    go = _needs("go", GO_MEND)
    if all((BIN / each).exists() for each in programs):
        return
    BIN.mkdir(parents=True, exist_ok=True)
    _do([go, "install", "tool"], _copied(name), GOBIN=str(BIN))


def _go() -> None:
    go = _needs("go", GO_MEND)
    protoc = _needs("protoc", "apt-get install -y protobuf-compiler")
    _go_tools("go", "protoc-gen-go", "protoc-gen-go-grpc", "grpcurl")
    program = BIN / "client-go"
    if _newer(program, HERE / "go"):
        return
    folder = _copied("go")
    sources = sorted(PROTO.rglob("*.proto"))
    outputs = [f"--{kind}={value}" for kind, value in (("go_out", folder), ("go-grpc_out", folder))]
    outputs += ["--go_opt=module=quotelife.dev", "--go-grpc_opt=module=quotelife.dev"]
    plugins = [f"--plugin={BIN / each}" for each in ("protoc-gen-go", "protoc-gen-go-grpc")]
    _do([protoc, f"-I{PROTO}", *plugins, *outputs, *sources])
    _do([go, "build", "-o", program, "."], folder)


JAVA = BUILD / "java" / "target"


def _java() -> None:
    mend = "apt-get install -y openjdk-17-jdk-headless maven"
    maven = _needs("mvn", mend)
    for each in ("java", "javac"):
        _needs(each, mend)
    jar = JAVA / "interop-client-1.jar"
    if _newer(jar, HERE / "java"):
        return
    _do([maven, "-q", "-B", f"-Dproto.root={PROTO}", "package"], _copied("java"))
    jar.touch()  # Maven leaves one as it is that would be the same


NODE = BUILD / "node"
BUF = NODE / "node_modules" / ".bin" / "buf"


def _node() -> None:
    mend = "install Node 18 or newer, with npm"
    npm, _ = _needs("npm", mend), _needs("node", mend)
    lock = NODE / "node_modules" / ".package-lock.json"
    folder = _copied("node")
    if not lock.exists() or lock.stat().st_mtime < (HERE / "node" / "package-lock.json").stat().st_mtime:
        _do([npm, "ci", "--silent"], folder)
        lock.touch()


# --- finished tools ---------------------------------------------------------------------------------------------------

Check = Callable[[int, str], str]
"""What is wrong with the status and the output of a tool; "" for nothing."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A command line: what always stands first, and how it is told of TLS."""

    command: Sequence[str | Path]
    plain: Sequence[str]
    flags: dict[str, str] = field(default_factory=dict)

    def run(
        self, arguments: Callable[[Target], Sequence[str]], check: Check, target: Target, limit_s: float
    ) -> tuple[bool, str]:
        files = target.files()
        tls = [word for name, file in files.items() for word in (self.flags[name], str(file))]
        words = [*self.command, *(tls or self.plain), *arguments(target)]
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=limit_s, check=False, stdin=subprocess.DEVNULL
        )
        told = done.stdout + done.stderr
        fault = check(done.returncode, told)
        return not fault, f"{fault}: {told.strip()[-200:]}" if fault else ""

    def case(
        self, name: str, arguments: Callable[[Target], Sequence[str]], check: Check, **where: Any
    ) -> Case:
        return Case(name, partial(self.run, arguments, check), **where)


def _says(*texts: str, ends: bool | None = True) -> Check:
    """All of the texts are there; ``ends`` with status 0, another, or any."""

    def check(status: int, told: str) -> str:
        if ends is not None and (status == 0) != ends:
            return f"status {status}"
        missing = [each for each in texts if each not in told]
        return f"no {missing[0]!r}" if missing else ""

    return check


def _json(**more: object) -> str:
    return json.dumps({**REQUEST, **more})


TAGS = "".join(json.dumps({"tag": tag, "request": REQUEST}) for tag in (1, 2, 3))
LARGE = "x-large: " + "a" * 9000
GRPCURL = Tool((BIN / "grpcurl",), ("-plaintext",), {"ca": "-cacert", "certificate": "-cert", "key": "-key"})


def _grpcurl() -> Client:
    def ask(
        *options: str, method: str = f"{API}/GetExpiry", data: str | None = _json()
    ) -> Callable[..., list[str]]:
        return lambda target: [
            *(("-d", data) if data is not None else ()), "-max-time", "10", *options, target.address, method,
        ]  # fmt: skip

    def only(*words: str) -> Callable[[Target], list[str]]:
        return lambda target: [target.address, *words]

    hold = _json(rfq_id="hold")
    watch = "grpc.health.v1.Health/Watch"
    quote = '"decision": "DECISION_QUOTE"'
    return Client(
        "grpcurl",
        partial(_go_tools, "go", "grpcurl"),
        [
            GRPCURL.case("reflection", only("list"), _says(API, "grpc.health.v1.Health")),
            GRPCURL.case("describe", only("describe", f"{API}.GetExpiry"), _says("GetExpiryRequest")),
            GRPCURL.case("unary", ask(), _says(quote)),
            GRPCURL.case("stream", ask(method=f"{API}/StreamExpiry", data=TAGS), _says('"tag": "3"')),
            GRPCURL.case(
                "server_stream",
                ask("-max-time", "1", method=watch, data="{}"),
                _says("SERVING", "DeadlineExceeded", ends=False),
            ),
            GRPCURL.case(
                "deadline", ask("-max-time", "0.3", data=hold), _says("DeadlineExceeded", ends=False)
            ),
            GRPCURL.case(
                "error",
                ask(data=_json(price="-1")),
                _says("InvalidArgument", "BadRequest", "price", ends=False),
            ),
            GRPCURL.case("mTLS", ask(), _says(quote), service="mutual", papers="oms"),
            GRPCURL.case("no certificate", ask(), _says(ends=False), service="mutual", papers=""),
        ],
    )


BUF_CURL = Tool(
    (BUF, "curl", "--protocol", "grpc"),
    ("--http2-prior-knowledge",),
    {"ca": "--cacert", "certificate": "--cert", "key": "--key"},
)


def _buf() -> Client:
    def ask(
        *options: str, method: str = f"{API}/GetExpiry", data: str = _json()
    ) -> Callable[[Target], list[str]]:
        def words(target: Target) -> list[str]:
            scheme = "http" if target.papers is None else "https"
            return ["-d", data, *options, f"{scheme}://{target.address}/{method}"]

        return words

    quote = '"decision": "DECISION_QUOTE"'
    return Client(
        "buf curl",
        _node,
        [
            BUF_CURL.case(
                "reflection",
                lambda target: ["--list-methods", f"http://{target.address}"],
                _says(f"{API}/GetExpiry"),
            ),
            BUF_CURL.case("unary", ask(), _says(quote)),
            BUF_CURL.case("stream", ask(method=f"{API}/StreamExpiry", data=TAGS), _says('"tag": "3"')),
            BUF_CURL.case(
                "error",
                ask(data=_json(price="-1")),
                _says("invalid_argument", "BadRequest", "price", ends=False),
            ),
            BUF_CURL.case(
                "metadata",
                ask("-H", LARGE, "--schema", str(PROTO)),
                _says("resource_exhausted", ends=False),
                control=False,  # 20,000 bytes were let pass there
            ),
            BUF_CURL.case("mTLS", ask(), _says(quote), service="mutual", papers="oms"),
            BUF_CURL.case("no certificate", ask(), _says(ends=False), service="mutual", papers=""),
        ],
        tells_deadlines=False,
    )


GHZ = Tool((BIN / "ghz",), ("--insecure",), {"ca": "--cacert", "certificate": "--cert", "key": "--key"})


def _ghz() -> Client:
    def ask(
        *options: str, data: str = _json(), method: str = "GetExpiry", count: int = 200
    ) -> Callable[[Target], list[str]]:
        return lambda target: [
            *("--proto", "quote_expiry/v1/quote_expiry_service.proto", "-i", str(PROTO), "-O", "json"),
            *("--disable-template-functions", "--disable-template-data", "-d", data),
            *("--call", f"{API}.{method}", "-c", str(min(count, AT_ONCE)), "-n", str(count), *options),
            target.address,
        ]

    def only(*codes: str) -> Check:
        """Calls have ended in these ways alone."""

        def check(status: int, told: str) -> str:
            try:
                report = json.loads(told)
                ends = report["statusCodeDistribution"]
            except (ValueError, KeyError):
                return f"status {status}, no figures"
            fault = f"ended as {ends}: {report['errorDistribution']}"
            return "" if ends and set(ends) <= set(codes) else fault

        return check

    def load(target: Target) -> list[str]:
        # What it keeps of each call makes it too slow for more than this at a time.
        return ask("--connections", "2", count=target.calls)(target)

    def lasting(target: Target) -> list[str]:
        return ask("-z", f"{target.seconds}s", "--duration-stop", "wait")(target)

    batch = json.dumps({"requests": [REQUEST] * 50})
    return Client(
        "ghz",
        partial(_go_tools, "ghz", "ghz"),
        [
            GHZ.case("unary", ask(), only("OK")),
            GHZ.case("stream", ask(method="StreamExpiry", data=f"[{TAGS.replace('}{', '},{')}]"), only("OK")),
            GHZ.case("deadline", ask("-t", "300ms", data=_json(rfq_id="hold")), only("DeadlineExceeded")),
            GHZ.case("gzip", ask("-e", method="BatchGetExpiry", data=batch, count=20), only("OK")),
            GHZ.case("load", load, only("OK")),
            GHZ.case("mTLS", ask(), only("OK"), service="mutual", papers="oms"),
            GHZ.case("goaway", lasting, only("OK"), service="aging"),
        ],
        GHZ.case("drain", lasting, only("OK", "Unavailable"), service="aging"),
    )


def _there() -> None:
    """grpcio comes with the service."""


CLIENTS = {
    each.name: each
    for each in (
        _of_program(
            "grpcio", _there, (sys.executable, "-m", "interop.grpc_clients.python_sync"), "reflection"
        ),
        _of_program("grpcio aio", _there, (sys.executable, "-m", "interop.grpc_clients.python_aio")),
        _of_program("grpc C++", _cpp, (BIN / "client-cpp",), fast=True),
        _of_program("grpc-go", _go, (BIN / "client-go",), fast=True),
        _of_program(
            "grpc-java",
            _java,
            ("java", "-cp", f"{JAVA / 'classes'}:{JAVA / 'lib'}/*", "dev.quotelife.clients.Client"),
        ),
        _of_program("grpc-js", _node, ("node", NODE / "client.js")),
        _grpcurl(),
        _buf(),
        _ghz(),
    )
}
