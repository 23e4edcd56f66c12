"""GetExpiry with legs: what is answered of a package, and which fields are named when they are wrong."""

from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife_server.rpc import Code
from reference.service_kit import Kit, refused

BUY, SELL = types.SIDE_BUY, types.SIDE_SELL


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


def leg(instrument: str, side: int = BUY, ratio: str = "1", **greeks: Any) -> expiry.Leg:
    message = expiry.Leg(instrument=instrument, side=side, ratio=ratio)  # type: ignore[arg-type]
    if greeks:
        message.greeks.MergeFrom(expiry.Greeks(**greeks))
    return message


def get(kit: Kit, *legs: expiry.Leg, **fields: Any) -> expiry.GetExpiryResponse:
    return kit.get(**{"instrument": "", "legs": legs, **fields})


def test_a_package_of_one_leg_is_answered_as_its_instrument(kit: Kit) -> None:
    single = kit.get(edge="1")
    package = get(kit, leg("BTC-USDT"), edge="1")
    assert package.package.route == expiry.PACKAGE_ROUTE_UNSPECIFIED
    assert [each.instrument for each in package.package.legs] == ["BTC-USDT"]
    assert package.package.h_price == single.h_price
    for reply in (single, package):
        reply.ClearField("compute_ns")
        reply.ClearField("decision_id")
        reply.ClearField("package")
    assert package == single


def test_by_curves_each_leg_says_what_it_adds(kit: Kit) -> None:
    reply = get(kit, leg("BTC-USDT"), leg("ETH-USDT", SELL, "2.5"), counterparty="alpha")
    package = reply.package
    assert reply.decision == types.DECISION_QUOTE
    assert package.route == expiry.PACKAGE_ROUTE_FRECHET
    parts = [each.p_ref for each in package.legs]
    assert reply.p_ref == pytest.approx(min(1.0, sum(parts)))
    assert package.p_lower == max(parts)
    assert sum(each.contribution for each in package.legs) == pytest.approx(1.0)
    assert reply.h_price == pytest.approx(package.legs[0].h_price + 2.5 * package.legs[1].h_price)
    assert package.h_price == reply.h_price
    assert [each.side for each in package.legs] == [BUY, SELL]
    assert all(each.quality == types.QUALITY_GOOD for each in package.legs)
    ids = [each.decision_id for each in package.legs] + [reply.decision_id]
    assert ids == [f"b00t-{kit.engine.input_sequence - 2 + k}" for k in range(3)]


def test_by_greeks_the_underlying_answers(kit: Kit) -> None:
    legs = [
        leg("ETH-USDT", BUY, delta=0.5, gamma=0.0, vega=1.0, underlying="BTC-USDT"),
        leg("BTC-USD", SELL, delta=0.3, vega=0.5, underlying="BTC-USDT"),
    ]
    reply = get(kit, *legs, side=SELL, size=types.Size(quantity="1000", unit=types.SIZE_UNIT_CONTRACTS))
    package = reply.package
    assert (package.route, package.underlying) == (expiry.PACKAGE_ROUTE_UNDERLYING, "BTC-USDT")
    assert package.net_delta == pytest.approx(-0.2)
    assert [each.contribution for each in package.legs] == pytest.approx([-0.5, 0.3])
    assert [each.side for each in package.legs] == [SELL, BUY]
    assert package.h_price == pytest.approx(0.2 * reply.h_price)
    assert package.legs[0].greeks.vega == pytest.approx(1.0)
    assert package.residual_p_ref <= package.p_lower <= reply.p_ref


def test_two_way_gives_both_sides_and_the_binding_one(kit: Kit) -> None:
    reply = get(kit, leg("BTC-USDT"), leg("ETH-USDT", SELL), side=types.SIDE_TWO_WAY, counterparty="alpha")
    assert [side.side for side in reply.sides] == [BUY, SELL]
    assert reply.life_ns == min(side.life_ns for side in reply.sides)
    assert [[each.side for each in side.package.legs] for side in reply.sides] == [[BUY, SELL], [SELL, BUY]]
    assert reply.decision_id in [side.decision_id for side in reply.sides]


def test_a_package_may_be_worth_less_than_nothing(kit: Kit) -> None:
    reply = get(kit, leg("BTC-USDT", SELL), leg("ETH-USDT"), price="-1.5")
    assert reply.HasField("package")


def test_explanations_name_every_leg_and_the_package(kit: Kit) -> None:
    reply = get(kit, leg("BTC-USDT"), leg("ETH-USDT", SELL), explain=True, counterparty="alpha")
    assert len(reply.explanations) == 3
    assert all(each.verified for each in reply.explanations)
    assert reply.explanations[0].summary.startswith("Leg of a package, 1 BTC-USDT bought")
    assert reply.explanations[2].summary.startswith("Package by the curves of its legs")
    assert not reply.explanations[0].constraints
    assert reply.explanations[2].constraints


INVALID: list[tuple[str, list[expiry.Leg], dict[str, Any], str]] = [
    ("beside an instrument", [leg("BTC-USDT")], {"instrument": "BTC-USDT"}, "instrument"),
    ("too many", [leg("BTC-USDT")] * 17, {}, "legs"),
    ("no name", [leg("BTC-USDT"), leg("")], {}, "legs[1].instrument"),
    ("no side", [leg("BTC-USDT", 0)], {}, "legs[0].side"),
    ("both sides", [leg("BTC-USDT", types.SIDE_TWO_WAY)], {}, "legs[0].side"),
    ("no ratio", [leg("BTC-USDT", ratio="")], {}, "legs[0].ratio"),
    ("negative ratio", [leg("BTC-USDT", ratio="-1")], {}, "legs[0].ratio"),
    ("ratio beyond counting", [leg("BTC-USDT", ratio="1000000000000")], {}, "legs[0].ratio"),
    ("gamma alone", [leg("BTC-USDT", gamma=1.0, underlying="BTC-USDT")], {}, "legs[0].greeks.delta"),
    (
        "delta NaN",
        [leg("BTC-USDT", delta=float("nan"), underlying="BTC-USDT")],
        {},
        "legs[0].greeks.delta",
    ),
    ("no underlying", [leg("BTC-USDT", delta=0.5)], {}, "legs[0].greeks.underlying"),
    (
        "unknown underlying",
        [leg("BTC-USDT", delta=0.5, underlying="DOGE")],
        {},
        "legs[0].greeks.underlying",
    ),
    (
        "base quantity",
        [leg("BTC-USDT")],
        {"size": types.Size(quantity="1", unit=types.SIZE_UNIT_BASE_QUANTITY)},
        "size.unit",
    ),
]


@pytest.mark.parametrize(
    ("legs", "fields", "at_fault"), [each[1:] for each in INVALID], ids=[e[0] for e in INVALID]
)
def test_a_wrong_leg_is_named(
    kit: Kit, legs: list[expiry.Leg], fields: dict[str, Any], at_fault: str
) -> None:
    before = kit.engine.input_sequence
    with refused() as errors:
        get(kit, *legs, **fields)
    assert errors[0].code == Code.INVALID_ARGUMENT
    details = errors[0].details[0]
    assert isinstance(details, error_details_pb2.BadRequest)
    assert [violation.field for violation in details.field_violations] == [at_fault]
    assert kit.engine.input_sequence == before


def test_a_leg_of_an_unknown_instrument_is_not_found(kit: Kit) -> None:
    with refused() as errors:
        get(kit, leg("BTC-USDT"), leg("DOGE"))
    assert errors[0].code == Code.NOT_FOUND
