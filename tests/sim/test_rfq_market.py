"""The simulated RFQ market: who trades with whom, when, and that the accounts say so."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from quotelife.config import load_config
from quotelife.errors import QuotelifeError
from quotelife.sim.market import MarketConfig, MarketSimulator
from quotelife.sim.rfq.accounts import Accounts
from quotelife.sim.rfq.comparison import START_NS, compare
from quotelife.sim.rfq.dealers import EngineDealer, StaticDealer
from quotelife.sim.rfq.market import RfqMarket
from quotelife.sim.rfq.population import CLIENTS, Aim, Client, Inquiry, Intent, Population
from quotelife.sim.rfq.quotes import NEVER_NS, Happening, Kind, Quote
from quotelife.units import NS_PER_MS, NS_PER_S
from quotelife_server.settings import ServiceConfig

CONFIG = load_config(Path(__file__).resolve().parents[2] / "configs" / "demo", ServiceConfig)
MARKET = MarketConfig()
EDGES = (0.13, 0.18)
ADVERSE = (0.26, 0.36)
LIFE_NS = 2 * NS_PER_S
TRADES = (Kind.FILLED, Kind.PICKED_OFF)


def population(clients: Sequence[Client] = CLIENTS, seconds: int = 3600, seed: int = 3) -> list[Inquiry]:
    stop_ns = START_NS + seconds * NS_PER_S
    return list(Population(clients, symbols=2, seed=seed, start_ns=START_NS, stop_ns=stop_ns).inquiries())


def static(name: str = "static", life_ns: int = LIFE_NS) -> StaticDealer:
    return StaticDealer(name, life_ns=life_ns, edge_bps=EDGES, adverse_bps=ADVERSE)


def ours(**options: object) -> EngineDealer:
    return EngineDealer(
        "ours", CONFIG, symbols=MARKET.symbols, edge_bps=EDGES, start_ns=START_NS - 1, **options
    )  # type: ignore[arg-type]


def run(dealers: list, inquiries: list[Inquiry], *, seconds: int = 30, seed: int = 5) -> list[Happening]:  # type: ignore[type-arg]
    heard: list[Happening] = []
    RfqMarket(
        MarketSimulator(MARKET, seed, START_NS),
        dealers,
        inquiries,
        stop_ns=START_NS + seconds * NS_PER_S,
        listeners=[heard.append],
    ).run()
    return heard


def inquiry(intent: Intent, *, number: int = 1, at_s: float = 5.0, side: int = 1) -> Inquiry:
    return Inquiry(number, START_NS + round(at_s * NS_PER_S), 1, side, "borealis-macro", 1000, intent)


@pytest.fixture(scope="module")
def busy() -> tuple[dict, list[Happening]]:  # type: ignore[type-arg]
    heard: list[Happening] = []
    return compare(CONFIG, seed=7, seconds=240, per_second=8.0, listeners=[heard.append]), heard


def test_clients_are_drawn_as_they_are_described() -> None:
    client = replace(CLIENTS[1], response_sigma=0.5, informed_share=0.2, hit_probability=0.4)
    drawn = population([client], seconds=3600)
    assert len(drawn) == pytest.approx(4 * 3600, rel=0.03)
    aims = Counter(each.intent.aim for each in drawn)
    assert aims[Aim.SNIPE] / len(drawn) == pytest.approx(0.2, abs=0.015)
    assert aims[Aim.ACCEPT] / len(drawn) == pytest.approx(0.8 * 0.4, abs=0.015)
    responses = sorted(each.intent.response_ns for each in drawn if each.intent.aim is Aim.ACCEPT)
    assert median(responses) == pytest.approx(client.response_median_ns, rel=0.04)
    within = responses[round(0.8413 * len(responses))]
    assert within == pytest.approx(client.response_median_ns * 2.71828**0.5, rel=0.05)


def test_one_clients_habits_move_nobody_elses_draws() -> None:
    changed = [replace(CLIENTS[0], hit_probability=1.0, walks_away=1.0), *CLIENTS[1:]]
    before, after = population(), population(changed)
    assert [(a.at_ns, a.client, a.side) for a in before] == [(b.at_ns, b.client, b.side) for b in after]
    others = [(a, b) for a, b in zip(before, after, strict=True) if a.client != CLIENTS[0].name]
    assert len(others) > 10_000 and all(a == b for a, b in others)


def test_equal_seeds_give_equal_bytes_and_others_do_not() -> None:
    first, again, other = (json.dumps(compare(CONFIG, seed=s, seconds=60)) for s in (1, 1, 2))
    assert first == again != other


def test_every_quote_has_one_end_and_the_accounts_add_up(busy: tuple[dict, list[Happening]]) -> None:  # type: ignore[type-arg]
    result, heard = busy
    ends: Counter[int] = Counter()
    for what in heard:
        if what.quote is not None and what.kind in (*TRADES, Kind.EXPIRED, Kind.WITHDRAWN):
            ends[what.quote.number] += 1
    assert set(ends) == {what.quote.number for what in heard if what.kind is Kind.QUOTED and what.quote}
    assert set(ends.values()) == {1}
    for account in result["dealers"]:
        of = [what for what in heard if what.dealer == account["dealer"]]
        count = Counter(what.kind for what in of)
        assert account["asked"] == account["quoted"] + account["declined"] == count[Kind.ASKED] > 1000
        assert (account["fills"], account["pick_offs"]) == (count[Kind.FILLED], count[Kind.PICKED_OFF])
        assert account["late_hits_refused"] == count[Kind.REFUSED]
        assert account["withdrawn_in_time"] == count[Kind.WITHDRAWN]
        assert account["value_price"] == pytest.approx(
            sum(
                what.quote.inquiry.side
                * (what.mid_ticks - what.quote.price_ticks)
                * float(MARKET.symbols[what.quote.inquiry.symbol].tick_size)
                for what in of
                if what.kind in TRADES and what.quote is not None
            )
        )


def test_dealers_get_the_same_requests_and_quote_the_same_prices(busy: tuple[dict, list[Happening]]) -> None:  # type: ignore[type-arg]
    quotes: dict[tuple[int, bool], list[Quote]] = {}
    for what in busy[1]:
        if what.kind is Kind.QUOTED and what.quote is not None:
            quotes.setdefault((what.quote.inquiry.number, what.quote.inquiry.again), []).append(what.quote)
    assert len(quotes) > 1000
    for each in quotes.values():
        assert len({quote.price_ticks for quote in each}) == 1
        # One has h from its mid, the other from its reference price.
        assert all(quote.h_ticks == pytest.approx(each[0].h_ticks, rel=1e-5) for quote in each)


def test_snipers_come_after_h_is_passed_and_trade_within_the_life(busy: tuple[dict, list[Happening]]) -> None:  # type: ignore[type-arg]
    ordered: dict[int, Happening] = {}
    picked = 0
    for what in busy[1]:
        if what.quote is None or not what.sniper:
            continue
        quote = what.quote
        if what.kind is Kind.ORDERED:
            assert quote.moved(what.mid_ticks) >= quote.h_ticks
            ordered[quote.number] = what
        elif what.kind is Kind.PICKED_OFF:
            picked += 1
            assert what.at_ns == ordered[quote.number].at_ns + quote.inquiry.intent.latency_ns
            assert what.at_ns < min(quote.end_ns, quote.gone_ns)
        elif what.kind is Kind.REFUSED:
            assert what.at_ns >= min(quote.end_ns, quote.gone_ns)
    assert picked > 10


def test_who_walks_away_does_so_only_when_others_quote_better(busy: tuple[dict, list[Happening]]) -> None:  # type: ignore[type-arg]
    walked = [what for what in busy[1] if what.kind is Kind.WALKED_AWAY]
    quotes = {what.quote.inquiry: what.quote for what in busy[1] if what.kind is Kind.QUOTED and what.quote}
    assert len(walked) > 3
    for what in walked:
        assert what.inquiry is not None and what.inquiry.intent.walks_away
        quote = quotes[what.inquiry]
        assert quote.moved(what.mid_ticks) <= -quote.h_ticks


def test_watching_saves_what_is_picked_off_without_it_and_a_slow_path_does_not(
    busy: tuple[dict, list[Happening]],  # type: ignore[type-arg]
) -> None:
    watched = busy[0]["dealers"][-1]
    unwatched, slow = (
        compare(CONFIG, seed=7, seconds=240, per_second=8.0, **options)["dealers"][-1]  # type: ignore[arg-type]
        for options in ({"watch": False}, {"path_ns": NS_PER_S})
    )
    assert unwatched["withdrawn_in_time"] == 0 and watched["withdrawn_in_time"] > 100
    assert watched["pick_offs"] < unwatched["pick_offs"]
    assert watched["pick_offs"] < slow["pick_offs"] and slow["withdrawn_too_late"] > 0
    assert watched["withdrawn_too_late"] < slow["withdrawn_too_late"]


def test_the_watched_static_expiry_differs_by_its_withdrawals_alone(
    busy: tuple[dict, list[Happening]],
) -> None:  # type: ignore[type-arg]
    """Else what the watch does would be credited to lives."""
    static, watched, ours = busy[0]["dealers"]
    assert [static["dealer"], watched["dealer"], ours["dealer"]] == [
        "static 2 s",
        "static 2 s, watched",
        "quotelife",
    ]
    lives = {name: set() for name in (static["dealer"], watched["dealer"], ours["dealer"])}  # type: ignore[var-annotated]
    for what in busy[1]:
        if what.kind is Kind.QUOTED and what.quote is not None:
            lives[what.dealer].add(what.quote.life_ns)
        elif what.kind is Kind.EXPIRED and what.quote is not None and what.dealer == watched["dealer"]:
            assert what.at_ns == what.quote.made_ns + LIFE_NS
    assert lives[static["dealer"]] == lives[watched["dealer"]] == {LIFE_NS}
    assert len(lives["quotelife"]) > 1
    assert static["withdrawn_in_time"] == 0 and watched["withdrawn_in_time"] > 100
    assert watched["pick_offs"] < static["pick_offs"]


def test_the_end_itself_is_too_late() -> None:
    quote = Quote("d", 1, inquiry(Intent(Aim.NONE)), 0, 100, 10.0, 9.0, 1.0)
    assert quote.live(99) and not quote.live(100)
    quote.gone_ns = 50
    assert quote.live(49) and not quote.live(50)
    quote.gone_ns, quote.traded = NEVER_NS, True
    assert not quote.live(1)


def test_an_order_finds_the_next_dealer_when_the_first_is_over() -> None:
    """The first to be asked is the one whose quote is over: refused there, filled at the other 20 ms later."""
    response = 500 * NS_PER_MS
    asked = inquiry(Intent(Aim.ACCEPT, response, 20 * NS_PER_MS, first=0.0))
    heard = run([static("short", 100 * NS_PER_MS), static("long")], [asked])
    refused = next(what for what in heard if what.kind is Kind.REFUSED)
    filled = next(what for what in heard if what.kind is Kind.FILLED)
    assert (refused.dealer, refused.at_ns) == ("short", asked.at_ns + 520 * NS_PER_MS)
    assert (refused.text, refused.late_ns) == ("expired", 420 * NS_PER_MS)
    assert (filled.dealer, filled.at_ns) == ("long", asked.at_ns + 540 * NS_PER_MS)


def test_refused_everywhere_it_asks_again_once() -> None:
    then = Intent(Aim.ACCEPT, 50 * NS_PER_MS, 20 * NS_PER_MS)
    late = Intent(Aim.ACCEPT, 3 * NS_PER_S, asks_again_ns=250 * NS_PER_MS, then=then)
    heard = run([static()], [inquiry(late)])
    asked = [what for what in heard if what.kind is Kind.ASKED]
    assert [what.inquiry.again for what in asked if what.inquiry] == [False, True]
    assert asked[1].at_ns == asked[0].at_ns + 3250 * NS_PER_MS
    assert [what.at_ns for what in heard if what.kind is Kind.FILLED] == [asked[1].at_ns + 70 * NS_PER_MS]


def test_what_is_filled_is_not_watched_any_more() -> None:
    dealer = ours()
    asked = inquiry(Intent(Aim.ACCEPT, 60 * NS_PER_MS, 20 * NS_PER_MS), at_s=11.0)
    heard = run([dealer], [asked], seconds=12)
    assert [what.kind for what in heard] == [Kind.ASKED, Kind.QUOTED, Kind.ORDERED, Kind.FILLED]
    counts = dealer.engine.watching.counts()
    assert (counts.registered, counts.live) == (1, 0)


def test_the_engine_is_told_every_outcome_as_an_oms_would() -> None:
    """Expired quotes are trials, withdrawn ones are not, a sniper's trade is a fill: as many as the market has seen."""
    dealer = ours()
    client = replace(CLIENTS[1], hit_probability=1.0, informed_share=0.0, response_median_ns=300 * NS_PER_MS)
    start_ns = START_NS + 11 * NS_PER_S
    stop_ns = start_ns + 60 * NS_PER_S
    asked = Population([client], symbols=2, seed=3, start_ns=start_ns, stop_ns=stop_ns)
    heard = run([dealer, static()], list(asked.inquiries()), seconds=80)
    count = Counter(what.kind for what in heard if what.dealer == "ours")
    status = dealer.engine.counterparties.status(client.name)
    assert status is not None and count[Kind.QUOTED] > 100
    assert status.reported == count[Kind.QUOTED]
    trials = count[Kind.FILLED] + count[Kind.EXPIRED]
    assert trials > 50 and status.quotes == pytest.approx(trials, rel=0.15)  # the half-life of 500 quotes
    assert status.fills == pytest.approx(count[Kind.FILLED], rel=0.15)


def test_a_dealer_without_data_declines_and_says_why() -> None:
    heard = run([ours()], [inquiry(Intent(Aim.NONE), at_s=0.01)], seconds=1)
    declined = next(what for what in heard if what.kind is Kind.DECLINED)
    assert declined.text.startswith("DECLINE") and "DATA_NOT_GOOD" in declined.text
    accounts = Accounts(["ours"], [MARKET.symbols[0].tick_size] * 2)
    for what in heard:
        accounts(what)
    assert accounts.data()[0]["declined"] == 1


def test_faults_are_named() -> None:
    with pytest.raises(ValueError, match="hit_probability"):
        replace(CLIENTS[0], hit_probability=1.5)
    with pytest.raises(ValueError, match="seconds"):
        compare(CONFIG, seed=1, seconds=5)
    with pytest.raises(ValueError, match="different names"):
        RfqMarket(MarketSimulator(MARKET, 1, START_NS), [static(), static()], [], stop_ns=START_NS)
    with pytest.raises(QuotelifeError, match="venue_sessions"):
        ours(session="nowhere")
    other = CONFIG.model_copy(update={"instruments": CONFIG.instruments[:1]})
    with pytest.raises(QuotelifeError, match="ETHUSDT"):
        compare(other, seed=1, seconds=60)
