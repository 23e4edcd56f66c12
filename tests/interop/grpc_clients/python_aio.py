"""grpcio's client for asyncio, as the table of the runner has it."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from interop.grpc_clients.python_asked import (
    APART,
    BATCHED,
    HELD_AT_ONCE,
    HELD_ROUNDS,
    HELD_S,
    LARGE,
    SMALL,
    STREAMED,
    Given,
    bad_field,
    cancelling,
    opening,
    passed,
    quoted,
    registering,
    request,
    streamed,
    tell,
    told,
)
from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1.quote_expiry_service_pb2_grpc import QuoteExpiryServiceStub

TIMEOUT_S = 10


def channel(given: Given) -> grpc.aio.Channel:
    credentials = given.credentials()
    if credentials is None:
        return grpc.aio.insecure_channel(given.target, options=APART)
    return grpc.aio.secure_channel(given.target, credentials, options=APART)


async def failed(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("the call was answered")


async def unary(given: Given, stub: Any, _: grpc.aio.Channel) -> str:
    quoted([await stub.GetExpiry(request(), timeout=TIMEOUT_S) for _ in range(20)])
    return ""


async def stream(given: Given, stub: Any, _: grpc.aio.Channel) -> str:
    call = stub.StreamExpiry(timeout=TIMEOUT_S)

    async def write() -> None:
        for tag in range(1, STREAMED + 1):
            await call.write(streamed(tag))
        await call.done_writing()

    writing = asyncio.create_task(write())
    assert [each.tag async for each in call] == list(range(1, STREAMED + 1))
    await writing
    return ""


async def server_stream(given: Given, _: Any, channel: grpc.aio.Channel) -> str:
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()
    assert await watch.code() is grpc.StatusCode.CANCELLED
    return ""


async def watch(given: Given, stub: Any, _: grpc.aio.Channel) -> str:
    call = stub.WatchQuotes(timeout=TIMEOUT_S)
    await call.write(opening("python-aio"))
    heard: list[str] = []
    async for message in call:
        for each in told(message):
            kind = each.WhichOneof("message")
            if kind == "opened":
                await call.write(registering())
            elif kind == "heartbeat" and "registered" in heard and heard[-1] != kind:
                await call.write(cancelling())
                await call.done_writing()
            heard.append(kind)
    assert heard[0] == "opened" and "registered" in heard and "heartbeat" in heard, heard
    assert await call.code() is grpc.StatusCode.OK
    return ""


async def deadline(given: Given, stub: Any, _: grpc.aio.Channel) -> str:
    began_s = time.monotonic()
    error = await failed(stub.GetExpiry(request(rfq_id="hold"), timeout=HELD_S))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert HELD_S * 0.9 <= time.monotonic() - began_s < 2
    return ""


async def cancel(given: Given, stub: Any, channel: grpc.aio.Channel) -> str:
    for _ in range(HELD_ROUNDS):
        calls = [stub.GetExpiry(request(rfq_id="hold")) for _ in range(HELD_AT_ONCE)]
        await asyncio.sleep(HELD_S)
        for each in calls:
            each.cancel()
        assert {await each.code() for each in calls} == {grpc.StatusCode.CANCELLED}
    return await unary(given, stub, channel)


async def error(given: Given, stub: Any, _: grpc.aio.Channel) -> str:
    error = await failed(stub.GetExpiry(request(price="-1"), timeout=TIMEOUT_S))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error
    assert bad_field(error.trailing_metadata()) == "price"
    return ""


async def metadata(given: Given, stub: Any, _: grpc.aio.Channel) -> str:
    beside = stub.StreamExpiry(timeout=TIMEOUT_S)
    await beside.write(streamed(1))
    assert (await beside.read()).tag == 1
    await stub.GetExpiry(request(), metadata=(("x-large", "a" * SMALL),), timeout=TIMEOUT_S)
    error = await failed(stub.GetExpiry(request(), metadata=(("x-large", "a" * LARGE),), timeout=TIMEOUT_S))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, error
    await beside.write(streamed(2))
    assert (await beside.read()).tag == 2, "the connection did not outlive it"
    await beside.done_writing()
    return str(error.details())[:60]


async def gzip(given: Given, stub: Any, _: grpc.aio.Channel) -> str:
    batch = expiry.BatchGetExpiryRequest(requests=[request()] * BATCHED)
    reply = await stub.BatchGetExpiry(batch, compression=grpc.Compression.Gzip, timeout=TIMEOUT_S)
    assert len(reply.results) == BATCHED
    return ""


async def refused(given: Given, stub: Any, _: grpc.aio.Channel) -> str:
    error = await failed(stub.GetExpiry(request(), timeout=TIMEOUT_S))
    assert error.code() is grpc.StatusCode.UNAVAILABLE, error
    return ""


async def _tasks(given: Given, stub: Any, more: Callable[[], bool]) -> Counter[str]:
    codes: Counter[str] = Counter()

    async def work() -> None:
        while more():
            try:
                await stub.GetExpiry(request(), timeout=TIMEOUT_S)
                codes["OK"] += 1
            except grpc.aio.AioRpcError as error:
                codes[error.code().name] += 1
                await asyncio.sleep(0.001)

    await asyncio.gather(*(work() for _ in range(given.at_once)))
    return codes


async def load(given: Given, stub: Any, _: grpc.aio.Channel) -> str:
    left = iter(range(given.calls))
    began_s = time.monotonic()
    return passed(await _tasks(given, stub, lambda: next(left, None) is not None), began_s)


async def goaway(given: Given, stub: Any, _: grpc.aio.Channel) -> str:
    end_s = (began_s := time.monotonic()) + given.seconds
    return passed(await _tasks(given, stub, lambda: time.monotonic() < end_s), began_s)


async def drain(given: Given, stub: Any, _: grpc.aio.Channel) -> str:
    end_s = (began_s := time.monotonic()) + given.seconds
    return passed(await _tasks(given, stub, lambda: time.monotonic() < end_s), began_s, "UNAVAILABLE")


async def main() -> None:
    given = Given(sys.argv[1:])
    for case in given.cases:
        fault, note = None, ""
        async with channel(given) as opened:
            try:
                note = await globals()[case](given, QuoteExpiryServiceStub(opened), opened)
            except (Exception, AssertionError) as error:
                fault = error
        tell(case, fault, note)


if __name__ == "__main__":
    asyncio.run(main())
