"""PublishEvents: exact units, whole messages or nothing, breaks and ends that distrust, one publisher each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import structlog

from quote_expiry.v1 import market_data_service_pb2 as market
from quote_expiry.v1 import types_pb2 as types
from quotelife.records import EVENT_DTYPE, EventBuffer, EventKindCode, QualityCode, StatusKind
from quotelife_client import AsyncClient
from quotelife_server.feeds.published import PublishedFeed
from quotelife_server.feeds.settings import GrpcFeedConfig
from quotelife_server.handlers import State
from quotelife_server.rpc import CallContext, Code, RpcError, Stream, StreamHandler
from reference.service_kit import CONFIG, Kit, S, refused, running, write_config

PUBLISH = "/quote_expiry.v1.MarketDataService/PublishEvents"
BID, ASK = market.BOOK_SIDE_BID, market.BOOK_SIDE_ASK


class PublishKit(Kit):
    """BTC-USDT and ETH-USDT may be published, BTC-USD may not; keeps what the engine was given."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, warm=False)
        config = GrpcFeedConfig(kind="grpc", name="desk", instruments=("BTC-USDT", "ETH-USDT"))
        self.rows: list[Any] = []
        logger = structlog.wrap_logger(None, processors=[self._log])
        self.logs: list[Any] = []
        self.feed = PublishedFeed(
            config, self.engine.instruments, sink=self._sink, clock=self.clock, logger=logger
        )
        self.service.published = {each.name: self.feed for each in self.feed.instruments}

    def _log(self, logger: Any, name: str, event: Any) -> Any:
        self.logs.append(event)
        raise structlog.DropEvent

    def _sink(self, buffer: EventBuffer) -> None:
        self.rows += list(buffer.array())
        self.engine.on_events(buffer)

    def open(self) -> tuple[StreamHandler, "Caller"]:
        entry = self.service.methods[PUBLISH]
        assert isinstance(entry, Stream)
        caller = Caller()
        return self.service.open_stream(entry, caller, CallContext(PUBLISH)), caller

    def events(self, *kinds: int) -> list[Any]:
        return [row for row in self.rows if row["kind"] in kinds]

    def quality(self, instrument: int = 0) -> int:
        return self.engine.instrument_status(instrument, self.clock.now_ns()).quality


class Caller:
    def __init__(self) -> None:
        self.receipts: list[tuple[int, int]] = []
        self.finished: list[RpcError | None] = []

    def send(self, payload: bytes | Callable[[], bytes]) -> None:
        assert isinstance(payload, bytes)
        receipt = market.PublishEventsResponse.FromString(payload)
        self.receipts.append((receipt.applied, receipt.refused))

    def finish(self, error: RpcError | None = None) -> None:
        self.finished.append(error)


def event(kind: int, **fields: Any) -> market.MarketEvent:
    return market.MarketEvent(**{"instrument": "BTC-USDT", "kind": kind, **fields})


def level(side: int, price: str, size: str, **fields: Any) -> market.MarketEvent:
    return event(market.EVENT_KIND_LEVEL, side=side, price=price, size=size, **fields)


def message(*events: market.MarketEvent) -> bytes:
    return market.PublishEventsRequest(events=events).SerializeToString()


def snapshot(sequence: int = 1, instrument: str = "BTC-USDT") -> bytes:
    return message(
        event(market.EVENT_KIND_SNAPSHOT_BEGIN, instrument=instrument),
        level(BID, "63000.0", "1.5", instrument=instrument),
        level(ASK, "63000.2", "0.9", instrument=instrument),
        event(market.EVENT_KIND_SNAPSHOT_END, sequence=sequence, instrument=instrument),
    )


def change(sequence: int | None, size: str = "0.5") -> bytes:
    return message(level(BID, "63000.1", size, sequence=sequence))


@pytest.fixture
def kit(tmp_path: Path) -> PublishKit:
    return PublishKit(tmp_path)


# --- what is taken ------------------------------------------------------------------------------------------


def test_a_published_book_is_exact_in_ticks_and_lots_and_becomes_good(kit: PublishKit) -> None:
    stream, caller = kit.open()
    stream.on_message(snapshot())
    stream.on_message(change(2))
    kit.clock.advance_ns(2 * S)
    stream.on_message(change(3, "0.007"))
    status = kit.engine.instrument_status(0, kit.clock.now_ns())
    assert (status.bid_ticks, status.bid_lots, status.ask_ticks, status.ask_lots) == (
        630_001,
        7,
        630_002,
        900,
    )
    assert status.quality == QualityCode.GOOD
    stream.on_half_close()
    assert caller.receipts == [(6, 0)] and caller.finished == [None]


def test_the_last_event_of_each_instrument_ends_the_message(kit: PublishKit) -> None:
    stream, _ = kit.open()
    stream.on_message(
        message(
            level(BID, "1", "1"),
            level(BID, "1", "1", instrument="ETH-USDT"),
            level(BID, "2", "1"),
            level(BID, "2", "1", instrument="ETH-USDT"),
        )
    )
    assert [(row["instrument"], row["flags"]) for row in kit.events(EventKindCode.LEVEL)] == [
        (0, 0),
        (1, 0),
        (0, 1),
        (1, 1),
    ]


EXPECTED: list[tuple[str, market.MarketEvent, dict[str, int]]] = [
    (
        "trade",
        event(market.EVENT_KIND_TRADE, side=ASK, price="63000.1", size="0.002", exchange_utc_ns=5),
        {"kind": 5, "side": 2, "price_ticks": 630_001, "size_lots": 2, "exchange_ns": 5},
    ),
    (
        "quote",
        event(
            market.EVENT_KIND_QUOTE,
            price="63000.1",
            size="0.002",
            ask_price="63000.2",
            ask_size="0.003",
            sequence=9,
        ),
        {"kind": 7, "price_ticks": 630_001, "size_lots": 2, "order_id": 630_002, "aux": 3, "sequence": 9},
    ),
    (
        "a quote of one side",
        event(market.EVENT_KIND_QUOTE, price="63000.1", size="0.002"),
        {"kind": 7, "price_ticks": 630_001, "size_lots": 2},
    ),
    (
        "a level removed",
        level(ASK, "63000.10", "0"),
        {"kind": 6, "side": 2, "price_ticks": 630_001},
    ),
    (
        "a halt",
        event(market.EVENT_KIND_STATUS, status=market.TRADING_STATUS_HALT),
        {"kind": 11, "aux": StatusKind.HALT},
    ),
    (
        "an order",
        event(market.EVENT_KIND_ADD, side=BID, price="63000.1", size="1", order_id=-7),
        {"kind": 1, "side": 1, "price_ticks": 630_001, "size_lots": 1000, "order_id": -7},
    ),
    (
        "an order changed",
        event(market.EVENT_KIND_MODIFY, price="63000.1", size="1", order_id=7),
        {"kind": 2, "price_ticks": 630_001, "size_lots": 1000, "order_id": 7},
    ),
    ("an order gone", event(market.EVENT_KIND_CANCEL, order_id=7), {"kind": 3, "order_id": 7}),
    (
        "an order filled in part",
        event(market.EVENT_KIND_EXECUTE, order_id=7, size="0.004", side=BID),
        {"kind": 4, "order_id": 7, "size_lots": 4, "side": 1},
    ),
]


@pytest.mark.parametrize(
    ("given", "expected"), [(g, e) for _, g, e in EXPECTED], ids=[name for name, _, _ in EXPECTED]
)
def test_each_kind_becomes_the_engines_record(
    kit: PublishKit, given: market.MarketEvent, expected: dict[str, int]
) -> None:
    stream, _ = kit.open()
    stream.on_message(message(given))
    row = kit.rows[-1]
    base = dict.fromkeys(EVENT_DTYPE.names or (), 0) | {"receive_ns": kit.clock.now_ns(), "flags": 1}
    assert {name: int(row[name]) for name in base} == base | expected


# --- what is refused ----------------------------------------------------------------------------------------

REFUSED: list[tuple[str, market.MarketEvent, str]] = [
    ("no kind", event(0), "kind"),
    ("unknown kind", event(12), "kind"),
    ("no side", level(0, "1", "1"), "side"),
    ("unknown side", level(3, "1", "1"), "side"),
    ("off the tick", level(BID, "63000.05", "1"), "price"),
    ("off the lot", level(BID, "63000.1", "0.0005"), "size"),
    ("no price", level(BID, "", "1"), "price"),
    ("price 0", level(BID, "0", "1"), "price"),
    ("negative price", level(BID, "-63000.1", "1"), "price"),
    ("price NaN", level(BID, "NaN", "1"), "price"),
    ("price with an exponent", level(BID, "6e4", "1"), "price"),
    ("price beyond counting", level(BID, "9" * 18, "1"), "price"),
    ("no size", level(BID, "1", ""), "size"),
    ("negative size", level(BID, "1", "-1"), "size"),
    ("size beyond counting", level(BID, "1", "9" * 18), "size"),
    ("a trade of nothing", event(market.EVENT_KIND_TRADE, side=BID, price="1", size="0"), "size"),
    ("an order without an id", event(market.EVENT_KIND_ADD, side=BID, price="1", size="1"), "order_id"),
    ("a cancel without an id", event(market.EVENT_KIND_CANCEL), "order_id"),
    ("a quote with a size and no price", event(market.EVENT_KIND_QUOTE, ask_size="1"), "ask_price"),
    ("a status without one", event(market.EVENT_KIND_STATUS), "status"),
    ("negative time", level(BID, "1", "1", exchange_utc_ns=-1), "exchange_utc_ns"),
    ("negative sequence", level(BID, "1", "1", sequence=-1), "sequence"),
    ("an end without a beginning", event(market.EVENT_KIND_SNAPSHOT_END), "kind"),
]


@pytest.mark.parametrize(
    ("wrong", "field"), [(w, f) for _, w, f in REFUSED], ids=[name for name, _, _ in REFUSED]
)
def test_one_wrong_field_refuses_its_message_and_gaps_the_book(
    kit: PublishKit, wrong: market.MarketEvent, field: str
) -> None:
    stream, caller = kit.open()
    stream.on_message(snapshot())
    before = len(kit.events(EventKindCode.LEVEL))
    stream.on_message(message(level(BID, "62999.9", "1"), wrong))
    assert len(kit.events(EventKindCode.LEVEL)) == before, "nothing of the message is applied"
    assert kit.quality() == QualityCode.GAPPED
    (line,) = [each for each in kit.logs if each["event"] == "message_refused"]
    assert line["error"].startswith(f"events[1].{field}: ")
    stream.on_half_close()
    assert caller.receipts == [(4, 2)]
    assert kit.feed.figures().counters["decode_errors"] == 1


def test_a_refused_message_leaves_other_instruments_alone(kit: PublishKit) -> None:
    stream, _ = kit.open()
    stream.on_message(snapshot())
    stream.on_message(snapshot(instrument="ETH-USDT"))
    stream.on_message(message(level(BID, "x", "1")))
    assert (kit.quality(0), kit.quality(1)) == (QualityCode.GAPPED, QualityCode.WARMING)


@pytest.mark.parametrize(
    ("payload", "code", "words"),
    [
        (b"\xff\xff", Code.INVALID_ARGUMENT, "PublishEventsRequest"),
        (message(event(6, instrument="")), Code.INVALID_ARGUMENT, "events\\[0\\].instrument: is required"),
        (message(event(6, instrument="NONE")), Code.NOT_FOUND, "not configured"),
        (message(event(6, instrument="BTC-USD")), Code.INVALID_ARGUMENT, "no feed of kind grpc names it"),
        (message(*[event(10)] * 4097), Code.INVALID_ARGUMENT, "events: must be at most 4096"),
    ],
    ids=["noise", "no name", "unknown", "not to be published", "too many"],
)
def test_what_cannot_be_laid_to_a_book_ends_the_stream_in_words(
    kit: PublishKit, payload: bytes, code: Code, words: str
) -> None:
    stream, _ = kit.open()
    with pytest.raises(RpcError, match=words) as caught:
        stream.on_message(payload)
    assert caught.value.code == code


# --- breaks and ends ----------------------------------------------------------------------------------------


def test_a_break_in_the_sequence_gaps_the_book_until_a_snapshot(kit: PublishKit) -> None:
    stream, _ = kit.open()
    stream.on_message(snapshot(sequence=1))
    stream.on_message(change(2))
    assert kit.quality() == QualityCode.WARMING
    stream.on_message(change(4))
    assert kit.quality() == QualityCode.GAPPED and kit.feed.figures().counters["gaps"] == 1
    stream.on_message(change(5))
    assert kit.quality() == QualityCode.GAPPED, "what follows does not heal it"
    stream.on_message(snapshot(sequence=9))
    stream.on_message(change(10))
    assert kit.quality() == QualityCode.WARMING


@pytest.mark.parametrize("sequence", [1, 0, 3])
def test_a_message_sent_again_or_late_is_a_break(kit: PublishKit, sequence: int) -> None:
    stream, _ = kit.open()
    stream.on_message(snapshot(sequence=1))
    stream.on_message(change(sequence))
    assert kit.quality() == QualityCode.GAPPED


def test_events_of_one_message_share_a_sequence_or_count_on(kit: PublishKit) -> None:
    stream, _ = kit.open()
    stream.on_message(snapshot(sequence=1))
    one_on = [level(BID, "62999.9", "1", sequence=k) for k in (2, 2, 3)]
    stream.on_message(message(*one_on))
    stream.on_message(change(None))
    stream.on_message(change(4))
    assert kit.quality() == QualityCode.WARMING and kit.feed.figures().counters["gaps"] == 0


def test_trades_and_quotes_are_no_part_of_the_chain(kit: PublishKit) -> None:
    stream, _ = kit.open()
    stream.on_message(snapshot(sequence=1))
    stream.on_message(message(event(market.EVENT_KIND_TRADE, side=BID, price="1", size="1", sequence=77)))
    stream.on_message(change(2))
    assert kit.feed.figures().counters["gaps"] == 0


@pytest.mark.parametrize("how", ["half_close", "cancel", "error"])
def test_the_end_of_a_stream_distrusts_what_it_fed_and_frees_it(kit: PublishKit, how: str) -> None:
    stream, _ = kit.open()
    stream.on_message(snapshot())
    stream.on_message(snapshot(instrument="ETH-USDT"))
    if how == "half_close":
        stream.on_half_close()
    elif how == "error":
        with pytest.raises(RpcError):
            stream.on_message(b"\xff")
    stream.on_cancel()  # a transport says so at every end
    down = [
        row["instrument"] for row in kit.events(EventKindCode.STATUS) if row["aux"] == StatusKind.FEED_DOWN
    ]
    assert down == [0, 1]
    assert kit.quality() == QualityCode.GAPPED and not kit.feed.figures().connected
    again, _ = kit.open()
    again.on_message(snapshot())
    assert kit.quality() == QualityCode.WARMING


def test_a_second_publisher_of_an_instrument_is_refused_and_the_first_goes_on(kit: PublishKit) -> None:
    first, _ = kit.open()
    first.on_message(snapshot())
    second, _ = kit.open()
    second.on_message(snapshot(instrument="ETH-USDT"))
    with pytest.raises(RpcError, match="BTC-USDT is being published by another stream") as caught:
        second.on_message(snapshot())
    second.on_cancel()
    assert caught.value.code == Code.ALREADY_EXISTS
    first.on_message(change(2))
    assert kit.quality() == QualityCode.WARMING


def test_a_service_that_drains_takes_no_stream(kit: PublishKit) -> None:
    kit.service.set_state(State.DRAINING)
    with refused() as errors:
        kit.open()
    assert errors[0].code == Code.UNAVAILABLE


# --- over the socket ----------------------------------------------------------------------------------------

FEEDS = """
feeds:
  - {kind: grpc, name: desk, instruments: [ETH-USDT]}
"""


async def test_a_receipt_comes_over_the_socket_and_status_shows_the_feed(tmp_path: Path) -> None:
    async with running(write_config(tmp_path, CONFIG + FEEDS)) as app:
        async with grpc.aio.insecure_channel(app.addresses[0]) as channel:
            call = channel.stream_unary(PUBLISH)
            payloads = [
                snapshot(instrument="ETH-USDT"),
                message(level(BID, "1.005", "1", instrument="ETH-USDT")),
            ]
            receipt = market.PublishEventsResponse.FromString(await call(iter(payloads)))
            assert (receipt.applied, receipt.refused) == (4, 1)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(iter([snapshot()]))
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        (figures,) = [feed.figures() for feed in app.feeds]
        assert (figures.name, figures.connected) == ("desk", False)
        assert figures.counters["messages"] == 2 and figures.counters["decode_errors"] == 1
        assert app.engine.instrument_status(1, app.clock.now_ns()).quality + 1 == types.QUALITY_GAPPED


async def test_status_tells_the_newest_fault_of_a_feed_in_the_words_of_its_log(tmp_path: Path) -> None:
    async with (
        running(write_config(tmp_path, CONFIG + FEEDS)) as app,
        AsyncClient(app.addresses[0], timeout_s=5) as client,
    ):
        (feed,) = (await client.status()).feeds
        assert feed.fault == "" and not feed.HasField("fault_age_ns")
        async with grpc.aio.insecure_channel(app.addresses[0]) as channel:
            await channel.stream_unary(PUBLISH)(iter([snapshot(instrument="ETH-USDT")]))
        (feed,) = (await client.status()).feeds
        assert feed.fault == "feed down: the last stream ended"
        assert 0 < feed.fault_age_ns < 60 * S
