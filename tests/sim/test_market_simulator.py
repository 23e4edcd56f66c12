"""The simulated market: repeatable, its own oracle, calm in calm and torn in a shock."""

import json
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pytest

from quotelife.book.level_book import Book
from quotelife.records import EventBuffer, EventFlags, EventKindCode
from quotelife.sim.binance_wire import BinanceWire
from quotelife.sim.events import EventWriter
from quotelife.sim.market import BTC, MarketConfig, MarketSimulator, NewsShock, SymbolConfig
from quotelife.sim.streams import RandomStream
from quotelife.sim.updates import DepthUpdate, TopUpdate, TradeUpdate, VenueUpdate
from quotelife.units import NS_PER_MS, NS_PER_S

START_NS = 1_700_000_000 * NS_PER_S
SEEDS = (1, 2, 3)


def simulate(
    seed: int, seconds: float, *, shock: tuple[float, float] | None = None, **settings: object
) -> bytes:
    """The whole stream as wire bytes: what "the same run" means."""
    config = MarketConfig(**settings)  # type: ignore[arg-type]
    market = MarketSimulator(config, seed, START_NS)
    if shock:
        market.schedule_shock(START_NS + round(shock[0] * NS_PER_S), round(shock[1] * NS_PER_S))
    wire = BinanceWire(config)
    return b"\n".join(wire.encode(update) for update in market.run(seconds))


# ---------------------------------------------------------------------------------------------- repeatable


def test_same_seed_gives_the_same_bytes():
    assert simulate(5, 3, shock=(1, 1)) == simulate(5, 3, shock=(1, 1))


def test_another_seed_gives_another_run():
    assert simulate(5, 1) != simulate(6, 1)


def test_stream_does_not_depend_on_how_time_is_cut():
    whole = MarketSimulator(MarketConfig(), 7, START_NS)
    pieces = MarketSimulator(MarketConfig(), 7, START_NS)
    for market in (whole, pieces):
        market.schedule_shock(START_NS + 700 * NS_PER_MS, 500 * NS_PER_MS)
    at_once = whole.advance(START_NS + 2 * NS_PER_S)
    cut = np.random.default_rng(0).integers(1, 40 * NS_PER_MS, 2000)
    in_pieces: list[VenueUpdate] = []
    now = START_NS
    for width in cut.tolist():
        now = min(now + width, START_NS + 2 * NS_PER_S)
        in_pieces += pieces.advance(now)
    assert now == START_NS + 2 * NS_PER_S
    assert in_pieces == at_once
    assert pieces.news() == whole.news()


def test_streams_of_other_names_do_not_disturb_each_other():
    alone = RandomStream(3, "flow.BTCUSDT")
    expected = [alone.uniform() for _ in range(10)]
    beside = RandomStream(3, "flow.BTCUSDT")
    other = RandomStream(3, "flow.ETHUSDT")
    mixed = []
    for _ in range(10):
        mixed.append(beside.uniform())
        other.normal()
    assert mixed == expected
    assert RandomStream(3, "flow.ETHUSDT").uniform() != expected[0]


# ------------------------------------------------------------------------------------------------- the book


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("market", ["spot", "usdm"])
def test_diffs_applied_to_a_snapshot_give_the_oracle_book(seed: int, market: str):
    """Binance's splice by hand: snapshot in mid-stream, then every batch; each top with its id agrees."""
    config = MarketConfig(market=market)
    simulator = MarketSimulator(config, seed, START_NS)
    simulator.schedule_shock(START_NS + 3 * NS_PER_S, NS_PER_S)
    simulator.advance(START_NS + 1_035 * NS_PER_MS)
    books = [Book(), Book()]
    heads = []
    tops: list[dict[int, tuple[int, ...]]] = [{}, {}]
    for i, book in enumerate(books):
        snapshot = simulator.snapshot(i)
        heads.append(snapshot.last_update_id)
        for side, levels in ((1, snapshot.bids), (2, snapshot.asks)):
            for ticks, lots in levels:
                book.level(side, ticks, lots)
    previous: list[int | None] = [None, None]
    compared = 0
    for update in simulator.run(5.965):  # to the beat of the depth stream: no batch is left open
        i = update.symbol
        if isinstance(update, TopUpdate):
            tops[i][update.update_id] = update[3:]
        if not isinstance(update, DepthUpdate) or update.last_id <= heads[i]:
            continue
        if previous[i] is None:
            assert update.first_id <= heads[i] + 1 <= update.last_id, f"seed {seed}: no splice"
        else:
            assert update.previous_id == previous[i], f"seed {seed}: batches do not chain"
            assert update.first_id == previous[i] + 1 or market != "spot", f"seed {seed}: spot ids must count"
        previous[i] = update.last_id
        for side, levels in ((1, update.bids), (2, update.asks)):
            for ticks, lots in levels:
                books[i].level(side, ticks, lots)
        books[i].refresh()
        assert not books[i].crossed, f"seed {seed}: crossed at {update.time_ns}"
        if update.last_id in tops[i]:
            compared += 1
            assert books[i].best == tops[i][update.last_id], (
                f"seed {seed}: top differs at id {update.last_id}"
            )
    assert compared > 20, f"seed {seed}: too few tops share an id with a batch ({compared})"
    for i, book in enumerate(books):
        oracle = simulator.snapshot(i, 5000)
        assert book.bids(5000) == list(oracle.bids), f"seed {seed}: bids of symbol {i}"
        assert book.asks(5000) == list(oracle.asks), f"seed {seed}: asks of symbol {i}"


@pytest.mark.parametrize("seed", SEEDS)
def test_never_crossed_never_shallow_and_in_time_order(seed: int):
    market = MarketSimulator(MarketConfig(), seed, START_NS)
    market.schedule_shock(START_NS + 2 * NS_PER_S, 2 * NS_PER_S, intensity=1.5, direction=1)
    last_ns = START_NS
    last_ids = [0, 0]
    for tick in range(1, 61):
        for update in market.advance(START_NS + tick * 100 * NS_PER_MS):
            assert last_ns <= update.time_ns <= market.now_ns, f"seed {seed}: out of order"
            last_ns = update.time_ns
            if isinstance(update, TopUpdate):
                assert update.bid_ticks < update.ask_ticks, f"seed {seed}: crossed"
                assert update.bid_lots > 0 and update.ask_lots > 0
                assert update.update_id > last_ids[update.symbol], f"seed {seed}: id does not rise"
                last_ids[update.symbol] = update.update_id
        for i in range(2):
            book = market.snapshot(i, 5000)
            assert min(len(book.bids), len(book.asks)) >= 20, f"seed {seed}: shallow at {tick}"
            assert max(len(book.bids), len(book.asks)) <= 2 * market.config.levels + 1


def test_a_trade_is_at_the_touch_that_stood_before_it():
    """A print never happens inside or beyond the book: it takes the best level standing, then the next."""
    market = MarketSimulator(MarketConfig(), 11, START_NS)
    tops: dict[int, TopUpdate] = {}
    seen = 0
    for update in market.run(5):
        if isinstance(update, TopUpdate):
            tops[update.symbol] = update
        elif isinstance(update, TradeUpdate) and update.symbol in tops:
            top = tops[update.symbol]
            seen += 1
            if update.seller_is_aggressor:
                assert update.price_ticks <= top.bid_ticks
            else:
                assert update.price_ticks >= top.ask_ticks
            assert update.lots > 0
    assert seen > 100


# ---------------------------------------------------------------------------------------------- statistics


class Tape:
    """Tops of one symbol as arrays."""

    def __init__(self, updates: list[VenueUpdate], symbol: int) -> None:
        rows = [u for u in updates if isinstance(u, TopUpdate) and u.symbol == symbol]
        self.t: npt.NDArray[np.int64] = np.array([u.time_ns for u in rows])
        self.bid = np.array([u.bid_ticks for u in rows])
        self.ask = np.array([u.ask_ticks for u in rows])
        self.bid_lots = np.array([u.bid_lots for u in rows])
        self.ask_lots = np.array([u.ask_lots for u in rows])
        self.mid = (self.bid + self.ask) / 2

    def per_second(self, a: int, b: int) -> float:
        return float(((self.t >= a) & (self.t < b)).sum() / ((b - a) / NS_PER_S))

    def spread_volatility(self, a: int, b: int) -> float:
        """Mean over seconds of the time-weighted standard deviation of the spread."""
        out = []
        for begin in range(a, b, NS_PER_S):
            inside = (self.t >= begin) & (self.t < begin + NS_PER_S)
            t = self.t[inside]
            spread = (self.ask - self.bid)[inside]
            w = np.diff(np.append(t, begin + NS_PER_S))
            mean = np.average(spread, weights=w)
            out.append(np.sqrt(np.average((spread - mean) ** 2, weights=w)))
        return float(np.mean(out))

    def returns(self, a: int, b: int, width_ns: int = 100 * NS_PER_MS) -> npt.NDArray[np.float64]:
        grid = np.arange(a, b, width_ns)
        return np.diff(self.mid[np.searchsorted(self.t, grid, side="right") - 1])


@pytest.fixture(scope="module", params=SEEDS)
def shocked(request: pytest.FixtureRequest) -> tuple[int, list[Tape]]:
    """60 s with a shock at 40 s for 4 s."""
    market = MarketSimulator(MarketConfig(), request.param, START_NS)
    market.schedule_shock(START_NS + 40 * NS_PER_S, 4 * NS_PER_S)
    updates = list(market.run(60))
    return request.param, [Tape(updates, 0), Tape(updates, 1)]


CALM = (START_NS + 5 * NS_PER_S, START_NS + 40 * NS_PER_S)
SHOCK = (START_NS + 40 * NS_PER_S, START_NS + 44 * NS_PER_S)
AFTER = (START_NS + 48 * NS_PER_S, START_NS + 60 * NS_PER_S)


def test_calm_book_is_busy_and_tight(shocked: tuple[int, list[Tape]]):
    seed, tapes = shocked
    for tape in tapes:
        assert 30 < tape.per_second(*CALM) < 250, f"seed {seed}"
        inside = (tape.t >= CALM[0]) & (tape.t < CALM[1])
        spread = (tape.ask - tape.bid)[inside]
        assert np.mean(spread <= 2) > 0.9, f"seed {seed}"


def test_shock_multiplies_update_frequency_five_times(shocked: tuple[int, list[Tape]]):
    seed, tapes = shocked
    for tape in tapes:
        assert tape.per_second(*SHOCK) >= 5 * tape.per_second(*CALM), f"seed {seed}"


def test_shock_multiplies_spread_volatility_and_volatility(shocked: tuple[int, list[Tape]]):
    seed, tapes = shocked
    for tape in tapes:
        assert tape.spread_volatility(*SHOCK) >= 5 * tape.spread_volatility(*CALM), f"seed {seed}"
        assert tape.returns(*SHOCK).std() >= 4 * tape.returns(*CALM).std(), f"seed {seed}"


def test_correlation_collapses_in_the_shock_and_comes_back(shocked: tuple[int, list[Tape]]):
    seed, (btc, eth) = shocked

    def correlation(a: int, b: int) -> float:
        return float(np.corrcoef(btc.returns(a, b), eth.returns(a, b))[0, 1])

    assert 0.5 < correlation(*CALM) < 0.85, f"seed {seed}"
    assert abs(correlation(*SHOCK)) < 0.4, f"seed {seed}"
    assert correlation(*AFTER) > 0.4, f"seed {seed}"


def test_shock_empties_the_side_the_price_runs_into(shocked: tuple[int, list[Tape]]):
    seed, tapes = shocked
    for tape in tapes:
        late = (tape.t >= SHOCK[0] + NS_PER_S // 2) & (tape.t < SHOCK[1])
        assert np.median(tape.bid_lots[late] / tape.ask_lots[late]) < 0.5, f"seed {seed}"


def test_market_returns_to_calm(shocked: tuple[int, list[Tape]]):
    seed, tapes = shocked
    for tape in tapes:
        assert tape.per_second(*AFTER) < 1.8 * tape.per_second(*CALM), f"seed {seed}"
        assert tape.spread_volatility(*AFTER) < 2 * tape.spread_volatility(*CALM), f"seed {seed}"


def test_queue_imbalance_foretells_the_next_half_second_modestly():
    """Correlation of (q_b − q_a)/(q_b + q_a) with the next 500 ms' move: positive, far from certain."""
    market = MarketSimulator(MarketConfig(), 4, START_NS)
    updates = list(market.run(240))
    for symbol in range(2):
        tape = Tape(updates, symbol)
        imbalance = (tape.bid_lots - tape.ask_lots) / (tape.bid_lots + tape.ask_lots)
        later = np.searchsorted(tape.t, tape.t + NS_PER_S // 2, side="right") - 1
        whole = later < len(tape.t) - 1
        move = tape.mid[later][whole] - tape.mid[whole]
        assert 0.04 < np.corrcoef(imbalance[whole], move)[0, 1] < 0.5


def test_direction_and_scope_of_a_shock():
    """Upwards, and for ETH alone: ETH rises hard, BTC stays as it was."""
    config = MarketConfig()
    eth = config.index("ETHUSDT")
    moves = []
    for seed in SEEDS:
        market = MarketSimulator(config, seed, START_NS)
        market.schedule_shock(START_NS + 5 * NS_PER_S, 4 * NS_PER_S, direction=1, score=0.9, symbol=eth)
        market.advance(START_NS + 5 * NS_PER_S)
        before = [market.latent_ticks(i) for i in range(2)]
        market.advance(START_NS + 6 * NS_PER_S)
        assert market.shock_level(eth) == 1.0
        assert market.shock_level(1 - eth) == 0.0
        market.advance(START_NS + 9 * NS_PER_S)
        moves.append([market.latent_ticks(i) / before[i] - 1 for i in range(2)])
        (item,) = market.news()
        assert (item.time_ns, item.symbol, item.score) == (START_NS + 5 * NS_PER_S, eth, 0.9)
        assert market.news() == []
    rise = np.mean(moves, axis=0) * 1e4
    assert rise[eth] > 4
    assert abs(rise[1 - eth]) < 2


# ------------------------------------------------------------------------------------------------- records


def test_event_records_carry_the_same_market():
    """Records without JSON, applied to the book by kind, end in the oracle's book."""
    market = MarketSimulator(MarketConfig(), 9, START_NS)
    buffer = EventBuffer(200_000)
    writer = EventWriter(buffer, [1, 0], latency_ns=250_000)
    writer.write_snapshot(market.snapshot(0, 5000))
    writer.write_all(market.run(2))
    events = buffer.array()
    assert buffer.overflowed == 0
    mine = events[events["instrument"] == 1]
    book = Book()
    for event in mine:
        if event["kind"] == EventKindCode.LEVEL:
            book.level(int(event["side"]), int(event["price_ticks"]), int(event["size_lots"]))
        elif event["kind"] == EventKindCode.QUOTE:
            assert event["flags"] & EventFlags.LAST
    book.refresh()
    oracle = market.snapshot(0, 5000)
    assert (book.bids(5000), book.asks(5000)) == (list(oracle.bids), list(oracle.asks))
    assert (mine["receive_ns"] - mine["exchange_ns"] == 250_000).all()
    snapshot_end = np.flatnonzero(mine["kind"] == EventKindCode.SNAPSHOT_END)
    assert mine["flags"][snapshot_end] == EventFlags.LAST | EventFlags.SNAPSHOT
    lasts = mine[(mine["flags"] & EventFlags.LAST) != 0]
    assert (lasts["kind"] == EventKindCode.TRADE).sum() > 10


# ----------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"market": "margin"}, "market"),
        ({"symbols": ()}, "symbols"),
        ({"symbols": (BTC, BTC)}, "symbols"),
        ({"correlation": 1.0}, "correlation"),
        ({"depth_interval_ns": 7 * NS_PER_MS}, "depth_interval_ns"),
        ({"levels": 5}, "levels"),
    ],
)
def test_a_wrong_market_is_refused_by_name(settings: dict[str, object], field: str):
    with pytest.raises(ValueError, match=field):
        MarketConfig(**settings)  # type: ignore[arg-type]


def test_a_wrong_symbol_is_refused_by_name():
    with pytest.raises(ValueError, match="XYZ: start_price must be a multiple"):
        SymbolConfig("XYZ", Decimal("0.5"), Decimal(1), Decimal("2000.25"))
    with pytest.raises(ValueError, match="XYZ: volatility_bps"):
        SymbolConfig("XYZ", Decimal("0.5"), Decimal(1), Decimal(2000), volatility_bps=0.0)


def test_a_shock_cannot_start_in_the_past_nor_hit_nobody():
    market = MarketSimulator(MarketConfig(), 1, START_NS)
    market.advance(START_NS + NS_PER_S)
    with pytest.raises(ValueError, match="past"):
        market.schedule_shock(START_NS, NS_PER_S)
    with pytest.raises(ValueError, match=r"symbol must lie in 0\.\.1"):
        market.schedule_shock(START_NS + NS_PER_S, NS_PER_S, symbol=2)
    with pytest.raises(ValueError, match="duration_ns"):
        NewsShock(START_NS, 0)


# ---------------------------------------------------------------------------------------------------- wire


@pytest.mark.parametrize("market", ["spot", "usdm", "coinm"])
def test_wire_is_json_with_exact_decimals(market: str):
    """A plain JSON reader gets back every number that the update held."""
    config = MarketConfig(market=market)
    simulator = MarketSimulator(config, 2, START_NS)
    wire = BinanceWire(config)
    kinds = set()
    for update in simulator.run(2):
        symbol = config.symbols[update.symbol]
        message = json.loads(BinanceWire.combined(wire.stream_of(update), wire.encode(update)))
        data = message["data"]
        assert data["s"] == symbol.symbol
        assert message["stream"].startswith(symbol.symbol.lower() + "@")
        kinds.add(message["stream"].partition("@")[2])

        def ticks(text: str, symbol: SymbolConfig = symbol) -> Decimal:
            return Decimal(text) / symbol.tick_size

        def lots(text: str, symbol: SymbolConfig = symbol) -> Decimal:
            return Decimal(text) / symbol.lot_size

        if isinstance(update, TopUpdate):
            assert (ticks(data["b"]), lots(data["B"]), ticks(data["a"]), lots(data["A"])) == update[3:]
            assert data["u"] == update.update_id
            assert ("e" in data) == (market != "spot")
        elif isinstance(update, TradeUpdate):
            assert (ticks(data["p"]), lots(data["q"])) == (update.price_ticks, update.lots)
            assert (data["m"], data["t"]) == (update.seller_is_aggressor, update.trade_id)
            assert data["T"] == update.time_ns // NS_PER_MS
        else:
            assert [(ticks(p), lots(q)) for p, q in data["b"]] == list(update.bids)
            assert [(ticks(p), lots(q)) for p, q in data["a"]] == list(update.asks)
            assert (data["U"], data["u"]) == (update.first_id, update.last_id)
            assert data.get("pu") == (None if market == "spot" else update.previous_id)
    assert kinds == {"bookTicker", "trade", "depth@100ms"}
    snapshot = json.loads(wire.snapshot(simulator.snapshot(0, 7)))
    assert len(snapshot["bids"]) == len(snapshot["asks"]) == 7
    assert ("T" in snapshot) == (market != "spot")


def test_spot_pads_to_eight_places_and_futures_do_not():
    update = TopUpdate(START_NS, 0, 5, 600_000, 1, 600_001, 1_500)
    spot = json.loads(BinanceWire(MarketConfig(market="spot")).encode(update))
    assert (spot["b"], spot["B"], spot["A"]) == ("60000.00000000", "0.00100000", "1.50000000")
    usdm = json.loads(BinanceWire(MarketConfig(market="usdm")).encode(update))
    assert (usdm["b"], usdm["a"], usdm["B"]) == ("60000.00", "60000.10", "0.001")


def test_news_is_json_whatever_the_headline():
    market = MarketSimulator(MarketConfig(), 1, START_NS)
    headline = 'He said "sell" \\ ünd went\n'
    market.schedule_shock(START_NS, NS_PER_S, headline=headline)
    market.advance(START_NS + 10 * NS_PER_MS)
    (item,) = market.news()
    data = json.loads(BinanceWire(market.config).news(item))
    assert data == {
        "e": "news",
        "E": START_NS // NS_PER_MS,
        "s": None,
        "score": -1.0,
        "headline": headline,
    }
