"""Outcomes told to an engine: what they teach, what decisions make of it, and that these follow from their records."""

import json
import math
import random
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest

from quotelife.config import Config
from quotelife.config.schema import Recalibration, VenueSession
from quotelife.counterparty.posterior import CounterpartyStatus, OutcomeCode
from quotelife.engine import Engine
from quotelife.errors import QuotelifeError
from quotelife.features.schema import SCHEMA
from quotelife.inputs import Change, InputTap
from quotelife.records import DecisionRecord, EventBuffer, EventKindCode, RequestRecord
from reference.market_kit import CONFIG, START_NS, market
from reference.outcome_kit import outcome

MS = 1_000_000
S = 1000 * MS
ALPHA, BETA = 0, 1
HIT, EXPIRED = OutcomeCode.HIT, OutcomeCode.EXPIRED
FILL_RATE = next(spec.index for spec in SCHEMA if spec.name == "counterparty_fill_rate")


def by_value(**statistics: Any) -> Config:
    content = CONFIG.model_dump(mode="json", by_alias=True)
    for name in content["postures"]:
        content["postures"][name] |= {
            "mode": "expected_value", "tolerance_source": "curve", "tolerance": 0.5, "life_min": "100ms",
            "life_max": "5s", "weights": dict.fromkeys(content["postures"][name]["weights"], 0.0),
        }  # fmt: skip
    content["model"]["artifact"] = "first_passage"
    content["instruments"][0]["adverse_ticks"] = 20.0
    content["tiers"]["regular"] |= {"fill_rate": 0.3}
    content["counterparty_statistics"] = {"pooled": False, **statistics}
    return Config.model_validate_json(json.dumps(content))


def running(config: Config, seconds: float = 8.0) -> Engine:
    engine = Engine(config, start_ns=START_NS)
    for buffer in market(seconds):
        engine.on_events(buffer)
    return engine


def decide(
    engine: Engine, counterparty: int = BETA, now_ns: int | None = None
) -> tuple[RequestRecord, DecisionRecord]:
    request = RequestRecord(
        0, 1, now_ns=engine.now_ns if now_ns is None else now_ns, counterparty=counterparty, edge_ticks=8.0
    )
    decision = DecisionRecord()
    engine.decide(request, decision)
    return request, decision


def status(engine: Engine, name: str) -> CounterpartyStatus:
    found = engine.counterparties.status(name)
    assert found is not None
    return found


def redone(engine: Engine, request: RequestRecord, decision: DecisionRecord) -> DecisionRecord:
    again = DecisionRecord()
    engine.redo(request, decision, again)
    return again


def teach(engine: Engine, counterparty: int, kind: OutcomeCode, count: int, *, age_ns: int = 60 * MS) -> None:
    asked = decide(engine, counterparty)
    for _ in range(count):
        assert engine.outcome(engine.now_ns, outcome(engine, *asked, kind, age_ns=age_ns))
    engine.on_timer(engine.now_ns)


def test_until_an_outcome_is_told_nothing_is_another_than_without_statistics() -> None:
    on, off = running(by_value()), running(by_value(enabled=False))
    for counterparty in (ALPHA, BETA, 7):
        (_, one), (_, other) = decide(on, counterparty), decide(off, counterparty)
        assert one.learned is None
        assert one.canonical() == other.canonical()


def test_who_answers_fast_gets_a_shorter_life_and_the_record_says_why() -> None:
    engine = running(by_value())
    request, before = decide(engine)
    teach(engine, BETA, HIT, 300)
    again, after = decide(engine)
    assert after.life_ns < 0.7 * before.life_ns
    used = status(engine, "beta").used
    assert after.learned is not None
    hit, informed, mu, sigma = after.learned
    assert (hit, informed, sigma) == (used.hit_probability, used.informed_share, used.response_sigma)
    assert math.exp(mu) == used.response_median_ns
    # The other one's decisions are what they were.
    assert decide(engine, ALPHA)[1].learned is None
    # Either follows from its record in an engine that knows nothing.
    blank = Engine(engine.config, start_ns=START_NS)
    for asked, decided in ((again, after), (request, before)):
        assert redone(blank, asked, decided).canonical() == decided.canonical()
        assert redone(engine, asked, decided).canonical() == decided.canonical()


def test_a_package_goes_by_what_was_learned_as_its_instrument_does() -> None:
    engine = running(by_value())
    teach(engine, BETA, HIT, 200)
    legs = [
        RequestRecord(k, 1, now_ns=engine.now_ns, counterparty=BETA, ratio=1.0, package_edge=1.6)
        for k in (0, 1)
    ]
    decisions = [DecisionRecord() for _ in range(3)]
    requests = engine.decide_package(legs, decisions)
    _, single = decide(engine)
    assert decisions[-1].learned == single.learned and single.learned[0] > 0.9
    assert redone(engine, requests[-1], decisions[-1]).canonical() == decisions[-1].canonical()


def test_records_of_many_estimates_are_all_taken_again() -> None:
    engine, blank = running(by_value()), Engine(by_value(), start_ns=START_NS)
    asked = []
    for k in range(150):
        teach(engine, BETA if k % 2 else ALPHA, HIT if k % 3 else EXPIRED, 3, age_ns=(50 + k) * MS)
        asked += [decide(engine, ALPHA), decide(engine, BETA)]
    assert len({decision.learned for _, decision in asked}) > 64
    for request, decision in chain(asked, reversed(asked)):
        assert redone(blank, request, decision).canonical() == decision.canonical()


def test_a_decision_by_tolerance_takes_nothing_of_it_but_features() -> None:
    for used_by, expected in (("all", (24 * 0.3 + 216) / 240), ("expected_value", 0.3)):
        engine = running(by_value(used_by=used_by, half_life_quotes=1e6, prior_quotes=24))
        teach(engine, BETA, HIT, 216)
        _, decision = decide(engine)
        assert decision.feature(FILL_RATE) == pytest.approx(expected, rel=1e-3)
        request = RequestRecord(0, 1, now_ns=engine.now_ns, counterparty=BETA)
        engine.decide(request, decision)
        assert decision.learned is None  # neither price nor edge: the tolerance decided


class Path:
    """Every mid of instrument 0 as the last message left it, by the time of its receipt."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.mids: list[tuple[int, float]] = []

    def play(self, batches: Iterator[EventBuffer]) -> Iterator[int]:
        for buffer in batches:
            self.engine.on_events(buffer)
            now = self.engine.instrument_status(0, self.engine.now_ns)
            self.mids.append((self.engine.now_ns, (now.bid_ticks + now.ask_ticks) / 2))
            yield self.engine.now_ns

    def at(self, due_ns: int) -> float:
        return [mid for at_ns, mid in self.mids if at_ns <= due_ns][-1]


def told(engine: Engine, price: float, age_ns: int, now_ns: int | None = None) -> tuple[DecisionRecord, int]:
    request, decision = decide(engine)
    payload = outcome(engine, request, decision, HIT, age_ns=age_ns, price_ticks=price)
    engine.outcome(decision.now_ns + age_ns if now_ns is None else now_ns, payload)
    return decision, decision.now_ns + age_ns


def test_a_markout_is_the_mid_at_the_end_of_the_last_message_before_it_is_due() -> None:
    engine = Engine(by_value(), start_ns=START_NS)
    path, fills = Path(engine), []
    for now_ns in path.play(market(18.0)):
        if len(fills) < 20 and now_ns > START_NS + 6 * S + len(fills) * 50 * MS:
            fills.append((*told(engine, 600_000.5, 7 * MS), 600_000.5))
    sums = [0.0, 0.0, 0.0]
    adverse = 0.0
    for decision, at_ns, price in fills:
        for k, after in enumerate((100 * MS, S, 10 * S)):
            sums[k] += 1e4 * (path.at(at_ns + after) - price) / price
        adverse += max(-3, min(3, -(path.at(at_ns + S) - decision.mid_ticks) / decision.h_ticks))
    keep = 2 ** (-1 / 500)
    after = status(engine, "beta").markouts
    # What a quote brought is forgotten by the quotes after it; markouts come later than all of them at 1 s and 10 s.
    assert [each.fills for each in after[1:]] == [20.0, 20.0, 0.0]
    assert 20 * keep**20 < after[0].fills < 20
    for k in (1, 2):
        assert after[k].mean_bp == pytest.approx(
            sums[k] / 40, rel=1e-12
        )  # 20 fills of a prior without a markout
    believed = status(engine, "beta")
    assert believed.adverse_in_h == pytest.approx((20 * 0.1 * 1.5 + adverse) / 40, rel=1e-12)
    assert believed.believed.informed_share == pytest.approx(max(0, believed.adverse_in_h / 1.5), rel=1e-12)
    assert engine.counterparties.marks.open == 20


def test_an_outcome_told_late_is_marked_by_the_mids_remembered() -> None:
    engine = Engine(by_value(), start_ns=START_NS)
    path, at_ns = Path(engine), 0
    for now_ns in path.play(market(8.0)):
        if at_ns == 0 and now_ns > START_NS + 6 * S:
            request, decision = decide(engine)
            at_ns = now_ns + 5 * MS
    payload = outcome(engine, request, decision, HIT, age_ns=at_ns - decision.now_ns, price_ticks=600_000.0)
    late_ns = engine.now_ns
    assert late_ns - at_ns > 1100 * MS
    engine.outcome(late_ns, payload)
    marks = status(engine, "beta").markouts
    assert [each.fills for each in marks] == [1.0, 1.0, 0.0, 0.0]
    # On the grid of 100 ms, as far back as this: the mid at its last step before.
    grid = {at // (100 * MS): mid for at, mid in path.mids}
    step = (at_ns + 100 * MS) // (100 * MS)
    near = {path.at(step * 100 * MS), grid.get(step, -1.0), path.at(at_ns + 100 * MS)}
    assert any(marks[0].mean_bp == pytest.approx(1e4 * (mid - 6e5) / 6e5 / 21, abs=1e-9) for mid in near)
    assert engine.counterparties.marks.open == 2


def test_where_the_market_is_not_seen_a_markout_is_never_known() -> None:
    engine = running(by_value())
    told(engine, 600_000.0, 0)
    gap = EventBuffer(4)
    gap.append(kind=EventKindCode.CLEAR, instrument=0, receive_ns=engine.now_ns + 50 * MS, flags=1 | 4)
    engine.on_events(gap)
    engine.on_timer(engine.now_ns + 2 * S)
    assert [each.fills for each in status(engine, "beta").markouts] == [0.0] * 4
    assert engine.counterparties.censored == 2


def test_the_clock_alone_settles_what_is_due() -> None:
    engine = running(by_value())
    _, at_ns = told(engine, 600_000.0, 0)
    engine.on_timer(at_ns + 100 * MS)
    assert status(engine, "beta").markouts[0].fills == 0.0  # a message of that very instant could still come
    engine.on_timer(at_ns + 100 * MS + 1)
    assert status(engine, "beta").markouts[0].fills == 1.0


def test_sinks_are_told_and_an_engine_that_is_told_again_knows_the_same() -> None:
    engine = running(by_value())
    changes: list[tuple[Change, dict[str, Any], int]] = []
    engine.record_to(InputTap(lambda what, _, *values: changes.append(values) if what == "change" else None))
    for k in range(30):
        teach(engine, BETA, HIT if k % 2 else EXPIRED, 1, age_ns=(40 + k) * MS)
    assert engine.note_counterparties(engine.now_ns) == 1
    assert engine.note_counterparties(engine.now_ns + S) == 0
    kinds = [kind for kind, _, _ in changes]
    assert kinds == [Change.OUTCOME] * 30 + [Change.COUNTERPARTIES]
    note = json.loads(json.dumps(changes[-1][1]))
    restarted = running(by_value())
    restarted.apply_counterparties(note, restarted.now_ns)
    assert decide(restarted)[1].learned is not None
    one, other = status(engine, "beta"), status(restarted, "beta")
    assert other.believed == one.believed
    assert (other.fills, other.censored, other.reported) == (one.fills, one.censored, one.reported)


def test_a_new_configuration_keeps_what_is_known_and_old_records_follow_still() -> None:
    engine = running(by_value())
    teach(engine, BETA, HIT, 300)
    before = status(engine, "beta")
    content = by_value().model_dump(mode="json", by_alias=True)
    content["counterparties"] |= {"aaa": {"tier": "regular"}}  # numbers move on
    content["tiers"]["regular"]["value"]["loss_in_h"] = 3.0
    engine.apply_config(Config.model_validate_json(json.dumps(content)), engine.now_ns)
    after = status(engine, "beta")
    assert (after.fills, after.believed) == (before.fills, before.believed)
    request, decision = decide(engine, engine.policy.counterparty_index("beta") or 0)
    assert decision.learned is not None
    blank = Engine(engine.config, start_ns=START_NS)
    blank.continue_revisions(engine.config_revision, engine.model_revision)
    assert redone(blank, request, decision).canonical() == decision.canonical()


def many(tier: str = "regular", **value: Any) -> Config:
    content = by_value(pooled=True).model_dump(mode="json", by_alias=True)
    content["counterparties"] = {f"c{k:02d}": {"tier": tier} for k in range(90)}
    content["tiers"][tier]["value"] |= value
    return Config.model_validate_json(json.dumps(content))


def learned_by_many(config: Config) -> Engine:
    engine = running(config)
    rng = random.Random(3)
    for counterparty in range(90):
        asked = decide(engine, counterparty)
        for _ in range(12):
            kind = rng.choice([HIT, HIT, EXPIRED])
            payload = outcome(engine, *asked, kind, age_ns=rng.randrange(30, 400) * MS)
            engine.outcome(engine.now_ns, payload)
    for k in range(60):
        engine.on_timer(engine.now_ns + 100 * MS * (k > 0))
    return engine


@pytest.mark.parametrize("value", [{}, {"loss_in_h": 2.5, "latency": "4ms", "response_median": "700ms"}])
def test_decisions_after_a_reload_are_those_of_an_engine_that_fits_all_of_them_at_once(
    value: dict[str, Any],
) -> None:
    """Nine tenths of the counterparties decide before any timer has come to them."""
    lazy, eager = learned_by_many(many()), learned_by_many(many())
    after = many(**value)
    for engine in (lazy, eager):
        engine.apply_config(after, engine.now_ns)
    eager.counterparties.refit(eager.now_ns, True)
    blank = Engine(after, start_ns=START_NS)
    blank.continue_revisions(lazy.config_revision, lazy.model_revision)
    learned = 0
    for k in range(180):
        counterparty = 53 * k % 90
        (request, decision), (_, other) = (decide(engine, counterparty) for engine in (lazy, eager))
        assert decision.canonical() == other.canonical()
        assert redone(blank, request, decision).canonical() == decision.canonical()
        learned += decision.learned is not None
        for engine in (lazy, eager):
            engine.outcome(
                engine.now_ns, outcome(engine, request, decision, HIT if k % 3 else EXPIRED, age_ns=90 * MS)
            )
            if k % 9 == 8:
                engine.on_timer(engine.now_ns + 100 * MS)
    assert learned > 150


BAD: list[tuple[str, dict[str, Any]]] = [
    ("counterparty_statistics", {"half_life_quotes": 0.0}),
    ("throttle", {"pause_ns": "no time"}),
    ("learning", {"recalibration": Recalibration().model_copy(update={"window_ns": 1})}),
    (
        "venue_sessions",
        {"slow": VenueSession(actuation="relative").model_copy(update={"cancels_per_s": 0.0})},
    ),
]


@pytest.mark.parametrize(("section", "update"), BAD)
def test_a_configuration_that_does_not_compile_leaves_the_engine_as_it_was(
    section: str, update: dict[str, Any]
) -> None:
    """What the checks would not let through, past them: all that follows is byte for byte as without it."""
    tried, left = learned_by_many(many()), learned_by_many(many())
    content = many(loss_in_h=2.5).model_dump(mode="json", by_alias=True)
    content["counterparties"]["aaa"] = {"tier": "regular"}
    content["instruments"].append(
        {**content["instruments"][0], "name": "more", "symbol": "more", "drivers": []}
    )
    good = Config.model_validate_json(json.dumps(content))
    of = getattr(good, section)
    bad = good.model_copy(
        update={section: {**of, **update} if isinstance(of, dict) else of.model_copy(update=update)}
    )
    with pytest.raises((ValueError, TypeError, ZeroDivisionError)):
        tried.apply_config(bad, tried.now_ns + S)
    tapes: list[list[Any]] = [[], []]
    for engine, tape in zip((tried, left), tapes, strict=True):
        engine.record_to(
            InputTap(
                lambda name, _, *v, to=tape: to.append((name, v)) if name in ("change", "timer") else None
            )
        )
        for k in range(60):
            (request, decision) = decide(engine, k % 91)
            payload = outcome(engine, request, decision, HIT if k % 3 else EXPIRED, age_ns=90 * MS)
            tape += [decision.canonical(), engine.outcome(engine.now_ns, payload)]
            engine.on_timer(engine.now_ns + 100 * MS)
            engine.note_counterparties(engine.now_ns)
        tape += [status(engine, name) for name in engine.counterparties.names]
        tape += [engine.config_revision, engine.input_sequence, engine.now_ns, engine.config.digest]
        tape += [len(engine.instruments), engine.learned()]
        engine.apply_config(good, engine.now_ns)
        tape += [decide(engine, k)[1].canonical() for k in range(91)]
    assert [repr(each) for each in tapes[0]] == [repr(each) for each in tapes[1]]


def test_what_does_not_read_is_refused_and_no_input() -> None:
    engine = running(by_value())
    good = outcome(engine, *decide(engine), HIT, age_ns=1)
    before = engine.input_sequence
    for bad in (
        {"kind": 7}, {"side": 0}, {"instrument": "none"}, {"mid_ticks": math.nan}, {"price_ticks": math.inf},
        {"at_ns": None}, {"counts": 0, "age_ns": "x"},
    ):  # fmt: skip
        with pytest.raises(QuotelifeError, match="outcome does not read"):
            engine.outcome(engine.now_ns, {**good, **bad})
    with pytest.raises(QuotelifeError, match="noted of counterparties"):
        engine.apply_counterparties({"counterparties": [{"name": "beta"}]}, engine.now_ns)
    assert engine.input_sequence == before
    assert status(engine, "beta").reported == 0


def test_outcomes_without_a_known_counterparty_teach_nothing() -> None:
    engine = running(by_value())
    assert not engine.outcome(engine.now_ns, outcome(engine, *decide(engine, 77), HIT, age_ns=1))
    assert engine.counterparties.marks.open == 0


@pytest.mark.parametrize(
    ("sizes", "fills"),
    [
        ([(100.0, 1.0)] * 100, 1.0),
        ([(4.0, 1.0), (4.0, 1.0)], 0.5),
        ([(None, None)] * 5, 1.0),
        ([(4.0, 9.0)], 1.0),
    ],
)
def test_a_quote_filled_in_slices_is_one_fill(
    sizes: list[tuple[float | None, float | None]], fills: float
) -> None:
    """And what it teaches of informed takers is what one fill teaches."""
    informed = []
    for slices in (sizes, [(None, None)]):
        engine = running(by_value())
        asked = decide(engine)
        for k, (size, traded) in enumerate(slices):
            payload = outcome(engine, *asked, HIT, age_ns=0, counts=k == 0, price_ticks=1.0, size_lots=size,
                              traded_lots=traded, outcome=f"o{k}")  # fmt: skip
            engine.outcome(engine.now_ns, payload)
        now_ns = engine.now_ns
        for buffer in market(10.0):
            if buffer.array()["receive_ns"].min() > now_ns:
                engine.on_events(buffer)
        engine.on_timer(now_ns + 1100 * MS)
        marks = status(engine, "beta").markouts
        informed.append(marks[0].fills)
    assert informed[0] == pytest.approx(fills, rel=1e-9) and informed[1] == 1.0
