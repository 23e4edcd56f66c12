"""All servers of one run of ``bench rpc``, and the market behind the services."""

import json
import shutil
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.errors import QuotelifeError
from quotelife_server.cli.rpc_bench.build import APT, BuildError, Programs, run
from quotelife_server.cli.rpc_bench.load import INSTRUMENT, Load, Target, request
from quotelife_server.cli.rpc_bench.processes import Child, Cores
from quotelife_server.cli.rpc_bench.servers import GET_EXPIRY
from quotelife_server.transport.choice import MISSING

MARKET = "market"
EVENTS_PER_S = 200_000
NATIVE = {"native", "native_no_op", "tls", MARKET}
READY_S = 60.0
WARM_S = 3.0
BEGUN_S = 1.5  # until all of the busy market have begun
CALL_S = 5.0

CONFIG = """
version: 1
model: {{artifact: simulated_trees}}
regimes:
  {{volatility_ratio: 1e6, spread_volatility_ratio: 1e6, decorrelation_z: 1e6, update_frequency_ratio: 1e6}}
tiers:
  regular: {{posture: liquidity_provider}}
counterparties:
  alpine-pension: {{tier: regular}}
desks:
  crypto-otc: {{}}
instruments:
{instruments}
feeds:
  - {{kind: binary, name: market, transport: tcp, address: {feed}, instruments: [{names}]}}
server:
  transport: {transport}
  address: 127.0.0.1:0
  unix_socket: {socket}
  metrics_address: 127.0.0.1:0
  tls: {tls}
  kill_file: null
  watch_configuration: false
  log_level: error
  drain: {{notice: 0ns}}
  replies: {{bytes_max: 134217728}}
  journal: {{directory: {journal}, keep_bytes: 1073741824}}
"""


@dataclass(frozen=True, slots=True)
class Market:
    """Where market events come from: one instrument, and as many as bring 200,000 events a second."""

    child: Child
    one: str
    many: str
    instruments: int


class Fleet:
    """All servers of a run, by their rows; ``missing``: why one is not there."""

    def __init__(self, stack: ExitStack, cores: Cores, folder: Path, programs: Programs, load: Load) -> None:
        self._stack, self._cores, self._folder, self._load = stack, cores, folder, load
        self._programs = programs
        self.targets: dict[str, Target] = {}
        self.missing = {**programs.missing, **load.missing}
        self.market: Market | None = None
        self.metrics = ""

    def start(self, rows: tuple[str, ...]) -> None:
        """Services first: the others answer with what they said."""
        market = self._start_market()
        began_s = time.monotonic()
        wanted = set(rows)
        if wanted & {"unix_socket", "stream_expiry"}:
            wanted.add("native")
        if find_spec("quotelife_server.transport.native_connection") is None:
            self.missing["native"] = MISSING
            wanted -= NATIVE
        for row in ("native", "grpc_aio", "tls", MARKET):
            if row in wanted:
                self._start_service(row, market)
        services = list(self.targets.values())
        if not services:
            raise QuotelifeError("rows: without native, grpc_aio, tls or market there is no answer to copy")
        if "native" in self.targets:
            native = self.targets["native"]
            socket = Target(native.pid, f"unix:{self._folder / 'native.sock'}")
            self.targets.update(unix_socket=socket, stream_expiry=native)
        for target in services:
            first_quote(target)
        time.sleep(max(0.0, began_s + WARM_S - time.monotonic()))
        reply = first_quote(services[-1])
        self._load.reply_bytes = len(reply)
        path = self._folder / "reply"
        path.write_bytes(reply)
        if "native_no_op" in wanted:
            self._start_python("native_no_op", "native-no-op", path)
        if "grpc_aio_no_op" in rows:
            self._start_python("grpc_aio_no_op", "grpc_aio-no-op", path)
        for row, program in (("cpp_no_op", "cpp-server"), ("go_no_op", "go-server")):
            if row in rows and program in self._programs.paths:
                child = self._child([self._programs.paths[program], path], self._cores.server)
                self.targets[row] = Target(child.pid, child.line(READY_S))
        if MARKET in self.targets:
            # Its many instruments begin within a second, once; from then on ``busy`` brings all of them at once.
            market.child.tell("busy")
            time.sleep(BEGUN_S)
            market.child.tell("idle")

    def _child(self, command: list[str | Path], on: set[int]) -> Child:
        return self._stack.enter_context(Child(command, self._cores, on))

    def _python(self, module: str, *arguments: str | Path, on: set[int]) -> tuple[Child, dict[str, Any]]:
        child = self._child([sys.executable, "-m", f"{__package__}.{module}", *arguments], on)
        said: dict[str, Any] = json.loads(child.line(READY_S))
        return child, said

    def _start_market(self) -> Market:
        child, said = self._python("market", str(EVENTS_PER_S), on=self._cores.others)
        one, many = said["addresses"]
        self.market = Market(child, one, many, said["instruments"])
        return self.market

    def _start_python(self, row: str, kind: str, path: Path) -> dict[str, Any]:
        child, said = self._python("servers", kind, path, on=self._cores.server)
        self.targets[row] = Target(child.pid, said["addresses"][0])
        return said

    def _start_service(self, row: str, market: Market) -> None:
        authority = None
        if row == "tls":
            authority = self._certificate()
            if authority is None:
                return
        many = row == MARKET
        names = [INSTRUMENT, *(f"I{k}" for k in range(1, market.instruments if many else 1))]
        instrument = (
            "  - {{name: {0}, venue: bench, symbol: {0}, tick_size: 0.1, lot_size: 0.001, warmup: 0s}}"
        )
        path = self._folder / f"{row}.yaml"
        path.write_text(
            CONFIG.format(
                instruments="\n".join(instrument.format(name) for name in names),
                names=", ".join(names),
                feed=market.many if many else market.one,
                transport="grpc_aio" if row == "grpc_aio" else "native",
                socket=self._folder / f"{row}.sock",
                tls="null" if authority is None else f"{{certificate: {authority}, key: {self._key}}}",
                journal=self._folder / f"{row}-journal",
            ),
            encoding="utf-8",
        )
        said = self._start_python(row, "service", path)
        if authority is not None:
            self.targets[row] = Target(self.targets[row].pid, self.targets[row].address, authority)
        if many:
            self.metrics = said["metrics"]

    @property
    def _key(self) -> Path:
        return self._folder / "key.pem"

    def _certificate(self) -> Path | None:
        """A new one, of an hour's or a day's use; ``None`` where openssl is not there."""
        path = self._folder / "certificate.pem"
        command: list[str | Path] = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ]
        command += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", self._key, "-out", path]
        command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        try:
            if shutil.which("openssl") is None:
                raise BuildError("no openssl here")
            run(command, self._folder)
        except BuildError as error:
            self.missing["tls"] = f"{error}: {APT} openssl"
            return None
        return path


def first_quote(target: Target) -> bytes:
    """The first answer with a QUOTE. Raises ``QuotelifeError`` when none comes."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    if target.authority is None:
        channel = grpc.insecure_channel(target.address, options)
    else:
        credentials = grpc.ssl_channel_credentials(target.authority.read_bytes())
        channel = grpc.secure_channel(target.address, credentials, options)
    end_s = time.monotonic() + READY_S
    asked = request("").SerializeToString()
    with channel:
        while True:
            try:
                answer: bytes = channel.unary_unary(GET_EXPIRY, None, None)(asked, timeout=CALL_S)
            except grpc.RpcError as error:
                raise QuotelifeError(f"{target.address}: {error.code().name}: {error.details()}") from None
            reply = expiry.GetExpiryResponse.FromString(answer)
            if reply.decision == types.DECISION_QUOTE:
                if reply.unjournaled:
                    raise QuotelifeError(f"{target.address}: its decisions are not in the journal")
                # With an id of a request as long as those of the clients.
                reply.request_id = "0" * 36
                return reply.SerializeToString()
            if time.monotonic() > end_s:
                reasons = [types.Reason.Name(each) for each in reply.reasons]
                raise QuotelifeError(f"{target.address}: no QUOTE within {READY_S:.0f} s: {reasons}")
            time.sleep(0.1)
