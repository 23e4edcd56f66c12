"""What recalibration and held tolerance made of a decision is told as such, in the explanation and in the reply."""

import json
import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.explain.contributions import _logit, _recalibration
from quotelife.explain.decision import explain
from quotelife.explain.grounds import Grounds, has_curve
from quotelife.records import DecisionRecord, RequestRecord
from quotelife_server.convert import Verification, explanation
from reference.market_kit import CONFIG, START_NS, market


def watched(
    held_rate: float = 0.0, model: str = "logistic"
) -> Iterator[tuple[Engine, RequestRecord, DecisionRecord]]:
    """Decisions of 20 s in which the model's level was followed."""
    content = CONFIG.model_dump(mode="json", by_alias=True)
    content["model"]["artifact"] = model
    content["learning"]["recalibration"] |= {"enabled": True, "refit": "1s", "ridge": 1.0}
    content["defaults"]["price_bounds"]["edge_widens_max"] = 1e6
    for posture in content["postures"].values():
        if held_rate:
            posture["held_tolerance"] = {"enabled": True, "rate": held_rate}
    engine = Engine(Config.model_validate_json(json.dumps(content)), start_ns=START_NS)
    for buffer in market(20.0):
        engine.on_events(buffer)
        request, decision = RequestRecord(0, 1, now_ns=engine.now_ns, counterparty=1), DecisionRecord()
        engine.decide(request, decision)
        yield engine, request, decision


def test_shift_and_scale_are_contributions_and_nothing_is_left_over() -> None:
    *_, (engine, request, decision) = watched()
    a, b = decision.calibration[:2]
    assert a != 0.0 and b != 1.0
    found = explain(request, decision, Grounds.of(engine, decision))
    by_name = {each.feature: each for each in found.contributions}
    shift, scale = by_name["recalibration_shift"], by_name["recalibration_scale"]
    assert (shift.value, shift.reference, shift.logit) == (a, 0.0, a)
    assert (scale.value, scale.reference) == (b, 1.0)
    assert found.logit is not None
    own = found.logit - shift.logit - scale.logit
    assert a + b * own == pytest.approx(found.logit)
    assert found.left_over == pytest.approx(0.0, abs=1e-9)


def test_what_the_bound_of_the_recalibration_takes_away_is_a_contribution() -> None:
    """So far a threshold has a logit beyond what the recalibration reads: it says so, and nothing is left over."""
    *_, (engine, _, decision) = watched(model="first_passage")
    request = RequestRecord(0, 1, now_ns=engine.now_ns, counterparty=1, edge_ticks=1000.0)
    engine.decide(request, decision)
    a, b = decision.calibration[:2]
    found = explain(request, decision, Grounds.of(engine, decision))
    by_name = {each.feature: each for each in found.contributions}
    bound = by_name["recalibration_bound"]
    assert bound.value == -16.0 and bound.reference < -16.0 and bound.unit == "logit"
    assert bound.logit == pytest.approx(-16.0 - bound.reference)
    assert by_name["recalibration_scale"].logit == pytest.approx((b - 1.0) * -16.0)
    assert found.logit == pytest.approx(a - 16.0 * b)
    assert found.left_over == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("own", [-27.0, -16.5, -3.0, 16.5])
@pytest.mark.parametrize(("a", "b"), [(0.5, 0.75), (-2.0, 1.5), (-4.0, 4.0)])
def test_bounds_and_recalibration_lead_from_the_models_logit_to_the_one_told(
    own: float, a: float, b: float
) -> None:
    """Also where the recalibrated P leaves the range that logits are taken of."""
    told = a + b * max(-16.0, min(16.0, own))
    p = min(1.0 - 1e-15, 1.0 / (1.0 + math.exp(-told)))  # a P of 1 is not recalibrated
    decision = SimpleNamespace(reasons=0, calibration=(a, b), p_ref=p)
    found = _recalibration(cast(DecisionRecord, decision), own)
    assert own + math.fsum(each.logit for each in found) == pytest.approx(_logit(p), abs=1e-3)


def test_a_tolerance_that_is_used_up_is_told_as_0() -> None:
    """So high a rate leaves none after one hit. Such a decision has its curve, explanation and figures like any."""
    engine, request, decision = next(
        each for each in watched(held_rate=0.5) if each[2].model_role and each[2].held_alpha == 0.0
    )
    assert decision.alpha == 0.0 and has_curve(decision)
    grounds = Grounds.of(engine, decision)
    message = explanation(
        "id", decision, explain(request, decision, grounds), grounds, Verification.of(same=True)
    )
    assert message.HasField("held_alpha") and message.held_alpha == 0.0
    assert message.contributions and message.HasField("risk_sum")
