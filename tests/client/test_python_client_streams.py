"""Batches, streams and publishing by the Python client: values, faults, broken streams, fallbacks."""

import asyncio
import inspect
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from quote_expiry.v1 import market_data_service_pb2 as market
from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quotelife_client import (
    AsyncClient,
    BookSide,
    Client,
    Decision,
    EventKind,
    Expiry,
    ExpiryRequest,
    MarketEvent,
    ServiceError,
    Side,
    TradingStatus,
)
from quotelife_client import types as client_types
from quotelife_client.requests import Requests
from quotelife_server.app import Application
from reference.service_kit import CONFIG, MS, running, write_config

FEEDS = "feeds:\n  - {kind: grpc, name: desk, instruments: [ETH-USDT]}\n"


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Application]:
    async with running(write_config(tmp_path, CONFIG + FEEDS)) as application:
        yield application


def request(**fields: Any) -> ExpiryRequest:
    return ExpiryRequest(**{"instrument": "BTC-USDT", "side": Side.BUY, **fields})


def kind(answer: Expiry | ServiceError) -> str:
    return answer.code.name if isinstance(answer, ServiceError) else answer.source.name


@asynccontextmanager
async def streams_that(*behaviours: Any) -> AsyncIterator[tuple[str, list[int]]]:
    """A server whose n-th stream answers so many requests, then ends in so many words; yields its address and how
    many streams it has seen."""
    seen: list[int] = []

    async def serve(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        answers, code = behaviours[min(len(seen), len(behaviours) - 1)]
        seen.append(0)
        at = len(seen) - 1
        if answers == 0:
            await context.abort(code, "refused by the test")
        async for payload in requests:
            asked = expiry.StreamExpiryRequest.FromString(payload)
            if seen[at] == answers:
                await asyncio.sleep(0.05)  # gRPC's aio client loses the words if it is writing when they come
                await context.abort(code, "broken by the test")
            seen[at] += 1
            reply = expiry.StreamExpiryResponse(tag=asked.tag)
            reply.result.response.decision_id = asked.request.quote_id
            yield reply.SerializeToString()

    class Anything(grpc.GenericRpcHandler):  # type: ignore[type-arg]
        def service(self, handler_call_details: Any) -> Any:
            return grpc.stream_stream_rpc_method_handler(serve)  # type: ignore[arg-type]

    server = grpc.aio.server(handlers=[Anything()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", seen
    finally:
        await server.stop(0)


async def asked(
    how: str, address: str, requests: Iterable[ExpiryRequest], **fields: Any
) -> list[Expiry | ServiceError]:
    """All answers, by the asyncio client or by the blocking one."""
    if how == "asyncio":
        async with AsyncClient(address, timeout_s=5) as client:
            return [answer async for answer in client.stream_expiry(requests, **fields)]

    def blocking() -> list[Expiry | ServiceError]:
        with Client(address, timeout_s=5) as client:
            return list(client.stream_expiry(requests, **fields))

    return await asyncio.to_thread(blocking)


both = pytest.mark.parametrize("how", ["asyncio", "blocking"])


# --- batch --------------------------------------------------------------------------------------------------


async def test_a_batch_has_an_answer_or_an_error_for_each_request(app: Application) -> None:
    requests = [
        request(counterparty="alpha", price="62999.9"),
        request(price="NaN"),
        request(instrument="NONE"),
    ]
    async with AsyncClient(app.addresses[0], timeout_s=5) as client:
        one = await client.batch_get_expiry(requests)

    def blocking() -> list[Expiry | ServiceError]:
        with Client(app.addresses[0], timeout_s=5) as client:
            return client.batch_get_expiry(requests)

    for answers in (one, await asyncio.to_thread(blocking)):
        assert [kind(answer) for answer in answers] == ["SERVICE", "INVALID_ARGUMENT", "NOT_FOUND"]
        wrong = answers[1]
        assert isinstance(wrong, ServiceError) and wrong.violations[0][0] == "price"


async def test_a_batch_that_nobody_answers_gives_every_request_its_fallback() -> None:
    async with AsyncClient("127.0.0.1:1", timeout_s=0.2, fallback_life_ns=500 * MS) as client:
        answers = await client.batch_get_expiry([request(), request(side=Side.TWO_WAY)])
        assert [kind(answer) for answer in answers] == ["FALLBACK", "FALLBACK"]
        with pytest.raises(ServiceError):
            await client.batch_get_expiry([request()], fallback_life_ns=None)


def test_a_request_takes_what_get_expiry_takes() -> None:
    arguments = set(inspect.signature(Requests.get_expiry).parameters) - {
        "self",
        "timeout_s",
        "fallback_life_ns",
    }
    assert set(client_types.ExpiryRequest.__dataclass_fields__) == arguments


# --- stream -------------------------------------------------------------------------------------------------


@both
async def test_a_stream_answers_in_order_and_ends_with_its_requests(app: Application, how: str) -> None:
    requests = [request(request_id=f"r{k}") if k % 7 else request(instrument="NONE") for k in range(100)]
    answers = await asked(how, app.addresses[0], requests)
    assert [kind(answer) for answer in answers] == ["SERVICE" if k % 7 else "NOT_FOUND" for k in range(100)]
    ids = [answer.request_id for answer in answers if isinstance(answer, Expiry)]
    assert ids == [f"r{k}" for k in range(100) if k % 7]


async def test_a_stream_may_be_asked_as_one_goes(app: Application) -> None:
    """The next request depends on the answer before: nothing is waited for but that answer."""
    answered = asyncio.Event()

    async def requests() -> AsyncIterator[ExpiryRequest]:
        for _ in range(5):
            yield request()
            await answered.wait()
            answered.clear()

    count = 0
    async with AsyncClient(app.addresses[0]) as client:
        async for answer in client.stream_expiry(requests(), timeout_s=10):
            assert isinstance(answer, Expiry)
            count += 1
            answered.set()
    assert count == 5


@both
async def test_requests_out_when_a_stream_breaks_get_the_fallback_and_the_rest_another_stream(
    how: str,
) -> None:
    code = grpc.StatusCode.UNAVAILABLE
    requests = [request(quote_id=str(k)) for k in range(60)]
    async with streams_that((2, code), (100, code)) as (address, seen):
        answers = await asked(how, address, (each for each in requests), fallback_life_ns=500 * MS)
    sources = [kind(answer) for answer in answers]
    broken = sources.count("FALLBACK")
    assert broken >= 1 and sources == ["SERVICE"] * 2 + ["FALLBACK"] * broken + ["SERVICE"] * (58 - broken)
    served = [answer.decision_id for answer in answers if isinstance(answer, Expiry) and answer.decision_id]
    assert served == [str(k) for k in range(60) if not 2 <= k < 2 + broken], "each in its own place"
    assert sum(seen) == len(served)


@both
async def test_every_request_has_a_fallback_while_the_service_is_away(how: str) -> None:
    answers = await asked(how, "127.0.0.1:1", [request() for _ in range(5)], fallback_life_ns=0)
    assert [kind(answer) for answer in answers] == ["FALLBACK"] * 5
    assert [answer.decision for answer in answers if isinstance(answer, Expiry)] == [Decision.DECLINE] * 5


async def test_without_a_fallback_a_broken_stream_is_raised() -> None:
    async with streams_that((1, grpc.StatusCode.UNAVAILABLE)) as (address, _), AsyncClient(address) as client:
        got = []
        with pytest.raises(ServiceError, match="broken by the test"):
            async for answer in client.stream_expiry([request() for _ in range(3)]):
                got.append(answer)
    assert len(got) == 1


@both
async def test_what_the_caller_did_wrong_has_no_fallback(how: str) -> None:
    async with streams_that((0, grpc.StatusCode.PERMISSION_DENIED)) as (address, _):
        with pytest.raises(ServiceError, match="PERMISSION_DENIED"):
            await asked(how, address, [request()], fallback_life_ns=500 * MS)


@both
async def test_an_error_of_the_callers_own_iterator_comes_back_as_it_is(app: Application, how: str) -> None:
    def requests() -> Iterator[ExpiryRequest]:
        yield request()
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await asked(how, app.addresses[0], requests())


async def test_a_stream_left_early_is_given_back(app: Application) -> None:
    async with AsyncClient(app.addresses[0]) as client:
        answers = client.stream_expiry(request() for _ in range(1000))
        async for _ in answers:
            break
        await answers.aclose()  # type: ignore[attr-defined]
        async with asyncio.timeout(5):
            while app.grpc.streams:  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.01)


# --- publishing ---------------------------------------------------------------------------------------------


def messages() -> list[list[MarketEvent]]:
    def event(kind: EventKind | str, **fields: Any) -> MarketEvent:
        return MarketEvent(instrument="ETH-USDT", kind=kind, **fields)

    return [
        [
            event(EventKind.SNAPSHOT_BEGIN),
            event("LEVEL", side=BookSide.BID, price="3000.01", size=2),
            event("LEVEL", side="ASK", price="3000.02", size="0.5"),
            event(EventKind.SNAPSHOT_END, sequence=1),
        ],
        [event("QUOTE", price="3000.01", size="1", ask_price="3000.02", ask_size="1", sequence=2)],
        [event("STATUS", status=TradingStatus.TRADING)],
        [event("LEVEL", side="BID", price="0.001", size=1)],
    ]


async def test_both_clients_publish_and_get_the_receipt(app: Application) -> None:
    async with AsyncClient(app.addresses[0]) as client:
        one = await client.publish_events(messages(), timeout_s=5)

    def blocking() -> client_types.PublishReceipt:
        with Client(app.addresses[0]) as client:
            return client.publish_events(iter(messages()), timeout_s=5)

    assert one == await asyncio.to_thread(blocking) == client_types.PublishReceipt(applied=6, refused=1)


EUR_USD = "  - {name: EUR-USD, venue: own, symbol: EURUSD, tick_size: 0.00001, lot_size: 1000, warmup: 1s}\n"


async def test_the_publishing_of_the_readme_keeps_the_market_known_until_it_ends(tmp_path: Path) -> None:
    """The snippet as it stands, for as long as it runs; then its market is gone."""
    readme = (Path(__file__).parents[2] / "clients/python/README.md").read_text(encoding="utf-8")
    section = readme.partition("## Market data of your own")[2]
    snippet = section.partition("```python\n")[2].partition("```")[0]
    text = CONFIG.replace("\ntiers:\n", f"\n{EUR_USD}tiers:\n", 1) + FEEDS.replace("ETH-USDT", "EUR-USD")
    async with running(write_config(tmp_path, text)) as app, AsyncClient(app.addresses[0]) as client:

        async def until(quality: str) -> Expiry:
            async with asyncio.timeout(30):
                while True:
                    answer = await client.get_expiry(instrument="EUR-USD", side="BUY", timeout_s=5)
                    if answer.quality is not None and answer.quality.name == quality:
                        return answer
                    await asyncio.sleep(0.05)

        script = tmp_path / "publish.py"
        script.write_text(snippet.replace("127.0.0.1:50051", app.addresses[0]), encoding="utf-8")
        publisher = await asyncio.create_subprocess_exec(sys.executable, str(script))
        try:
            await until("GOOD")
            await asyncio.sleep(0.5)
            assert publisher.returncode is None, "it goes on"
            await until("GOOD")
        finally:
            publisher.kill()
            await publisher.wait()
        answer = await until("GAPPED")
        assert answer.decision is Decision.DECLINE


async def test_publishing_what_may_not_be_published_is_raised(app: Application) -> None:
    wrong = [[MarketEvent(instrument="BTC-USD", kind="CLEAR")]] * 3
    async with AsyncClient(app.addresses[0]) as client:
        with pytest.raises(ServiceError, match="no feed of kind grpc names it"):
            await client.publish_events(wrong, timeout_s=5)

    def blocking() -> None:
        with (
            Client(app.addresses[0]) as client,
            pytest.raises(ServiceError, match="no feed of kind grpc names it"),
        ):
            client.publish_events(wrong, timeout_s=5)

    await asyncio.to_thread(blocking)


async def test_a_float_or_a_wrong_name_is_the_callers_error(app: Application) -> None:
    async with AsyncClient(app.addresses[0]) as client:
        with pytest.raises(TypeError, match="floats are not exact"):
            await client.publish_events([[MarketEvent(instrument="ETH-USDT", kind="CLEAR", price=1.5)]])  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="kind: 'NEWS' is none of ADD"):
            await client.publish_events([[MarketEvent(instrument="ETH-USDT", kind="NEWS")]])

    def blocking() -> None:
        with (
            Client(app.addresses[0]) as client,
            pytest.raises(ValueError, match="kind: 'NEWS' is none of ADD"),
        ):
            client.publish_events([[MarketEvent(instrument="ETH-USDT", kind="NEWS")]])

    await asyncio.to_thread(blocking)


def test_kinds_and_sides_are_those_of_the_protocol() -> None:
    for ours, theirs, prefix in (
        (EventKind, market.EventKind, "EVENT_KIND_"),
        (BookSide, market.BookSide, "BOOK_SIDE_"),
        (TradingStatus, market.TradingStatus, "TRADING_STATUS_"),
    ):
        assert {prefix + member.name: member.value for member in ours} == dict(theirs.items())
