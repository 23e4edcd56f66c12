"""BatchGetExpiry and StreamExpiry: each request on its own, in order, whether its answer comes now or later."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio
import pytest

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife_server.answers import PENDING_MAX, Answer, ExpiryStream, gathered
from quotelife_server.app import Application
from quotelife_server.convert import BATCH_MAX
from quotelife_server.handlers import State
from quotelife_server.rpc import CallContext, Code, Deferred, RpcError, Stream, StreamHandler
from reference.service_kit import Kit, refused

BATCH = "/quote_expiry.v1.QuoteExpiryService/BatchGetExpiry"
STREAM = "/quote_expiry.v1.QuoteExpiryService/StreamExpiry"


def request(**fields: Any) -> expiry.GetExpiryRequest:
    return expiry.GetExpiryRequest(**{"instrument": "BTC-USDT", "side": types.SIDE_BUY, **fields})


def batch(kit: Kit, *requests: expiry.GetExpiryRequest) -> list[expiry.ExpiryResult]:
    payload = expiry.BatchGetExpiryRequest(requests=requests).SerializeToString()
    return list(expiry.BatchGetExpiryResponse.FromString(kit.call(BATCH, payload)).results)


class Caller:
    """A transport's end of a stream that keeps what it is told."""

    def __init__(self) -> None:
        self.sent: list[expiry.StreamExpiryResponse] = []
        self.finished: list[RpcError | None] = []

    def send(self, payload: bytes | Callable[[], bytes]) -> None:
        whole = payload if isinstance(payload, bytes) else payload()
        self.sent.append(expiry.StreamExpiryResponse.FromString(whole))

    def finish(self, error: RpcError | None = None) -> None:
        self.finished.append(error)

    @property
    def tags(self) -> list[int]:
        return [each.tag for each in self.sent]


def message(tag: int, **fields: Any) -> bytes:
    return expiry.StreamExpiryRequest(tag=tag, request=request(**fields)).SerializeToString()


def opened(kit: Kit) -> tuple[StreamHandler, Caller]:
    entry = kit.service.methods[STREAM]
    assert isinstance(entry, Stream)
    caller = Caller()
    return kit.service.open_stream(entry, caller, CallContext(STREAM)), caller


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


# --- batch --------------------------------------------------------------------------------------------------


def test_a_batch_answers_each_request_as_a_single_call_would(kit: Kit, tmp_path: Path) -> None:
    twin = Kit(tmp_path)
    requests = [request(), request(side=types.SIDE_TWO_WAY), request(instrument="ETH-USDT", price="3099")]
    for single, result in zip(requests, batch(kit, *requests), strict=True):
        alone = expiry.GetExpiryResponse.FromString(
            twin.call("/quote_expiry.v1.QuoteExpiryService/GetExpiry", single.SerializeToString())
        )
        alone.compute_ns = result.response.compute_ns
        assert result.response == alone


def test_a_faulty_request_leaves_its_neighbours_alone(kit: Kit) -> None:
    good, wrong, unknown, last = batch(
        kit, request(), request(price="NaN", rfq_id="a\nb"), request(instrument="NONE"), request()
    )
    assert good.response.decision == last.response.decision == types.DECISION_QUOTE
    assert wrong.fault.code == Code.INVALID_ARGUMENT
    assert {fault.field for fault in wrong.fault.fields} == {"price", "rfq_id"}
    assert all(fault.description for fault in wrong.fault.fields)
    assert unknown.fault.code == Code.NOT_FOUND and unknown.fault.message


def test_a_batch_is_one_pass_of_the_engine_in_order(kit: Kit) -> None:
    before = kit.engine.input_sequence
    results = batch(kit, *(request() for _ in range(5)))
    numbers = [int(result.response.decision_id.rpartition("-")[2]) for result in results]
    assert numbers == list(range(before + 1, before + 6))
    assert len({result.response.decided_at_utc_ns for result in results}) == 1


def test_the_same_id_twice_in_a_batch_gets_the_same_answer(kit: Kit) -> None:
    first, again, other = batch(
        kit, request(request_id="a"), request(request_id="a"), request(request_id="a", price="1")
    )
    assert again.response == first.response
    assert other.fault.code == Code.INVALID_ARGUMENT and "request_id" in other.fault.message


def test_an_answer_given_in_a_batch_is_kept_for_a_single_retry(kit: Kit) -> None:
    (result,) = batch(kit, request(request_id="kept"))
    assert kit.get(request_id="kept") == result.response


def test_the_largest_batch_is_answered_and_one_more_is_refused(kit: Kit) -> None:
    assert len(batch(kit, *(request() for _ in range(BATCH_MAX)))) == 256
    with refused() as errors:
        batch(kit, *(request() for _ in range(BATCH_MAX + 1)))
    assert errors[0].code == Code.INVALID_ARGUMENT and "requests: must be at most 256" in errors[0].message


def test_an_empty_batch_has_no_results(kit: Kit) -> None:
    assert batch(kit) == []


def test_answers_that_come_in_any_order_are_gathered_in_theirs() -> None:
    answers: list[Answer | RpcError] = [Deferred(), b"b", Deferred(), RpcError(Code.NOT_FOUND, "d")]
    reply = gathered(
        answers, lambda outcomes: b",".join(o if isinstance(o, bytes) else b"!" for o in outcomes)
    )
    got: list[bytes | BaseException] = []
    assert isinstance(reply, Deferred)
    reply.then(lambda _: got.append(reply.leaving()))
    third, first = answers[2], answers[0]
    assert isinstance(third, Deferred) and isinstance(first, Deferred)
    third.resolve(RpcError(Code.UNAVAILABLE, "no journal"))
    assert got == []
    first.resolve(b"a")
    assert got == [b"a,b,!,!"]


def test_what_no_handler_expects_costs_one_answer_and_no_place(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled, say, or a panic of a library: no ``Exception``."""

    def panic(*_: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as broken:
        broken.setattr(kit.service, "recent", SimpleNamespace(keep=panic))
        (answer,) = batch(kit, request(explain=True))  # not plain, and it takes a place of its own
        handler, caller = opened(kit)
        handler.on_message(message(1, explain=True))
    handler.on_message(message(2))
    assert answer.fault.code == Code.INTERNAL
    assert [each.result.fault.code for each in caller.sent] == [Code.INTERNAL, 0]
    handler.on_cancel()
    assert kit.service.in_flight.count == 0


def test_what_is_gathered_is_answered_whatever_fails_meanwhile() -> None:
    def fails() -> None:
        raise RuntimeError("what must not fail")

    answer = Deferred()
    reply = gathered([answer], lambda outcomes: bytes(outcomes[0]), done=fails)
    heard: list[bytes | BaseException] = []
    assert isinstance(reply, Deferred)
    reply.then(lambda _: heard.append(reply.leaving()))
    answer.resolve(b"a")
    assert heard == [b"a"]


# --- stream -------------------------------------------------------------------------------------------------


def test_a_stream_answers_in_order_with_the_tags_of_the_requests(kit: Kit) -> None:
    handler, caller = opened(kit)
    for tag in (7, 2**64 - 1, 0):
        handler.on_message(message(tag))
    assert caller.tags == [7, 2**64 - 1, 0]
    assert all(each.result.response.decision == types.DECISION_QUOTE for each in caller.sent)
    assert kit.service.in_flight.count == 0


def test_a_fault_is_a_message_and_not_the_end(kit: Kit) -> None:
    handler, caller = opened(kit)
    for payload in (message(1, price="NaN"), b"\xff\xff", message(2, instrument="NONE"), message(3)):
        handler.on_message(payload)
    assert caller.tags == [1, 0, 2, 3]
    assert [each.result.fault.code for each in caller.sent] == [3, 3, 5, 0]
    assert caller.sent[3].result.response.decision_id
    assert caller.finished == []


def test_a_half_closed_stream_ends_when_all_is_answered(kit: Kit) -> None:
    handler, caller = opened(kit)
    handler.on_message(message(1))
    handler.on_half_close()
    assert caller.tags == [1] and caller.finished == [None]


def test_a_request_beyond_the_bound_on_calls_in_flight_is_told_so(tmp_path: Path) -> None:
    kit = Kit(tmp_path, in_flight_max=1)
    handler, caller = opened(kit)
    assert kit.service.in_flight.try_enter()
    handler.on_message(message(1))
    kit.service.in_flight.leave()
    handler.on_message(message(2))
    assert caller.sent[0].result.fault.code == Code.RESOURCE_EXHAUSTED
    assert caller.sent[1].result.response.decision_id
    assert kit.service.in_flight.count == 0


def test_a_draining_service_opens_no_stream_and_refuses_requests_of_open_ones(kit: Kit) -> None:
    handler, caller = opened(kit)
    kit.service.set_state(State.DRAINING)
    handler.on_message(message(1))
    assert caller.sent[0].result.fault.code == Code.UNAVAILABLE
    with refused() as errors:
        opened(kit)
    assert errors[0].code == Code.UNAVAILABLE and "draining" in errors[0].message


class Later:
    """Answers that come when the test says so."""

    def __init__(self) -> None:
        self.caller = Caller()
        self.answers: list[Deferred] = []
        self.admitted = 0
        self.stream = ExpiryStream(
            self.caller,
            answer=self._answer,
            admit=lambda: self._count(1),
            release=lambda: self._count(-1),
            as_rpc_error=lambda error: error if isinstance(error, RpcError) else RpcError(Code.INTERNAL, "x"),
        )

    def _answer(self, request: expiry.GetExpiryRequest) -> Deferred:
        self.answers.append(Deferred())
        return self.answers[-1]

    def _count(self, by: int) -> None:
        self.admitted += by

    def ask(self, tag: int) -> Deferred | None:
        return self.stream.on_message(message(tag))

    def resolve(self, at: int) -> None:
        self.answers[at].resolve(expiry.GetExpiryResponse(decision_id=str(at)).SerializeToString())


def test_late_answers_leave_in_the_order_of_the_requests() -> None:
    later = Later()
    for tag in (10, 11, 12):
        later.ask(tag)
    later.stream.on_message(b"\xff")  # a fault at once waits for its turn too
    later.resolve(2)
    later.answers[1].resolve(RpcError(Code.UNAVAILABLE, "the journal fails"))
    assert later.caller.tags == []
    later.stream.on_half_close()
    assert later.caller.finished == []
    later.resolve(0)
    assert later.caller.tags == [10, 11, 12, 0]
    assert [each.result.fault.code for each in later.caller.sent] == [0, 14, 0, 3]
    assert later.caller.finished == [None] and later.admitted == 0


def test_a_stream_reads_on_only_when_an_answer_has_left() -> None:
    later = Later()
    waits = [later.ask(tag) for tag in range(PENDING_MAX)]
    assert waits[:-1] == [None] * (PENDING_MAX - 1)
    room = waits[-1]
    assert room is not None
    told: list[bytes | BaseException] = []
    room.then(told.append)
    later.resolve(1)
    assert told == []
    later.resolve(0)
    assert told == [b""]


def test_a_cancelled_stream_gives_its_places_back_once() -> None:
    later = Later()
    later.ask(1)
    later.ask(2)
    assert later.admitted == 2
    later.stream.on_cancel()
    later.resolve(0)
    later.resolve(1)
    assert later.admitted == 0 and later.caller.sent == []


# --- over the socket ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("transport")
async def test_a_stream_over_the_socket_keeps_its_order_under_load(app: Application) -> None:
    async with grpc.aio.insecure_channel(app.addresses[0]) as channel:
        stream = channel.stream_stream(STREAM)(message(tag) for tag in range(1000))
        tags = [expiry.StreamExpiryResponse.FromString(reply).tag async for reply in stream]
        assert await stream.code() is grpc.StatusCode.OK
    assert tags == list(range(1000))
    assert app.service.in_flight.count == 0


@pytest.mark.usefixtures("transport")
async def test_a_batch_over_the_socket(app: Application) -> None:
    payload = expiry.BatchGetExpiryRequest(requests=[request()] * 256).SerializeToString()
    async with grpc.aio.insecure_channel(app.addresses[0]) as channel:
        reply = expiry.BatchGetExpiryResponse.FromString(await channel.unary_unary(BATCH)(payload, timeout=5))
    assert [each.WhichOneof("result") for each in reply.results] == ["response"] * 256


@pytest.mark.usefixtures("transport")
async def test_a_drain_ends_an_open_stream_in_words(app: Application) -> None:
    async with grpc.aio.insecure_channel(app.addresses[0]) as channel:
        stream = channel.stream_stream(STREAM)()
        await stream.write(message(1))
        assert expiry.StreamExpiryResponse.FromString(await stream.read()).tag == 1
        app.service.set_state(State.DRAINING)
        await app.grpc.stop(1_000_000_000)  # without a grace gRPC cuts calls off before they can say why
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert caught.value.details() == "the service is draining"


@pytest.mark.usefixtures("transport")
async def test_a_client_that_leaves_gives_its_stream_back(app: Application) -> None:
    async with grpc.aio.insecure_channel(app.addresses[0]) as channel:
        stream = channel.stream_stream(STREAM)()
        await stream.write(message(1))
        await stream.read()
        assert len(app.grpc.streams) == 1
        stream.cancel()
        async with asyncio.timeout(5):
            while app.grpc.streams:  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.01)
