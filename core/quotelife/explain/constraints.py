"""Everything that bounds the life, with the life that it would allow alone, tightest first.

The next to bind is the one whose life lies nearest to the one given, as a ratio, among those that do not bind.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from quotelife.config.schema import PostureSettings
from quotelife.decision.life import PostureLife
from quotelife.explain.grounds import Grounds, age_ns, has_curve, settings_of
from quotelife.explain.words import percent, time_words
from quotelife.records import (
    BindingFlags,
    DecisionCode,
    DecisionRecord,
    ModeCode,
    ObservedFlags,
    RequestRecord,
)

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
    if decision.mode == 0:
        return ()  # decided before a life was looked for
    settings = settings_of(decision, grounds)
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
