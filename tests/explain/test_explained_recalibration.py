"""What recalibration and held tolerance made of a decision is told as such, in the explanation and in the reply."""

import json
import math
from collections.abc import Iterator
from statistics import NormalDist

import pytest

from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.explain.decision import Explanation, explain
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


@pytest.fixture(scope="module")
def drawn() -> tuple[Engine, RequestRecord, DecisionRecord]:
    """A decision by first passage, whose P is as σ wants it."""
    return next(each for each in watched(model="first_passage") if has_curve(each[2]))


def taken_again(
    drawn: tuple[Engine, RequestRecord, DecisionRecord], sigma_ticks: float, a: float, b: float
) -> tuple[DecisionRecord, Explanation]:
    """By the engine, as if it had recorded that volatility and had learned that pair."""
    engine, request, decision = drawn
    record = decision.array().copy()
    record["sigma_ticks"] = sigma_ticks
    record["calibration"] = (a, b, a, b)
    again = DecisionRecord()
    engine.redo(request, DecisionRecord.from_bytes(record.tobytes()), again)
    return again, explain(request, again, Grounds.of(engine, again))


@pytest.mark.parametrize("own", [-27.0, -16.5, -3.0, 12.0, 16.5, 27.0])
@pytest.mark.parametrize(("a", "b"), [(0.5, 0.75), (-2.0, 1.5), (-4.0, 4.0), (0.0, 3.2), (4.0, 4.0)])
def test_bounds_and_recalibration_lead_from_the_models_logit_to_the_one_told(
    drawn: tuple[Engine, RequestRecord, DecisionRecord], own: float, a: float, b: float
) -> None:
    """Also where the recalibrated P leaves the range that logits are taken of, or is rounded to 1."""
    left = drawn[2].h_ticks - drawn[2].moved_ticks
    by_sigma = -NormalDist().inv_cdf(0.5 / (1.0 + math.exp(-own)))  # P = 2Φ(−h/(σ√τ))
    decision, found = taken_again(drawn, left / (by_sigma * math.sqrt(0.5)), a, b)
    effects = {each.feature: each.logit for each in found.contributions}
    read = max(-16.0, min(16.0, own))
    assert effects["recalibration_shift"] == a
    assert effects["recalibration_scale"] == pytest.approx((b - 1.0) * read, abs=1e-3)
    assert decision.p_ref == pytest.approx(1.0 / (1.0 + math.exp(-a - b * read)), rel=1e-3)
    assert (decision.p_ref == 1.0) == (a + b * read > 37.0)
    assert found.left_over == pytest.approx(0.0, abs=1e-3)


def test_a_p_of_1_of_the_model_itself_is_not_recalibrated_and_nothing_says_so(
    drawn: tuple[Engine, RequestRecord, DecisionRecord],
) -> None:
    decision, found = taken_again(drawn, 1e30, -4.0, 0.25)
    assert decision.p_ref == 1.0 and decision.calibration[:2] == (-4.0, 0.25)
    assert not [each.feature for each in found.contributions if "recalibration" in each.feature]
    assert found.left_over == pytest.approx(0.0, abs=1e-9)


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
