"""Random and mutated batches, streams and market events: an answer or a named refusal, and nothing else."""

import gc
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from test_requests_in_process import ALLOWED, Requests

from quote_expiry.v1 import market_data_service_pb2 as market
from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quotelife_server.feeds.published import PublishedFeed
from quotelife_server.feeds.settings import GrpcFeedConfig
from quotelife_server.log import get_logger
from quotelife_server.rpc import CallContext, Code, RpcError, Stream, StreamHandler
from reference.service_kit import Kit

BATCH = "/quote_expiry.v1.QuoteExpiryService/BatchGetExpiry"
STREAM = "/quote_expiry.v1.QuoteExpiryService/StreamExpiry"
PUBLISH = "/quote_expiry.v1.MarketDataService/PublishEvents"
FULL = 1_000_000


class Nested(Requests):
    """Payloads that hold requests: filled as single ones are, several to a batch."""

    def fill(self, message: Any, depth: int = 0) -> Any:
        if isinstance(message, expiry.BatchGetExpiryRequest):
            for _ in range(self._rng.randrange(4)):
                self.fill(message.requests.add(), depth + 1)
            return message
        if isinstance(message, expiry.StreamExpiryRequest):
            message.tag = self._rng.getrandbits(64)
            if self._rng.random() < 0.97:
                self.fill(message.request, depth + 1)
            return message
        if isinstance(message, market.PublishEventsRequest):
            for _ in range(self._rng.randrange(4)):
                event = message.events.add(instrument=self._rng.choice(("BTC-USDT", "ETH-USDT")))
                if self._rng.random() < 0.1:
                    self.fill(event, depth + 1)
                    continue
                event.kind = self._rng.choice(list(market.EventKind.values()))
                event.side = self._rng.choice((1, 2))
                event.price, event.ask_price = "63000.1", "63000.2"
                event.size = event.ask_size = self._rng.choice(("0", "1", "0.5"))
                event.order_id = self._rng.randrange(5)
                event.status = self._rng.randrange(1, 5)
            return message
        return super().fill(message, depth)


class Answers:
    """A transport's end that counts answers and keeps none."""

    def __init__(self) -> None:
        self.codes: Counter[int] = Counter()
        self.finished: list[RpcError | None] = []

    def send(self, payload: bytes | Callable[[], bytes]) -> None:
        whole = payload if isinstance(payload, bytes) else payload()
        self.codes[expiry.StreamExpiryResponse.FromString(whole).result.fault.code] += 1

    def finish(self, error: RpcError | None = None) -> None:
        self.finished.append(error)


def opened(kit: Kit, path: str, call: Any) -> StreamHandler:
    entry = kit.service.methods[path]
    assert isinstance(entry, Stream)
    return kit.service.open_stream(entry, call, CallContext(path))


def flat(process: psutil.Process, before: int, seed: int) -> None:
    gc.collect()
    growth = process.memory_info().rss - before
    assert growth < 8 * 1024 * 1024, f"seed {seed}: resident memory grew by {growth} B"


@pytest.mark.parametrize("count", [8_000, pytest.param(FULL, marks=pytest.mark.slow)])
def test_batches(tmp_path: Path, count: int) -> None:
    seed = random.SystemRandom().randrange(2**32)
    kit = Kit(tmp_path, replies_bytes=100_000)
    requests = Nested(seed, kit.clock.now_ns())
    process, before = psutil.Process(), 0
    codes: Counter[int] = Counter()
    for k in range(count):
        if k == count // 4:  # every cache is full by now
            gc.collect()
            before = process.memory_info().rss
        payload = requests.payload(expiry.BatchGetExpiryRequest)
        try:
            reply = kit.call(BATCH, payload)
        except RpcError as error:
            assert error.code in ALLOWED, f"seed {seed}: {error.code.name} for {payload.hex()}"
            codes[error.code] += 1
            continue
        for result in expiry.BatchGetExpiryResponse.FromString(reply).results:
            assert result.fault.code in ALLOWED, f"seed {seed}: {result.fault} for {payload.hex()}"
            codes[result.fault.code] += 1
    flat(process, before, seed)
    assert kit.service.metrics.internal_errors == 0
    assert codes[Code.OK] > count // 10 and codes[Code.INVALID_ARGUMENT] > count // 10, codes
    assert codes[Code.NOT_FOUND] > count // 500, codes


@pytest.mark.parametrize("count", [8_000, pytest.param(FULL, marks=pytest.mark.slow)])
def test_streams(tmp_path: Path, count: int) -> None:
    seed = random.SystemRandom().randrange(2**32)
    kit = Kit(tmp_path, replies_bytes=100_000)
    requests = Nested(seed, kit.clock.now_ns())
    answers = Answers()
    handler = opened(kit, STREAM, answers)
    process, before = psutil.Process(), 0
    for k in range(count):
        if k == count // 4:
            gc.collect()
            before = process.memory_info().rss
        payload = requests.payload(expiry.StreamExpiryRequest)
        handler.on_message(payload)
        assert answers.codes.total() == k + 1, f"seed {seed}: no answer to {payload.hex()}"
        assert set(answers.codes) <= {int(code) for code in ALLOWED}, f"seed {seed}: {payload.hex()}"
    flat(process, before, seed)
    assert answers.finished == [] and kit.service.in_flight.count == 0
    assert kit.service.metrics.internal_errors == 0
    assert answers.codes[Code.OK] > count // 10 and answers.codes[Code.INVALID_ARGUMENT] > count // 10


@pytest.mark.parametrize("count", [8_000, pytest.param(FULL, marks=pytest.mark.slow)])
def test_market_events(tmp_path: Path, count: int) -> None:
    seed = random.SystemRandom().randrange(2**32)
    kit = Kit(tmp_path, warm=False)
    feed = PublishedFeed(
        GrpcFeedConfig(kind="grpc", name="desk", instruments=("BTC-USDT", "ETH-USDT")),
        kit.engine.instruments,
        sink=kit.engine.on_events,
        clock=kit.clock,
        logger=get_logger("fuzz"),
    )
    kit.service.published = {each.name: feed for each in feed.instruments}
    requests = Nested(seed, kit.clock.now_ns())
    handler = opened(kit, PUBLISH, Answers())
    process, before = psutil.Process(), 0
    codes: Counter[int] = Counter()
    for k in range(count):
        if k == count // 4:
            gc.collect()
            before = process.memory_info().rss
        payload = requests.payload(market.PublishEventsRequest)
        kit.clock.advance_ns(1000)
        try:
            handler.on_message(payload)
            codes[Code.OK] += 1
        except Exception as error:
            code = kit.service.as_rpc_error(error, CallContext(PUBLISH)).code
            assert code in ALLOWED, f"seed {seed}: {error!r} for {payload.hex()}"
            codes[code] += 1
            handler.on_cancel()
            handler = opened(kit, PUBLISH, Answers())
        if k % 100 == 0:
            assert kit.get().decision_id, "the service still answers"
    flat(process, before, seed)
    handler.on_cancel()
    assert not feed.streams and kit.service.metrics.internal_errors == 0
    assert feed.events > count // 4 and feed.refused > count // 20 and feed.gaps > 10
    assert codes[Code.OK] > count // 4 and codes[Code.INVALID_ARGUMENT] > count // 10
