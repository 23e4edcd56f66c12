"""A decision taken apart, from its record and what was in force: no state of the market is read."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from quotelife.decision.risk import INPUTS
from quotelife.engine import Engine
from quotelife.explain.constraints import ConstraintStep, constraints_of
from quotelife.explain.contributions import Contribution, contributions_of
from quotelife.explain.grounds import Grounds, has_curve, package_curve, settings_of
from quotelife.explain.rules import RuleStep, rule_path, trigger_words
from quotelife.explain.words import constraint_words, percent, posture_words, time_words
from quotelife.records import (
    BindingFlags,
    DecisionCode,
    DecisionRecord,
    ModeCode,
    QualityCode,
    ReasonFlags,
    RegimeCode,
    RequestFlags,
    RequestRecord,
    RuleCode,
)


@dataclass(frozen=True, slots=True)
class RiskStep:
    """One input of the tolerance: α is scaled by exp(−weight · score)."""

    input: str
    score: float
    weight: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision taken apart. Logits are ``None`` where no curve was drawn."""

    contributions: tuple[Contribution, ...]
    logit: float | None
    baseline_logit: float | None
    left_over: float | None
    rule_path: tuple[RuleStep, ...]
    constraints: tuple[ConstraintStep, ...]
    risks: tuple[RiskStep, ...]
    summary: str


def verify(engine: Engine, request: RequestRecord, decision: DecisionRecord) -> bool:
    """Does the record follow from itself by the engine's policy, model and overrides, byte for byte?"""
    again = DecisionRecord()
    engine.redo(request, decision, again)
    return again.canonical() == decision.canonical()


def explain(request: RequestRecord, decision: DecisionRecord, grounds: Grounds) -> Explanation:
    """Take ``decision`` apart. ``grounds`` must be those it was taken on."""
    contributions, logit, baseline = contributions_of(decision, grounds)
    left_over = None
    if logit is not None and baseline is not None:
        left_over = logit - baseline - math.fsum(each.logit for each in contributions)
    path = rule_path(request, decision, grounds)
    constraints = constraints_of(request, decision, grounds)
    return Explanation(
        contributions,
        logit,
        baseline,
        left_over,
        path,
        constraints,
        _risks(decision, grounds),
        _package_words(request, decision, grounds)
        + _summary(decision, grounds, path, constraints, package_curve(request, decision))
        + _watched_words(request, decision),
    )


def _watched_words(request: RequestRecord, decision: DecisionRecord) -> str:
    """Both lives of a quote that is watched."""
    if not request.watched or decision.kind != DecisionCode.QUOTE or decision.mode != ModeCode.EXPECTED_VALUE:
        return ""
    without = decision.life_without_watch_ns
    alone = f"without the watch {time_words(without)}" if without else "without the watch no firm quote"
    return f" Watched {time_words(decision.life_ns)}, {alone}."


def _risks(decision: DecisionRecord, grounds: Grounds) -> tuple[RiskStep, ...]:
    if not has_curve(decision):
        return ()
    weights = settings_of(decision, grounds).weights
    return tuple(
        RiskStep(name, score, getattr(weights, name))
        for name, score in zip(INPUTS, decision.risk, strict=False)
    )


def _package_words(request: RequestRecord, decision: DecisionRecord, grounds: Grounds) -> str:
    """What a decision is to its package, before the rest is said of it; nothing for a single quote."""
    flags = request.flags
    name = grounds.instruments[decision.instrument].name
    if flags & RequestFlags.LEG:
        way = "bought" if request.side > 0 else "sold"
        text = f"Leg of a package, {request.ratio:g} {name} {way}"
        if flags & RequestFlags.GREEKS:
            text += f", by its greeks (delta {request.delta:.4g})"
        elif decision.h_ticks > 0:
            text += f", threshold {decision.h_ticks:.4g} ticks, adds {percent(decision.p_ref)} to P(500 ms)"
        if request.own_quality != QualityCode.GOOD:
            text += f", its own data {QualityCode(request.own_quality).name}"
        if request.own_regime != RegimeCode.NORMAL:
            text += f", its own regime {RegimeCode(request.own_regime).name}"
        return text + ". "
    if not flags & RequestFlags.LAST_LEG:
        return ""
    if flags & RequestFlags.ON_UNDERLYING:
        how = f"by greeks on {name}, net delta {decision.side * request.delta:.4g}"
    elif flags & RequestFlags.RESIDUAL:
        how = f"by greeks near delta-neutral, by the residual of {name}"
    else:
        how = "by the curves of its legs, P at most their sum"
    if decision.h_ticks > 0:
        how += f", threshold {decision.h_ticks:.4g} ticks of {name}"
    return f"Package {how}. "


# --- the decision in one sentence ---------------------------------------------------------------------------

_DECLINES = (
    (ReasonFlags.KILLED, "the kill switch is on"),
    (ReasonFlags.THROTTLED, "too many decisions for this counterparty in too short a time"),
    (ReasonFlags.DISABLED, "the instrument is switched off by configuration"),
    (ReasonFlags.HALT, "trading is halted"),
    (ReasonFlags.PRICE_FAR, "the quoted price lies too far from the market"),
    (ReasonFlags.REFERENCE_FAR, "the reference of the request lies too far from the market"),
    (ReasonFlags.MOVED_THROUGH, "the market has passed the threshold since the quote was priced"),
    (ReasonFlags.NO_VOLATILITY, "there is no volatility estimate yet"),
    (ReasonFlags.STALE_REQUEST, "the quote was priced so long ago that no life is left"),
    (ReasonFlags.DEADLINE_TOO_CLOSE, "the client's deadline leaves no life worth giving"),
    (ReasonFlags.EDGE_TOO_SMALL, "edge and relationship value together are too small"),
    (ReasonFlags.EXPOSURE, "live quotes leave no room under the cap on exposure"),
    (ReasonFlags.NO_VALUE, "no life has an expected value above 0"),
    (ReasonFlags.VENUE_MINIMUM, "the venue session takes no life as short as this"),
    (ReasonFlags.CLOCK, "the session takes instants, and the wall clock cannot be trusted"),
    (ReasonFlags.BELOW_MINIMUM, "the tolerated life lies below the posture's shortest"),
)
_KINDS = {DecisionCode.INDICATIVE: "Indicative", DecisionCode.DECLINE: "Declined"}


def _summary(
    decision: DecisionRecord,
    grounds: Grounds,
    path: Sequence[RuleStep],
    constraints: Sequence[ConstraintStep],
    package: bool,
) -> str:
    drawn = package or has_curve(decision)
    if decision.kind != DecisionCode.QUOTE:
        why = [words for flag, words in _DECLINES if decision.reasons & flag]
        if decision.quality != QualityCode.GOOD and not why:
            why = [f"data is {QualityCode(decision.quality).name}"]
        text = f"{_KINDS[DecisionCode(decision.kind)]}"
        if why:
            text += f": {'; '.join(why)}"
        if drawn:
            text += f"; {_posture_clause(decision, grounds, path)}; {_risk_clause(decision)}"
        if math.isfinite(decision.break_even_edge_ticks):
            needed = f"{decision.break_even_edge_ticks:.4g} ticks"
            text += f"; the edge is {decision.edge_ticks:.4g} ticks, a quote is worth giving from {needed} on"
        return text + "."
    text = f"{time_words(decision.life_ns)}: {_posture_clause(decision, grounds, path)}"
    if drawn:
        text += f"; {_risk_clause(decision)}"
    if math.isfinite(decision.expected_value_ticks):
        text += f"; expected value {decision.expected_value_ticks:.4g} ticks a lot"
    binding = [each for each in constraints if each.binding]
    if binding and decision.binding != BindingFlags.TOLERANCE:
        text += "; set by " + " and ".join(f"{constraint_words(each.constraint)}" for each in binding)
    if decision.reasons & ReasonFlags.EDGE_CAPPED:
        text += f"; an edge of {decision.edge_ticks:.4g} ticks widens h to {decision.h_ticks:.4g} only"
    following = next((each for each in constraints if each.next), None)
    if following is not None and following.life_ns is not None:
        text += f"; next bound: {constraint_words(following.constraint)}, {time_words(following.life_ns)}"
    return text + "."


def _posture_clause(decision: DecisionRecord, grounds: Grounds, path: Sequence[RuleStep]) -> str:
    effective = posture_words(decision.posture_effective)
    if decision.quality != QualityCode.GOOD:
        return f"{effective} because data is {QualityCode(decision.quality).name}"
    lowering = (RuleCode.NONE, RuleCode.MODEL_MONITOR)
    applied = next((step for step in path if step.applied and step.rule not in lowering), None)
    chosen = "" if applied is None else applied.detail
    if decision.reasons & ReasonFlags.DOWNGRADED:
        why = trigger_words(decision, grounds)
        regime = RegimeCode(decision.regime).name
        return (
            f"{effective} because of {regime}"
            + (f" ({why})" if why else "")
            + f", {posture_words(decision.posture_requested)} otherwise ({chosen})"
        )
    if decision.reasons & ReasonFlags.MODEL_STEPPED_DOWN:
        otherwise = posture_words(decision.posture_requested)
        return f"{effective} because the model's monitor has made the group step down, {otherwise} otherwise ({chosen})"
    return f"{effective} ({chosen})"


def _risk_clause(decision: DecisionRecord) -> str:
    text = f"P(500 ms) {percent(decision.p_ref)}"
    if decision.mode == ModeCode.STEP:
        return text
    if decision.kind != DecisionCode.QUOTE:
        return f"{text} against a tolerance of {percent(decision.alpha)}"
    life = time_words(decision.life_ns)
    if decision.binding == BindingFlags.TOLERANCE:
        return f"{text} meets the {percent(decision.alpha)} tolerance at {life}"
    return f"{text}, {percent(decision.p_life)} within the life, tolerance {percent(decision.alpha)}"
