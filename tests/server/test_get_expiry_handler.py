"""GetExpiry: what is answered, what is refused and with which words, without any transport."""

from pathlib import Path
from typing import Any, cast

import pytest
from google.rpc import error_details_pb2

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.features.schema import NAMES, SCHEMA_HASH
from quotelife.records import (
    HORIZONS_NS,
    BindingFlags,
    DecisionCode,
    ModeCode,
    PostureCode,
    QualityCode,
    ReasonFlags,
    RegimeCode,
    RuleCode,
)
from quotelife_server.handlers import State
from quotelife_server.rpc import Code
from reference.service_kit import GET_EXPIRY, MS, Kit, S, refused


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


def two_way(**fields: Any) -> dict[str, Any]:
    return {"side": types.SIDE_TWO_WAY, **fields}


def size(quantity: str, unit: int = types.SIZE_UNIT_LOTS) -> types.Size:
    return types.Size(quantity=quantity, unit=unit)  # type: ignore[arg-type]


NOW = 1_700_000_020 * S  # where the kit's market stops

INVALID: list[tuple[str, dict[str, Any], str]] = [
    ("no instrument", {"instrument": ""}, "instrument"),
    ("no side", {"side": 0}, "side"),
    ("unknown side", {"side": 9}, "side"),
    ("negative side", {"side": -1}, "side"),
    ("over-long id", {"request_id": "x" * 129}, "request_id"),
    ("control character", {"rfq_id": "a\nb"}, "rfq_id"),
    ("over-long quote id", {"quote_id": "ä" * 129}, "quote_id"),
    ("over-long instrument", {"instrument": "x" * 129}, "instrument"),
    ("over-long counterparty", {"counterparty": "x" * 129}, "counterparty"),
    ("unknown desk", {"desk": "nobody"}, "desk"),
    ("unknown session", {"venue_session": "cme-1"}, "venue_session"),
    ("no dealers", {"dealers_asked": 0}, "dealers_asked"),
    ("too many dealers", {"dealers_asked": 10_001}, "dealers_asked"),
    ("unknown posture", {"overrides": expiry.RequestOverrides(posture=cast(Any, 17))}, "overrides.posture"),
    ("negative size", {"size": size("-1")}, "size.quantity"),
    ("zero size", {"size": size("0")}, "size.quantity"),
    ("size without number", {"size": size("")}, "size.quantity"),
    ("size NaN", {"size": size("NaN")}, "size.quantity"),
    ("size infinite", {"size": size("inf")}, "size.quantity"),
    ("size with exponent", {"size": size("1e3")}, "size.quantity"),
    ("size without unit", {"size": size("1", 0)}, "size.unit"),
    ("unknown unit", {"size": size("1", 12)}, "size.unit"),
    ("size beyond counting", {"size": size("999999999999999999")}, "size.quantity"),
    (
        "contracts of a spot pair",
        {"instrument": "ETH-USDT", "size": size("1", types.SIZE_UNIT_CONTRACTS)},
        "size.unit",
    ),
    (
        "base of a coin future",
        {"instrument": "BTC-USD", "size": size("1", types.SIZE_UNIT_BASE_QUANTITY)},
        "size.unit",
    ),
    ("price NaN", {"price": "nan"}, "price"),
    ("price infinite", {"price": "Infinity"}, "price"),
    ("price zero", {"price": "0.0"}, "price"),
    ("price negative", {"price": "-5"}, "price"),
    ("price empty but given", {"price": ""}, "price"),
    ("price with spaces", {"price": " 1"}, "price"),
    ("price in Arabic digits", {"price": "١٢"}, "price"),
    ("price too long", {"price": "1" * 19}, "price"),
    ("price beyond counting", {"price": "9" * 18}, "price"),
    ("price and edge", {"price": "1", "edge": "1"}, "edge"),
    ("edge NaN", {"edge": "NaN"}, "edge"),
    ("edge beyond counting", {"edge": "-" + "9" * 18}, "edge"),
    ("bid price of a one-sided quote", {"bid_price": "1"}, "bid_price"),
    ("ask price of a one-sided quote", {"ask_price": "1"}, "ask_price"),
    ("one price of a two-way quote", two_way(bid_price="1"), "ask_price"),
    ("other price of a two-way quote", two_way(ask_price="1"), "bid_price"),
    ("plain price of a two-way quote", two_way(price="1"), "price"),
    ("crossed two-way quote", two_way(bid_price="2", ask_price="1"), "bid_price"),
    ("edge beside two prices", two_way(bid_price="1", ask_price="2", edge="1"), "edge"),
    ("reference NaN", {"reference_price": "NaN"}, "reference_price"),
    ("priced long ago", {"priced_at_utc_ns": NOW - 61 * S}, "priced_at_utc_ns"),
    ("priced in the future", {"priced_at_utc_ns": NOW + 1_001 * MS}, "priced_at_utc_ns"),
    ("priced at 0", {"priced_at_utc_ns": 0}, "priced_at_utc_ns"),
    ("priced at the end of time", {"priced_at_utc_ns": 2**63 - 1}, "priced_at_utc_ns"),
    ("priced before time", {"priced_at_utc_ns": -(2**63)}, "priced_at_utc_ns"),
    ("deadline in milliseconds", {"client_deadline_utc_ns": NOW // MS}, "client_deadline_utc_ns"),
    ("deadline in a year", {"client_deadline_utc_ns": NOW + 365 * 86_400 * S}, "client_deadline_utc_ns"),
]


@pytest.mark.parametrize(
    ("fields", "at_fault"), [(f, a) for _, f, a in INVALID], ids=[name for name, _, _ in INVALID]
)
def test_a_wrong_field_is_named(kit: Kit, fields: dict[str, Any], at_fault: str) -> None:
    before = kit.engine.input_sequence
    with refused() as errors:
        kit.get(**fields)
    assert errors[0].code == Code.INVALID_ARGUMENT
    details = errors[0].details[0]
    assert isinstance(details, error_details_pb2.BadRequest)
    assert [violation.field for violation in details.field_violations] == [at_fault]
    assert details.field_violations[0].description
    assert kit.engine.input_sequence == before, "a refused request is no input"


def test_all_wrong_fields_are_named_at_once(kit: Kit) -> None:
    with refused() as errors:
        kit.get(side=7, price="x", size=size("-1"), desk="nobody")
    details = errors[0].details[0]
    assert isinstance(details, error_details_pb2.BadRequest)
    assert {v.field for v in details.field_violations} == {"side", "price", "size.quantity", "desk"}


def test_an_unknown_instrument_is_not_found(kit: Kit) -> None:
    with refused() as errors:
        kit.get(instrument="NO-SUCH")
    assert errors[0].code == Code.NOT_FOUND
    assert errors[0].message == "instrument: 'NO-SUCH' is not configured"


@pytest.mark.parametrize("name", ["nobody", "x" * 100])
@pytest.mark.parametrize("field", ["desk", "venue_session"])
def test_a_name_that_is_not_configured_is_repeated(kit: Kit, field: str, name: str) -> None:
    """As that of an instrument is: of many names in an OMS it says which."""
    with refused() as errors:
        kit.get(**{field: name})
    assert errors[0].message.startswith(f"{field}: '{name}' is not ")


def test_a_name_that_cannot_be_one_is_repeated_in_part_and_on_one_line(kit: Kit) -> None:
    with refused() as errors:
        kit.get(desk="a\n" + "x" * 500)
    assert "\n" not in errors[0].message and len(errors[0].message) < 400


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("a\nb", r"'a\nb'"),
        ("it's", '"it\'s"'),
        ("größe", "'größe'"),
        ("x" * 128, "'" + "x" * 128 + "'"),
        ("x" * 129, "'" + "x" * 128 + "…"),
        ("\n" * 100, "'" + r"\n" * 64 + "…"),
    ],
    ids=["two lines", "apostrophe", "letters", "longest", "too long", "too long when escaped"],
)
def test_a_name_is_quoted_once(kit: Kit, name: str, quoted: str) -> None:
    """And no longer than a name can be."""
    with refused() as errors:
        kit.get(desk=name)
    said = {each.description for each in errors[0].details[0].field_violations}  # type: ignore[attr-defined]
    assert f"{quoted} is not configured; leave it out for the defaults" in said


@pytest.mark.parametrize("payload", [b"\xff", b"\x0a\xff", b"\x32\x05ab", b"\x0a\x02\xc3\x28", b"\x08" * 50])
def test_bytes_that_are_no_message_are_invalid(kit: Kit, payload: bytes) -> None:
    with refused() as errors:
        kit.call(GET_EXPIRY, payload)
    assert errors[0].code == Code.INVALID_ARGUMENT


def test_an_unknown_counterparty_gets_the_default_posture(kit: Kit) -> None:
    assert kit.get(counterparty="stranger").posture_requested == types.POSTURE_LIQUIDITY_PROVIDER
    assert kit.get(counterparty="alpha").posture_requested == types.POSTURE_CLIENT_PRIORITY


def test_without_a_good_book_the_answer_is_decline_with_a_reason(tmp_path: Path) -> None:
    reply = Kit(tmp_path, warm=False).get()
    assert reply.decision == types.DECISION_DECLINE
    assert reply.life_ns == 0
    assert not reply.HasField("expiry_utc_ns")
    assert not reply.HasField("data_age_ns")
    assert not reply.HasField("p_ref") and not reply.HasField("h_ticks") and not reply.HasField("curve")
    assert reply.quality == types.QUALITY_WARMING
    assert types.REASON_DATA_NOT_GOOD in reply.reasons


def test_a_quote_is_answered_in_full(kit: Kit) -> None:
    reply = kit.get(counterparty="alpha", price="62999.9", request_id="r-1", desk="main")
    assert reply.decision == types.DECISION_QUOTE
    assert reply.request_id == "r-1"
    assert reply.decision_id == f"b00t-{kit.engine.input_sequence}"
    assert 250 * MS <= reply.life_ns <= 5000 * MS
    assert reply.expiry_utc_ns == reply.counted_from_utc_ns + reply.life_ns
    assert reply.decided_at_utc_ns == NOW
    assert reply.clock == expiry.CLOCK_SERVICE_UTC
    assert tuple(reply.curve.horizon_ns) == HORIZONS_NS
    assert list(reply.curve.p) == sorted(reply.curve.p)
    assert reply.p_ref == reply.curve.p[HORIZONS_NS.index(500 * MS)]
    assert reply.h_ticks >= 1
    assert reply.h_price == pytest.approx(reply.h_ticks * 0.1)
    assert reply.edge_ticks == pytest.approx(reply.reference_ticks - 629_999)
    assert reply.regime == types.REGIME_NORMAL and reply.quality == types.QUALITY_GOOD
    assert reply.schema_hash == SCHEMA_HASH and reply.model_digest == kit.engine.model.digest
    assert reply.config_revision == kit.engine.config_revision
    assert reply.compute_ns > 0 and reply.unjournaled
    assert not reply.features and not reply.sides


def test_features_come_on_request_with_names_units_and_validity(kit: Kit) -> None:
    features = kit.get(include_features=True).features
    assert [feature.name for feature in features] == list(NAMES)
    by_name = {feature.name: feature for feature in features}
    assert by_name["spread_ticks"].value == 2.0 and by_name["spread_ticks"].unit == "ticks"
    assert not by_name["news_score"].HasField("value")


def test_two_way_gives_both_lives_and_their_minimum(kit: Kit) -> None:
    reply = kit.get(**two_way(bid_price="62990", ask_price="63000.4", counterparty="alpha"))
    buy, sell = reply.sides
    assert (buy.side, sell.side) == (types.SIDE_BUY, types.SIDE_SELL)
    assert buy.life_ns != sell.life_ns
    assert reply.life_ns == min(buy.life_ns, sell.life_ns)
    binding = min(reply.sides, key=lambda each: each.life_ns)
    assert reply.decision_id == binding.decision_id and reply.expiry_utc_ns == binding.expiry_utc_ns
    assert buy.decision_id != sell.decision_id
    assert buy.edge_ticks == pytest.approx(reply.reference_ticks - 629_900)
    assert sell.edge_ticks == pytest.approx(630_004 - reply.reference_ticks)


def test_two_way_follows_the_side_that_declines(kit: Kit) -> None:
    past = NOW - 4 * S  # a life of the far side reaches beyond it, that of the near side does not
    reply = kit.get(
        **two_way(bid_price="62500", ask_price="63000.1", priced_at_utc_ns=past, counterparty="alpha")
    )
    buy, sell = reply.sides
    assert buy.decision == types.DECISION_QUOTE
    assert sell.decision == types.DECISION_DECLINE
    assert reply.decision == types.DECISION_DECLINE and reply.life_ns == 0


def test_given_zero_differs_from_not_given(kit: Kit) -> None:
    assert kit.get(edge="0").edge_ticks == 0.0
    assert kit.get(edge="0", reference_price="63000").reference_ticks == 630_000


def test_an_edge_widens_the_threshold(kit: Kit) -> None:
    assert kit.get(edge="5").h_ticks == 50.0


def test_the_client_deadline_bounds_the_life(kit: Kit) -> None:
    reply = kit.get(counterparty="alpha", edge="5", client_deadline_utc_ns=NOW + 400 * MS)
    assert reply.expiry_utc_ns <= NOW + 400 * MS
    assert types.CONSTRAINT_CLIENT_DEADLINE in reply.binding
    assert types.REASON_DEADLINE_TOO_CLOSE in kit.get(client_deadline_utc_ns=NOW - MS).reasons


def test_a_posture_may_be_asked_for_only_where_the_desk_allows(kit: Kit) -> None:
    asked = expiry.RequestOverrides(posture=types.POSTURE_RISK_AVERSE)
    allowed = kit.get(desk="main", counterparty="alpha", overrides=asked)
    assert allowed.rule == types.RULE_REQUEST_OVERRIDE
    assert allowed.posture_effective == types.POSTURE_RISK_AVERSE
    refused_ = kit.get(desk="plain", counterparty="alpha", overrides=asked)
    assert refused_.posture_requested == types.POSTURE_CLIENT_PRIORITY
    assert types.REASON_OVERRIDE_REFUSED in refused_.reasons


@pytest.mark.parametrize(
    ("instrument", "quantity", "unit", "more", "lots"),
    [
        ("BTC-USDT", "12", types.SIZE_UNIT_LOTS, {}, 12.0),
        ("BTC-USDT", "1.5", types.SIZE_UNIT_BASE_QUANTITY, {}, 1500.0),
        ("BTC-USDT", "1.5", types.SIZE_UNIT_CONTRACTS, {}, 1500.0),
        ("BTC-USDT", "63000", types.SIZE_UNIT_NOTIONAL, {"price": "63000"}, 1000.0),
        ("BTC-USDT", "126000", types.SIZE_UNIT_NOTIONAL, {"reference_price": "63000"}, 2000.0),
        ("BTC-USD", "7", types.SIZE_UNIT_CONTRACTS, {}, 7.0),
        ("ETH-USDT", "0.0005", types.SIZE_UNIT_BASE_QUANTITY, {}, 0.5),
    ],
)
def test_sizes_in_any_unit_come_to_lots(
    kit: Kit, instrument: str, quantity: str, unit: int, more: dict[str, Any], lots: float
) -> None:
    fields = {"instrument": instrument, "include_features": True, **more}
    got = {f.name: f.value for f in kit.get(size=size(quantity, unit), **fields).features}["size_to_depth"]
    one = {f.name: f.value for f in kit.get(size=size("1"), **fields).features}["size_to_depth"]
    assert got / one == pytest.approx(lots, rel=1e-9)


def test_a_notional_without_a_price_is_taken_at_the_markets_mid(kit: Kit, tmp_path: Path) -> None:
    notional = size("1000000", types.SIZE_UNIT_NOTIONAL)
    features = {f.name: f for f in kit.get(size=notional, include_features=True).features}
    assert features["size_to_depth"].HasField("value")
    cold = tmp_path / "cold"
    cold.mkdir()
    with refused() as errors:
        Kit(cold, warm=False).get(size=notional)
    assert errors[0].code == Code.INVALID_ARGUMENT and "size.unit" in errors[0].message


def test_the_same_id_and_content_gets_the_stored_reply(kit: Kit) -> None:
    payload = kit.payload(request_id="once", priced_at_utc_ns=NOW)
    first = kit.call(GET_EXPIRY, payload)
    sequence = kit.engine.input_sequence
    kit.clock.advance_ns(3600 * S)  # its priced_at would be refused by now
    assert kit.call(GET_EXPIRY, payload) == first
    assert kit.engine.input_sequence == sequence


def test_the_same_content_in_another_order_of_bytes_is_the_same(kit: Kit) -> None:
    one, two = kit.payload(request_id="once"), kit.payload(counterparty="alpha")[len(kit.payload()) :]
    merged = kit.payload(request_id="once", counterparty="alpha")
    reordered = two + one
    assert merged != reordered
    assert kit.call(GET_EXPIRY, merged) == kit.call(GET_EXPIRY, reordered)


def test_the_same_id_with_other_content_is_refused(kit: Kit) -> None:
    kit.get(request_id="once")
    with refused() as errors:
        kit.get(request_id="once", counterparty="alpha")
    assert errors[0].code == Code.INVALID_ARGUMENT
    assert "request_id" in errors[0].message


def test_a_refused_request_keeps_no_reply(kit: Kit) -> None:
    with refused():
        kit.get(request_id="once", price="-1")
    assert kit.get(request_id="once", price="62999.9").decision == types.DECISION_QUOTE


@pytest.mark.parametrize("state", [State.STARTING, State.DRAINING])
def test_starting_and_draining_are_unavailable(kit: Kit, state: State) -> None:
    kit.service.set_state(state)
    with refused() as errors:
        kit.get()
    assert errors[0].code == Code.UNAVAILABLE


def test_beyond_the_limit_calls_are_refused_with_advice(tmp_path: Path) -> None:
    kit = Kit(tmp_path, in_flight_max=2)
    entry = kit.service.methods[GET_EXPIRY]
    kit.service.admit(entry)  # type: ignore[arg-type]
    kit.service.admit(entry)  # type: ignore[arg-type]
    with refused() as errors:
        kit.get()
    assert errors[0].code == Code.RESOURCE_EXHAUSTED
    details = errors[0].details[0]
    assert isinstance(details, error_details_pb2.RetryInfo)
    assert details.retry_delay.ToNanoseconds() == 20 * MS
    kit.service.release(entry)  # type: ignore[arg-type]
    assert kit.get().decision == types.DECISION_QUOTE


def test_a_passed_deadline_stops_the_work(kit: Kit) -> None:
    sequence = kit.engine.input_sequence
    with refused() as errors:
        kit.call(GET_EXPIRY, kit.payload(), deadline_ns=NOW - 1)
    assert errors[0].code == Code.DEADLINE_EXCEEDED
    assert kit.engine.input_sequence == sequence


def test_an_unexpected_error_leaves_only_an_opaque_id(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("secret /etc/path")

    monkeypatch.setattr("quotelife_server.convert.expiry_reply", broken)
    with refused() as errors:
        kit.get(include_features=True)
    assert errors[0].code == Code.INTERNAL
    assert "secret" not in errors[0].message and "/etc" not in errors[0].message
    assert kit.service.metrics.internal_errors == 1


def test_an_unsynchronised_clock_forbids_absolute_instants(kit: Kit) -> None:
    kit.service.synchronised = False
    reply = kit.get(**two_way())
    assert reply.clock == expiry.CLOCK_UNSYNCHRONISED
    assert reply.life_ns > 0 and not reply.HasField("expiry_utc_ns")
    assert not any(side.HasField("expiry_utc_ns") for side in reply.sides)
    kit.service.synchronised = True
    assert kit.get().HasField("expiry_utc_ns")


@pytest.mark.parametrize(
    ("core", "wire", "prefix", "offset"),
    [
        (DecisionCode, types.Decision, "DECISION_", 0),
        (PostureCode, types.Posture, "POSTURE_", 0),
        (RegimeCode, types.Regime, "REGIME_", 1),
        (QualityCode, types.Quality, "QUALITY_", 1),
        (RuleCode, types.Rule, "RULE_", 0),
        (ModeCode, types.Mode, "MODE_", 0),
    ],
)
def test_numbers_of_the_core_mean_the_same_on_the_wire(
    core: Any, wire: Any, prefix: str, offset: int
) -> None:
    for code in core:
        if code.name != "NONE":
            assert wire.Name(code.value + offset) == prefix + code.name


def test_bits_of_the_core_mean_the_same_on_the_wire() -> None:
    """By the same names, which are also those of an export and an explanation, with nothing left out."""
    for core, wire, prefix in (
        (ReasonFlags, types.Reason, "REASON_"),
        (BindingFlags, types.Constraint, "CONSTRAINT_"),
    ):
        named = {prefix + (flag.name or ""): flag.value.bit_length() for flag in core}
        assert named == {name: number for name, number in wire.items() if number}


def test_bytes_that_are_no_message_are_said_to_be_none(kit: Kit) -> None:
    with refused() as errors:
        kit.call(GET_EXPIRY, b"\xff")
    assert errors[0].message == "the bytes are not a quote_expiry.v1.GetExpiryRequest"
