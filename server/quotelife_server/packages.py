"""Packages between protobuf and the engine: the legs of a request, and what a reply says of them.

``convert`` has what packages share with single quotes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.engine import Engine
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.model.curve import first_passage
from quotelife.records import DecisionRecord, RequestFlags, RequestRecord
from quotelife_server.faults import COUNT_MAX, GREEK_MAX, POINTS_PER_UNIT, Faults, find_instrument

RATIO_MAX = 1e9
_P500 = 5  # on the horizon grid


@dataclass(frozen=True, slots=True)
class Leg:
    """One leg as asked; ``side`` +1 where the desk buys it when it buys the package."""

    instrument: Instrument
    side: int
    ratio: float
    greeks: dict[str, Any]  # arguments of a RequestRecord; empty: none were given


def check_legs(request: expiry.GetExpiryRequest, engine: Engine, faults: Faults) -> None:
    """Note every fault of the legs that needs no instrument."""
    most = engine.config.packages.legs_max
    if len(request.legs) > most:
        faults.add("legs", f"must be at most {most} (packages.legs_max)")
        return
    if request.instrument:
        faults.add("instrument", "stands beside legs; give one of the two")
    if request.HasField("size") and request.size.unit not in (
        types.SIZE_UNIT_LOTS,
        types.SIZE_UNIT_CONTRACTS,
    ):
        faults.add("size.unit", "of a package must be LOTS or CONTRACTS: both count packages")
    for place, leg in enumerate(request.legs):
        at = f"legs[{place}]"
        faults.text(f"{at}.instrument", leg.instrument, required=True)
        if leg.side not in (types.SIDE_BUY, types.SIDE_SELL):
            faults.add(
                f"{at}.side", "must be SIDE_BUY or SIDE_SELL: which way the leg goes in a bought package"
            )
        ratio = faults.above_zero(f"{at}.ratio", leg.ratio)
        if ratio is not None and ratio > RATIO_MAX:
            faults.add(f"{at}.ratio", f"must be at most {RATIO_MAX:g}")
        if leg.HasField("greeks"):
            _check_greeks(f"{at}.greeks", leg.greeks, faults)


def _check_greeks(at: str, greeks: expiry.Greeks, faults: Faults) -> None:
    faults.text(f"{at}.underlying", greeks.underlying)
    if not greeks.HasField("delta"):
        faults.add(f"{at}.delta", "is required in greeks; leave greeks out where they are not known")
    for name in ("delta", "gamma", "vega", "theta_per_day"):
        if greeks.HasField(cast(Any, name)):
            faults.finite(f"{at}.{name}", getattr(greeks, name), -GREEK_MAX, GREEK_MAX)


def legs_of(request: expiry.GetExpiryRequest, engine: Engine, faults: Faults) -> list[Leg]:
    """Raises ``RpcError`` NOT_FOUND on an instrument that is not configured; other faults are noted."""
    legs = []
    for place, leg in enumerate(request.legs):
        instrument = find_instrument(engine, leg.instrument)
        greeks: dict[str, Any] = {}
        if leg.HasField("greeks"):
            at = f"legs[{place}].greeks.underlying"
            configured = engine.config.instruments[instrument.index].underlying
            name = leg.greeks.underlying or configured
            underlying = engine.instruments.get(name) if name else None
            if underlying is None:
                faults.add(
                    at,
                    "is not a configured instrument"
                    if name
                    else "is required: the configuration names none for this instrument",
                )
                continue
            greeks = {
                "delta": leg.greeks.delta,
                "gamma": leg.greeks.gamma,
                "vega": leg.greeks.vega / POINTS_PER_UNIT,
                "underlying": underlying.index,
            }
        legs.append(Leg(instrument, 1 if leg.side == types.SIDE_BUY else -1, float(leg.ratio), greeks))
    return legs


def leg_records(
    legs: Sequence[Leg],
    package_side: int,
    *,
    price: Decimal | None,
    edge: Decimal | None,
    reference: Decimal | None,
    packages: Decimal | None,
    **common: Any,
) -> list[RequestRecord]:
    """The legs as the engine takes them, of a package that the desk buys (+1) or sells (−1)."""
    records = []
    for leg in legs:
        lots = None
        if packages is not None:
            lots = min(float(packages) * leg.ratio / float(leg.instrument.lot_size), COUNT_MAX)
        records.append(
            RequestRecord(
                leg.instrument.index,
                package_side * leg.side,
                ratio=leg.ratio,
                package_side=package_side,
                package_price=None if price is None else float(price),
                package_edge=None if edge is None else float(edge),
                package_reference=None if reference is None else float(reference),
                size_lots=lots,
                **leg.greeks,
                **common,
            )
        )
    return records


@dataclass(frozen=True, slots=True)
class DecidedPackage:
    """One side of a package: what was decided, legs first; one request and decision where it has one leg.

    ``ratios``: of its legs."""

    requests: Sequence[RequestRecord]
    decisions: Sequence[DecisionRecord]
    ratios: Sequence[float]

    @property
    def by_legs(self) -> bool:
        """By the curves of its legs, or its only leg."""
        return not self.requests[-1].flags & (RequestFlags.ON_UNDERLYING | RequestFlags.RESIDUAL)


def price_of(decided: DecidedPackage, ticks: float, instruments: InstrumentTable) -> float:
    """What an amount in ticks of the package's decision is worth in price units of one package."""
    request, decision = decided.requests[-1], decided.decisions[-1]
    price = ticks * float(instruments[decision.instrument].tick_size)
    if request.flags & RequestFlags.ON_UNDERLYING:
        bent = request.gamma if price > 0 else 0.0
        return request.delta * price + bent * price * price / 2
    return price * (decided.ratios[0] if len(decided.requests) == 1 else 1.0)


def package_message(
    decided: DecidedPackage, instruments: InstrumentTable, ids: Sequence[str]
) -> expiry.PackageExpiry:
    """``ids``: of the decisions."""
    *_, whole = decided.decisions
    request = decided.requests[-1]
    greeks = request.flags & (RequestFlags.ON_UNDERLYING | RequestFlags.RESIDUAL)
    single = len(decided.requests) == 1
    message = expiry.PackageExpiry()
    if not single:
        message.route = expiry.PACKAGE_ROUTE_FRECHET
    if greeks:
        neutral = request.flags & RequestFlags.RESIDUAL
        message.route = expiry.PACKAGE_ROUTE_RESIDUAL if neutral else expiry.PACKAGE_ROUTE_UNDERLYING
        message.underlying = instruments[whole.instrument].name
        message.net_delta = whole.side * request.delta
    if whole.h_ticks > 0:
        message.h_price = price_of(decided, whole.h_ticks, instruments)
    legs = list(zip(decided.requests, decided.decisions, ids, strict=True))[: len(decided.ratios)]
    total = sum(decision.p_ref for _, decision, _ in legs)
    for leg, decision, id_ in legs:
        each = message.legs.add(
            instrument=instruments[leg.instrument].name,
            side=types.SIDE_BUY if leg.side > 0 else types.SIDE_SELL,
            decision_id=id_,
            quality=(decision.quality if single else leg.own_quality) + 1,
            regime=(decision.regime if single else leg.own_regime) + 1,
            reasons=[bit + 1 for bit in range(decision.reasons.bit_length()) if decision.reasons >> bit & 1],
        )
        if greeks:
            each.contribution = leg.side * leg.ratio * leg.delta
            each.greeks.delta = leg.delta
            each.greeks.gamma = leg.gamma
            each.greeks.vega = leg.vega * POINTS_PER_UNIT
            each.greeks.underlying = message.underlying
        elif decision.h_ticks > 0:
            each.p_ref = decision.p_ref
            each.contribution = decision.p_ref / total if total > 0 else 0.0
            each.h_price = decision.h_ticks * float(instruments[leg.instrument].tick_size)
    if whole.h_ticks > 0:
        residual = _residual(decided)
        if single or greeks & RequestFlags.RESIDUAL:
            message.p_lower = whole.p_ref
        elif greeks:
            message.p_lower = max(residual, whole.p_ref - residual)
        else:
            message.p_lower = max(decision.p_ref for _, decision, _ in legs)
        if greeks:
            message.residual_p_ref = residual
    return message


def _residual(decided: DecidedPackage) -> float:
    """P(500 ms) of what the underlying does not explain."""
    request, whole = decided.requests[-1], decided.decisions[-1]
    if request.flags & RequestFlags.RESIDUAL:
        return whole.p_ref
    if not request.residual_ticks > 0:
        return 0.0
    return float(first_passage(whole.h_ticks - whole.moved_ticks, request.residual_ticks)[_P500])
