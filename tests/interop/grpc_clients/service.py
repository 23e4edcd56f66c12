"""The service that the clients are tried on, a process of its own: three addresses on loopback, and orders on stdin.

``plain`` keeps a journal and never answers a GetExpiry whose rfq_id is ``hold``; ``mutual`` asks for a client's
certificate; ``aging`` sends its connections away all the time. Orders are lines, each answered by a line of JSON:
``figures``, and ``drain`` for the aging one. The end of stdin ends it.
"""

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvloop

from quotelife_server.app import Application
from quotelife_server.rpc import Answer, CallContext, Deferred, Unary
from reference.service_kit import GET_EXPIRY, Market, S, write_config

HELD = b"hold"
AGE_MAX, AGE_GRACE = "300ms", "5s"
IN_FLIGHT_MAX = 256  # clients whose cancelled calls kept their places would soon run into it


class Holding:
    """Puts a handler that may never answer before that of GetExpiry; everything else is as it was."""

    def __init__(self, application: Application) -> None:
        service = application.service
        entry = service.methods[GET_EXPIRY]
        assert isinstance(entry, Unary)
        self._handle = entry.handle
        self.held = 0
        self.with_deadline = 0
        service.methods[GET_EXPIRY] = Unary(self._call)
        front_end: Any = application.grpc
        application.grpc = type(front_end)(service, front_end._addresses, application.grpc_options)

    def _call(self, payload: bytes, context: CallContext) -> Answer:
        if HELD not in payload:
            return self._handle(payload, context)
        self.held += 1
        self.with_deadline += context.deadline_ns is not None
        return Deferred()


@contextlib.asynccontextmanager
async def running(application: Application) -> AsyncIterator[Application]:
    """With good books, its clock ahead by the market it was given. The body may drain it itself."""
    market = Market(application.engine)
    market.run(application.started_ns, 20.0)
    application.clock._base_ns += 20 * S
    application.clock.offset_limit_ns = 60 * S
    await application.start()
    fresh = asyncio.create_task(market.keep_fresh(application.clock.now_ns))
    try:
        yield application
    finally:
        fresh.cancel()
        if application.service.health.serving:
            await application.drain()


async def serve(transport: str, folder: Path, papers: Path) -> None:
    path = write_config(folder)
    common: dict[str, Any] = {"transport": transport, "in_flight_max": IN_FLIGHT_MAX}
    overrides: dict[str, dict[str, Any]] = {
        "plain": {
            "journal": {
                "directory": str(folder / "journal"),
                "segment_bytes": 2**24,
                "keep_bytes": 2**27,
            },
        },
        "mutual": {
            "tls": {
                "certificate": str(papers / "service.pem"),
                "key": str(papers / "service.key"),
                "client_ca": str(papers / "ours.pem"),
            },
        },
        "aging": {"connections": {"age_max": AGE_MAX, "age_grace": AGE_GRACE}},
    }
    services = {name: Application(path, overrides={**common, **more}) for name, more in overrides.items()}
    holding = Holding(services["plain"])
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with contextlib.AsyncExitStack() as stack:
        for each in services.values():
            await stack.enter_async_context(running(each))
        _tell({name: each.addresses[0] for name, each in services.items()})
        while order := (await lines.readline()).strip():
            if order == b"drain":
                await services["aging"].drain()
            _tell(
                {
                    "in_flight": sum(each.service.in_flight.count for each in services.values()),
                    "streams": sum(len(each.grpc.streams) for each in services.values()),
                    "held": holding.held,
                    "with_deadline": holding.with_deadline,
                }
            )


def _tell(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    cli = argparse.ArgumentParser(prog="python -m interop.grpc_clients.service", description=__doc__)
    cli.add_argument("transport", choices=("native", "grpc_aio"))
    cli.add_argument("folder", type=Path)
    cli.add_argument("papers", type=Path, help="folder of service.pem, service.key and ours.pem")
    given = cli.parse_args()
    uvloop.run(serve(given.transport, given.folder, given.papers))
