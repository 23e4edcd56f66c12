"""Servers of ``bench rpc`` that are Python, each a process of its own: ``python -m … KIND FILE``.

``service`` runs a whole service by a configuration. ``native-no-op`` and ``grpc_aio-no-op`` read each request and
answer with a copy of one reply, through our native front end or through plain grpc.aio with generated stubs. Each
prints a line of JSON when it serves, and ends when its standard input does.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import uvloop

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry

GET_EXPIRY = "/quote_expiry.v1.QuoteExpiryService/GetExpiry"
STREAM_EXPIRY = "/quote_expiry.v1.QuoteExpiryService/StreamExpiry"
ANY_PORT = "127.0.0.1:0"
ONE_INSTRUMENT = """
version: 1
model: {artifact: first_passage}
instruments: [{name: BTC, venue: bench, symbol: BTC, tick_size: 0.1, lot_size: 0.001}]
"""


async def service(path: Path) -> None:
    """All of it, by the configuration at ``path``."""
    from quotelife_server import log
    from quotelife_server.app import Application

    log.configure("critical")
    app = Application(path)
    await app.start()
    _say({"addresses": app.addresses, "metrics": app.metrics_address})
    await _end_of_input()
    await app.drain()


async def native_no_op(path: Path) -> None:
    """Our front end, and behind it nothing but the reply in the file at ``path``."""
    from quotelife.config import load_config
    from quotelife.engine import Engine
    from quotelife.units import NS_PER_MS, NS_PER_S
    from quotelife_server import log
    from quotelife_server.clock import SystemClock
    from quotelife_server.handlers import Service, State
    from quotelife_server.in_flight import InFlight
    from quotelife_server.metrics import Metrics
    from quotelife_server.reply_store import ReplyStore
    from quotelife_server.rpc import CallContext, Unary
    from quotelife_server.settings import Server, ServiceConfig
    from quotelife_server.transport.native import NativeServer
    from quotelife_server.transport.options import GrpcOptions

    log.configure("critical")
    settings = Server()
    config = path.with_name("one-instrument.yaml")
    config.write_text(ONE_INSTRUMENT, encoding="utf-8")
    clock = SystemClock(settings.wall_offset_max_ns)
    serving = Service(
        Engine(load_config(config, ServiceConfig), start_ns=clock.now_ns()),
        clock,
        boot_id="bench",
        metrics=Metrics(),
        replies=ReplyStore(settings.replies.bytes_max, settings.replies.age_max_ns),
        in_flight=InFlight(settings.in_flight_max),
        retry_delay_ns=20 * NS_PER_MS,
    )
    reply = _reply(path)

    def answer(payload: bytes, _: CallContext) -> bytes:
        expiry.GetExpiryRequest.FromString(payload)
        return reply.SerializeToString()

    options = GrpcOptions(
        message_bytes_max=settings.message_bytes_max,
        streams_max=settings.streams_max,
        keepalive_interval_ns=settings.keepalive.interval_ns,
        keepalive_timeout_ns=settings.keepalive.timeout_ns,
        client_ping_interval_min_ns=settings.keepalive.client_interval_min_ns,
    )
    server = NativeServer(serving, [ANY_PORT], options, {GET_EXPIRY: Unary(answer)})
    addresses = await server.start()
    serving.set_state(State.SERVING)
    _say({"addresses": addresses})
    await _end_of_input()
    await server.stop(NS_PER_S)


async def grpc_aio_no_op(path: Path) -> None:
    """grpc.aio as its own examples use it."""
    import grpc.aio

    from quote_expiry.v1 import quote_expiry_service_pb2_grpc as stubs

    reply = _reply(path)

    class NoOp(stubs.QuoteExpiryServiceServicer):
        async def GetExpiry(self, request: Any, context: Any) -> Any:
            return reply

    server = grpc.aio.server()
    stubs.add_QuoteExpiryServiceServicer_to_server(NoOp(), server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port(ANY_PORT)
    await server.start()
    _say({"addresses": [f"127.0.0.1:{port}"]})
    await _end_of_input()
    await server.stop(0)


def _reply(path: Path) -> expiry.GetExpiryResponse:
    return expiry.GetExpiryResponse.FromString(path.read_bytes())


def _say(figures: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


async def _end_of_input() -> None:
    ended = asyncio.Event()

    def read() -> None:
        if not os.read(0, 1024):
            ended.set()

    asyncio.get_running_loop().add_reader(0, read)
    await ended.wait()


KINDS = {"service": service, "native-no-op": native_no_op, "grpc_aio-no-op": grpc_aio_no_op}

if __name__ == "__main__":
    uvloop.run(KINDS[sys.argv[1]](Path(sys.argv[2])))
