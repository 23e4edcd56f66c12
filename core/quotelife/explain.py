"""Why a decision is what it is, from its record and what was in force: no state of the market is read.

- **Contributions**: how much each input of the model moves logit P(500 ms), from a reference where every feature
  is at the mean of what the model was fitted to, the threshold is the instrument's own (a quote without edge, just
  priced) and the volatility is the instrument's own 60 s level. The method is ``CurveModel.attribute``: the
  contributions and the baseline add up to the logit that was used; ``left_over`` is what they miss of it.
- **Rule path**: every rule of SPEC.md 6.3 in order, by the very code that resolves (``Policy.trace``), then the
  regime.
- **Constraints**: everything that bounds the life, with the life that it would allow alone, tightest first. The
  next to bind is the one whose life lies nearest to the one given, as a ratio, among those that do not bind.
- **Risks**: the scores and weights that scaled the tolerance, SPEC.md 6.2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from quotelife.config.schema import DAYS, Override, PostureSettings, Window
from quotelife.decision.life import PostureLife
from quotelife.decision.policy import OverrideSpec, Policy
from quotelife.decision.risk import INPUTS
from quotelife.engine import Engine
from quotelife.features.schema import INDEX, SCHEMA
from quotelife.instruments import InstrumentTable
from quotelife.model.curve import CurveModel
from quotelife.model.first_passage import FirstPassageModel
from quotelife.records import (
    NO_INDEX_VALUE,
    BindingFlags,
    DecisionCode,
    DecisionRecord,
    ModeCode,
    ObservedFlags,
    PostureCode,
    QualityCode,
    ReasonFlags,
    RegimeCode,
    RequestRecord,
    RuleCode,
)
from quotelife.units import NS_PER_MS

POSTURE_KEYS = {
    PostureCode.CLIENT_PRIORITY: "client_priority",
    PostureCode.LIQUIDITY_PROVIDER: "liquidity_provider",
    PostureCode.RISK_AVERSE: "risk_averse",
}
LIFE_NS_MAX = 2**62  # longer than any bound: stands for none
H, SIGMA = "h_ticks", "sigma_ticks"
UNITS = {spec.name: spec.unit for spec in SCHEMA} | {H: "ticks", SIGMA: "ticks/√s"}


@dataclass(frozen=True, slots=True)
class Grounds:
    """What a decision stands on beside the market: immutable, so that a decision can be explained later."""

    policy: Policy
    model: CurveModel
    instruments: InstrumentTable
    overrides: tuple[OverrideSpec, ...] = ()
    """The operator's, at their places: ``Decision.rule_index`` counts in them."""

    @classmethod
    def of(cls, engine: Engine) -> "Grounds":
        return cls(
            engine.policy,
            engine.model,
            engine.instruments,
            tuple(
                OverrideSpec(
                    each.posture,
                    each.expires_ns,
                    _index(each.counterparty),
                    _index(each.desk),
                    _index(each.instrument),
                )
                for each in engine.overrides(-1)  # those that have just expired keep their places too
            ),
        )


@dataclass(frozen=True, slots=True)
class Contribution:
    """Effect of one input on logit P(500 ms). ``value``: ``None`` where it is not valid."""

    feature: str
    unit: str
    value: float | None
    reference: float
    logit: float


@dataclass(frozen=True, slots=True)
class RuleStep:
    """One rule: what it says alone (``PostureCode``), and whether it decided. ``RuleCode.NONE``: the regime."""

    rule: RuleCode
    posture: PostureCode
    applied: bool
    detail: str


@dataclass(frozen=True, slots=True)
class ConstraintStep:
    """One bound: the life that it alone would allow, from the decision on; ``None``: any."""

    constraint: BindingFlags
    life_ns: int | None
    binding: bool
    next: bool
    detail: str


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
    contributions, logit, baseline = _contributions(decision, grounds)
    left_over = None
    if logit is not None and baseline is not None:
        left_over = logit - baseline - math.fsum(each.logit for each in contributions)
    path = _rule_path(request, decision, grounds)
    constraints = _constraints(request, decision, grounds)
    return Explanation(
        contributions,
        logit,
        baseline,
        left_over,
        path,
        constraints,
        _risks(decision, grounds),
        _summary(decision, grounds, path, constraints),
    )


# --- contributions ------------------------------------------------------------------------------------------


def has_curve(decision: DecisionRecord) -> bool:
    """Was P drawn from features? Not where the data or the market decided before."""
    return bool(decision.alpha > 0 and decision.h_ticks > 0)


def _contributions(
    decision: DecisionRecord, grounds: Grounds
) -> tuple[tuple[Contribution, ...], float | None, float | None]:
    if not has_curve(decision):
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
    contributions.sort(key=lambda each: -abs(each.logit))
    return tuple(contributions), _logit(decision.p_ref), attribution.baseline


def _logit(p: float) -> float:
    p = min(1.0 - 1e-12, max(1e-12, p))
    return math.log(p) - math.log1p(-p)


def _own_threshold(decision: DecisionRecord, grounds: Grounds) -> float:
    # h of a quote without edge that has just been priced.
    params = grounds.policy.instrument_params(decision.instrument)
    if PostureLife(_settings(decision, grounds)).one_tick_threshold:
        return 1.0
    ticks: float = params["adverse_ticks"]
    bps: float = params["adverse_bps"]
    return max(1.0, ticks, bps * 1e-4 * decision.reference_ticks)


# --- rule path ----------------------------------------------------------------------------------------------


def _rule_path(request: RequestRecord, decision: DecisionRecord, grounds: Grounds) -> tuple[RuleStep, ...]:
    policy, at_ns = grounds.policy, decision.now_ns
    quality = QualityCode(decision.quality)
    applied = decision.rule
    steps = [
        RuleStep(
            RuleCode.KILL_SWITCH,
            PostureCode.NONE,
            applied == RuleCode.KILL_SWITCH,
            _kill_words(decision),
        ),
        RuleStep(
            RuleCode.DATA_QUALITY,
            PostureCode.NONE if quality == QualityCode.GOOD else PostureCode.RISK_AVERSE,
            applied == RuleCode.DATA_QUALITY,
            f"data is {quality.name}" + ("" if quality == QualityCode.GOOD else ", not GOOD"),
        ),
    ]
    for word in policy.trace(request, grounds.overrides, at_ns):
        rule, posture = RuleCode(word.rule), PostureCode(word.posture)
        detail = _RULE_WORDS[rule](request, word.rule_index, decision, grounds)
        steps.append(RuleStep(rule, posture, applied == rule, detail))
    steps.append(_regime_step(decision, grounds))
    return tuple(steps)


def _kill_words(decision: DecisionRecord) -> str:
    found = [
        words
        for flag, words in (
            (ObservedFlags.KILLED, "the kill switch is on for everybody"),
            (ObservedFlags.COUNTERPARTY_KILLED, "the kill switch is on for this counterparty"),
            (ObservedFlags.THROTTLED, "too many decisions for this counterparty in too short a time"),
        )
        if decision.observed & flag
    ]
    return "; ".join(found) or "off"


def _request_words(request: RequestRecord, index: int, decision: DecisionRecord, grounds: Grounds) -> str:
    if request.posture == PostureCode.NONE:
        return "the request names no posture"
    wish = posture_words(request.posture)
    if decision.reasons & ReasonFlags.OVERRIDE_REFUSED:
        return f"the request asks for {wish}, but {_desk_words(request, grounds)} may not override"
    return f"the request asks for {wish} and {_desk_words(request, grounds)} may override"


def _desk_words(request: RequestRecord, grounds: Grounds) -> str:
    desk = request.desk
    names = grounds.policy.desk_names
    return f"desk {names[desk]}" if desk < len(names) else "a request without a configured desk"


def _counterparty_words(request: RequestRecord, grounds: Grounds) -> str:
    index = request.counterparty
    names = grounds.policy.counterparty_names
    return f"counterparty {names[index]}" if index < len(names) else "a counterparty that is not configured"


def _runtime_words(request: RequestRecord, index: int, decision: DecisionRecord, grounds: Grounds) -> str:
    misfits = grounds.policy.runtime_misfits(request, grounds.overrides, decision.now_ns)
    if not misfits:
        return "no operator's override is set"
    if index != NO_INDEX_VALUE:
        spec = grounds.overrides[index]
        names = [
            f"counterparty {grounds.policy.counterparty_names[spec.counterparty]}"
            if spec.counterparty is not None
            else "",
            f"desk {grounds.policy.desk_names[spec.desk]}" if spec.desk is not None else "",
            f"instrument {grounds.instruments[spec.instrument].name}" if spec.instrument is not None else "",
        ]
        scope = ", ".join(filter(None, names)) or "everybody"
        rest = f", {time_words(spec.expires_ns - decision.now_ns)} left"
        fitting = misfits.count("")
        among = f"; the most specific, then latest, of {fitting} that fit" if fitting > 1 else ""
        return f"operator's override {index} for {scope} asks for {posture_words(spec.posture)}{rest}{among}"
    return _none_fits("operator's override", misfits)


def _override_words(request: RequestRecord, index: int, decision: DecisionRecord, grounds: Grounds) -> str:
    who = _counterparty_words(request, grounds)
    misfits = grounds.policy.override_misfits(request, decision.now_ns)
    if not misfits:
        return f"{who} has no overrides"
    if index == NO_INDEX_VALUE:
        return f"{who}: " + _none_fits("override", misfits)
    name = grounds.policy.counterparty_names[request.counterparty]
    entry: Override = grounds.policy.config.counterparties[name].overrides[index]
    parts = ["all instruments" if entry.instruments is None else ", ".join(entry.instruments)]
    parts.append("at all times" if entry.window is None else _window_words(entry.window))
    before = "".join(f"; override {i} {misfit}" for i, misfit in enumerate(misfits[:index]))
    return f"{who}: override {index} ({'; '.join(parts)}) asks for {_of_key(entry.posture)}{before}"


def _none_fits(what: str, misfits: Sequence[str], shown: int = 8) -> str:
    listed = "; ".join(f"{what} {i} {misfit}" for i, misfit in enumerate(misfits[:shown]))
    more = f"; and {len(misfits) - shown} more" if len(misfits) > shown else ""
    return f"none fits: {listed}{more}"


def _tier_words(request: RequestRecord, index: int, decision: DecisionRecord, grounds: Grounds) -> str:
    who = _counterparty_words(request, grounds)
    counterparty = request.counterparty
    tier = grounds.policy.tier_of(
        counterparty if counterparty < len(grounds.policy.counterparty_names) else None
    )
    if tier is None:
        return f"{who} is in no tier"
    posture = grounds.policy.config.tiers[tier].posture
    wish = "leaves it to the desk" if posture is None else f"asks for {_of_key(posture)}"
    return f"{who} is in tier {tier}, which {wish}"


def _default_words(request: RequestRecord, index: int, decision: DecisionRecord, grounds: Grounds) -> str:
    desk = request.desk
    names = grounds.policy.desk_names
    posture = grounds.policy.config.desks[names[desk]].posture if desk < len(names) else None
    wish = "has no default" if posture is None else f"has the default {_of_key(posture)}"
    return f"{_desk_words(request, grounds)} {wish}"


def _global_words(request: RequestRecord, index: int, decision: DecisionRecord, grounds: Grounds) -> str:
    return f"the default for everybody is {_of_key(grounds.policy.config.defaults.posture)}"


_RULE_WORDS = {
    RuleCode.REQUEST_OVERRIDE: _request_words,
    RuleCode.RUNTIME_OVERRIDE: _runtime_words,
    RuleCode.COUNTERPARTY_OVERRIDE: _override_words,
    RuleCode.COUNTERPARTY_TIER: _tier_words,
    RuleCode.DESK_DEFAULT: _default_words,
    RuleCode.GLOBAL_DEFAULT: _global_words,
}


def _window_words(window: Window) -> str:
    days = "every day" if window.days == DAYS else "/".join(window.days)
    written = window.model_dump(mode="json", by_alias=True)
    return f"{days} {written['from']}–{written['to']} {window.timezone}"


def _regime_step(decision: DecisionRecord, grounds: Grounds) -> RuleStep:
    regime = RegimeCode(decision.regime)
    lowered = bool(decision.reasons & ReasonFlags.DOWNGRADED)
    why = trigger_words(decision, grounds)
    text = f"regime {regime.name}" + (f" ({why})" if why else "")
    before = posture_words(decision.posture_requested)
    if regime == RegimeCode.NORMAL:
        text += " limits nothing"
    elif regime == RegimeCode.HALT:
        text += ": no quote"
    elif lowered:
        text += f" lowers {before} to {posture_words(PostureCode.RISK_AVERSE)}"
    else:
        text += f": {before} is careful enough already"
    posture = PostureCode.NONE if regime == RegimeCode.NORMAL else PostureCode.RISK_AVERSE
    return RuleStep(RuleCode.NONE, posture, lowered, text)


def trigger_words(decision: DecisionRecord, grounds: Grounds) -> str:
    """What put the market into its regime, with figures where the features hold the same measure."""
    regimes = grounds.policy.config.regimes
    reasons = decision.reasons
    # News is signed by side in the features; it fires either way.
    news = decision.feature(INDEX["news_score"])
    triggers = (
        (
            ReasonFlags.NEWS,
            "news",
            None if news is None else -decision.side * news,
            regimes.news_score,
            "+.2f",
        ),
        (
            ReasonFlags.VOLATILITY,
            "volatility ratio",
            decision.feature(INDEX["volatility_ratio"]),
            regimes.volatility_ratio,
            ".1f",
        ),
        (
            ReasonFlags.SPREAD_VOLATILITY,
            "spread volatility ratio",
            decision.feature(INDEX["spread_volatility_ratio"]),
            regimes.spread_volatility_ratio,
            ".1f",
        ),
        (
            ReasonFlags.DECORRELATION,
            "decorrelation z",
            decision.feature(INDEX["driver0_decorrelation"]),
            regimes.decorrelation_z,
            ".1f",
        ),
        (ReasonFlags.UPDATE_FREQUENCY, "update frequency", None, regimes.update_frequency_ratio, ""),
    )
    found = []
    for flag, name, value, threshold, form in triggers:
        if reasons & flag:
            now = f" {value:{form}}" if value is not None else ""
            found.append(f"{name}{now}, fires at {threshold:g}")
    found += [
        words
        for flag, words in (
            (ReasonFlags.AUCTION, "auction"),
            (ReasonFlags.SCHEDULED_NEWS, "scheduled news"),
            (ReasonFlags.HALT, "trading is halted"),
            (ReasonFlags.HYSTERESIS, "faded, held until the market has been calm for long enough"),
        )
        if reasons & flag
    ]
    return "; ".join(found)


# --- constraints --------------------------------------------------------------------------------------------


def _settings(decision: DecisionRecord, grounds: Grounds) -> PostureSettings:
    key = POSTURE_KEYS[PostureCode(decision.posture_effective)]
    settings: PostureSettings = getattr(grounds.policy.config.postures, key)
    return settings


def age_ns(request: RequestRecord, decision: DecisionRecord) -> int:
    """How long ago the quote was priced; a moment in the future counts as now."""
    return 0 if request.priced_at_ns is None else max(decision.now_ns - request.priced_at_ns, 0)


def _constraints(
    request: RequestRecord, decision: DecisionRecord, grounds: Grounds
) -> tuple[ConstraintStep, ...]:
    if decision.mode == 0:
        return ()  # decided before a life was looked for
    settings = _settings(decision, grounds)
    age = age_ns(request, decision)
    minimum, maximum = settings.life_min_ns, settings.life_max_ns
    since = f", {time_words(age)} of it gone since pricing" if age else ""
    found: list[tuple[BindingFlags, int | None, str]] = []
    # Where the market at pricing is not known, the curve's life is counted from then.
    taken = 0 if decision.observed & ObservedFlags.MOVED_KNOWN else age
    if has_curve(decision):
        found += _from_curve(decision, settings, taken)
        words = f"the posture's longest life, {time_words(maximum)}{since}"
        found.append((BindingFlags.MAX, maximum - age, words))
    else:
        taken = age
    words = f"the posture's shortest life, {time_words(minimum)}" + (since if taken else "")
    found.append((BindingFlags.MIN, minimum - taken, words))
    if request.client_deadline_ns is not None:
        left = request.client_deadline_ns - decision.now_ns
        found.append((BindingFlags.CLIENT_DEADLINE, left, "the client's own deadline"))
    found.sort(key=lambda each: LIFE_NS_MAX if each[1] is None else each[1])
    nearest = _next_to_bind(decision, found)
    return tuple(
        ConstraintStep(flag, life, bool(decision.binding & flag), flag == nearest, detail)
        for flag, life, detail in found
    )


def _from_curve(
    decision: DecisionRecord, settings: PostureSettings, taken: int
) -> list[tuple[BindingFlags, int | None, str]]:
    # By the very code that chose the life, its bounds opened.
    open_ = settings.model_copy(
        update={"life_min_ns": 0, "life_max_ns": LIFE_NS_MAX, "below_minimum": "clip"}
    )
    alone = PostureLife(open_).life(decision.p, decision.alpha)
    life = None if alone.life_ns >= LIFE_NS_MAX else alone.life_ns - taken
    p_ref, alpha = percent(decision.p_ref), percent(decision.alpha)
    found: list[tuple[BindingFlags, int | None, str]] = []
    if decision.mode == ModeCode.STEP:
        found.append((BindingFlags.STEP, life, f"the step table's row for P(500 ms) {p_ref}"))
    elif alone.binding & BindingFlags.HORIZON:
        words = f"the curve ends here, its P still within the tolerance {alpha}"
        found.append((BindingFlags.HORIZON, life, words))
    elif decision.mode == ModeCode.TOLERANCE_CURVE:
        found.append((BindingFlags.TOLERANCE, life, f"P(life) reaches the tolerance {alpha}"))
    else:
        words = f"P(life) reaches the tolerance {alpha}, by P(500 ms) {p_ref}"
        found.append((BindingFlags.TOLERANCE, life, words))
    if decision.binding & BindingFlags.BELOW_MINIMUM:
        then = "declined" if settings.below_minimum == "decline" else "lengthened to it"
        words = f"below the posture's shortest life, {time_words(settings.life_min_ns)}: {then}"
        found.append((BindingFlags.BELOW_MINIMUM, life, words))
    return found


def _next_to_bind(
    decision: DecisionRecord, found: Sequence[tuple[BindingFlags, int | None, str]]
) -> BindingFlags | None:
    if decision.kind != DecisionCode.QUOTE:
        return None
    nearest, least = None, math.inf
    for flag, life, _ in found:
        if decision.binding & flag or life is None or life <= 0:
            continue
        distance = abs(math.log(life / decision.life_ns))
        if distance < least:
            nearest, least = flag, distance
    return nearest


# --- risks --------------------------------------------------------------------------------------------------


def _risks(decision: DecisionRecord, grounds: Grounds) -> tuple[RiskStep, ...]:
    if not has_curve(decision):
        return ()
    weights = _settings(decision, grounds).weights
    return tuple(
        RiskStep(name, score, getattr(weights, name))
        for name, score in zip(INPUTS, decision.risk, strict=False)
    )


# --- the decision in one sentence ---------------------------------------------------------------------------

_DECLINES = (
    (ReasonFlags.KILLED, "the kill switch is on"),
    (ReasonFlags.THROTTLED, "too many decisions for this counterparty in too short a time"),
    (ReasonFlags.DISABLED, "the instrument is switched off by configuration"),
    (ReasonFlags.HALT, "trading is halted"),
    (ReasonFlags.MOVED_THROUGH, "the market has passed the threshold since the quote was priced"),
    (ReasonFlags.NO_VOLATILITY, "there is no volatility estimate yet"),
    (ReasonFlags.STALE_REQUEST, "the quote was priced so long ago that no life is left"),
    (ReasonFlags.DEADLINE_TOO_CLOSE, "the client's deadline leaves no life worth giving"),
    (ReasonFlags.EDGE_TOO_SMALL, "edge and relationship value together are not above 0"),
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
) -> str:
    if decision.kind != DecisionCode.QUOTE:
        why = [words for flag, words in _DECLINES if decision.reasons & flag]
        if decision.quality != QualityCode.GOOD and not why:
            why = [f"data is {QualityCode(decision.quality).name}"]
        text = f"{_KINDS[DecisionCode(decision.kind)]}: {'; '.join(why)}"
        if has_curve(decision):
            text += f"; {_posture_clause(decision, grounds, path)}; {_risk_clause(decision)}"
        return text + "."
    text = f"{time_words(decision.life_ns)}: {_posture_clause(decision, grounds, path)}"
    if has_curve(decision):
        text += f"; {_risk_clause(decision)}"
    binding = [each for each in constraints if each.binding]
    if binding and decision.binding != BindingFlags.TOLERANCE:
        text += "; set by " + " and ".join(f"{constraint_words(each.constraint)}" for each in binding)
    following = next((each for each in constraints if each.next), None)
    if following is not None and following.life_ns is not None:
        text += f"; next bound: {constraint_words(following.constraint)}, {time_words(following.life_ns)}"
    return text + "."


def _posture_clause(decision: DecisionRecord, grounds: Grounds, path: Sequence[RuleStep]) -> str:
    effective = posture_words(decision.posture_effective)
    if decision.quality != QualityCode.GOOD:
        return f"{effective} because data is {QualityCode(decision.quality).name}"
    applied = next((step for step in path if step.applied and step.rule != RuleCode.NONE), None)
    chosen = "" if applied is None else applied.detail
    if decision.reasons & ReasonFlags.DOWNGRADED:
        why = trigger_words(decision, grounds)
        regime = RegimeCode(decision.regime).name
        return (
            f"{effective} because of {regime}"
            + (f" ({why})" if why else "")
            + f", {posture_words(decision.posture_requested)} otherwise ({chosen})"
        )
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


_CONSTRAINT_WORDS = {
    BindingFlags.TOLERANCE: "tolerance",
    BindingFlags.MIN: "the posture's minimum",
    BindingFlags.MAX: "the posture's maximum",
    BindingFlags.CLIENT_DEADLINE: "the client's deadline",
    BindingFlags.STEP: "the step table",
    BindingFlags.BELOW_MINIMUM: "a tolerated life below the minimum",
    BindingFlags.HORIZON: "the end of the curve",
    BindingFlags.VALUE: "expected value",
    BindingFlags.VENUE_MAX: "the venue's maximum",
    BindingFlags.VENUE_MIN: "the venue's minimum",
    BindingFlags.GRANULARITY: "the venue's granularity",
    BindingFlags.TRANSIT: "the way to the venue",
}


def constraint_words(constraint: BindingFlags) -> str:
    return _CONSTRAINT_WORDS[constraint]


def posture_words(posture: int) -> str:
    return PostureCode(posture).name.replace("_", " ").title()


def _of_key(posture: str) -> str:
    return posture.replace("_", " ").title()


def time_words(ns: int) -> str:
    """A span for people: 150 ms, 124.91 ms, 3.2 s."""
    if abs(ns) >= 10_000 * NS_PER_MS:
        return f"{ns / 1e9:.1f} s"
    return f"{ns / NS_PER_MS:.3f}".rstrip("0").rstrip(".") + " ms"


def percent(p: float) -> str:
    return f"{100 * p:.3g} %"


def _index(value: int) -> int | None:
    return None if value == NO_INDEX_VALUE else value
