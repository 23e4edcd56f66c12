"""What the demonstration remembers of each decision, and the summary made of it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from quotelife.units import NS_PER_MS

PHASES = ("before", "shock", "recovering", "after")
TO_RISK_AVERSE_MS = 1000.0  # from the headline to the first Risk Averse answer, at most
BACK_TO_NORMAL_MS = 6000.0  # from the shock's end to regime NORMAL, at most
EXPIRED = "EXPIRED"
ENOUGH = 5  # decisions from which on a phase is judged


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One answer as the OMS saw it. ``latency_ns`` is the round trip; ``source`` is service or fallback."""

    answered_ns: int
    counterparty: str
    instrument: str
    side: str
    size: str
    requested: str
    effective: str
    regime: str
    decision: str
    p500: float | None
    life_ns: int
    reasons: tuple[str, ...]
    latency_ns: int
    source: str = "service"
    watched: bool = False

    @property
    def downgraded(self) -> bool:
        return self.requested != self.effective


@dataclass(frozen=True, slots=True)
class EndRow:
    """How a watched quote ended.

    ``why``: the reason of its withdrawal, or EXPIRED. ``lived_ns``: since it was asked for; ``left_ns``: what it would
    have had still.
    """

    ended_ns: int
    counterparty: str
    instrument: str
    side: str
    why: str
    lived_ns: int
    left_ns: int


@dataclass(slots=True)
class Shock:
    """A headline and the turmoil after it, in venue time (the machine's UTC). ``taken_ns``: when the service had
    acknowledged the headline, ``None`` while it has not."""

    start_ns: int
    duration_ns: int
    headline: str = ""
    taken_ns: int | None = None

    @property
    def end_ns(self) -> int:
        return self.start_ns + self.duration_ns


def percentile(values: Sequence[float], share: float) -> float | None:
    """Nearest-rank percentile; ``None`` of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(len(ordered) * share * 1000) // 1000) - 1))]


def summarise(
    rows: Sequence[DecisionRow], shocks: Sequence[Shock], ends: Sequence[EndRow] = ()
) -> dict[str, Any]:
    """All figures of a run, ready for JSON. Lives are of QUOTE decisions of the service, in ms.

    Phases refer to the first shock: before it; from its headline to its end; from there until the first
    decision in regime NORMAL; after that.
    """
    shock = shocks[0] if shocks else None
    next_start_ns = shocks[1].start_ns if len(shocks) > 1 else None
    served = [row for row in rows if row.source == "service"]
    quoted = [row for row in served if row.decision == "QUOTE"]
    first = _shock_figures(served, shock, next_start_ns)

    def by_phase(some: Iterable[DecisionRow]) -> dict[str, list[DecisionRow]]:
        phases: dict[str, list[DecisionRow]] = {phase: [] for phase in PHASES}
        for row in some:
            phase = _phase(row, shock, next_start_ns, first)
            if phase is not None:
                phases[phase].append(row)
        return phases

    lives: dict[str, dict[str, float | None]] = {}
    quotes_before: dict[str, int] = {}
    quotes_in_shock: dict[str, int] = {}
    counts: dict[str, Counter[str]] = {}
    for name in sorted({row.counterparty for row in rows}):
        mine = [row for row in quoted if row.counterparty == name]
        phases = by_phase(mine)
        lives[name] = {phase: _median_life_ms(inside) for phase, inside in phases.items()}
        quotes_before[name] = len(phases["before"])
        quotes_in_shock[name] = len(phases["shock"])
        counts[name] = Counter(row.effective for row in mine)
    all_phases = by_phase(quoted)
    latencies = [row.latency_ns / 1e3 for row in served]
    return {
        "decisions": len(rows),
        "quotes": len(quoted),
        "declines": sum(row.decision == "DECLINE" for row in served),
        "indicative": sum(row.decision == "INDICATIVE" for row in served),
        "fallbacks": len(rows) - len(served),
        "declines_after_warm_up": _declines_after_first_quote(served),
        "latency_us": {"p50": percentile(latencies, 0.5), "p99": percentile(latencies, 0.99)},
        "decisions_by_phase": {phase: len(inside) for phase, inside in by_phase(served).items()},
        "quotes_by_phase": {phase: len(inside) for phase, inside in all_phases.items()},
        "quotes_before": quotes_before,
        "quotes_in_shock": quotes_in_shock,
        "downgraded_share": {phase: _downgraded_share(inside) for phase, inside in all_phases.items()},
        "life_ms_median_of_all": {phase: _median_life_ms(inside) for phase, inside in all_phases.items()},
        "life_ms_median": lives,
        "effective_postures": {name: dict(count) for name, count in counts.items()},
        "regimes": dict(Counter(row.regime for row in served)),
        "watched": sum(row.watched for row in rows),
        "ends": dict(Counter(row.why for row in ends).most_common()),
        "withdrawn_with_left_ms_median": _median_left_ms(ends),
        "shocks": len(shocks),
        "first_shock": first,
    }


def _shock_figures(
    rows: Sequence[DecisionRow], shock: Shock | None, next_start_ns: int | None
) -> dict[str, Any] | None:
    """Times from the first headline to what it changed, in ms; ``None`` where it has not been seen."""
    if shock is None:
        return None
    window = [row for row in rows if next_start_ns is None or row.answered_ns < next_start_ns]
    hit = _first(window, lambda row: row.answered_ns >= shock.start_ns and _stressed(row))
    back = _first(window, lambda row: row.answered_ns >= shock.end_ns and row.regime == "NORMAL")
    stressed_before = [row for row in window if row.answered_ns < shock.start_ns and row.regime == "STRESS"]
    taken_ns = shock.end_ns if shock.taken_ns is None else shock.taken_ns
    asked_later = [
        row
        for row in window
        if taken_ns <= row.answered_ns - row.latency_ns and row.answered_ns < shock.end_ns
    ]
    heeded = _first(asked_later, lambda row: row.regime == "STRESS")
    unheeded = [
        row
        for row in asked_later
        if row.decision == "QUOTE"
        and row.regime != "STRESS"
        and (heeded is None or row.answered_ns < heeded.answered_ns)  # later it may have worn off
    ]
    return {
        "start_ns": shock.start_ns,
        "end_ns": shock.end_ns,
        "headline": shock.headline,
        "to_risk_averse_ms": None if hit is None else (hit.answered_ns - shock.start_ns) / NS_PER_MS,
        "first_reasons": [] if hit is None else list(hit.reasons),
        "back_to_normal_ms": None if back is None else (back.answered_ns - shock.end_ns) / NS_PER_MS,
        "back_to_normal_ns": None if back is None else back.answered_ns,
        "stressed_before": len(stressed_before),
        "taken_ms": None if shock.taken_ns is None else (shock.taken_ns - shock.start_ns) / NS_PER_MS,
        "unheeded": len(unheeded),
        "watched_after_ms": (max((row.answered_ns for row in window), default=0) - shock.end_ns) / NS_PER_MS,
    }


def _median_life_ms(quotes: Sequence[DecisionRow]) -> float | None:
    return statistics.median(row.life_ns for row in quotes) / NS_PER_MS if quotes else None


def _downgraded_share(quotes: Iterable[DecisionRow]) -> float | None:
    """Of the quotes that can be downgraded at all."""
    downgraded = [row.downgraded for row in quotes if row.requested != "RISK_AVERSE"]
    return statistics.fmean(downgraded) if downgraded else None


def _stressed(row: DecisionRow) -> bool:
    return row.regime == "STRESS" and row.effective == "RISK_AVERSE"


def _phase(
    row: DecisionRow, shock: Shock | None, next_start_ns: int | None, figures: dict[str, Any] | None
) -> str | None:
    if shock is None or figures is None or row.answered_ns < shock.start_ns:
        return "before"
    if next_start_ns is not None and row.answered_ns >= next_start_ns:
        return None
    if row.answered_ns < shock.end_ns:
        return "shock"
    back_ns = figures["back_to_normal_ns"]
    return "recovering" if back_ns is None or row.answered_ns < back_ns else "after"


def _declines_after_first_quote(rows: Iterable[DecisionRow]) -> int:
    """Declines of an instrument once it has been quoted: while its data warms up, declining is right."""
    quoted: set[str] = set()
    count = 0
    for row in rows:
        if row.decision == "QUOTE":
            quoted.add(row.instrument)
        elif row.decision == "DECLINE" and row.instrument in quoted:
            count += 1
    return count


def _median_left_ms(ends: Iterable[EndRow]) -> float | None:
    """Of the quotes that were withdrawn: how much of their lives was left."""
    left = [row.left_ns / NS_PER_MS for row in ends if row.why != EXPIRED]
    return statistics.median(left) if left else None


def _first(rows: Iterable[DecisionRow], wanted: Callable[[DecisionRow], bool]) -> DecisionRow | None:
    return next((row for row in rows if wanted(row)), None)


def problems(summary: dict[str, Any], *, shock_expected: bool) -> list[str]:
    """What a run did not show; empty when all came up as it should.

    What it had no time to show, ended early or short, is no problem: a phase is judged from ``ENOUGH`` decisions.
    """
    out = []
    if not summary["quotes"]:
        out.append("no quote got a life: the service never had good data")
    if summary["fallbacks"] > summary["decisions"] // 10:
        out.append(
            f"{summary['fallbacks']} of {summary['decisions']} answers came from the client's fallback: the service "
            "was too late for it, as on a machine with more work than cores; try again when it has less"
        )
    medians = summary["life_ms_median"]
    before = {medians[name]["before"] for name, n in summary["quotes_before"].items() if n >= ENOUGH}
    judged = sum(n >= ENOUGH for n in summary["quotes_before"].values())
    if judged > 1 and len(before) == 1:
        out.append(f"{judged} counterparties got the same life before the shock")
    if summary["first_shock"] is not None:
        out += _shock_problems(summary)
    elif shock_expected:
        out.append("the venue never announced its headline")
    return out


def _shock_problems(summary: dict[str, Any]) -> list[str]:
    out = []
    first = summary["first_shock"]
    quotes = summary["quotes_by_phase"]
    if summary["decisions_by_phase"]["shock"] >= ENOUGH:
        if first["to_risk_averse_ms"] is None:
            out.append("the shock downgraded nobody to Risk Averse")
        elif first["to_risk_averse_ms"] > TO_RISK_AVERSE_MS:
            taken = (
                "had not taken it"
                if first["taken_ms"] is None
                else f"had taken it after {first['taken_ms']:,.0f} ms"
            )
            out.append(
                f"Risk Averse came {first['to_risk_averse_ms']:,.0f} ms after the headline, "
                f"not within {TO_RISK_AVERSE_MS:,.0f} ms; the service {taken}"
            )
        if first["unheeded"]:
            out.append(
                f"{first['unheeded']} quotes of the shock were not of regime STRESS, "
                "though the service had taken the headline before they were asked for"
            )
    if min(quotes["before"], quotes["shock"]) >= ENOUGH:
        lives = summary["life_ms_median_of_all"]
        if lives["shock"] >= lives["before"]:
            out.append(
                f"the shock shortened no lives: median {lives['before']:,.0f} ms before, {lives['shock']:,.0f} ms in it"
            )
    back_ms = first["back_to_normal_ms"]
    watched_ms = first["watched_after_ms"]
    if back_ms is None and watched_ms > BACK_TO_NORMAL_MS:
        out.append(f"the regime did not come back within {watched_ms:,.0f} ms of the shock's end")
    elif back_ms is not None and back_ms > BACK_TO_NORMAL_MS:
        out.append(
            f"the regime came back {back_ms:,.0f} ms after the shock's end, not within {BACK_TO_NORMAL_MS:,.0f} ms"
        )
    downgraded = summary["downgraded_share"]["after"]
    if quotes["after"] >= ENOUGH and downgraded is not None and downgraded > 0.5:
        out.append(f"postures did not come back: {downgraded:.0%} downgraded after the shock")
    return out
