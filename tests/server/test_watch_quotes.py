"""WatchQuotes without a transport: who is told what, when, how often, and what becomes of quotes nobody listens for."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.engine import Engine
from quotelife.inputs import InputTap
from quotelife.records import DecisionRecord, QuoteStateCode
from quotelife_server.handlers import State
from quotelife_server.rpc import CallContext, Code, RpcError, Stream
from reference.faulty_storage import FAULTS
from reference.ledger_kit import JournalKit
from reference.service_kit import CONFIG, MS, S, refused
from reference.watch_kit import WATCH, Watcher, WatchKit

WatchedInput = tuple[int, dict[str, Any]]


@pytest.fixture
def kit(tmp_path: Path) -> WatchKit:
    return WatchKit(tmp_path)


def told(watcher: Watcher) -> list[str]:
    return [kind for kind in watcher.kinds() if kind != "requote_hint"]


def only(watcher: Watcher, kind: str) -> list[expiry.WatchQuotesResponse]:
    return [each for each in watcher.read() if each.WhichOneof("message") == kind]


# --- opening ------------------------------------------------------------------------------------------------


def test_a_stream_is_told_how_often_each_side_is_to_be_heard(kit: WatchKit) -> None:
    (answer,) = kit.open(heartbeat_interval_ns=100 * MS).read()
    opened = answer.opened
    assert (opened.owner, opened.boot_id, opened.at_utc_ns) == ("oms", "b00t", kit.clock.now_ns())
    assert (opened.heartbeat_interval_ns, opened.silence_max_ns) == (250 * MS, 500 * MS)
    assert (opened.client_silence_max_ns, opened.repeat_interval_ns) == (200 * MS, 100 * MS)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"owner": ""}, "open.owner: is required"),
        ({"owner": "a\nb"}, "open.owner: must be"),
        ({"heartbeat_interval_ns": 1}, "open.heartbeat_interval_ns: must lie"),
        ({"heartbeat_interval_ns": -1}, "open.heartbeat_interval_ns: must lie"),
    ],
)
def test_a_wrong_opening_ends_the_stream_and_names_the_field(kit: WatchKit, fields: dict, words: str) -> None:
    with refused() as errors:
        kit.open(**fields)
    assert errors[0].code == Code.INVALID_ARGUMENT and words in errors[0].message


def test_open_comes_first_and_once(kit: WatchKit) -> None:
    with refused() as errors:
        kit.connect().say(heartbeat=expiry.WatchHeartbeat())
    watcher = kit.open()
    with refused() as again:
        watcher.say(open=expiry.WatchOpen(owner="oms"))
    assert [error.code for error in (*errors, *again)] == [Code.FAILED_PRECONDITION] * 2


def test_a_stream_that_never_opens_is_ended(kit: WatchKit) -> None:
    watcher = kit.connect()
    kit.advance(5 * S + 100 * MS)
    (error,) = watcher.finished
    assert isinstance(error, RpcError) and error.code == Code.FAILED_PRECONDITION


def test_an_owner_has_one_stream_and_another_owner_his_own(kit: WatchKit) -> None:
    kit.open()
    with refused() as errors:
        kit.open()
    assert errors[0].code == Code.ALREADY_EXISTS
    assert kit.open("other").kinds() == ["opened"]


def test_a_draining_service_opens_no_stream(kit: WatchKit) -> None:
    kit.service.set_state(State.DRAINING)
    with refused() as errors:
        kit.connect()
    assert errors[0].code == Code.UNAVAILABLE


# --- registration ---------------------------------------------------------------------------------------------


def test_a_quote_is_registered_by_its_decision(kit: WatchKit) -> None:
    watcher = kit.open()
    reply = kit.register(watcher, "q1", counterparty="alpha", rfq_id="r1")
    (registered,) = only(watcher, "registered")
    assert registered.registered.quote_id == "q1"
    assert registered.registered.expiry_utc_ns == reply.expiry_utc_ns
    assert registered.registered.side == types.SIDE_BUY
    (quote,) = kit.engine.live_quotes("oms")
    assert (quote.name, quote.rfq, quote.state) == ("q1", "r1", QuoteStateCode.LIVE)


def test_both_sides_of_a_two_way_quote_are_watched(kit: WatchKit) -> None:
    watcher = kit.open()
    kit.register(watcher, "q1", side=types.SIDE_TWO_WAY)
    (registered,) = only(watcher, "registered")
    assert registered.registered.side == types.SIDE_TWO_WAY
    kit.move(0, 3)
    kit.schedule.settle()
    assert [each.withdraw.quote_id for each in only(watcher, "withdraw")] == ["q1"]


def test_the_same_registration_twice_is_answered_twice_and_made_once(kit: WatchKit) -> None:
    watcher = kit.open()
    reply = kit.register(watcher, "q1")
    watcher.say(register=expiry.WatchRegister(quote_id="q1", decision_id=reply.decision_id))
    assert len(only(watcher, "registered")) == 2
    assert len(kit.engine.live_quotes()) == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"quote_id": "q", "decision_id": "b00t-99999"}, expiry.WATCH_REFUSAL_UNKNOWN_DECISION),
        ({"quote_id": "q", "decision_id": "b-1"}, expiry.WATCH_REFUSAL_UNKNOWN_DECISION),
        ({"quote_id": "", "decision_id": "b-1"}, expiry.WATCH_REFUSAL_INVALID),
        ({"quote_id": "q"}, expiry.WATCH_REFUSAL_INVALID),
        ({"quote_id": "q", "decision_id": "b-1", "sent_at_utc_ns": 5}, expiry.WATCH_REFUSAL_INVALID),
        ({"quote_id": "q", "quote": {"instrument": "NONE", "side": 1}}, expiry.WATCH_REFUSAL_INVALID),
    ],
)
def test_a_refused_registration_says_why_and_ends_no_stream(kit: WatchKit, fields: dict, reason: int) -> None:
    watcher = kit.open()
    watcher.read()
    watcher.say(register=expiry.WatchRegister(**fields))
    (refusal,) = watcher.read()
    assert refusal.refused.reason == reason and refusal.refused.message
    assert bool(refusal.refused.fields) == (
        reason == expiry.WATCH_REFUSAL_INVALID and "NONE" not in str(fields)
    )
    assert watcher.finished == []
    kit.register(watcher, "q2")
    assert watcher.kinds() == ["registered"]


def test_a_whole_quote_says_nothing_else_than_its_registration(kit: WatchKit) -> None:
    watcher = kit.open()
    quote = expiry.GetExpiryRequest(instrument="BTC-USDT", side=types.SIDE_BUY, watch_owner="b", quote_id="r")
    watcher.say(register=expiry.WatchRegister(quote_id="q", quote=quote))
    (said,) = only(watcher, "refused")
    assert [each.field for each in said.refused.fields] == [
        "register.quote.watch_owner",
        "register.quote.quote_id",
    ]
    quote.watch_owner, quote.quote_id = "oms", "q"
    watcher.say(register=expiry.WatchRegister(quote_id="q", quote=quote))
    assert [each.registered.quote_id for each in only(watcher, "registered")] == ["q"]


def test_a_decision_whose_life_is_over_or_that_a_kill_forbids_is_refused(kit: WatchKit) -> None:
    watcher = kit.open()
    reply = kit.get(counterparty="alpha")
    kit.engine.kill(kit.clock.now_ns(), counterparty="alpha")
    register = expiry.WatchRegister(quote_id="q1", decision_id=reply.decision_id)
    watcher.say(register=register)
    kit.engine.enable(kit.clock.now_ns(), counterparty="alpha")
    kit.advance(reply.life_ns, beat=watcher)
    watcher.say(register=register)
    reasons = [each.refused.reason for each in only(watcher, "refused")]
    assert reasons == [expiry.WATCH_REFUSAL_KILLED, expiry.WATCH_REFUSAL_ENDED]


def test_a_name_in_use_is_refused_until_its_quote_is_over_and_acknowledged(kit: WatchKit) -> None:
    watcher = kit.open()
    kit.register(watcher, "q1")
    kit.register(watcher, "q1", instrument="ETH-USDT")
    kit.move(0, -3)
    kit.schedule.settle()
    watcher.pull()
    kit.register(watcher, "q1", instrument="ETH-USDT")
    watcher.say(acknowledge=expiry.WatchAcknowledge(quote_id="q1"))
    kit.register(watcher, "q1", instrument="ETH-USDT")
    assert told(watcher) == ["opened", "registered", "refused", "withdraw", "refused", "registered"]


def test_no_more_quotes_are_watched_than_the_configuration_allows(tmp_path: Path) -> None:
    kit = WatchKit(tmp_path, text=CONFIG + "watch: {quotes_max: 2}\n")
    watcher = kit.open()
    for name in ("a", "b", "c"):
        kit.register(watcher, name)
    assert watcher.kinds() == ["opened", "registered", "registered", "refused"]
    reply = kit.get(watch=True, watch_owner="oms", quote_id="d")
    assert not reply.watched and reply.watch_refusal == expiry.WATCH_REFUSAL_FULL


def test_a_whole_quote_is_decided_and_watched_at_once(kit: WatchKit) -> None:
    watcher = kit.open()
    watcher.read()
    quote = expiry.GetExpiryRequest(instrument="BTC-USDT", side=types.SIDE_SELL, request_id="x")
    watcher.say(register=expiry.WatchRegister(quote_id="q1", quote=quote))
    (registered,) = only(watcher, "registered")
    response = registered.registered.response
    assert response.decision == types.DECISION_QUOTE and response.watched
    assert registered.registered.expiry_utc_ns == response.expiry_utc_ns
    kit.engine.kill(kit.clock.now_ns())
    watcher.say(
        register=expiry.WatchRegister(
            quote_id="q2", quote=expiry.GetExpiryRequest(instrument="BTC-USDT", side=1)
        )
    )
    (refusal,) = only(watcher, "refused")
    assert refusal.refused.reason == expiry.WATCH_REFUSAL_NOT_FIRM
    assert refusal.refused.response.decision == types.DECISION_DECLINE


def test_a_whole_quote_that_is_to_be_explained_takes_a_place_of_its_own(tmp_path: Path) -> None:
    kit = WatchKit(tmp_path, in_flight_max=1)
    watcher = kit.open()

    def say(*names: str, explain: bool) -> list[str | int]:
        quote = expiry.GetExpiryRequest(instrument="BTC-USDT", side=types.SIDE_BUY, explain=explain)
        batch = expiry.WatchRequests()
        for name in names:
            batch.messages.add(register=expiry.WatchRegister(quote_id=name, quote=quote))
        watcher.read()
        watcher.say(batch=batch)
        kit.schedule.settle()
        return [
            each.refused.reason if each.HasField("refused") else each.registered.quote_id
            for each in watcher.read()
        ]

    assert kit.service.in_flight.try_enter(0)
    assert say("q1", explain=True) == [expiry.WATCH_REFUSAL_UNAVAILABLE]
    assert say("q2", "q3", explain=False) == ["q2", "q3"]
    kit.service.in_flight.leave()
    assert say("q1", "q4", explain=True) == ["q1", "q4"]
    assert kit.service.in_flight.count == 0, "given back once it is answered"


def test_get_expiry_registers_in_the_turn_of_its_decision(kit: WatchKit) -> None:
    watcher = kit.open()
    watcher.read()
    reply = kit.get(watch=True, watch_owner="oms", quote_id="q1")
    assert reply.watched and reply.watch_refusal == expiry.WATCH_REFUSAL_UNSPECIFIED
    assert reply.life_without_watch_ns == reply.life_ns, "no life by value"
    (quote,) = kit.engine.live_quotes("oms")
    assert quote.expiry_ns == reply.expiry_utc_ns
    assert f"b00t-{quote.decisions[0]}" == reply.decision_id
    assert watcher.read() == [], "the answer says it"
    unnamed = kit.get(watch=True, watch_owner="oms")
    assert unnamed.watched and kit.engine.watching.find("oms", unnamed.decision_id)


def test_get_expiry_without_a_stream_of_the_owner_is_not_watched_and_says_so(kit: WatchKit) -> None:
    kit.open("another")
    reply = kit.get(watch=True, watch_owner="oms", quote_id="q1")
    assert reply.decision == types.DECISION_QUOTE and not reply.watched
    assert reply.watch_refusal == expiry.WATCH_REFUSAL_NO_STREAM
    assert kit.engine.live_quotes() == []


def test_watch_and_its_owner_go_together(kit: WatchKit) -> None:
    for fields, words in (
        ({"watch": True}, "watch_owner: is required"),
        ({"watch_owner": "x"}, "goes with watch"),
    ):
        with refused() as errors:
            kit.get(**fields)
        assert words in errors[0].message


# --- withdrawal -----------------------------------------------------------------------------------------------


def test_a_withdrawal_leaves_in_the_turn_after_its_event(kit: WatchKit) -> None:
    watcher = kit.open()
    kit.register(watcher, "q1")
    watcher.read()
    kit.move(0, -1)
    assert watcher.read() == []
    kit.schedule.turn()
    message, hint = watcher.read()
    said = message.withdraw
    assert hint.requote_hint.quote_id == "q1" and hint.requote_hint.life_ns > 0
    assert (said.quote_id, said.reason) == ("q1", expiry.WITHDRAW_REASON_ADVERSE_MOVE)
    assert said.decided_at_utc_ns == kit.clock.now_ns() and said.number > 0 and not said.repeated_count
    assert said.instrument == "BTC-USDT" and said.moved_ticks == 1.0


def test_a_withdrawal_is_repeated_until_it_is_acknowledged(kit: WatchKit) -> None:
    watcher = kit.open()
    kit.register(watcher, "q1")
    kit.move(0, -3)
    kit.schedule.settle()
    kit.advance(350 * MS, beat=watcher)
    said = [each.withdraw for each in only(watcher, "withdraw")]
    assert [each.repeated_count for each in said] == [0, 1, 2, 3]
    assert len({each.number for each in said}) == 1
    watcher.say(acknowledge=expiry.WatchAcknowledge(quote_id="q1", sequence=3))
    kit.advance(S, beat=watcher)
    assert only(watcher, "withdraw") == []
    quote = kit.engine.live_quote(1)
    assert quote is not None and quote.acknowledged
    assert kit.watching.figures.repeats == 3


def test_a_quote_that_ends_says_so_in_time_with_a_hint_for_a_new_one(kit: WatchKit) -> None:
    watcher = kit.open()
    reply = kit.register(watcher, "q1")
    kit.advance(reply.life_ns - MS, beat=watcher)
    assert only(watcher, "expired") == []
    kit.advance(2 * MS, beat=watcher)
    kinds = {each.WhichOneof("message"): each for each in watcher.read()}
    assert 0 <= kinds["expired"].expired.at_utc_ns - reply.expiry_utc_ns <= 2 * MS
    hint = kinds["requote_hint"].requote_hint
    assert (hint.quote_id, hint.at_utc_ns) == ("q1", kinds["expired"].expired.at_utc_ns) and hint.life_ns > 0
    assert kinds["requote_hint"].sequence == kinds["expired"].sequence + 1


def test_what_the_client_says_ends_a_quote(kit: WatchKit) -> None:
    watcher = kit.open()
    kit.register(watcher, "filled", size=types.Size(quantity="2", unit=types.SIZE_UNIT_BASE_QUANTITY))
    kit.register(watcher, "partly", size=types.Size(quantity="2", unit=types.SIZE_UNIT_BASE_QUANTITY))
    watcher.say(update=expiry.WatchUpdate(quote_id="filled", state=expiry.QUOTE_STATE_FILLED))
    left = types.Size(quantity="0.5", unit=types.SIZE_UNIT_BASE_QUANTITY)
    watcher.say(
        update=expiry.WatchUpdate(quote_id="partly", state=expiry.QUOTE_STATE_PARTLY_FILLED, remaining=left)
    )
    partly = kit.engine.live_quote(2)
    assert partly is not None and (partly.state, partly.size_lots) == (QuoteStateCode.PARTLY_FILLED, 500)
    watcher.read()
    kit.move(0, -3)
    kit.schedule.settle()
    assert [each.withdraw.quote_id for each in only(watcher, "withdraw")] == ["partly"]
    watcher.say(update=expiry.WatchUpdate(quote_id="partly", state=expiry.QUOTE_STATE_FILLED))
    too_late = kit.engine.live_quote(2)
    assert too_late is not None and too_late.state == QuoteStateCode.TOO_LATE
    kit.advance(S, beat=watcher)
    assert only(watcher, "withdraw") == [], "an end that is told is an acknowledgement"
    watcher.say(update=expiry.WatchUpdate(quote_id="never", state=expiry.QUOTE_STATE_FILLED))
    assert watcher.finished == []


@pytest.mark.parametrize("by", ["update", "outcome"])
@pytest.mark.parametrize("sized", [False, True])
def test_a_partial_fill_whose_rest_nobody_knows_keeps_the_quote_live(
    kit: WatchKit, by: str, sized: bool
) -> None:
    watcher = kit.open()
    two = types.Size(quantity="2", unit=types.SIZE_UNIT_BASE_QUANTITY)
    reply = kit.register(watcher, "q1", counterparty="alpha", **({"size": two} if sized else {}))
    before = kit.engine.live_quote(1)
    assert before is not None
    if by == "update":
        watcher.say(update=expiry.WatchUpdate(quote_id="q1", state=expiry.QUOTE_STATE_PARTLY_FILLED))
        left = before.size_lots
    else:
        hit = expiry.Outcome(
            outcome_id="o1",
            decision_id=reply.decision_id,
            kind=expiry.OUTCOME_KIND_HIT,
            size=types.Size(quantity="0.5", unit=types.SIZE_UNIT_BASE_QUANTITY),
        )
        kit.call(
            "/quote_expiry.v1.QuoteExpiryService/ReportOutcome",
            expiry.ReportOutcomeRequest(outcomes=[hit]).SerializeToString(),
        )
        left = before.size_lots - 500
    quote = kit.engine.live_quote(1)
    assert quote is not None and quote.state == QuoteStateCode.PARTLY_FILLED
    assert quote.size_lots == pytest.approx(left, nan_ok=True) and math.isnan(left) != sized
    watcher.read()
    kit.move(0, -3)
    kit.schedule.settle()
    assert [each.withdraw.quote_id for each in only(watcher, "withdraw")] == ["q1"]


@pytest.mark.parametrize("by", ["update", "outcome"])
def test_what_a_partial_fill_leaves_of_a_withdrawn_quote_is_still_to_be_cancelled(
    kit: WatchKit, by: str
) -> None:
    watcher = kit.open()
    two = types.Size(quantity="2", unit=types.SIZE_UNIT_BASE_QUANTITY)
    reply = kit.register(watcher, "q1", counterparty="alpha", size=two)
    kit.move(0, -3)
    kit.schedule.settle()
    assert [each.withdraw.repeated_count for each in only(watcher, "withdraw")] == [0]
    if by == "update":
        left = types.Size(quantity="1.5", unit=types.SIZE_UNIT_BASE_QUANTITY)
        watcher.say(
            update=expiry.WatchUpdate(quote_id="q1", state=expiry.QUOTE_STATE_PARTLY_FILLED, remaining=left)
        )
    else:
        hit = expiry.Outcome(
            outcome_id="o1",
            decision_id=reply.decision_id,
            kind=expiry.OUTCOME_KIND_HIT,
            size=types.Size(quantity="0.5", unit=types.SIZE_UNIT_BASE_QUANTITY),
        )
        kit.call(
            "/quote_expiry.v1.QuoteExpiryService/ReportOutcome",
            expiry.ReportOutcomeRequest(outcomes=[hit]).SerializeToString(),
        )
    kit.advance(150 * MS, beat=watcher)
    said = watcher.read()
    assert [each.withdraw.repeated_count for each in said if each.HasField("withdraw")] == [1]
    assert not any(each.HasField("expired") for each in said)
    watcher.say(acknowledge=expiry.WatchAcknowledge(quote_id="q1"))
    kit.advance(S, beat=watcher)
    assert only(watcher, "withdraw") == []


@pytest.mark.parametrize("deltas", [(0.5, 0.2), (0.5, 0.5)], ids=["on the underlying", "residual"])
@pytest.mark.parametrize("unit", [types.SIZE_UNIT_LOTS, types.SIZE_UNIT_CONTRACTS])
def test_what_is_left_of_a_package_by_greeks_counts_packages(
    kit: WatchKit, deltas: tuple[float, float], unit: Any
) -> None:
    watcher = kit.open()
    legs = [
        expiry.Leg(
            instrument=name, side=side, ratio="2", greeks=expiry.Greeks(delta=delta, underlying="BTC-USDT")
        )
        for name, side, delta in zip(
            ("ETH-USDT", "BTC-USD"), (types.SIDE_BUY, types.SIDE_SELL), deltas, strict=True
        )
    ]
    size = types.Size(quantity="10", unit=unit)
    reply = kit.register(watcher, "p", instrument="", legs=legs, size=size, counterparty="alpha")
    assert reply.decision == types.DECISION_QUOTE

    def left() -> float:
        quote = kit.engine.live_quote(1)
        assert quote is not None and quote.state in (QuoteStateCode.LIVE, QuoteStateCode.PARTLY_FILLED)
        return quote.size_lots * 0.001  # of the underlying's lots

    assert left() == pytest.approx(10.0)
    hit = expiry.Outcome(
        outcome_id="o1",
        decision_id=reply.decision_id,
        kind=expiry.OUTCOME_KIND_HIT,
        size=types.Size(quantity="4", unit=unit),
    )
    kit.call(
        "/quote_expiry.v1.QuoteExpiryService/ReportOutcome",
        expiry.ReportOutcomeRequest(outcomes=[hit]).SerializeToString(),
    )
    assert left() == pytest.approx(6.0)
    rest = types.Size(quantity="5", unit=unit)
    watcher.say(
        update=expiry.WatchUpdate(quote_id="p", state=expiry.QUOTE_STATE_PARTLY_FILLED, remaining=rest)
    )
    assert left() == pytest.approx(5.0)


def test_a_package_of_one_leg_is_its_instrument_once_it_is_decided(kit: WatchKit) -> None:
    watcher = kit.open()
    legs = [expiry.Leg(instrument="BTC-USDT", side=types.SIDE_BUY, ratio="2")]
    ten = types.Size(quantity="10", unit=types.SIZE_UNIT_CONTRACTS)
    reply = kit.register(watcher, "p", instrument="", legs=legs, size=ten, counterparty="alpha")
    hit = expiry.Outcome(
        outcome_id="o1",
        decision_id=reply.decision_id,
        kind=expiry.OUTCOME_KIND_HIT,
        size=types.Size(quantity="5", unit=types.SIZE_UNIT_BASE_QUANTITY),
    )
    kit.call(
        "/quote_expiry.v1.QuoteExpiryService/ReportOutcome",
        expiry.ReportOutcomeRequest(outcomes=[hit]).SerializeToString(),
    )
    quote = kit.engine.live_quote(1)
    assert quote is not None and quote.size_lots * 0.001 == pytest.approx(10 * 2 - 5)


def test_what_is_left_of_a_package_counts_packages(kit: WatchKit) -> None:
    watcher = kit.open()
    legs = [
        expiry.Leg(instrument="BTC-USDT", side=types.SIDE_BUY, ratio="2"),
        expiry.Leg(instrument="ETH-USDT", side=types.SIDE_BUY, ratio="1"),
    ]
    five = types.Size(quantity="5", unit=types.SIZE_UNIT_LOTS)
    reply = kit.register(watcher, "p", instrument="", legs=legs, size=five, counterparty="alpha")
    assert reply.decision == types.DECISION_QUOTE

    def left() -> float:
        quote = kit.engine.live_quote(1)
        assert quote is not None and quote.state in (QuoteStateCode.LIVE, QuoteStateCode.PARTLY_FILLED)
        return quote.size_lots * 0.001  # of the first leg's lots

    assert left() == pytest.approx(5.0)
    before = kit.engine.watching.exposures()[0]
    hit = expiry.Outcome(
        outcome_id="o1",
        decision_id=reply.decision_id,
        kind=expiry.OUTCOME_KIND_HIT,
        size=types.Size(quantity="2", unit=types.SIZE_UNIT_CONTRACTS),
    )
    kit.call(
        "/quote_expiry.v1.QuoteExpiryService/ReportOutcome",
        expiry.ReportOutcomeRequest(outcomes=[hit]).SerializeToString(),
    )
    assert left() == pytest.approx(3.0)
    one = types.Size(quantity="1", unit=types.SIZE_UNIT_LOTS)
    watcher.say(
        update=expiry.WatchUpdate(quote_id="p", state=expiry.QUOTE_STATE_PARTLY_FILLED, remaining=one)
    )
    assert left() == pytest.approx(1.0)
    assert kit.engine.watching.exposures()[0][:2] == pytest.approx([each / 5 for each in before[:2]])
    base = types.Size(quantity="1", unit=types.SIZE_UNIT_BASE_QUANTITY)
    watcher.read()
    watcher.say(
        update=expiry.WatchUpdate(quote_id="p", state=expiry.QUOTE_STATE_PARTLY_FILLED, remaining=base)
    )
    (said,) = only(watcher, "refused")
    assert "update.remaining.unit: of a package" in said.refused.message


def test_a_kill_withdraws_whoever_it_concerns(kit: WatchKit) -> None:
    watcher = kit.open()
    kit.register(watcher, "a", counterparty="alpha")
    kit.register(watcher, "b", counterparty="beta")
    kit.engine.kill(kit.clock.now_ns(), counterparty="beta")
    kit.schedule.settle()
    assert [(w.withdraw.quote_id, w.withdraw.reason) for w in only(watcher, "withdraw")] == [
        ("b", expiry.WITHDRAW_REASON_KILL_SWITCH)
    ]


def test_a_short_life_on_a_venue_with_a_long_minimum_is_sent_at_its_maximum_and_cancelled(
    kit: WatchKit,
) -> None:
    watcher = kit.open()
    reply = kit.get(venue_session="coarse", watch=True, watch_owner="oms", quote_id="q1")
    assert (reply.decision, reply.actuation) == (types.DECISION_QUOTE, types.ACTUATION_WITHDRAW)
    assert reply.life_ns < 10 * S and reply.venue_life_ns == 60 * S
    kit.advance(reply.life_ns + 2 * MS, beat=watcher)
    (said,) = only(watcher, "withdraw")
    assert said.withdraw.reason == expiry.WITHDRAW_REASON_LIFE_ENDED
    kit.advance(150 * MS, beat=watcher)
    assert [each.withdraw.repeated_count for each in only(watcher, "withdraw")] == [1]


# --- loss -------------------------------------------------------------------------------------------------------


def live(kit: WatchKit, owner: str = "oms") -> list[str]:
    states = (QuoteStateCode.LIVE, QuoteStateCode.PARTLY_FILLED)
    return [quote.name for quote in kit.engine.live_quotes(owner) if quote.state in states]


LASTING = (
    CONFIG
    + """
postures:
  client_priority: {mode: step, life_max: 5s, step_table: [{p_at_or_above: 0, life: 5s}]}
  liquidity_provider: {mode: step, life_max: 5s, step_table: [{p_at_or_above: 0, life: 5s}]}
"""
)


@pytest.fixture
def lasting(tmp_path: Path) -> WatchKit:
    """Quotes that outlive every bound of the watch."""
    kit = WatchKit(tmp_path, text=LASTING)
    assert kit.get().life_ns == 5 * S
    return kit


def test_a_silent_client_is_lost_within_its_bound(lasting: WatchKit) -> None:
    watcher = lasting.open(heartbeat_interval_ns=100 * MS)
    lasting.register(watcher, "q1")
    lasting.advance(199 * MS)
    assert live(lasting) == ["q1"] and watcher.finished == []
    lasting.advance(30 * MS)
    assert live(lasting) == []
    (error,) = watcher.finished
    assert isinstance(error, RpcError) and error.code == Code.DEADLINE_EXCEEDED
    assert [alert.name for alert in lasting.alerts.active()] == ["watch_lost"]
    assert lasting.watching.figures.lost_streams == 1


def test_heartbeats_keep_a_watch_alive_and_the_service_beats_too(lasting: WatchKit) -> None:
    watcher = lasting.open(heartbeat_interval_ns=100 * MS)
    lasting.register(watcher, "q1")
    for _ in range(20):
        lasting.advance(100 * MS)
        watcher.say(heartbeat=expiry.WatchHeartbeat())
        watcher.pull()
    beats = only(watcher, "heartbeat")
    assert live(lasting) == ["q1"]
    gaps = [after.heartbeat.at_utc_ns - before.heartbeat.at_utc_ns for before, after in pairwise(beats)]
    assert len(beats) >= 6 and max(gaps) <= 320 * MS


@pytest.mark.parametrize("end", ["on_cancel", "on_half_close"])
def test_a_stream_that_ends_takes_its_quotes_with_it(lasting: WatchKit, end: str) -> None:
    watcher, other = lasting.open(), lasting.open("other")
    lasting.register(watcher, "q1")
    lasting.register(other, "q1")
    getattr(watcher.handler, end)()
    assert live(lasting) == [] and live(lasting, "other") == ["q1"]
    quote = lasting.engine.live_quote(1)
    assert quote is not None and quote.withdraw == expiry.WITHDRAW_REASON_WATCH_LOST


def test_withdrawals_nobody_acknowledged_are_said_to_the_next_stream(lasting: WatchKit) -> None:
    watcher = lasting.open()
    lasting.register(watcher, "q1")
    watcher.handler.on_cancel()  # type: ignore[union-attr]
    lasting.schedule.settle()
    back = lasting.open(resume=True)
    said = [each for each in back.read() if each.WhichOneof("message") != "opened"]
    assert [each.WhichOneof("message") for each in said] == ["resumed", "withdraw"]
    assert said[0].resumed.last and not said[0].resumed.quotes
    assert said[1].withdraw.reason == expiry.WITHDRAW_REASON_WATCH_LOST
    back.say(acknowledge=expiry.WatchAcknowledge(quote_id="q1"))
    lasting.advance(S, beat=back)
    assert only(back, "withdraw") == []
    assert lasting.alerts.active() == [], "its owner is back"


def test_a_client_that_does_not_read_is_told_and_lost(lasting: WatchKit) -> None:
    watcher = lasting.open()
    lasting.register(watcher, "q1")
    watcher.pull()
    watcher.stalled = True
    for _ in range(12):
        lasting.advance(100 * MS)
        watcher.say(heartbeat=expiry.WatchHeartbeat())
        if watcher.finished:
            break
    (error,) = watcher.finished
    assert isinstance(error, RpcError) and error.code == Code.RESOURCE_EXHAUSTED
    assert live(lasting) == [] and lasting.watching.figures.slow_consumers == 1


def test_a_client_whose_heartbeats_show_that_it_does_not_read_is_lost(lasting: WatchKit) -> None:
    watcher = lasting.open()
    lasting.register(watcher, "q1")
    for _ in range(20):
        lasting.advance(100 * MS)
        watcher.pull()  # as buffers on the way take it
        watcher.say(heartbeat=expiry.WatchHeartbeat(sequence=2))
        if watcher.finished:
            break
    (error,) = watcher.finished
    assert isinstance(error, RpcError) and error.code == Code.RESOURCE_EXHAUSTED
    assert live(lasting) == []


def test_what_waits_for_a_slow_client_is_bounded(tmp_path: Path) -> None:
    kit = WatchKit(tmp_path, queue_max=64)
    watcher = kit.open()
    for k in range(80):
        kit.register(watcher, f"q{k}")
        watcher.pull()
    watcher.stalled = True
    kit.move(0, -5)
    kit.schedule.settle()
    kit.advance(100 * MS)
    assert not watcher.finished, "it has a moment to read what one event has brought"
    kit.advance(MS)
    with refused() as errors:
        kit.register(watcher, "one more")
    assert errors[0].code == Code.RESOURCE_EXHAUSTED
    assert kit.watching.unwritten == 0 and kit.watching.unacknowledged == 80


def test_a_thousand_withdrawals_of_one_event_leave_in_a_few_messages(tmp_path: Path) -> None:
    kit = WatchKit(tmp_path)
    watcher = kit.open()
    for k in range(1000):
        kit.register(watcher, f"q{k}")
    watcher.read()
    before = watcher.writes
    kit.move(0, -5)
    kit.schedule.settle()
    said = watcher.read()
    withdrawn = [each.withdraw.quote_id for each in said if each.HasField("withdraw")]
    assert sorted(withdrawn) == sorted(f"q{k}" for k in range(1000))
    assert watcher.writes - before <= 5
    sequences = [each.sequence for each in said]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))


def test_draining_withdraws_before_the_streams_end(lasting: WatchKit) -> None:
    watcher = lasting.open()
    lasting.register(watcher, "q1")
    watcher.read()
    lasting.watching.leave()
    lasting.schedule.settle()
    (said,) = watcher.read()
    assert said.withdraw.reason == expiry.WITHDRAW_REASON_WATCH_LOST
    reply = lasting.get(watch=True, watch_owner="oms", quote_id="q2")
    assert not reply.watched and reply.watch_refusal == expiry.WATCH_REFUSAL_UNAVAILABLE


def test_a_batch_is_taken_in_pieces_and_its_order_kept(kit: WatchKit) -> None:
    watcher = kit.open()
    replies = [kit.get() for _ in range(100)]
    batch = expiry.WatchRequests()
    for k, reply in enumerate(replies):
        batch.messages.add(register=expiry.WatchRegister(quote_id=f"q{k}", decision_id=reply.decision_id))
    done = watcher.say(batch=batch)
    assert done is not None and done.outcome is None
    assert len(kit.engine.live_quotes()) == 32, "others have their turn"
    kit.schedule.settle()
    assert done.outcome == b""
    assert [each.registered.quote_id for each in only(watcher, "registered")] == [f"q{k}" for k in range(100)]


def test_a_batch_holds_no_batch_and_no_more_than_it_may(kit: WatchKit) -> None:
    for messages in (
        [expiry.WatchQuotesRequest(batch=expiry.WatchRequests())],
        [expiry.WatchQuotesRequest()] * 257,
    ):
        watcher = kit.open(f"o{len(messages)}")
        with refused() as errors:
            watcher.say(batch=expiry.WatchRequests(messages=messages))
        assert errors[0].code == Code.INVALID_ARGUMENT


def test_status_says_what_is_watched(lasting: WatchKit) -> None:
    watcher = lasting.open()
    lasting.register(watcher, "q1")
    lasting.register(watcher, "q2", side=types.SIDE_SELL)
    lasting.move(0, -3)
    lasting.schedule.settle()
    status = lasting.watching.status()
    assert (status.live, status.registered, status.unacknowledged) == (1, 2, 1)
    assert [(each.reason, each.count) for each in status.withdrawn] == [
        (expiry.WITHDRAW_REASON_ADVERSE_MOVE, 1)
    ]
    assert [each.owner for each in status.streams] == ["oms"]


# --- after a restart --------------------------------------------------------------------------------------------


def restarted(tmp_path: Path) -> tuple[WatchKit, list[WatchedInput]]:
    """Another engine that has taken what the one before was told of its quotes: live, expired long ago, withdrawn and
    not acknowledged."""
    told: list[WatchedInput] = []
    first = WatchKit(tmp_path, text=LASTING)
    first.engine.record_to(
        InputTap(lambda name, _, *what: told.append((what[0], what[1])) if name == "change" else None),
        first.ear.tap,
    )
    watcher, other = first.open(), first.open("other")
    first.register(watcher, "live")
    first.register(watcher, "filled")
    first.register(other, "live")
    watcher.say(update=expiry.WatchUpdate(quote_id="filled", state=expiry.QUOTE_STATE_FILLED))

    def before(engine: Engine, now_ns: int) -> None:
        for kind, payload in told:
            engine.apply_watch(kind, payload, now_ns)

    return WatchKit(tmp_path, text=LASTING, before=before), told


def test_after_a_restart_an_owner_gets_back_what_is_live_with_its_end_unchanged(tmp_path: Path) -> None:
    kit, told = restarted(tmp_path)
    assert kit.watching.status().awaited == 2
    kit.advance(300 * MS)
    back = kit.open(resume=True)
    opened, resumed = back.read()
    assert opened.HasField("opened") and resumed.resumed.last
    ((name, end_ns),) = [(each.quote_id, each.expiry_utc_ns) for each in resumed.resumed.quotes]
    assert (name, end_ns) == ("live", told[0][1]["expiry_ns"])
    kit.move(0, -3)
    kit.schedule.settle()
    assert [each.withdraw.quote_id for each in only(back, "withdraw")] == ["live"]


def test_owners_that_do_not_come_back_in_time_are_lost(tmp_path: Path) -> None:
    kit, _ = restarted(tmp_path)
    back = kit.open(resume=True)
    kit.advance(499 * MS, beat=back)
    assert live(kit, "other") == ["live"]
    kit.advance(100 * MS, beat=back)
    assert live(kit, "other") == [] and live(kit) == ["live"]
    (alert,) = kit.alerts.active()
    assert alert.name == "watch_lost" and "other (1 live)" in alert.text
    late = kit.open("other", resume=True)
    assert [each.withdraw.reason for each in only(late, "withdraw")] == [expiry.WITHDRAW_REASON_WATCH_LOST]


def test_an_owner_that_comes_back_without_resume_starts_with_nothing_live(tmp_path: Path) -> None:
    kit, _ = restarted(tmp_path)
    back = kit.open()
    kit.schedule.settle()
    assert live(kit) == []
    assert [each.withdraw.quote_id for each in only(back, "withdraw")] == ["live"]


# --- with a journal ---------------------------------------------------------------------------------------------


def journaled(tmp_path: Path, **settings: Any) -> tuple[JournalKit, Watcher]:
    """A stream on a service with a journal."""
    kit = JournalKit(tmp_path, **settings)
    watcher = Watcher()
    entry = kit.service.methods[WATCH]
    assert isinstance(entry, Stream)
    watcher.handler = kit.service.open_stream(entry, watcher, CallContext(WATCH))
    watcher.say(open=expiry.WatchOpen(owner="oms"))
    watcher.read()
    return kit, watcher


def test_a_place_is_held_until_the_answer_is_recorded(tmp_path: Path) -> None:
    kit, watcher = journaled(tmp_path, durability="power-loss")
    quote = expiry.GetExpiryRequest(instrument="BTC-USDT", side=types.SIDE_BUY, explain=True)
    watcher.say(register=expiry.WatchRegister(quote_id="q1", quote=quote))
    assert kit.service.in_flight.count == 1
    watcher.handler.on_cancel()  # nobody is left to hear it
    kit.work_off()
    assert kit.service.in_flight.count == 0


def test_a_withdrawal_leaves_behind_its_record_and_waits_for_no_sync(tmp_path: Path) -> None:
    kit, watcher = journaled(tmp_path, durability="power-loss")
    call = kit.ask(watch=True, watch_owner="oms", quote_id="q1")
    kit.work_off()
    assert call.expiry.watched
    kit.engine.kill(kit.clock.now_ns())
    assert watcher.read() == []
    commits = kit.journal.writer.commits
    kit.turn()
    assert kit.journal.writer.commits == commits + 1
    assert [each.withdraw.quote_id for each in watcher.read()] == ["q1"], "with the sync still to come"


def test_a_registration_is_confirmed_once_it_is_recorded_as_configured(tmp_path: Path) -> None:
    kit, watcher = journaled(tmp_path, durability="power-loss")
    call = kit.ask()
    kit.work_off()
    watcher.say(register=expiry.WatchRegister(quote_id="q1", decision_id=call.expiry.decision_id))
    kit.turn()
    assert watcher.read() == []
    kit.work_off()
    assert watcher.kinds() == ["registered"]


def test_a_quote_whose_answer_cannot_be_recorded_is_not_watched_on(tmp_path: Path) -> None:
    kit, watcher = journaled(tmp_path)
    FAULTS["full"](kit.storage)
    call = kit.ask(watch=True, watch_owner="oms", quote_id="q1")
    kit.turn()
    assert call.error.code == Code.UNAVAILABLE
    (quote,) = kit.engine.live_quotes("oms")
    assert quote.state == QuoteStateCode.CANCELLED
    watcher.say(register=expiry.WatchRegister(quote_id="q1", decision_id=f"b00t1-{quote.decisions[0]}"))
    assert [each.refused.reason for each in watcher.read()] == [expiry.WATCH_REFUSAL_UNAVAILABLE]


# --- venue sessions with a minimum ------------------------------------------------------------------------------

WITH_MINIMUM = CONFIG.replace(
    "venue_sessions:",
    """venue_sessions:
  fixed: {actuation: absolute, granularity: 1s, life_min: 10s, life_max: 60s}
  way: {actuation: relative, granularity: 1s, life_min: 10s, life_max: 60s, transit: 3ms}
  open-ended: {actuation: absolute, granularity: 1s, life_min: 10s}""",
)


@pytest.mark.parametrize("session", ["fixed", "way"])
def test_a_watched_life_below_the_venues_minimum_is_sent_at_its_maximum_and_cancelled(
    tmp_path: Path, session: str
) -> None:
    kit = WatchKit(tmp_path, text=WITH_MINIMUM)
    alone = kit.get(venue_session=session)
    assert alone.decision == types.DECISION_DECLINE and types.REASON_VENUE_MINIMUM in alone.reasons
    unheard = kit.get(venue_session=session, watch=True, watch_owner="oms")
    assert unheard.decision == types.DECISION_DECLINE, "nobody would cancel it"
    watcher = kit.open()
    plain = kit.get()
    reply = kit.get(venue_session=session, watch=True, watch_owner="oms", quote_id="q1")
    assert (reply.decision, reply.watched) == (types.DECISION_QUOTE, True)
    assert (reply.life_ns, reply.venue_life_ns) == (plain.life_ns, 60 * S)
    assert reply.actuation == types.ACTUATION_WITHDRAW and reply.venue_expiry_utc_ns % S == 0
    recent = kit.service.recent.find(reply.decision_id)
    assert recent is not None
    again = DecisionRecord()
    kit.engine.redo(recent.requests[0], recent.decisions[0], again)
    assert again.canonical() == recent.decisions[0].canonical()
    kit.advance(reply.life_ns + 2 * MS, beat=watcher)
    (said,) = only(watcher, "withdraw")
    assert said.withdraw.reason == expiry.WITHDRAW_REASON_LIFE_ENDED
    assert 0 <= said.withdraw.decided_at_utc_ns - reply.expiry_utc_ns <= 2 * MS


def test_a_venue_without_a_longest_life_takes_no_watched_quote_below_its_minimum(tmp_path: Path) -> None:
    kit = WatchKit(tmp_path, text=WITH_MINIMUM)
    kit.open()
    reply = kit.get(venue_session="open-ended", watch=True, watch_owner="oms")
    assert reply.decision == types.DECISION_DECLINE and types.REASON_VENUE_MINIMUM in reply.reasons
    assert reply.watch_refusal == expiry.WATCH_REFUSAL_NOT_FIRM


BY_VALUE = (
    CONFIG
    + """
postures:
  client_priority: {mode: expected_value, tolerance_source: curve, life_max: 5s, life_min: 25ms, tolerance: 0.5}
  liquidity_provider: {mode: expected_value, tolerance_source: curve, life_max: 5s, life_min: 25ms, tolerance: 0.5}
  risk_averse: {mode: expected_value, tolerance_source: curve, life_max: 5s, life_min: 25ms, tolerance: 0.5}
defaults:
  value: {informed_share: 0.5, response_median: 200ms, watch_leaves: 0.1}
"""
)


def test_a_quote_by_value_is_given_longer_for_its_watch_and_the_reply_tells_both(tmp_path: Path) -> None:
    """Only where it is watched: without a stream the reply has the shorter life and names no other."""
    kit = WatchKit(tmp_path, text=BY_VALUE)
    alone = kit.get(watch=True, watch_owner="oms", quote_id="q0", edge="0.05")
    assert not alone.watched and not alone.HasField("life_without_watch_ns")
    kit.open()
    reply = kit.get(watch=True, watch_owner="oms", quote_id="q1", edge="0.05")
    assert reply.watched and reply.decision == types.DECISION_QUOTE
    assert reply.life_without_watch_ns == alone.life_ns < reply.life_ns
    (quote,) = kit.engine.live_quotes("oms")
    assert (quote.expiry_ns - quote.unwatched_ns) == reply.life_ns - reply.life_without_watch_ns


def beats(kit: WatchKit, watcher: Any, ns: int) -> list[int]:
    """When heartbeats were sent meanwhile, in ns from now; the client is heard and reads."""
    start_ns = kit.clock.now_ns()
    seen: list[int] = []
    for _ in range(ns // MS):
        kit.advance(MS, beat=watcher)
        seen += [m.heartbeat.at_utc_ns - start_ns for m in watcher.read() if m.HasField("heartbeat")]
    return seen


@pytest.mark.parametrize(("asked_ms", "lease_ms"), [(0, 40), (20, 20), (200, 200)])
def test_heartbeats_renew_the_lease_twice_over_while_a_quote_lives_by_it(
    tmp_path: Path, asked_ms: int, lease_ms: int
) -> None:
    kit = WatchKit(tmp_path, text=BY_VALUE)
    watcher = kit.open(lease_ns=asked_ms * MS)
    (opened,) = watcher.read()
    assert opened.opened.lease_ns == lease_ms * MS
    assert len(beats(kit, watcher, 500 * MS)) <= 4, "nothing lives by it"
    reply = kit.get(watch=True, watch_owner="oms", quote_id="q1", edge="0.5")
    assert reply.watched and reply.life_without_watch_ns < reply.life_ns
    sent = [0, *beats(kit, watcher, 600 * MS)]
    assert kit.engine.live_quotes("oms")[0].state == QuoteStateCode.LIVE
    gaps = [late - early for early, late in pairwise(sent)]
    assert lease_ms * MS // 4 <= max(gaps) <= lease_ms * MS // 2 + 2 * MS
    assert sent[1] <= lease_ms * MS // 2, "at once where the last one is too long ago"
    kit.engine.kill(kit.clock.now_ns())
    kit.schedule.settle()
    watcher.read()
    assert len(beats(kit, watcher, 500 * MS)) <= 4, "it is over"


def test_a_shorter_lease_is_not_kept_waiting_by_a_longer_one(tmp_path: Path) -> None:
    kit = WatchKit(tmp_path, text=BY_VALUE)
    kit.open("slow", lease_ns=60 * S)
    assert kit.get(watch=True, watch_owner="slow", quote_id="q1", edge="0.05").watched
    watcher = kit.open("quick", lease_ns=20 * MS)
    assert kit.get(watch=True, watch_owner="quick", quote_id="q1", edge="0.05").watched
    watcher.read()
    assert len(beats(kit, watcher, 100 * MS)) >= 8


def test_a_quote_that_gains_nothing_by_its_watch_needs_no_lease(tmp_path: Path) -> None:
    kit = WatchKit(tmp_path)
    watcher = kit.open(lease_ns=20 * MS)
    reply = kit.get(watch=True, watch_owner="oms", quote_id="q1")
    assert reply.watched and reply.life_without_watch_ns == reply.life_ns
    watcher.read()
    assert len(beats(kit, watcher, 400 * MS)) <= 4


@pytest.mark.parametrize("lease_ns", [1, 20 * MS - 1, 60 * S + 1, -1])
def test_a_lease_out_of_range_is_refused_by_name(kit: WatchKit, lease_ns: int) -> None:
    with pytest.raises(RpcError, match=r"open\.lease_ns"):
        kit.open(lease_ns=lease_ns)


# --- bursts, and clients that err -----------------------------------------------------------------------------------


def test_a_burst_larger_than_the_queue_reaches_a_client_that_reads(tmp_path: Path) -> None:
    kit = WatchKit(tmp_path, text=LASTING, queue_max=64)
    watcher = kit.open()
    for k in range(100):
        kit.register(watcher, f"q{k}")
        watcher.pull()
    watcher.read()
    kit.engine.kill(kit.clock.now_ns(), reason="test")
    kit.schedule.settle()
    assert len(only(watcher, "withdraw")) == 100 and not watcher.finished


def test_a_kill_of_many_leaves_turns_to_others(tmp_path: Path) -> None:
    kit = WatchKit(tmp_path, text=LASTING)
    watcher = kit.open()
    for k in range(1200):
        kit.register(watcher, f"q{k}")
        watcher.pull()
    watcher.read()
    kit.engine.kill(kit.clock.now_ns(), reason="test")
    turns = []
    for _ in range(20):
        before = kit.watching.unacknowledged
        kit.schedule.turn()
        turns.append(kit.watching.unacknowledged - before)
    assert max(turns) == 512 and sum(turns) == 1200
    assert len(only(watcher, "withdraw")) == 1200


def test_a_wrong_update_is_refused_and_nothing_else_ends(kit: WatchKit) -> None:
    watcher = kit.open()
    two = types.Size(quantity="2", unit=types.SIZE_UNIT_BASE_QUANTITY)
    for name in ("q1", "q2"):
        kit.register(watcher, name, counterparty="alpha", size=two)
    watcher.read()
    for wrong in (
        {"state": expiry.QUOTE_STATE_UNSPECIFIED},
        {
            "state": expiry.QUOTE_STATE_PARTLY_FILLED,
            "remaining": types.Size(quantity="1", unit=types.SIZE_UNIT_NOTIONAL),
        },
        {
            "state": expiry.QUOTE_STATE_PARTLY_FILLED,
            "remaining": types.Size(quantity="2.001", unit=types.SIZE_UNIT_BASE_QUANTITY),
        },
        {
            "state": expiry.QUOTE_STATE_PARTLY_FILLED,
            "remaining": types.Size(quantity="0", unit=types.SIZE_UNIT_BASE_QUANTITY),
        },
    ):
        watcher.say(update=expiry.WatchUpdate(quote_id="q1", **wrong))
        (said,) = only(watcher, "refused")
        assert (said.refused.quote_id, said.refused.reason) == ("q1", expiry.WATCH_REFUSAL_UPDATE)
        assert said.refused.fields[0].field.startswith("update.")
    assert not watcher.finished and live(kit) == ["q1", "q2"]


def test_a_wrong_message_ends_its_stream_at_once(kit: WatchKit) -> None:
    watcher = kit.open()
    kit.register(watcher, "q1")
    with refused() as errors:
        watcher.say(open=expiry.WatchOpen(owner="again"))
    assert errors[0].code == Code.FAILED_PRECONDITION
    assert live(kit) == [], "before the transport has let go"


def test_an_acknowledgement_of_what_was_said_before_settles_nothing(kit: WatchKit) -> None:
    watcher = kit.open()
    kit.register(watcher, "q1")
    kit.move(0, -3)
    kit.schedule.settle()
    (said,) = only(watcher, "withdraw")
    watcher.say(acknowledge=expiry.WatchAcknowledge(quote_id="q1", sequence=said.sequence - 1))
    assert kit.watching.unacknowledged == 1
    watcher.say(acknowledge=expiry.WatchAcknowledge(quote_id="q1", sequence=said.sequence))
    assert kit.watching.unacknowledged == 0


def test_an_outcome_that_another_reports_is_told_to_the_stream(kit: WatchKit) -> None:
    watcher = kit.open()
    reply = kit.register(watcher, "q1", counterparty="alpha")
    watcher.say(register=expiry.WatchRegister(quote_id="twin", decision_id=reply.decision_id))
    watcher.read()
    kit.call(
        "/quote_expiry.v1.QuoteExpiryService/ReportOutcome",
        expiry.ReportOutcomeRequest(
            outcomes=[
                expiry.Outcome(
                    outcome_id="o1", decision_id=reply.decision_id, kind=expiry.OUTCOME_KIND_DONE_AWAY
                )
            ]
        ).SerializeToString(),
    )
    assert [each.expired.quote_id for each in only(watcher, "expired")] == ["q1", "twin"]
    assert live(kit) == []


def two_way(kit: WatchKit, watcher: Watcher, size: str = "2") -> expiry.GetExpiryResponse:
    of = {"size": types.Size(quantity=size, unit=types.SIZE_UNIT_LOTS)} if size else {}
    reply = kit.register(watcher, "q1", side=types.SIDE_TWO_WAY, counterparty="alpha", **of)
    assert [side.decision for side in reply.sides] == [types.DECISION_QUOTE] * 2
    watcher.read()
    return reply


def report(kit: WatchKit, reply: expiry.GetExpiryResponse, kind: Any, lots: str = "", side: Any = 0) -> None:
    told = expiry.Outcome(
        outcome_id=f"o{kit.clock.now_ns()}-{kit.engine.input_sequence}",
        decision_id=reply.decision_id,
        kind=kind,
        side=side,
    )
    if lots:
        told.size.CopyFrom(types.Size(quantity=lots, unit=types.SIZE_UNIT_LOTS))
    payload = expiry.ReportOutcomeRequest(outcomes=[told]).SerializeToString()
    answer = kit.call("/quote_expiry.v1.QuoteExpiryService/ReportOutcome", payload)
    assert expiry.ReportOutcomeResponse.FromString(answer).accepted == 1


HIT, LIFTED = expiry.OUTCOME_KIND_HIT, expiry.OUTCOME_KIND_LIFTED
ENDS = [expiry.OUTCOME_KIND_CANCELLED, expiry.OUTCOME_KIND_EXPIRED, expiry.OUTCOME_KIND_DONE_AWAY]
ENDS += [expiry.OUTCOME_KIND_COVER]


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize("size", ["2", ""])
def test_the_end_of_one_side_leaves_the_other_watched_and_counted(
    kit: WatchKit, kind: Any, size: str
) -> None:
    watcher = kit.open()
    reply = two_way(kit, watcher, size)
    counted = kit.engine.watching.exposures()[0][:2]
    for _ in range(2):  # a side that has ended does not end again
        report(kit, reply, kind, side=types.SIDE_BUY)
        assert (live(kit), watcher.read()) == (["q1"], [])
        assert kit.engine.watching.exposures()[0][:2] == counted
    kit.move(0, 3)  # against the offer
    kit.schedule.settle()
    assert [each.withdraw.quote_id for each in only(watcher, "withdraw")] == ["q1"]


@pytest.mark.parametrize("kind", ENDS)
def test_a_quote_is_over_when_both_of_its_sides_are(kit: WatchKit, kind: Any) -> None:
    watcher = kit.open()
    reply = two_way(kit, watcher)
    report(kit, reply, HIT)
    assert live(kit) == ["q1"]
    report(kit, reply, kind, side=types.SIDE_SELL)
    assert live(kit) == []
    assert [each.expired.quote_id for each in only(watcher, "expired")] == ["q1"]
    assert kit.watching._sides == {}


def test_an_outcome_of_no_side_is_that_of_both(kit: WatchKit) -> None:
    watcher = kit.open()
    report(kit, two_way(kit, watcher), ENDS[0])
    assert live(kit) == []
    assert [each.expired.quote_id for each in only(watcher, "expired")] == ["q1"]


def test_a_quote_counts_as_what_is_left_of_the_side_with_most(kit: WatchKit) -> None:
    watcher = kit.open()
    reply = two_way(kit, watcher)
    left = []
    for kind, lots in ((HIT, "1"), (LIFTED, "1"), (HIT, "1"), (LIFTED, "0.5")):
        report(kit, reply, kind, lots)
        quote = kit.engine.live_quote(1)
        assert quote is not None and quote.state == QuoteStateCode.PARTLY_FILLED
        left.append(quote.size_lots)
    assert left == [2.0, 1.0, 1.0, 0.5]
    assert (live(kit), only(watcher, "expired")) == (["q1"], [])
    report(kit, reply, LIFTED, "0.5")
    over = kit.engine.live_quote(1)
    assert over is not None and over.state == QuoteStateCode.FILLED
    assert [each.expired.quote_id for each in only(watcher, "expired")] == ["q1"]


def test_a_fill_of_one_side_never_adds_to_what_the_desk_says_is_left(kit: WatchKit) -> None:
    watcher = kit.open()
    reply = two_way(kit, watcher)
    report(kit, reply, HIT, "0.5")
    rest = types.Size(quantity="1", unit=types.SIZE_UNIT_LOTS)
    watcher.say(
        update=expiry.WatchUpdate(quote_id="q1", state=expiry.QUOTE_STATE_PARTLY_FILLED, remaining=rest)
    )
    report(kit, reply, HIT, "0.5")
    quote = kit.engine.live_quote(1)
    assert quote is not None and quote.size_lots == 1.0


def test_a_fill_of_one_side_leaves_a_withdrawn_quote_to_be_cancelled(kit: WatchKit) -> None:
    watcher = kit.open()
    reply = two_way(kit, watcher)
    kit.move(0, 3)
    kit.schedule.settle()
    report(kit, reply, LIFTED)
    assert kit.watching.unacknowledged == 1
    report(kit, reply, HIT)
    assert kit.watching.unacknowledged == 0
    quote = kit.engine.live_quote(1)
    assert quote is not None and quote.state == QuoteStateCode.TOO_LATE


def test_a_stored_answer_does_not_say_watched_of_what_is_over(kit: WatchKit) -> None:
    watcher = kit.open()
    request = {"request_id": "r1", "watch": True, "watch_owner": "oms", "quote_id": "q1"}
    first = kit.get(**request)
    again = kit.get(**request)
    assert first.watched and again == first
    watcher.say(update=expiry.WatchUpdate(quote_id="q1", state=expiry.QUOTE_STATE_FILLED))
    over = kit.get(**request)
    assert not over.watched and over.watch_refusal == expiry.WATCH_REFUSAL_ENDED
    assert (over.decision_id, over.expiry_utc_ns) == (first.decision_id, first.expiry_utc_ns)
    kit.get(**{**request, "request_id": "r2"})
    assert not kit.get(**request).watched, "that name is another quote's now"
