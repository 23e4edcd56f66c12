"""What the demonstration remembers of each decision, and the summary made of it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from quotelife.units import NS_PER_MS

PHASES = ("before", "shock", "recovering", "after")


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

    @property
    def downgraded(self) -> bool:
        return self.requested != self.effective


@dataclass(frozen=True, slots=True)
class Shock:
    """A headline and the turmoil after it, in venue time (the machine's UTC)."""

    start_ns: int
    duration_ns: int
    headline: str = ""

    @property
    def end_ns(self) -> int:
        return self.start_ns + self.duration_ns


def percentile(values: Sequence[float], share: float) -> float | None:
    """Nearest-rank percentile; ``None`` of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(len(ordered) * share * 1000) // 1000) - 1))]


def summarise(rows: Sequence[DecisionRow], shocks: Sequence[Shock]) -> dict[str, Any]:
    """All figures of a run, ready for JSON. Lives are of QUOTE decisions of the service, in ms.

    Phases refer to the first shock: before it; from its headline to its end; from there until the first
    decision in regime NORMAL; after that.
    """
    shock = shocks[0] if shocks else None
    next_start_ns = shocks[1].start_ns if len(shocks) > 1 else None
    served = [row for row in rows if row.source == "service"]
    quoted = [row for row in served if row.decision == "QUOTE"]
    first = _shock_figures(served, shock, next_start_ns)
    lives: dict[str, dict[str, float | None]] = {}
    counts: dict[str, Counter[str]] = {}
    for name in sorted({row.counterparty for row in rows}):
        mine = [row for row in quoted if row.counterparty == name]
        lives[name] = {}
        for phase in PHASES:
            inside = [
                row.life_ns / NS_PER_MS for row in mine if _phase(row, shock, next_start_ns, first) == phase
            ]
            lives[name][phase] = statistics.median(inside) if inside else None
        counts[name] = Counter(row.effective for row in mine)
    latencies = [row.latency_ns / 1e3 for row in served]
    return {
        "decisions": len(rows),
        "quotes": len(quoted),
        "declines": sum(row.decision == "DECLINE" for row in served),
        "indicative": sum(row.decision == "INDICATIVE" for row in served),
        "fallbacks": len(rows) - len(served),
        "declines_after_warm_up": _declines_after_first_quote(served),
        "latency_us": {"p50": percentile(latencies, 0.5), "p99": percentile(latencies, 0.99)},
        "life_ms_median": lives,
        "effective_postures": {name: dict(count) for name, count in counts.items()},
        "regimes": dict(Counter(row.regime for row in served)),
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
    return {
        "start_ns": shock.start_ns,
        "end_ns": shock.end_ns,
        "headline": shock.headline,
        "to_risk_averse_ms": None if hit is None else (hit.answered_ns - shock.start_ns) / NS_PER_MS,
        "first_reasons": [] if hit is None else list(hit.reasons),
        "back_to_normal_ms": None if back is None else (back.answered_ns - shock.end_ns) / NS_PER_MS,
        "back_to_normal_ns": None if back is None else back.answered_ns,
        "stressed_before": len(stressed_before),
    }


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


def _first(rows: Iterable[DecisionRow], wanted: Callable[[DecisionRow], bool]) -> DecisionRow | None:
    return next((row for row in rows if wanted(row)), None)


def problems(summary: dict[str, Any], *, shock_expected: bool) -> list[str]:
    """What a run did not show; empty when all came up as it should."""
    out = []
    if not summary["quotes"]:
        out.append("no quote got a life: the service never had good data")
    if summary["fallbacks"] > summary["decisions"] // 10:
        out.append(
            f"{summary['fallbacks']} of {summary['decisions']} answers came from the client's fallback"
        )
    if shock_expected:
        first = summary["first_shock"]
        if first is None:
            out.append("the venue never announced its headline")
        elif first["to_risk_averse_ms"] is None:
            out.append("the shock downgraded nobody to Risk Averse")
    return out
