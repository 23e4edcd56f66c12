"""Outcomes of decisions, as the service tells an engine of them."""

from typing import Any

from quotelife.counterparty.posterior import OutcomeCode
from quotelife.engine import Engine
from quotelife.records import DecisionRecord, RequestRecord


def outcome(
    engine: Engine, request: RequestRecord, decision: DecisionRecord, kind: OutcomeCode, *, age_ns: int | None = None,
    price_ticks: float | None = None, counts: bool = True, boot: str = "", **given: Any,
) -> dict[str, Any]:  # fmt: skip
    """The payload of ``Engine.outcome``; ``age_ns`` None: nobody said when it came to pass."""
    names = engine.policy.counterparty_names
    counterparty = decision.counterparty
    return {
        "outcome": f"o{decision.input_sequence}-{engine.input_sequence}",
        "decision": decision.input_sequence,
        "boot": boot,
        "quote": "",
        "counterparty": names[counterparty] if counterparty < len(names) else "",
        "instrument": next(each.name for each in engine.instruments if each.index == decision.instrument),
        "side": decision.side,
        "kind": int(kind),
        "counts": counts,
        "at_ns": engine.now_ns if age_ns is None else decision.now_ns + age_ns,
        "age_ns": age_ns,
        "life_ns": decision.life_ns,
        "price_ticks": price_ticks,
        "traded_lots": None,
        "size_lots": None,
        "quoted_ticks": None,
        "mid_ticks": decision.mid_ticks,
        "h_ticks": decision.h_ticks,
        **given,
    }
