"""Signals with their stamps, times to live and order; headlines; the calendar."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2

from quote_expiry.v1 import admin_service_pb2 as admin
from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import signal_service_pb2 as signals
from quote_expiry.v1 import types_pb2 as types
from quotelife.news import lexicon
from quotelife.records import SignalCode
from quotelife_client import AsyncClient, ServiceError
from quotelife_server import convert, scoring
from quotelife_server.cli.doctor_service import of_status
from quotelife_server.rpc import Code
from quotelife_server.scoring import NewsScoring, ScorerBusyError, ScorerFailedError
from quotelife_server.status import status_reply
from reference.service_kit import CONFIG, MS, Kit, S, refused, running, write_config

PREFIX = "/quote_expiry.v1.SignalService/"
LOTS = types.SIZE_UNIT_LOTS
DAY = 86_400 * S


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


def publish(kit: Kit, request: Any) -> Any:
    name = type(request).__name__.removesuffix("Request")
    reply = getattr(signals, f"{name}Response")
    return reply.FromString(kit.call(PREFIX + name, request.SerializeToString()))


def feature(kit: Kit, name: str, **fields: Any) -> float | None:
    found = {f.name: f for f in kit.get(include_features=True, **fields).features}[name]
    return found.value if found.HasField("value") else None


def of_kind(kind: str, at_ns: int, value: float, **fields: Any) -> Any:
    if kind == "news":
        return signals.PublishNewsRequest(score=value / 100, published_at_utc_ns=at_ns, **fields)
    if kind == "index":
        return signals.PublishVolatilityIndexRequest(
            index="DVOL", level=value, published_at_utc_ns=at_ns, **fields
        )
    return signals.PublishInventoryRequest(
        instrument="BTC-USDT", position=str(value), limit="100", unit=LOTS, as_of_utc_ns=at_ns, **fields
    )


FEATURE = {"index": "volatility_index", "inventory": "inventory"}


@pytest.mark.parametrize(("kind", "shown"), [("index", 60.0), ("inventory", 0.6)])
def test_older_than_what_is_held_changes_nothing_and_the_reply_and_the_counter_say_so(
    kit: Kit, kind: str, shown: float
) -> None:
    now = kit.clock.now_ns()
    assert not publish(kit, of_kind(kind, now, 60)).receipt.ignored
    late = publish(kit, of_kind(kind, now - 1, 20)).receipt
    assert late.ignored
    assert late.input_sequence == kit.engine.input_sequence, "an input all the same: it is journaled"
    assert feature(kit, FEATURE[kind]) == pytest.approx(shown)
    counts = {(code.name, took): n for (code, took), n in kit.service.metrics.signals.items()}
    assert sorted(counts.values()) == [1, 1]
    assert {took for _, took in counts} == {True, False}


def test_news_that_comes_late_counts_with_its_own_age_until_eight_newer_are_held(kit: Kit) -> None:
    now = kit.clock.now_ns()
    for k in range(8):
        assert not publish(kit, of_kind("news", now - k * S, 1)).receipt.ignored, "late, but not outnumbered"
    assert publish(kit, of_kind("news", now - 60 * S, 100)).receipt.ignored
    assert feature(kit, "news_score") == pytest.approx(-0.01, abs=1e-3)


@pytest.mark.parametrize("kind", ["news", "index", "inventory"])
def test_ahead_of_the_clock_is_refused_by_field_and_with_the_mend(kit: Kit, kind: str) -> None:
    now = kit.clock.now_ns()
    publish(kit, of_kind(kind, now + S, 1))  # as much as clocks may differ
    with refused() as errors:
        publish(kit, of_kind(kind, now + S + 1, 1))
    (violation,) = errors[0].details[0].field_violations
    assert violation.field == ("as_of_utc_ns" if kind == "inventory" else "published_at_utc_ns")
    assert "1 s ahead of the service's clock" in violation.description
    assert "synchronised clock" in violation.description


@pytest.mark.parametrize("kind", ["news", "index", "inventory"])
def test_a_signal_counts_for_its_own_time_to_live_from_its_own_stamp(kit: Kit, kind: str) -> None:
    name = FEATURE.get(kind, "news_score")
    now = kit.clock.now_ns()
    publish(kit, of_kind(kind, now - 100 * MS, 50, time_to_live_ns=300 * MS))
    kit.clock.set_ns(now + 200 * MS - 1)
    assert feature(kit, name) is not None
    kit.clock.set_ns(now + 200 * MS)
    assert feature(kit, name) is None
    over = publish(kit, of_kind(kind, now, 50, time_to_live_ns=200 * MS))
    assert over.receipt.ignored, "over before it came"


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("news_time_to_live", "news"),
        ("volatility_index_time_to_live", "index"),
        ("inventory_time_to_live", "inventory"),
    ],
)
def test_the_configured_time_to_live_holds_where_the_signal_names_none(
    tmp_path: Path, key: str, kind: str
) -> None:
    kit = Kit(tmp_path, text=CONFIG.replace("signals: {", f"signals: {{{key}: 500ms, "))
    now = kit.clock.now_ns()
    publish(kit, of_kind(kind, now, 50))
    name = FEATURE.get(kind, "news_score")
    kit.clock.set_ns(now + 500 * MS - 1)
    assert feature(kit, name) is not None
    kit.clock.set_ns(now + 500 * MS)
    assert feature(kit, name) is None


@pytest.mark.parametrize("ttl_ns", [0, -1, 7 * DAY + 1])
@pytest.mark.parametrize("kind", ["news", "index", "inventory"])
def test_a_wrong_time_to_live_is_named(kit: Kit, kind: str, ttl_ns: int) -> None:
    with refused() as errors:
        publish(kit, of_kind(kind, kit.clock.now_ns(), 1, time_to_live_ns=ttl_ns))
    assert [v.field for v in errors[0].details[0].field_violations] == ["time_to_live_ns"]


# --- headlines ---


async def test_a_headline_is_scored_applied_and_answered_with_its_score(tmp_path: Path) -> None:
    async with (
        running(write_config(tmp_path)) as app,
        AsyncClient(app.addresses[0], timeout_s=5) as client,
    ):
        text = "Exchange halts withdrawals after hack"
        reply = await client.publish_headline(text, instrument="ETH-USDT", source="wire")
        assert reply.score == lexicon(text)
        assert reply.receipt.input_sequence
        after = await client.get_expiry(instrument="ETH-USDT", side="BUY", counterparty="alpha")
        assert after.regime.name == "STRESS"


async def test_headlines_of_which_the_scorer_has_no_opinion_push_out_no_news(tmp_path: Path) -> None:
    """Eight of them after a grave one, and one that is not in the alphabet: said to be ignored, and it still counts."""
    async with (
        running(write_config(tmp_path)) as app,
        AsyncClient(app.addresses[0], timeout_s=5) as client,
    ):
        await client.publish_headline("Exchange halts withdrawals after hack")
        for text in (*["Quarterly meeting scheduled"] * 8, "\u4ea4\u6613\u6240\u66ab\u505c\u63d0\u6b3e"):
            reply = await client.publish_headline(text)
            assert (reply.score, reply.receipt.ignored, reply.receipt.input_sequence) == (0.0, True, 0)
        after = await client.get_expiry(instrument="ETH-USDT", side="BUY", counterparty="alpha")
        assert after.regime.name == "STRESS"
        assert app.service.scoring.counts["scored"] == 10


async def test_decisions_go_on_while_a_scorer_thinks_and_one_that_fails_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()

    def slow(headline: str) -> float:
        assert go.wait(5)
        return 2.0

    async with (
        running(write_config(tmp_path)) as app,
        AsyncClient(app.addresses[0], timeout_s=5) as client,
    ):
        app.service.scoring = NewsScoring(lambda _: slow)
        scored = asyncio.ensure_future(client.publish_headline("anything"))
        for _ in range(20):
            await client.get_expiry(instrument="BTC-USDT", side="BUY")
        assert not scored.done()
        go.set()
        with pytest.raises(ServiceError, match="send a score instead"):
            await scored
        assert app.service.scoring.counts == {"scored": 0, "failed": 1, "busy": 0}


async def test_a_scorer_that_hangs_is_given_up_and_the_number_that_waits_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scoring, "WAITING_MAX", 3)
    go = threading.Event()

    def hangs(headline: str) -> float:
        go.wait(10)
        return 0.0

    asked = NewsScoring(lambda _: hangs, score_s=0.2)
    waiting = [asyncio.ensure_future(asked.score("x", "h")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(ScorerBusyError):
        await asked.score("x", "h")
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ScorerFailedError] * 3
    go.set()
    await asyncio.sleep(0.2)
    assert await asked.score("x", "h") == 0.0


@pytest.mark.parametrize(
    ("request_", "at_fault"),
    [
        (signals.PublishNewsRequest(headline="x", score=0.1), "headline"),
        (signals.PublishNewsRequest(headline="x" * 1001), "headline"),
        (signals.PublishNewsRequest(headline="a\nb"), "headline"),
    ],
)
def test_a_wrong_headline_is_named(kit: Kit, request_: Any, at_fault: str) -> None:
    with refused() as errors:
        publish(kit, request_)
    assert [v.field for v in errors[0].details[0].field_violations] == [at_fault]


def test_a_headline_without_a_scorer_is_refused_with_the_mend(tmp_path: Path) -> None:
    kit = Kit(tmp_path, text=CONFIG.replace("signals: {", "signals: {news_scorer: null, "))
    with refused() as errors:
        publish(kit, signals.PublishNewsRequest(headline="x"))
    assert "send a score" in errors[0].details[0].field_violations[0].description


# --- greeks ---


def greeks(instrument: str = "BTC-USDT", **fields: Any) -> Any:
    """``fields`` of the request and of the greeks in it."""
    own = {name: fields.pop(name) for name in ("as_of_utc_ns", "time_to_live_ns") if name in fields}
    return signals.PublishGreeksRequest(instrument=instrument, greeks=expiry.Greeks(**fields), **own)


ALL_FOUR = {"delta": 0.5, "gamma": 1e-5, "vega": 1250.0, "theta_per_day": -3.25}


async def shown(kit: Kit, instrument: str = "BTC-USDT") -> admin.OptionStatus:
    found = kit.engine.instruments.get(instrument)
    assert found is not None
    reply = await status_reply(
        kit.service,
        indices=[found.index],
        started_ns=0,
        wall_offset_ns=0,
        feeds=(),
        config_problems=(),
        restart_required=(),
        alerts=(),
    )
    return admin.GetStatusResponse.FromString(reply).instruments[0].option


async def test_published_greeks_are_told_as_they_came_with_their_age_and_count(kit: Kit) -> None:
    now = kit.clock.now_ns()
    sequence = kit.engine.input_sequence
    receipt = publish(kit, greeks(**ALL_FOUR, underlying="ETH-USDT", as_of_utc_ns=now - 5 * S)).receipt
    assert (receipt.input_sequence, receipt.ignored) == (sequence + 2, False), "two pairs, two inputs"
    option = await shown(kit)
    assert option.greeks == expiry.Greeks(**ALL_FOUR, underlying="ETH-USDT")
    assert (option.age_ns, option.updates, option.ignored) == (5 * S, 2, 0)
    assert not (await shown(kit, "ETH-USDT")).HasField("greeks")


async def test_a_pair_left_out_stays_as_it_was(kit: Kit) -> None:
    publish(kit, greeks(**ALL_FOUR))
    publish(kit, greeks(vega=2000.0, theta_per_day=0.0))
    assert (await shown(kit)).greeks == expiry.Greeks(**ALL_FOUR | {"vega": 2000.0, "theta_per_day": 0.0})


async def test_older_greeks_change_nothing_as_receipt_status_and_counter_say(
    kit: Kit,
) -> None:
    now = kit.clock.now_ns()
    publish(kit, greeks(delta=0.5, gamma=0.0, as_of_utc_ns=now))
    late = publish(kit, greeks(delta=0.9, gamma=0.0, as_of_utc_ns=now - 1)).receipt
    assert late.ignored and late.input_sequence == kit.engine.input_sequence
    option = await shown(kit)
    assert (option.greeks.delta, option.updates, option.ignored) == (0.5, 1, 1)
    counts = kit.service.metrics.signals
    assert counts == {(SignalCode.DELTA_GAMMA, True): 1, (SignalCode.DELTA_GAMMA, False): 1}


async def test_greeks_are_told_no_more_after_their_time_to_live(tmp_path: Path) -> None:
    kit = Kit(tmp_path, text=CONFIG.replace("signals: {", "signals: {greeks_time_to_live: 500ms, "))
    now = kit.clock.now_ns()
    publish(kit, greeks(delta=0.5, gamma=0.0))
    publish(kit, greeks(vega=1.0, theta_per_day=0.0, time_to_live_ns=900 * MS))
    told = []
    for at in (500 * MS - 1, 500 * MS, 900 * MS - 1, 900 * MS):
        kit.clock.set_ns(now + at)
        option = await shown(kit)
        told.append((option.greeks.HasField("delta"), option.greeks.HasField("vega"), option.age_ns))
    ages = [500 * MS - 1, 500 * MS, 900 * MS - 1, 0]
    assert told == list(zip([True, False, False, False], [True, True, True, False], ages, strict=True))
    over = greeks(delta=0.5, gamma=0.0, as_of_utc_ns=now, time_to_live_ns=S - 100 * MS)
    assert publish(kit, over).receipt.ignored, "over before it came"


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        ({}, ["greeks"]),
        ({"delta": 0.5}, ["greeks.gamma"]),
        ({"gamma": 0.5, "theta_per_day": 1.0}, ["greeks.delta", "greeks.vega"]),
        ({"delta": float("nan"), "gamma": 0.0}, ["greeks.delta"]),
        ({"vega": 0.0, "theta_per_day": float("-inf")}, ["greeks.theta_per_day"]),
        ({"delta": 0.5, "gamma": 1e16}, ["greeks.gamma"]),
        ({"delta": 0.5, "gamma": 0.0, "underlying": "X"}, ["greeks.underlying"]),
        ({"vega": 0.5, "theta_per_day": 0.0, "underlying": "ETH-USDT"}, ["greeks.underlying"]),
        ({"delta": 0.5, "gamma": 0.0, "instrument": ""}, ["instrument"]),
        ({"delta": 0.5, "gamma": 0.0, "time_to_live_ns": 0}, ["time_to_live_ns"]),
        ({"delta": 0.5, "gamma": 0.0, "as_of_utc_ns": 1}, ["as_of_utc_ns"]),
    ],
)
def test_wrong_greeks_are_named_field_by_field_and_nothing_is_applied(
    kit: Kit, fields: dict[str, Any], at_fault: list[str]
) -> None:
    sequence = kit.engine.input_sequence
    with refused() as errors:
        publish(kit, greeks(**fields))
    assert errors[0].code == Code.INVALID_ARGUMENT
    assert [v.field for v in errors[0].details[0].field_violations] == at_fault
    assert kit.engine.input_sequence == sequence


def test_greeks_ahead_of_the_clock_are_refused_and_those_of_no_instrument_not_found(kit: Kit) -> None:
    now = kit.clock.now_ns()
    publish(kit, greeks(delta=0.5, gamma=0.0, as_of_utc_ns=now + S))
    with refused() as errors:
        publish(kit, greeks(delta=0.5, gamma=0.0, as_of_utc_ns=now + S + 1))
    assert "1 s ahead" in errors[0].details[0].field_violations[0].description
    with refused() as errors:
        publish(kit, greeks("NONE", delta=0.5, gamma=0.0))
    assert errors[0].code == Code.NOT_FOUND


# --- calendar ---


def event(kit: Kit, event_id: str = "a", start: int = 0, length: int = 10 * S, **fields: Any) -> Any:
    """``start`` from now."""
    from_ns = kit.clock.now_ns() + start
    given: dict[str, Any] = {"regime": types.REGIME_AUCTION, **fields}
    return signals.CalendarEvent(
        event_id=event_id, from_utc_ns=from_ns, until_utc_ns=from_ns + length, **given
    )


def test_an_announced_event_sets_the_regime_from_its_start_until_its_end(kit: Kit) -> None:
    now = kit.clock.now_ns()
    publish(kit, signals.PublishCalendarRequest(events=[event(kit, start=100 * MS, length=200 * MS)]))
    seen = []
    for at in (now + 100 * MS - 1, now + 100 * MS, now + 300 * MS - 1, now + 300 * MS):
        kit.clock.set_ns(at)
        seen.append(kit.get().regime)
    assert seen == [types.REGIME_NORMAL, types.REGIME_AUCTION, types.REGIME_AUCTION, types.REGIME_NORMAL]


def test_an_event_is_for_the_instruments_and_venues_it_names(kit: Kit) -> None:
    named = event(kit, instruments=["BTC-USDT"], venues=["binance-coinm"], regime=types.REGIME_HALT)
    publish(kit, signals.PublishCalendarRequest(events=[named]))
    halted = {name for name in ("BTC-USDT", "ETH-USDT", "BTC-USD") if kit.get(instrument=name).regime == 5}
    assert halted == {"BTC-USDT", "BTC-USD"}


def test_the_more_severe_of_several_holds(kit: Kit) -> None:
    publish(
        kit,
        signals.PublishCalendarRequest(
            events=[
                event(kit, "halt", regime=types.REGIME_HALT),
                event(kit, "news", regime=types.REGIME_SCHEDULED_NEWS, instruments=["BTC-USDT"]),
                event(kit, "auction"),
            ]
        ),
    )
    assert kit.get().regime == types.REGIME_HALT
    assert kit.get().decision == types.DECISION_DECLINE


def test_the_same_id_replaces_and_a_removed_one_is_forgotten(kit: Kit) -> None:
    publish(kit, signals.PublishCalendarRequest(events=[event(kit, instruments=["BTC-USDT", "ETH-USDT"])]))
    publish(kit, signals.PublishCalendarRequest(events=[event(kit, instruments=["BTC-USD"])]))
    assert kit.get().regime == types.REGIME_NORMAL, "moved to another instrument"
    assert kit.get(instrument="BTC-USD").regime == types.REGIME_AUCTION
    reply = publish(kit, signals.PublishCalendarRequest(removed_event_ids=["a", "unknown"]))
    assert list(reply.removed_event_ids) == ["a"]
    assert kit.get(instrument="BTC-USD").regime == types.REGIME_NORMAL
    again = publish(kit, signals.PublishCalendarRequest(removed_event_ids=["a"]))
    assert again.receipt.ignored
    assert not again.removed_event_ids


def test_more_events_than_there_is_room_for_change_nothing(kit: Kit) -> None:
    publish(kit, signals.PublishCalendarRequest(events=[event(kit, f"{k}", DAY) for k in range(32)]))
    before = kit.engine.calendar(kit.clock.now_ns())
    assert len(before) == 32
    with refused() as errors:
        publish(
            kit, signals.PublishCalendarRequest(events=[event(kit), event(kit, "b", venues=["binance-spot"])])
        )
    assert errors[0].code == Code.RESOURCE_EXHAUSTED
    assert kit.engine.calendar(kit.clock.now_ns()) == before
    publish(kit, signals.PublishCalendarRequest(events=[event(kit)], removed_event_ids=["0"]))


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        ({"event_id": ""}, "event_id"),
        ({"regime": types.REGIME_STRESS}, "regime"),
        ({"regime": types.REGIME_UNSPECIFIED}, "regime"),
        ({"length": 0}, "until_utc_ns"),
        ({"start": -2 * S, "length": S}, "until_utc_ns"),
        ({"length": 32 * DAY}, "until_utc_ns"),
        ({"start": 400 * DAY}, "from_utc_ns"),
        ({"instruments": ["X"]}, "instruments"),
        ({"venues": ["X"]}, "venues"),
    ],
)
def test_one_wrong_event_is_named_and_none_is_applied(
    kit: Kit, fields: dict[str, Any], at_fault: str
) -> None:
    wrong = event(kit, **{"event_id": "wrong", **fields})
    with refused() as errors:
        publish(kit, signals.PublishCalendarRequest(events=[event(kit), wrong]))
    details = errors[0].details[0]
    assert isinstance(details, error_details_pb2.BadRequest)
    assert [v.field for v in details.field_violations] == [f"events[1].{at_fault}"]
    assert at_fault not in ("instruments", "venues") or "'X'" in details.field_violations[0].description
    assert kit.engine.calendar(kit.clock.now_ns()) == []


def listed(kit: Kit, instruments: tuple[str, ...] = ()) -> list[admin.CalendarStatus]:
    request = admin.GetStatusRequest(instruments=instruments).SerializeToString()
    indices = convert.status_request(request, kit.engine)
    return convert.calendar_status(kit.engine, indices, kit.clock.now_ns())


def test_status_lists_published_events_as_they_were_published_until_they_are_over(kit: Kit) -> None:
    events = [
        event(kit, "later", start=5 * S, instruments=["BTC-USDT"], description="closing auction"),
        event(kit, "now", length=2 * S, venues=["binance-spot"], regime=types.REGIME_HALT),
    ]
    publish(kit, signals.PublishCalendarRequest(events=events))
    found = listed(kit)
    assert [each.event for each in found] == [events[1], events[0]], "by start, word for word"
    assert [each.active for each in found] == [True, False]
    assert {each.source for each in found} == {admin.CALENDAR_SOURCE_PUBLISHED}
    kit.clock.advance_ns(2 * S)
    assert [each.event.event_id for each in listed(kit)] == ["later"]
    publish(kit, signals.PublishCalendarRequest(removed_event_ids=["later"]))
    assert listed(kit) == []


def test_status_of_some_instruments_lists_the_events_that_concern_them(kit: Kit) -> None:
    events = [event(kit, "one", instruments=["BTC-USDT"]), event(kit, "all", start=S)]
    publish(kit, signals.PublishCalendarRequest(events=events))
    assert [each.event.event_id for each in listed(kit, ("BTC-USDT",))] == ["one", "all"]
    assert [each.event.event_id for each in listed(kit, ("ETH-USDT",))] == ["all"]


def test_an_event_that_replaces_another_is_listed_with_its_own_words(kit: Kit) -> None:
    publish(kit, signals.PublishCalendarRequest(events=[event(kit, description="before")]))
    publish(kit, signals.PublishCalendarRequest(events=[event(kit, description="after")]))
    assert [each.event.description for each in listed(kit)] == ["after"]


def test_status_lists_the_calendars_of_the_configuration_too(tmp_path: Path) -> None:
    text = CONFIG + (
        "calendars:\n  - {name: rate decision, regime: scheduled_news, start: '2030-01-01T12:00:00Z',"
        " end: '2030-01-01T13:00:00Z', instruments: [BTC-USDT]}\n"
    )
    kit = Kit(tmp_path, text=text)
    (found,) = listed(kit)
    assert found.source == admin.CALENDAR_SOURCE_CONFIGURATION
    assert (found.event.event_id, found.event.regime) == ("rate decision", types.REGIME_SCHEDULED_NEWS)
    assert (found.event.from_utc_ns, found.active) == (1_893_499_200 * S, False)
    assert found.event.until_utc_ns - found.event.from_utc_ns == 3600 * S
    assert listed(kit, ("ETH-USDT",)) == []


@pytest.mark.parametrize(
    ("scope", "told"),
    [
        ("instruments: all", {"BTC-USDT", "ETH-USDT", "BTC-USD"}),
        ("instruments: [ETH-USDT]", {"ETH-USDT"}),
        ("venues: [binance-usdm]", {"BTC-USDT"}),
        ("instruments: [BTC-USD], venues: [binance-spot]", {"ETH-USDT", "BTC-USD"}),
    ],
)
def test_a_calendar_of_the_configuration_is_listed_for_the_instruments_it_moves(
    tmp_path: Path, scope: str, told: set[str]
) -> None:
    text = CONFIG + f"calendars:\n  - {{name: a, regime: halt, dates: ['2030-01-01'], {scope}}}\n"
    kit = Kit(tmp_path, text=text)
    (calendar,) = kit.engine.config.calendars
    moved = {kit.engine.instruments[i].name for i in kit.engine.config.calendar_instruments(calendar)}
    assert moved == told
    assert {each.name for each in kit.engine.instruments if listed(kit, (each.name,))} == told


async def test_the_service_and_its_doctor_list_what_is_scheduled(tmp_path: Path) -> None:
    async with (
        running(write_config(tmp_path)) as app,
        AsyncClient(app.addresses[0], timeout_s=5) as client,
    ):
        now_ns = time.time_ns()
        halt = signals.CalendarEvent(
            event_id="halt 7",
            regime=types.REGIME_HALT,
            venues=["binance-spot"],
            from_utc_ns=now_ns,
            until_utc_ns=now_ns + 3600 * S,
            description="maintenance",
        )
        await client.publish_calendar([halt])
        status = await client.status()
        assert [each.event for each in status.calendar] == [halt]
        (line,) = [each for each in of_status(status) if each.name == "event halt 7"]
        assert line.good and line.text.startswith("HALT on binance-spot, until 20")
        assert line.text.endswith("published: maintenance")


def test_holidays_of_a_venue_halt_its_instruments_on_the_days_of_its_time_zone(tmp_path: Path) -> None:
    text = CONFIG + (
        "calendars:\n  - {name: holidays, regime: halt, venues: [binance-spot], dates: ['2023-11-15'],"
        " timezone: America/New_York}\n"
    )
    kit = Kit(tmp_path, text=text, warm=False)
    midnight = 1_700_024_400 * S  # 2023-11-15 00:00 in New York
    found = []
    for at in (midnight - 1, midnight, midnight + DAY - 1, midnight + DAY):
        kit.clock.set_ns(at)
        found.append(kit.get(instrument="ETH-USDT").regime == types.REGIME_HALT)
        assert kit.get(instrument="BTC-USDT").regime != types.REGIME_HALT
    assert found == [False, True, True, False]
