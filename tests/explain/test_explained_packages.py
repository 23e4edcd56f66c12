"""Explanations of packages by the curves of their legs: the life that value alone allows, and the smallest leg."""

from pathlib import Path

import pytest

from engine.test_engine import MS, T0, make_config
from engine.test_packages import BTC, ETH, SOL, TEXT, decide, leg, warm
from quotelife.engine import Engine
from quotelife.explain.decision import Explanation, explain
from quotelife.explain.grounds import Grounds
from quotelife.records import BindingFlags, DecisionCode, DecisionRecord, SignalCode

POSTURE = (
    "{mode: MODE, life_min: 100ms, tolerance: 0.3, value: {relationship_in_h: 0.5, inventory_weight: 0.2}}"
)


def desk(folder: Path, mode: str) -> tuple[Engine, int]:
    text = TEXT.replace(", adverse_bps: 5", "").replace(", adverse_ticks: 2", "")
    text = text.replace("warmup: 1s", "warmup: 1s, adverse_ticks: 8")
    text += f"postures: {{client_priority: {POSTURE.replace('MODE', mode)}}}\n"
    engine = Engine(make_config(folder, text), start_ns=T0)
    return engine, warm(engine)[1]


def answer(
    engine: Engine, t: int, legs: list[tuple[int, int]], edge: float
) -> tuple[DecisionRecord, Explanation]:
    counterparty = engine.policy.counterparty_index("alpha")
    requests, decisions = decide(
        engine,
        [
            leg(each, side, t, package_edge=edge, desk=0, counterparty=counterparty, posture=1)
            for each, side in legs
        ],
    )
    whole = decisions[-1]
    return whole, explain(requests[-1], whole, Grounds.of(engine, whole))


@pytest.mark.parametrize("edge", [-0.03, 0.0, 0.3, 9.0])
@pytest.mark.parametrize("positions", [(), ((ETH, 0.8), (BTC, 0.1)), ((ETH, -0.8), (BTC, -0.1))])
def test_the_life_that_value_alone_allows_is_the_one_that_was_given(
    tmp_path: Path, edge: float, positions: tuple[tuple[int, float], ...]
) -> None:
    engine, t = desk(tmp_path, "expected_value")
    for instrument, share in positions:
        engine.on_signal(SignalCode.INVENTORY, receive_ns=t, source_ns=t, value=share, value2=1.0,
                         instrument=instrument, desk=0)  # fmt: skip
    whole, explanation = answer(engine, t, [(ETH, 1), (BTC, 1)], edge)
    (value,) = [each for each in explanation.constraints if each.constraint == BindingFlags.VALUE]
    if whole.kind == DecisionCode.QUOTE and whole.binding & BindingFlags.VALUE:
        assert value.life_ns == whole.life_ns
    elif whole.kind == DecisionCode.QUOTE and not whole.binding & BindingFlags.MINIMUM:
        assert value.life_ns is not None and value.life_ns >= whole.life_ns


def test_an_edge_is_said_to_be_held_against_the_smallest_leg(tmp_path: Path) -> None:
    engine, t = desk(tmp_path, "tolerance")
    whole, explanation = answer(engine, t, [(ETH, 1), (SOL, 1)], -0.05)
    assert whole.life_ns == 100 * MS and whole.binding & BindingFlags.EDGE
    (edge,) = [each for each in explanation.constraints if each.constraint == BindingFlags.EDGE]
    assert edge.detail == (
        "an edge of -5 ticks gets the shortest life, held against its smallest leg, threshold 8 ticks"
    )
