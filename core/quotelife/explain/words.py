"""Words for people: spans, shares, postures, constraints."""

from quotelife.records import BindingFlags, PostureCode
from quotelife.units import NS_PER_MS

_CONSTRAINT_WORDS = {
    BindingFlags.TOLERANCE: "tolerance",
    BindingFlags.MINIMUM: "the posture's minimum",
    BindingFlags.MAXIMUM: "the posture's maximum",
    BindingFlags.CLIENT_DEADLINE: "the client's deadline",
    BindingFlags.STEP: "the step table",
    BindingFlags.BELOW_MINIMUM: "a tolerated life below the minimum",
    BindingFlags.HORIZON: "the end of the curve",
    BindingFlags.VALUE: "expected value",
    BindingFlags.VENUE_MAXIMUM: "the venue's maximum",
    BindingFlags.VENUE_MINIMUM: "the venue's minimum",
    BindingFlags.GRANULARITY: "the venue's granularity",
    BindingFlags.TRANSIT: "the way to the venue",
    BindingFlags.MARKET: "the distance from the market",
    BindingFlags.EDGE: "a negative edge",
    BindingFlags.EXPOSURE: "the cap on exposure",
}

RECALIBRATION_BOUND, LOGIT_BOUND = "recalibration_bound", "logit_bound"
_BOUND_WORDS = {
    RECALIBRATION_BOUND: "recalibration reads logits up to ±{at:.4g}: {own:+.3f} of the model is read as {held:+.3f}",
    LOGIT_BOUND: "logits are told up to ±{at:.4g}: {own:+.3f} is told as {held:+.3f}",
}


def bound_words(contribution: str, own: float, held: float) -> str:
    """What a bound on logits did, where a contribution tells of one; empty for all others."""
    return _BOUND_WORDS.get(contribution, "").format(at=abs(held), own=own, held=held)


def constraint_words(constraint: BindingFlags) -> str:
    """What a bound is called in a sentence."""
    return _CONSTRAINT_WORDS[constraint]


def posture_words(posture: int) -> str:
    """Risk Averse, by code."""
    return PostureCode(posture).name.replace("_", " ").title()


def key_words(posture: str) -> str:
    """Risk Averse, by the key of the configuration."""
    return posture.replace("_", " ").title()


def time_words(ns: int) -> str:
    """A span for people: 150 ms, 124.91 ms, 3.2 s."""
    if abs(ns) >= 10_000 * NS_PER_MS:
        return f"{ns / 1e9:.1f} s"
    return f"{ns / NS_PER_MS:.3f}".rstrip("0").rstrip(".") + " ms"


def percent(p: float) -> str:
    return f"{100 * p:.3g} %"
