"""grpcio's blocking client, as the table of the runner has it."""

import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

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
THREADS_MAX = 8


def channel(given: Given) -> grpc.Channel:
    credentials = given.credentials()
    if credentials is None:
        return grpc.insecure_channel(given.target, options=APART)
    return grpc.secure_channel(given.target, credentials, options=APART)


def failed(call: Callable[[], Any]) -> Any:
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call was answered")


def unary(given: Given, stub: Any, _: grpc.Channel) -> str:
    quoted(stub.GetExpiry(request(), timeout=TIMEOUT_S) for _ in range(20))
    return ""


def stream(given: Given, stub: Any, _: grpc.Channel) -> str:
    replies = stub.StreamExpiry((streamed(tag) for tag in range(1, STREAMED + 1)), timeout=TIMEOUT_S)
    assert [each.tag for each in replies] == list(range(1, STREAMED + 1))
    return ""


def server_stream(given: Given, _: Any, channel: grpc.Channel) -> str:
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()
    assert failed(lambda: next(watch)).code() is grpc.StatusCode.CANCELLED
    return ""


def watch(given: Given, stub: Any, _: grpc.Channel) -> str:
    outgoing: queue.Queue[Any] = queue.Queue()
    outgoing.put(opening("python-sync"))
    heard: list[str] = []

    def asked() -> Iterator[Any]:
        while (message := outgoing.get()) is not None:
            yield message

    for message in stub.WatchQuotes(asked(), timeout=TIMEOUT_S):
        for each in told(message):
            kind = each.WhichOneof("message")
            if kind == "opened":
                outgoing.put(registering())
            elif kind == "heartbeat" and "registered" in heard and heard[-1] != kind:
                outgoing.put(cancelling())
                outgoing.put(None)
            heard.append(kind)
    assert heard[0] == "opened" and "registered" in heard and "heartbeat" in heard, heard
    return ""


def deadline(given: Given, stub: Any, _: grpc.Channel) -> str:
    began_s = time.monotonic()
    error = failed(lambda: stub.GetExpiry(request(rfq_id="hold"), timeout=HELD_S))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert HELD_S * 0.9 <= time.monotonic() - began_s < 2
    return ""


def cancel(given: Given, stub: Any, _: grpc.Channel) -> str:
    for _ in range(HELD_ROUNDS):
        calls = [stub.GetExpiry.future(request(rfq_id="hold")) for _ in range(HELD_AT_ONCE)]
        time.sleep(HELD_S)
        for each in calls:
            each.cancel()
        assert all(each.cancelled() for each in calls)
    return unary(given, stub, _)


def error(given: Given, stub: Any, _: grpc.Channel) -> str:
    error = failed(lambda: stub.GetExpiry(request(price="-1"), timeout=TIMEOUT_S))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error
    assert bad_field(error.trailing_metadata()) == "price"
    return ""


def metadata(given: Given, stub: Any, _: grpc.Channel) -> str:
    outgoing: queue.Queue[Any] = queue.Queue()
    beside = stub.StreamExpiry(iter(outgoing.get, None), timeout=TIMEOUT_S)
    outgoing.put(streamed(1))
    assert next(beside).tag == 1
    stub.GetExpiry(request(), metadata=(("x-large", "a" * SMALL),), timeout=TIMEOUT_S)
    error = failed(lambda: stub.GetExpiry(request(), metadata=(("x-large", "a" * LARGE),), timeout=TIMEOUT_S))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, error
    outgoing.put(streamed(2))
    assert next(beside).tag == 2, "the connection did not outlive it"
    outgoing.put(None)
    return error.details()[:60]  # type: ignore[no-any-return]


def gzip(given: Given, stub: Any, _: grpc.Channel) -> str:
    batch = expiry.BatchGetExpiryRequest(requests=[request()] * BATCHED)
    reply = stub.BatchGetExpiry(batch, compression=grpc.Compression.Gzip, timeout=TIMEOUT_S)
    assert len(reply.results) == BATCHED
    return ""


def refused(given: Given, stub: Any, _: grpc.Channel) -> str:
    error = failed(lambda: stub.GetExpiry(request(), timeout=TIMEOUT_S))
    assert error.code() is grpc.StatusCode.UNAVAILABLE, error
    return ""


def reflection(given: Given, _: Any, channel: grpc.Channel) -> str:
    database = ProtoReflectionDescriptorDatabase(channel)
    assert "quote_expiry.v1.QuoteExpiryService" in database.get_services()
    file = database.FindFileContainingSymbol("quote_expiry.v1.GetExpiryRequest")
    assert "GetExpiryRequest" in {each.name for each in file.message_type}
    return ""


def _threads(given: Given, stub: Any, more: Callable[[], bool]) -> Counter[str]:
    codes: Counter[str] = Counter()
    lock = threading.Lock()

    def work() -> None:
        mine: Counter[str] = Counter()
        while more():
            try:
                stub.GetExpiry(request(), timeout=TIMEOUT_S)
                mine["OK"] += 1
            except grpc.RpcError as error:
                mine[error.code().name] += 1  # type: ignore[attr-defined]
                time.sleep(0.001)
        with lock:
            codes.update(mine)

    threads = [threading.Thread(target=work) for _ in range(min(given.at_once, THREADS_MAX))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return codes


def load(given: Given, stub: Any, _: grpc.Channel) -> str:
    left = iter(range(given.calls))
    began_s = time.monotonic()
    return passed(_threads(given, stub, lambda: next(left, None) is not None), began_s)


def goaway(given: Given, stub: Any, _: grpc.Channel) -> str:
    end_s = (began_s := time.monotonic()) + given.seconds
    return passed(_threads(given, stub, lambda: time.monotonic() < end_s), began_s)


def drain(given: Given, stub: Any, _: grpc.Channel) -> str:
    end_s = (began_s := time.monotonic()) + given.seconds
    return passed(_threads(given, stub, lambda: time.monotonic() < end_s), began_s, "UNAVAILABLE")


def main() -> None:
    given = Given(sys.argv[1:])
    for case in given.cases:
        fault, note = None, ""
        with channel(given) as opened:
            try:
                note = globals()[case](given, QuoteExpiryServiceStub(opened), opened)
            except (Exception, AssertionError) as error:
                fault = error
        tell(case, fault, note)


if __name__ == "__main__":
    main()
