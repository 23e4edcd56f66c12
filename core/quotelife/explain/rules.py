"""Every rule that chooses a posture, in order, by the very code that resolves (``Policy.trace``), then the monitor
of the model and the regime, which only lower."""

from collections.abc import Sequence
from dataclasses import dataclass

from quotelife.config.schema import DAYS, Override, Window
from quotelife.explain.grounds import Grounds
from quotelife.explain.words import key_words, posture_words, time_words
from quotelife.features.schema import INDEX
from quotelife.records import (
    NO_INDEX_VALUE,
    DecisionRecord,
    ObservedFlags,
    PostureCode,
    QualityCode,
    ReasonFlags,
    RegimeCode,
    RequestRecord,
    RuleCode,
)


@dataclass(frozen=True, slots=True)
class RuleStep:
    """One rule: what it says alone (``PostureCode``), and whether it decided. ``RuleCode.NONE``: the regime."""

    rule: RuleCode
    posture: PostureCode
    applied: bool
    detail: str


def rule_path(request: RequestRecord, decision: DecisionRecord, grounds: Grounds) -> tuple[RuleStep, ...]:
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
    if decision.observed & ObservedFlags.STEPPED_DOWN:
        steps.append(_monitor_step(decision))
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
        spec = next(each for each in grounds.overrides if each.override_id == index)
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
    return _none_fits("operator's override", misfits, [each.override_id for each in grounds.overrides])


def _override_words(request: RequestRecord, index: int, decision: DecisionRecord, grounds: Grounds) -> str:
    who = _counterparty_words(request, grounds)
    misfits = grounds.policy.override_misfits(request, decision.now_ns)
    if not misfits:
        return f"{who} has no overrides"
    if index == NO_INDEX_VALUE:
        return f"{who}: " + _none_fits("override", misfits, range(len(misfits)))
    name = grounds.policy.counterparty_names[request.counterparty]
    entry: Override = grounds.policy.config.counterparties[name].overrides[index]
    parts = ["all instruments" if entry.instruments is None else ", ".join(entry.instruments)]
    parts.append("at all times" if entry.window is None else _window_words(entry.window))
    before = "".join(f"; override {i} {misfit}" for i, misfit in enumerate(misfits[:index]))
    return f"{who}: override {index} ({'; '.join(parts)}) asks for {key_words(entry.posture)}{before}"


def _none_fits(what: str, misfits: Sequence[str], numbers: Sequence[int], shown: int = 8) -> str:
    listed = "; ".join(
        f"{what} {number} {misfit}" for number, misfit in zip(numbers, misfits[:shown], strict=False)
    )
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
    wish = "leaves it to the desk" if posture is None else f"asks for {key_words(posture)}"
    return f"{who} is in tier {tier}, which {wish}"


def _default_words(request: RequestRecord, index: int, decision: DecisionRecord, grounds: Grounds) -> str:
    desk = request.desk
    names = grounds.policy.desk_names
    posture = grounds.policy.config.desks[names[desk]].posture if desk < len(names) else None
    wish = "has no default" if posture is None else f"has the default {key_words(posture)}"
    return f"{_desk_words(request, grounds)} {wish}"


def _global_words(request: RequestRecord, index: int, decision: DecisionRecord, grounds: Grounds) -> str:
    return f"the default for everybody is {key_words(grounds.policy.config.defaults.posture)}"


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


def _monitor_step(decision: DecisionRecord) -> RuleStep:
    lowered = bool(decision.reasons & ReasonFlags.MODEL_STEPPED_DOWN)
    before, then = posture_words(decision.posture_requested), posture_words(PostureCode.RISK_AVERSE)
    text = "the instrument's group has stepped down, since its model says too little of what happens: "
    text += f"lowers {before} to {then}" if lowered else f"{before} is careful enough already"
    return RuleStep(RuleCode.MODEL_MONITOR, PostureCode.RISK_AVERSE, lowered, text)


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
