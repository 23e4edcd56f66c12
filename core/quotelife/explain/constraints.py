"""Everything that bounds the life, with the life that it would allow alone, tightest first.

The next to bind is the one whose life lies nearest to the one given, as a ratio, among those that do not bind.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from quotelife.config.schema import PostureSettings, TierValue
from quotelife.decision.expected_value import ExpectedValue
from quotelife.decision.life import PostureLife
from quotelife.explain.grounds import Grounds, age_ns, by_legs, has_curve, package_curve, settings_of
from quotelife.explain.words import percent, time_words
from quotelife.features.schema import INDEX
from quotelife.records import (
    HORIZONS_NS,
    ActuationCode,
    BindingFlags,
    DecisionCode,
    DecisionRecord,
    ModeCode,
    ObservedFlags,
    ReasonFlags,
    RequestFlags,
    RequestRecord,
)
from quotelife.units import NS_PER_US

LIFE_NS_MAX = 2**62  # longer than any bound: stands for none


@dataclass(frozen=True, slots=True)
class ConstraintStep:
    """One bound: the life that it alone would allow, from the decision on; ``None``: any."""

    constraint: BindingFlags
    life_ns: int | None
    binding: bool
    next: bool
    detail: str


def constraints_of(
    request: RequestRecord, decision: DecisionRecord, grounds: Grounds
) -> tuple[ConstraintStep, ...]:
    if decision.mode == 0 or request.flags & RequestFlags.LEG:
        return ()  # decided before a life was looked for; the package has a life, not its legs
    settings = settings_of(decision, grounds)
    age = age_ns(request, decision)
    minimum, maximum = settings.life_min_ns, settings.life_max_ns
    since = f", {time_words(age)} of it gone since pricing" if age else ""
    found: list[tuple[BindingFlags, int | None, str]] = []
    # Where the market at pricing is not known, the curve's life is counted from then.
    taken = 0 if decision.observed & ObservedFlags.MOVED_KNOWN else age
    if has_curve(decision) or package_curve(request, decision):
        leaves = 1.0
        if request.watched and decision.mode == ModeCode.EXPECTED_VALUE:
            leaves = _assumed(request, grounds).watch_leaves
        found += _from_curve(decision, settings, taken, leaves)
        if decision.mode == ModeCode.EXPECTED_VALUE:
            found.append(_from_value(request, decision, settings, grounds, taken))
        words = f"the posture's longest life, {time_words(maximum)}{since}"
        found.append((BindingFlags.MAXIMUM, maximum - age, words))
    else:
        taken = age
    words = f"the posture's shortest life, {time_words(minimum)}" + (since if taken else "")
    found.append((BindingFlags.MINIMUM, minimum - taken, words))
    if decision.binding & BindingFlags.MARKET:
        found.append((BindingFlags.MARKET, 0, _market_words(request, decision, grounds)))
    if decision.binding & BindingFlags.EDGE:
        firm = decision.kind == DecisionCode.QUOTE
        words = f"an edge of {decision.edge_ticks:.4g} ticks gets " + (
            "the shortest life" if firm else "no firm quote"
        )
        if by_legs(request):
            words += f", held against its smallest leg, threshold {request.h_least:.4g} ticks"
        found.append((BindingFlags.EDGE, minimum - taken if firm else 0, words))
    if decision.binding & BindingFlags.EXPOSURE:
        words = f"live quotes leave {max(decision.exposure_room, 0.0):.6g} of the cap on exposure"
        if request.two_way:
            words += " for either side"
        firm = decision.kind == DecisionCode.QUOTE
        found.append((BindingFlags.EXPOSURE, decision.life_ns if firm else 0, words))
    if request.client_deadline_ns is not None:
        left = request.client_deadline_ns - decision.now_ns
        found.append((BindingFlags.CLIENT_DEADLINE, left, "the client's own deadline"))
    found += _from_venue(request, decision, grounds)
    found.sort(key=lambda each: LIFE_NS_MAX if each[1] is None else each[1])
    nearest = _next_to_bind(decision, found)
    return tuple(
        ConstraintStep(flag, life, bool(decision.binding & flag), flag == nearest, detail)
        for flag, life, detail in found
    )


def _from_curve(
    decision: DecisionRecord, settings: PostureSettings, taken: int, leaves: float
) -> list[tuple[BindingFlags, int | None, str]]:
    # By the very code that chose the life, its bounds opened.
    open_ = settings.model_copy(
        update={"life_min_ns": 0, "life_max_ns": LIFE_NS_MAX, "below_minimum": "clip"}
    )
    alpha_used = min(1.0, decision.alpha / leaves) if leaves > 0.0 else float(decision.alpha > 0.0)
    alone = PostureLife(open_).life(decision.p, alpha_used)
    if (
        decision.mode == ModeCode.EXPECTED_VALUE
    ):  # which asks for P(life) within the tolerance by the curve as well
        by_curve = open_.model_copy(update={"tolerance_source": "curve"})
        alone = min(alone, PostureLife(by_curve).life(decision.p, alpha_used))
    life = None if alone.life_ns >= LIFE_NS_MAX else alone.life_ns - taken
    p_ref, alpha = percent(decision.p_ref), percent(decision.alpha)
    if leaves < 1.0:
        alpha += f" of what a watch leaves, {percent(leaves)}"
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
        then = "not given" if settings.declines_below_minimum else "lengthened to it"
        words = f"below the posture's shortest life, {time_words(settings.life_min_ns)}: {then}"
        found.append((BindingFlags.BELOW_MINIMUM, life, words))
    return found


def _market_words(request: RequestRecord, decision: DecisionRecord, grounds: Grounds) -> str:
    config = grounds.policy.config
    names = grounds.policy.desk_names
    desk = config.desks[names[request.desk]] if request.desk < len(names) else None
    bounds = (None if desk is None else desk.price_bounds) or config.defaults.price_bounds
    mid = decision.mid_ticks
    if decision.observed & ObservedFlags.MOVED_KNOWN:
        mid += decision.side * decision.moved_ticks
    room = max(bounds.bps * 1e-4 * abs(mid), bounds.spreads * decision.spread_ticks)
    price = decision.reference_ticks - decision.side * decision.edge_ticks
    far = [
        f"{what} {value:.10g}"
        for flag, what, value in (
            (ReasonFlags.PRICE_FAR, "the price", price),
            (ReasonFlags.REFERENCE_FAR, "the reference", decision.reference_ticks),
        )
        if decision.reasons & flag
    ]
    return f"{' and '.join(far)} must lie within {room:.6g} ticks of the mid {mid:.10g}"


def _from_value(
    request: RequestRecord, decision: DecisionRecord, settings: PostureSettings, grounds: Grounds, taken: int
) -> tuple[BindingFlags, int | None, str]:
    h = decision.h_ticks
    inventory = decision.feature(INDEX["inventory"]) or 0.0
    if by_legs(request):  # what speaks for a long life counts by the leg for which it is least
        h = max(h, decision.edge_ticks)
        least = request.h_least / h
        inventory = request.inventory * (1.0 if request.inventory >= 0.0 else least)
        relationship = settings.value.relationship_in_h * least
        value = settings.value.model_copy(update={"relationship_in_h": relationship})
        settings = settings.model_copy(update={"value": value})
    best = value_of(request, settings, grounds).best(
        decision.p,
        edge_ticks=decision.edge_ticks,
        h_ticks=h,
        low_ns=NS_PER_US,
        high_ns=HORIZONS_NS[-1],
        inventory=inventory,
    )
    words = f"expected value is largest here, {best.life_value_ticks:.4g} ticks a lot"
    return BindingFlags.VALUE, best.life_ns - taken, words


def value_of(request: RequestRecord, settings: PostureSettings, grounds: Grounds) -> ExpectedValue:
    """Values of lives under a posture for the counterparty that asks, by its tier."""
    return ExpectedValue(_assumed(request, grounds), settings.value, watched=request.watched)


def _assumed(request: RequestRecord, grounds: Grounds) -> TierValue:
    policy = grounds.policy
    known = request.counterparty < len(policy.counterparty_names)
    tier = policy.tier_of(request.counterparty if known else None)
    config = policy.config
    return config.defaults.value if tier is None else config.tiers[tier].value


def _from_venue(
    request: RequestRecord, decision: DecisionRecord, grounds: Grounds
) -> list[tuple[BindingFlags, int | None, str]]:
    names = grounds.policy.session_names
    if request.session >= len(names):
        return []
    name = names[request.session]
    session = grounds.policy.config.venue_sessions[name]
    found: list[tuple[BindingFlags, int | None, str]] = []
    if session.life_max_ns is not None:
        words = f"the longest life that {name} takes, {time_words(session.life_max_ns)}"
        found.append((BindingFlags.VENUE_MAXIMUM, session.life_max_ns + session.transit_ns, words))
    if session.life_min_ns and decision.actuation != ActuationCode.WITHDRAW:
        words = f"the shortest life that {name} takes, {time_words(session.life_min_ns)}"
        found.append((BindingFlags.VENUE_MINIMUM, session.life_min_ns + session.transit_ns, words))
    if decision.binding & BindingFlags.GRANULARITY:
        words = f"down to what {name} can say, in steps of {time_words(session.granularity_ns)}"
        found.append((BindingFlags.GRANULARITY, decision.life_ns, words))
    if decision.binding & BindingFlags.TRANSIT and decision.venue_life_ns:
        told, way = time_words(decision.venue_life_ns), time_words(session.transit_ns)
        words = f"{name} is told {told}: the way there takes {way}"
        found.append((BindingFlags.TRANSIT, decision.life_ns, words))
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
