"""What recalibration and held tolerance made of a decision is told as such, in the explanation and in the reply."""

import json
from collections.abc import Iterator

import pytest

from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.explain.decision import explain
from quotelife.explain.grounds import Grounds, has_curve
from quotelife.records import DecisionRecord, RequestRecord
from quotelife_server.convert import Verification, explanation
from reference.market_kit import CONFIG, START_NS, market


def watched(held_rate: float = 0.0) -> Iterator[tuple[Engine, RequestRecord, DecisionRecord]]:
    """Decisions of 20 s in which the logistic model's level was followed."""
    content = CONFIG.model_dump(mode="json", by_alias=True)
    content["model"]["artifact"] = "logistic"
    content["learning"]["recalibration"] |= {"enabled": True, "refit": "1s", "ridge": 1.0}
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
