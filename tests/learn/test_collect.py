"""Decisions collected from a replay: the engine's own features, and labels that a walk over its book confirms."""

import numpy as np
import pytest

from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.instruments import InstrumentTable
from quotelife.learn.collect import CollectSettings, chosen_reference, collect
from quotelife.learn.dataset import Decisions
from quotelife.model.first_passage import FirstPassageModel
from quotelife.records import DecisionRecord, QualityCode, RequestRecord
from quotelife.replay.run import Replay
from quotelife.sim.source import SimulatedSource
from quotelife.units import NS_PER_MS, NS_PER_S
from reference import label_twin, market_kit

SPAN_S = 20
SETTINGS = CollectSettings(250 * NS_PER_MS, 3 * NS_PER_MS, ("configured", "1tick", "0.3sigma"), "mid")


def source(table: InstrumentTable) -> SimulatedSource:
    return SimulatedSource(table, seed=5, start_ns=market_kit.START_NS, duration_ns=SPAN_S * NS_PER_S)


@pytest.fixture(scope="module")
def found() -> list[Decisions]:
    return collect(market_kit.CONFIG, source, SETTINGS)[0]


def test_both_sides_of_every_instrument_stand_on_the_clock(found: list[Decisions]) -> None:
    assert [each.instrument for each in found] == ["BTC", "ETH"]
    for each in found:
        assert each.side.tolist() == [-1, 1] * (len(each) // 2)
        assert set(np.diff(each.now_ns[::2]).tolist()) == {250 * NS_PER_MS}
        assert len(each) > 2 * 4 * (SPAN_S - 6)


def test_features_are_those_of_the_live_decision(found: list[Decisions]) -> None:
    """An engine with the configured model, which knows nothing of datasets, answers the same requests."""
    engine = Engine(market_kit.CONFIG)
    live: list[DecisionRecord] = []

    def ask(now_ns: int) -> list[tuple[str, RequestRecord]]:
        return [(str(i), RequestRecord(i, side, now_ns=now_ns)) for i in (0, 1) for side in (-1, 1)]

    Replay(
        engine,
        source(engine.instruments),
        ask_every_ns=SETTINGS.every_ns,
        ask=ask,
        on_decision=lambda _, decision: live.append(decision),
    ).run()
    for i, each in enumerate(found):
        own = [d for d in live if d.instrument == i and d.quality == QualityCode.GOOD and d.h_ticks > 0]
        assert [d.now_ns for d in own] == each.now_ns.tolist()
        x, valid = each.inputs()
        for row, decision in enumerate(own):
            record = decision.array()
            np.testing.assert_array_equal(x[row], record["features"].astype(np.float32).reshape(-1))
            np.testing.assert_array_equal(valid[row], record["valid"].reshape(-1))
            assert each.regime[row] == decision.regime and each.h_ticks[row, 0] == decision.h_ticks


def test_labels_are_those_of_a_walk_over_the_replayed_book(found: list[Decisions]) -> None:
    engine = Engine(market_kit.CONFIG, model=FirstPassageModel())
    paths: list[dict[int, label_twin.Point]] = [{}, {}]
    run = Replay(engine, source(engine.instruments))
    last = 0
    for stamp in run.steps():  # the engine holds now what it was told at the stamp before
        for i, path in enumerate(paths):
            status = engine.instrument_status(i, last) if last else None
            if status is not None:
                good = status.quality == QualityCode.GOOD
                path[last] = (last, (status.bid_ticks + status.ask_ticks) / 2, good)
        last = stamp
    end = max(each.path.time_ns[-1] for each in found)
    hits = 0
    for each, points in zip(found, paths, strict=True):
        walk = [*points.values(), (int(end), 0.0, False)]
        for row in range(0, len(each), 7):
            for column in range(3):
                expected = label_twin.passage(
                    walk,
                    int(each.now_ns[row]),
                    int(each.side[row]),
                    float(each.reference_ticks[row]),
                    float(each.h_ticks[row, column]),
                    SETTINGS.latency_ns,
                    int(each.observed_ns[row]),
                )
                assert each.passage_ns[row, column] == expected
                hits += expected != label_twin.NEVER
    assert hits > 50


def test_a_label_after_the_end_is_unknown(found: list[Decisions]) -> None:
    for each in found:
        assert each.observed_ns[-1] < 300 * NS_PER_MS
        assert each.outcome(5 * NS_PER_S, 0)[-1] == -1
        assert (each.observed_ns[: len(each) // 2] == 5 * NS_PER_S).all()


def test_counterparties_and_throttles_of_the_configuration_stop_nobody(found: list[Decisions]) -> None:
    text = market_kit.CONFIG.model_dump_json(by_alias=True)
    throttled = Config.model_validate_json(text.replace('"decisions_max":null', '"decisions_max":1'))
    assert throttled.throttle.decisions_max == 1
    assert len(collect(throttled, source, SETTINGS)[0][0]) == len(found[0])


@pytest.mark.parametrize(
    ("configured", "asked", "spread", "expected"),
    [
        ("auto", "configured", [4, 4, 40], "microprice"),
        ("auto", "configured", [5, 5, 1], "mid"),
        ("auto", "configured", [], "mid"),
        ("microprice", "configured", [40], "microprice"),
        ("mid", "microprice", [1], "microprice"),
        ("microprice", "mid", [1], "mid"),
    ],
)
def test_the_reference_of_labels(configured: str, asked: str, spread: list[float], expected: str) -> None:
    own = market_kit.CONFIG.instruments[0].model_copy(update={"reference": configured})
    assert chosen_reference(own, CollectSettings(reference=asked), np.array(spread, float)) == expected


def test_the_reference_at_a_decision_is_that_of_the_path(found: list[Decisions]) -> None:
    for each in found:
        inside = each.now_ns < each.path.time_ns[-1]
        assert inside[:-2].all()
        on_path = each.path.at(each.now_ns, each.reference)
        np.testing.assert_array_equal(each.reference_ticks[inside], on_path[inside])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"every_ns": 0}, "every"),
        ({"every_ns": 1_000}, "1ms or more"),
        ({"latency_ns": -1}, "latency"),
        ({"latency_ns": 2_000_000_000}, "0 to 1s"),
        ({"thresholds": ()}, "thresholds"),
        ({"thresholds": ("1tick", "1tick")}, "thresholds"),
        ({"thresholds": ("1pip",)}, "1pip"),
        ({"reference": "last"}, "reference"),
    ],
)
def test_settings_that_mean_nothing_are_refused_by_name(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CollectSettings(**wrong)  # type: ignore[arg-type]
