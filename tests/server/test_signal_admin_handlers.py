"""SignalService and AdminService without a transport."""

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2

from quote_expiry.v1 import admin_service_pb2 as admin
from quote_expiry.v1 import signal_service_pb2 as signals
from quote_expiry.v1 import types_pb2 as types
from quotelife_server import convert
from quotelife_server.handlers import FILES, State
from quotelife_server.recent import RecentQuotes
from quotelife_server.reply_store import ENTRY_BYTES, ReplyStore
from quotelife_server.rpc import Code, Stream, Unary
from reference.service_kit import Kit, S, refused

NEWS = "/quote_expiry.v1.SignalService/PublishNews"
INDEX = "/quote_expiry.v1.SignalService/PublishVolatilityIndex"
INVENTORY = "/quote_expiry.v1.SignalService/PublishInventory"
ADMIN = "/quote_expiry.v1.AdminService/"
NAN, INF = float("nan"), float("inf")
LOTS = types.SIZE_UNIT_LOTS


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


def test_strong_news_turns_the_next_answer_to_risk_averse(kit: Kit) -> None:
    assert kit.get(counterparty="alpha").regime == types.REGIME_NORMAL
    reply = signals.PublishNewsResponse.FromString(
        kit.call(NEWS, signals.PublishNewsRequest(score=-1.0, source="wire").SerializeToString())
    )
    assert reply.receipt.input_sequence == kit.engine.input_sequence
    assert reply.receipt.applied_at_utc_ns == kit.clock.now_ns()
    after = kit.get(counterparty="alpha")
    assert after.regime == types.REGIME_STRESS
    assert after.posture_requested == types.POSTURE_CLIENT_PRIORITY
    assert after.posture_effective == types.POSTURE_RISK_AVERSE
    assert {types.REASON_NEWS, types.REASON_DOWNGRADED} <= set(after.reasons)


def test_news_for_one_instrument_leaves_the_others_alone(kit: Kit) -> None:
    kit.call(NEWS, signals.PublishNewsRequest(score=1.0, instrument="ETH-USDT").SerializeToString())
    assert kit.get(instrument="ETH-USDT").regime == types.REGIME_STRESS
    assert kit.get(instrument="BTC-USD").regime == types.REGIME_NORMAL


def test_a_volatility_index_reaches_the_features(kit: Kit) -> None:
    kit.call(INDEX, signals.PublishVolatilityIndexRequest(index="DVOL", level=61.5).SerializeToString())
    features = {f.name: f for f in kit.get(include_features=True).features}
    assert features["volatility_index"].value == 61.5


def test_inventory_reaches_the_features_signed_by_the_side(kit: Kit) -> None:
    request = signals.PublishInventoryRequest(
        instrument="BTC-USDT", position="-2.5", limit="10", unit=types.SIZE_UNIT_BASE_QUANTITY
    )
    kit.call(INVENTORY, request.SerializeToString())
    buy = {f.name: f for f in kit.get(include_features=True).features}
    sell = {f.name: f for f in kit.get(include_features=True, side=types.SIDE_SELL).features}
    assert buy["inventory"].value == pytest.approx(-0.25)
    assert sell["inventory"].value == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("method", "request_", "at_fault"),
    [
        (NEWS, signals.PublishNewsRequest(), "score"),
        (NEWS, signals.PublishNewsRequest(score=NAN), "score"),
        (NEWS, signals.PublishNewsRequest(score=INF), "score"),
        (NEWS, signals.PublishNewsRequest(score=1.01), "score"),
        (NEWS, signals.PublishNewsRequest(score=0.5, source="x" * 200), "source"),
        (NEWS, signals.PublishNewsRequest(score=0.5, published_at_utc_ns=0), "published_at_utc_ns"),
        (NEWS, signals.PublishNewsRequest(score=0.5, published_at_utc_ns=2**62), "published_at_utc_ns"),
        (INDEX, signals.PublishVolatilityIndexRequest(level=1), "index"),
        (INDEX, signals.PublishVolatilityIndexRequest(index="VIX", level=1), "index"),
        (INDEX, signals.PublishVolatilityIndexRequest(index="DVOL"), "level"),
        (INDEX, signals.PublishVolatilityIndexRequest(index="DVOL", level=-1), "level"),
        (INDEX, signals.PublishVolatilityIndexRequest(index="DVOL", level=NAN), "level"),
        (INVENTORY, signals.PublishInventoryRequest(position="1", limit="1", unit=LOTS), "instrument"),
        (INVENTORY, signals.PublishInventoryRequest(instrument="BTC-USDT", limit="1", unit=LOTS), "position"),
        (
            INVENTORY,
            signals.PublishInventoryRequest(instrument="BTC-USDT", position="1", limit="0", unit=LOTS),
            "limit",
        ),
        (INVENTORY, signals.PublishInventoryRequest(instrument="BTC-USDT", position="1", limit="1"), "unit"),
        (
            INVENTORY,
            signals.PublishInventoryRequest(
                instrument="BTC-USDT", position="1", limit="1", unit=LOTS, desk="x"
            ),
            "desk",
        ),
        (ADMIN + "SetOverride", admin.SetOverrideRequest(ttl_ns=1), "posture"),
        (ADMIN + "SetOverride", admin.SetOverrideRequest(posture=types.POSTURE_RISK_AVERSE), "ttl_ns"),
        (
            ADMIN + "SetOverride",
            admin.SetOverrideRequest(posture=types.POSTURE_RISK_AVERSE, ttl_ns=-1),
            "ttl_ns",
        ),
        (
            ADMIN + "SetOverride",
            admin.SetOverrideRequest(posture=types.POSTURE_RISK_AVERSE, ttl_ns=1, counterparty="stranger"),
            "counterparty",
        ),
        (ADMIN + "ClearOverride", admin.ClearOverrideRequest(), "override_id"),
    ],
)
def test_a_wrong_field_is_named(kit: Kit, method: str, request_: Any, at_fault: str) -> None:
    sequence = kit.engine.input_sequence
    with refused() as errors:
        kit.call(method, request_.SerializeToString())
    assert errors[0].code == Code.INVALID_ARGUMENT
    details = errors[0].details[0]
    assert isinstance(details, error_details_pb2.BadRequest)
    assert [violation.field for violation in details.field_violations] == [at_fault]
    assert kit.engine.input_sequence == sequence


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        (INDEX, signals.PublishVolatilityIndexRequest(index="nobody", level=1)),
        (
            INVENTORY,
            signals.PublishInventoryRequest(
                instrument="BTC-USDT", position="1", limit="1", unit=LOTS, desk="nobody"
            ),
        ),
        (
            ADMIN + "SetOverride",
            admin.SetOverrideRequest(
                posture=types.POSTURE_RISK_AVERSE, ttl_ns=1, counterparty="nobody", desk="nobody"
            ),
        ),
    ],
)
def test_a_name_that_is_not_configured_is_repeated(kit: Kit, method: str, request_: Any) -> None:
    with refused() as errors:
        kit.call(method, request_.SerializeToString())
    details = errors[0].details[0]
    assert isinstance(details, error_details_pb2.BadRequest)
    assert all("'nobody' is not " in each.description for each in details.field_violations)


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        (NEWS, signals.PublishNewsRequest(score=0.1, instrument="NONE")),
        (INVENTORY, signals.PublishInventoryRequest(instrument="NONE", position="1", limit="1", unit=LOTS)),
        (
            ADMIN + "SetOverride",
            admin.SetOverrideRequest(posture=types.POSTURE_RISK_AVERSE, ttl_ns=1, instrument="NONE"),
        ),
    ],
)
def test_an_unknown_instrument_is_not_found(kit: Kit, method: str, request_: Any) -> None:
    with refused() as errors:
        kit.call(method, request_.SerializeToString())
    assert errors[0].code == Code.NOT_FOUND


def test_an_override_holds_for_its_time_and_is_listed(kit: Kit) -> None:
    request = admin.SetOverrideRequest(
        posture=types.POSTURE_RISK_AVERSE,
        ttl_ns=2 * S,
        counterparty="alpha",
        instrument="BTC-USDT",
        desk="main",
    )
    override = admin.SetOverrideResponse.FromString(
        kit.call(ADMIN + "SetOverride", request.SerializeToString())
    ).override
    assert override.expires_utc_ns == kit.clock.now_ns() + 2 * S
    held = kit.get(counterparty="alpha", desk="main")
    assert held.rule == types.RULE_RUNTIME_OVERRIDE
    assert held.posture_requested == types.POSTURE_RISK_AVERSE
    assert kit.get(counterparty="beta", desk="main").rule == types.RULE_COUNTERPARTY_TIER
    listed = admin.ListOverridesResponse.FromString(kit.call(ADMIN + "ListOverrides", b"")).overrides
    assert list(listed) == [override]
    kit.clock.advance_ns(2 * S)
    assert kit.get(counterparty="alpha", desk="main").rule != types.RULE_RUNTIME_OVERRIDE
    assert not admin.ListOverridesResponse.FromString(kit.call(ADMIN + "ListOverrides", b"")).overrides


def test_an_override_can_be_cleared_once(kit: Kit) -> None:
    request = admin.SetOverrideRequest(posture=types.POSTURE_RISK_AVERSE, ttl_ns=3600 * S).SerializeToString()
    override = admin.SetOverrideResponse.FromString(kit.call(ADMIN + "SetOverride", request)).override
    assert kit.get(counterparty="alpha").posture_requested == types.POSTURE_RISK_AVERSE
    clear = admin.ClearOverrideRequest(override_id=override.override_id).SerializeToString()
    assert admin.ClearOverrideResponse.FromString(kit.call(ADMIN + "ClearOverride", clear)).cleared
    assert not admin.ClearOverrideResponse.FromString(kit.call(ADMIN + "ClearOverride", clear)).cleared
    assert kit.get(counterparty="alpha").posture_requested == types.POSTURE_CLIENT_PRIORITY


def test_too_many_overrides_are_refused_not_dropped(kit: Kit) -> None:
    request = admin.SetOverrideRequest(posture=types.POSTURE_RISK_AVERSE, ttl_ns=3600 * S).SerializeToString()
    with refused() as errors:
        for _ in range(100_000):
            kit.call(ADMIN + "SetOverride", request)
    assert errors[0].code == Code.RESOURCE_EXHAUSTED


def test_every_method_of_the_api_is_in_the_table(kit: Kit) -> None:
    for file in FILES:
        for service in file.services_by_name.values():
            for method in service.methods:
                entry = kit.service.methods[f"/{service.full_name}/{method.name}"]
                streams = method.client_streaming or method.server_streaming
                assert isinstance(entry, Stream if streams else Unary)


def test_signals_wait_for_a_serving_service(kit: Kit) -> None:
    kit.service.set_state(State.DRAINING)
    with refused() as errors:
        kit.call(NEWS, signals.PublishNewsRequest(score=0.1).SerializeToString())
    assert errors[0].code == Code.UNAVAILABLE


def test_stored_replies_are_bounded_in_bytes_and_age_and_say_what_they_lost() -> None:
    store = ReplyStore(bytes_max=2 * (ENTRY_BYTES + 10), age_ns_max=10)
    for i in range(3):
        store.keep(f"r{i}", b"d", b"r" * 10, i)
    assert store.find("r0", 3) is None and store.find("r2", 3) == (b"d", b"r" * 10)
    assert store.evicted == 1 and store.oldest_age_ns(3) == 2
    assert store.bytes == 2 * (ENTRY_BYTES + 10)
    store.keep("big", b"d", b"r" * 10_000, 4)
    assert len(store) == 0 and store.bytes == 0 and store.evicted == 4 and store.oldest_age_ns(4) == 0
    store.keep("old", b"d", b"r", 0)
    assert store.find("old", 11) is None
    store.expire(11)
    assert len(store) == 0 and store.evicted == 4, "too old is not evicted"


def test_the_default_room_is_filled_by_what_it_counts(kit: Kit) -> None:
    kit.service.recent = RecentQuotes("b00t", 1, S)  # counts for itself
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for i in range(1000):
        kit.get(request_id=f"{i:024x}")
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    counted = kit.service.replies.bytes
    assert len(kit.service.replies) == 1000
    assert 0.5 * counted < held < 1.3 * counted


def test_every_counter_of_an_instrument_is_in_its_status(kit: Kit) -> None:
    """Each under its own name: the engine's figures are made all different here."""
    taken = kit.engine.instrument_status(0, kit.clock.now_ns())
    names = [
        "events",
        "gaps",
        "resyncs",
        "crossed",
        "dropped_levels",
        "decisions",
        "declines",
        "stress_entries",
    ]
    names += ["orders", "unknown_orders", "invalid_orders", "dropped_orders", "purged_orders"]
    names += ["unsided_trades", "undecided_trades"]
    figures = {name: 1000 + number for number, name in enumerate(names)}
    message = convert.instrument_status(
        kit.engine.instruments[0], taken._replace(**figures), kit.clock.now_ns(), str
    )
    assert {name: getattr(message, name) for name in names} == figures
    counted = {f.name for f in message.DESCRIPTOR.fields if f.type == f.TYPE_UINT64}
    assert counted == set(names), "a counter that the status has and this test does not know"
