"""Some thousand random and mutated requests over a real socket: the transport adds no code of its own."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import grpc
import grpc.aio
from test_requests_in_process import Requests

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from reference.service_kit import GET_EXPIRY, running, write_config

REQUESTS = 4_000
ALLOWED = {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}


async def test_thousands_of_requests_over_a_socket(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    codes: Counter[str] = Counter()
    async with running(write_config(tmp_path)) as app:
        requests = Requests(seed, app.clock.now_ns())
        async with grpc.aio.insecure_channel(app.addresses[0]) as channel:
            method = channel.unary_unary(GET_EXPIRY)

            async def ask(payload: bytes) -> None:
                try:
                    await method(payload, timeout=30)
                    code = "OK"
                except grpc.aio.AioRpcError as error:
                    code = error.code().name
                assert code in ALLOWED, f"seed {seed}: {code} for {payload.hex()}"
                codes[code] += 1

            for _ in range(REQUESTS // 40):
                await asyncio.gather(*(ask(requests.payload(expiry.GetExpiryRequest)) for _ in range(40)))
        assert app.service.in_flight.count == 0
        assert app.service.metrics.internal_errors == 0
    assert sum(codes.values()) == REQUESTS
    assert codes["OK"] > 100 and codes["INVALID_ARGUMENT"] > 100
