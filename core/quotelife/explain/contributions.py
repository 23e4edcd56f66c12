"""How much each input of the model moved logit P(500 ms): ``CurveModel.attribute`` on what was recorded.

What was learned of the model since, its rolling recalibration, moved that logit once more: by the shift a, and by b − 1
times the model's own logit, which it reads as if it lay at ±16 where it lies beyond. What such a bound takes away is
told as a contribution of its own, so that what is left over in the end is what nobody knows the reason of.

The reference: every feature at the mean of what the model was fitted to, the threshold the instrument's own (a quote
without edge, just priced), the volatility the instrument's own 60 s level.
"""

import math
from dataclasses import dataclass

from quotelife.decision.life import PostureLife
from quotelife.explain.grounds import Grounds, has_curve, settings_of
from quotelife.explain.words import LOGIT_BOUND, RECALIBRATION_BOUND
from quotelife.features.schema import INDEX, SCHEMA
from quotelife.model.curve import P_MIN
from quotelife.model.first_passage import FirstPassageModel
from quotelife.model.recalibration import LOGIT_MAX
from quotelife.records import DecisionRecord, ReasonFlags

H, SIGMA = "h_ticks", "sigma_ticks"
SHIFT, SCALE = "recalibration_shift", "recalibration_scale"
UNITS = {spec.name: spec.unit for spec in SCHEMA} | {H: "ticks", SIGMA: "ticks/√s"}


@dataclass(frozen=True, slots=True)
class Contribution:
    """Effect of one input on logit P(500 ms). ``value``: ``None`` where it is not valid."""

    feature: str
    unit: str
    value: float | None
    reference: float
    logit: float


def contributions_of(
    decision: DecisionRecord, grounds: Grounds
) -> tuple[tuple[Contribution, ...], float | None, float | None]:
    if not has_curve(decision) or not grounds.model_known:
        return (), None, None
    model = grounds.model
    if decision.reasons & ReasonFlags.MODEL_FALLBACK:
        model = FirstPassageModel()
    features = {name: value for name in INDEX if (value := decision.feature(INDEX[name])) is not None}
    left = decision.h_ticks - decision.moved_ticks
    sigma = decision.sigma_ticks
    reference = model.reference() | {
        H: _own_threshold(decision, grounds),
        SIGMA: features.get("realised_volatility_60s", 0.0) or sigma,
    }
    attribution = model.attribute(
        features,
        h_ticks=left,
        sigma_ticks=sigma,
        h_reference=reference[H],
        sigma_reference=reference[SIGMA],
    )
    if attribution is None:
        return (), None, None
    values = features | {H: left} | ({} if math.isnan(sigma) else {SIGMA: sigma})
    contributions = [
        Contribution(name, UNITS[name], values.get(name), reference[name], effect)
        for name, effect in attribution.effects.items()
        if effect != 0.0 or name not in (H, SIGMA)  # a model need not read these two
    ]
    contributions += _recalibration(decision, attribution.logit)
    contributions.sort(key=lambda each: -abs(each.logit))
    return tuple(contributions), _logit(decision.p_ref), attribution.baseline


def _logit(p: float) -> float:
    """Finite: read as ``CurveModel.attribute`` reads it."""
    p = min(1.0 - P_MIN, max(P_MIN, p))
    return math.log(p) - math.log1p(-p)


def _recalibration(decision: DecisionRecord, own: float) -> list[Contribution]:
    # logit P' = a + b·logit P at 500 ms; first passage in a model's place and a model's P of 1 are left as they are.
    a, b = decision.calibration[:2]
    most = -_logit(0.0)
    certain = own >= most and decision.p_ref >= 1.0
    if decision.reasons & ReasonFlags.MODEL_FALLBACK or (a, b) == (0.0, 1.0) or certain:
        return []
    read = _held(own, LOGIT_MAX)
    told = a + b * read
    steps = [
        Contribution(RECALIBRATION_BOUND, "logit", read, own, read - own),
        Contribution(SHIFT, "logit", a, 0.0, a),
        Contribution(SCALE, "", b, 1.0, (b - 1.0) * read),
        Contribution(LOGIT_BOUND, "logit", _held(told, most), told, _held(told, most) - told),
    ]
    return [each for each in steps if each.logit or each.feature in (SHIFT, SCALE)]


def _held(logit: float, most: float) -> float:
    return min(most, max(-most, logit))


def _own_threshold(decision: DecisionRecord, grounds: Grounds) -> float:
    # h of a quote without edge that has just been priced.
    params = grounds.policy.instrument_params(decision.instrument)
    if PostureLife(settings_of(decision, grounds)).one_tick_threshold:
        return 1.0
    ticks: float = params["adverse_ticks"]
    bps: float = params["adverse_bps"]
    return max(1.0, ticks, bps * 1e-4 * decision.reference_ticks)
