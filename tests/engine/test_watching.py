"""Live quotes that are watched: each rule ends the right ones, once, with its reason, and all follows from inputs."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quotelife.config import Config, load_config
from quotelife.counterparty.posterior import OutcomeCode
from quotelife.decision.expected_value import ExpectedValue
from quotelife.engine import Engine
from quotelife.errors import QuotelifeError
from quotelife.inputs import Change, DerivedTap, InputTap
from quotelife.records import (
    HORIZONS_NS,
    WATCH_DTYPE,
    DecisionCode,
    DecisionRecord,
    EventBuffer,
    EventFlags,
    EventKindCode,
    QuoteStateCode,
    SideCode,
    SignalCode,
    StatusKind,
    WatchCode,
    WithdrawCode,
)
from reference.live_quotes_kit import MS, T0, Market, S, config_of
from reference.outcome_kit import outcome


@pytest.fixture
def market(tmp_path: Path) -> Market:
    return Market(config_of(tmp_path))


def withdrawn(said: list[tuple[str, int, str]]) -> list[tuple[int, str]]:
    return [(quote, reason) for kind, quote, reason in said if kind == "WITHDRAW"]


@pytest.mark.parametrize("side", [1, -1])
def test_half_the_threshold_against_it_withdraws_and_not_a_tick_less(market: Market, side: int) -> None:
    """h is 8 ticks and w one half: the mid has to move 4 against the side."""
    quote = market.watch(sides=((0, side),))
    market.t += MS
    market.move(0, 9 * side)  # in its favour, however far
    market.move(0, -9 * side)
    market.move(0, -3 * side)
    assert market.said() == []
    market.move(1, -20 * side)  # another instrument is none of its business
    assert market.said() == []
    market.t += MS
    market.move(0, -side)
    (said, *hints) = market.records()
    assert WatchCode(said["kind"]) is WatchCode.WITHDRAW
    assert WithdrawCode(said["reason"]) is WithdrawCode.ADVERSE_MOVE
    assert (said["quote"], said["moved_ticks"], said["instrument"], said["at_ns"]) == (
        quote,
        4.0,
        0,
        market.t,
    )
    assert said["state"] == QuoteStateCode.WITHDRAWN and said["life_ns"] > 0 and not said["held"]
    assert [WatchCode(h["kind"]) for h in hints] == [WatchCode.REQUOTE_HINT] and hints[0]["life_ns"] > 0
    market.move(0, -3 * side)
    assert market.said() == [], "said once"


def test_d_counts_from_the_moment_of_pricing(market: Market) -> None:
    """Priced 20 ms before the decision, since when the mid has gone 3 against it: one more is enough."""
    priced = market.t
    market.t += 20 * MS
    market.move(0, -3)
    request, decision = market.decide(priced_at_ns=priced)
    assert decision.moved_ticks == 3.0
    market.engine.watch(market.t, owner="oms", name="q", requests=[request], decisions=[decision])
    assert market.said() == []
    market.move(0, -1)
    assert withdrawn(market.said()) == [(1, "ADVERSE_MOVE")]


def test_what_moved_between_decision_and_watch_counts(market: Market) -> None:
    request, decision = market.decide()
    market.move(0, -4)
    market.engine.watch(market.t, owner="oms", name="q", requests=[request], decisions=[decision])
    assert withdrawn(market.said()) == [(1, "ADVERSE_MOVE")]


def test_it_expires_at_its_end_with_the_next_input_and_says_what_a_new_one_would_get(market: Market) -> None:
    quote = market.watch()
    status = market.engine.live_quote(quote)
    assert status is not None and market.engine.next_watch_ns() == status.expiry_ns
    while market.t < status.expiry_ns - 100 * MS:
        market.t += 100 * MS
        market.move(0, 0)
    market.t = status.expiry_ns - 1
    market.engine.on_timer(market.t)
    assert market.said() == []
    market.t += 1
    market.engine.on_timer(market.t)
    said = market.records()
    assert [WatchCode(w["kind"]).name for w in said] == ["EXPIRED", "REQUOTE_HINT"]
    assert said[0]["state"] == QuoteStateCode.EXPIRED and said[0]["at_ns"] == market.t
    assert said[1]["life_ns"] == market.decide()[1].life_ns


def test_a_watch_timer_ends_what_is_due_and_is_an_input(market: Market) -> None:
    quote = market.watch()
    status = market.engine.live_quote(quote)
    assert status is not None
    while market.t < status.expiry_ns - 100 * MS:
        market.t += 100 * MS
        market.move(0, 0)
    told: list[tuple[str, int, Any]] = []
    market.engine.record_to(market.tap, InputTap(lambda name, number, *v: told.append((name, number, v[0]))))
    number = market.engine.input_sequence
    market.engine.on_watch_timer(status.expiry_ns - 1)
    assert market.said() == []
    market.engine.on_watch_timer(status.expiry_ns)
    assert [kind for kind, _, _ in market.said()] == ["EXPIRED", "REQUOTE_HINT"]
    assert [(name, at) for name, at, _ in told if name != "watch"] == [
        ("watch_timer", number + 1),
        ("watch_timer", number + 2),
    ]
    assert market.engine.live_quote(quote) is not None
    market.engine.on_watch_timer(status.expiry_ns + 61 * S)
    assert market.engine.live_quote(quote) is None, "it forgets as well"


def test_a_watch_timer_finds_data_that_has_gone_stale(market: Market) -> None:
    """Nothing comes of one market any more, and only its own quote ends."""
    quotes = [market.watch(f"q{k}", sides=((k, 1),)) for k in range(2)]
    said: list[tuple[int, str]] = []
    for _ in range(60):
        market.t += 25 * MS
        market.move(1, 0)
        market.engine.on_watch_timer(market.t)
        if said := withdrawn(market.said()):
            break
    assert said == [(quotes[0], "DATA_QUALITY")]
    late_ns = market.t - market.engine.instrument_status(0, market.t).quality_since_ns
    assert 0 <= late_ns <= 50 * MS + 25 * MS, (
        "a look each judge_every, at whichever timer comes first after it"
    )


def test_many_markets_with_quotes_take_turns_and_none_is_left_out(tmp_path: Path) -> None:
    """More than one timer looks at: every one of them is found stale within a few."""
    count = 700
    engine, tap = _many(tmp_path, count)
    for k in range(count):
        engine.apply_watch(Change.WATCHED, _lasting(k + 1, f"I{k}"), engine.now_ns)
    tap.watches()
    t = engine.now_ns + 10 * S
    found: list[list[int]] = []
    for _ in range(6):
        t += MS
        engine.on_watch_timer(t)
        found.append([int(np.frombuffer(each, WATCH_DTYPE)[0]["quote"]) for each in tap.watches()])
    assert [len(each) for each in found] == [256, 256, 188, 0, 0, 0]
    assert sorted(quote for each in found for quote in each) == list(range(1, count + 1))


def _many(tmp_path: Path, count: int) -> tuple[Engine, DerivedTap]:
    """Instruments of which only a whole book was ever seen."""
    path = tmp_path / f"{count}.yaml"
    lines = [
        f"  - {{name: I{k}, venue: test, symbol: S{k}, tick_size: 0.1, lot_size: 0.001, warmup: 0s,"
        f" stale: {{min: {'1s' if count == 700 else '1h'}, max: {'1s' if count == 700 else '1h'}}}}}\n"
        for k in range(count)
    ]
    path.write_text("version: 1\nmodel: {artifact: first_passage}\ninstruments:\n" + "".join(lines))
    engine, tap = Engine(load_config(path), start_ns=T0), DerivedTap()
    engine.record_to(tap)
    buffer = EventBuffer(4 * count)
    for k in range(count):
        options: dict[str, Any] = {"instrument": k, "receive_ns": T0 + 1}
        buffer.append(EventKindCode.SNAPSHOT_BEGIN, **options)
        for side, price in ((SideCode.BID, 999), (SideCode.ASK, 1001)):
            buffer.append(EventKindCode.LEVEL, side=side, flags=EventFlags.SNAPSHOT, price_ticks=price,
                          size_lots=10, **options)  # fmt: skip
        buffer.append(EventKindCode.SNAPSHOT_END, flags=EventFlags.LAST, sequence=1, **options)
    engine.on_events(buffer)
    return engine, tap


def _lasting(number: int, instrument: str) -> dict[str, Any]:
    """A quote that no move ends, as a journal holds one."""
    end_ns = T0 + 3600 * S
    side = {
        "instrument": instrument, "side": 1, "mid_ticks": 1000.0, "h_ticks": 1e9, "edge_ticks": None,
        "p": [0.01] * len(HORIZONS_NS), "posture": 1, "mode": 1, "regime": 0, "quality": 0,
    }  # fmt: skip
    return {
        "quote": number, "owner": "oms", "name": str(number), "rfq": "", "boot": "", "decisions": [],
        "expiry_ns": end_ns, "unwatched_ns": end_ns, "size_lots": 1.0, "counterparty": "", "desk": None,
        "session": None, "cancels": False, "state": 1, "withdraw": 0, "sides": [side],
    }  # fmt: skip


def test_stress_halt_gap_and_kill_end_what_they_concern(market: Market) -> None:
    names = ("a", "b", "c", "d")
    first = [market.watch(name, sides=((k % 2, 1),), counterparty=k // 2) for k, name in enumerate(names)]
    market.engine.kill(market.t, counterparty="beta")
    assert withdrawn(market.said()) == [(first[2], "KILL_SWITCH"), (first[3], "KILL_SWITCH")]
    market.status(1, StatusKind.HALT)
    assert withdrawn(market.said()) == [(first[1], "HALT")]
    market.engine.on_signal(SignalCode.NEWS, receive_ns=market.t, source_ns=market.t, value=-1.0)
    assert withdrawn(market.said()) == [(first[0], "STRESS")]


def test_a_gap_withdraws_at_the_message_that_shows_it(market: Market) -> None:
    quote = market.watch()
    market.buffer.append(EventKindCode.CLEAR, instrument=0, receive_ns=market.t,
                         flags=EventFlags.LAST | EventFlags.GAP)  # fmt: skip
    market.flush()
    assert withdrawn(market.said()) == [(quote, "DATA_QUALITY")]


def test_a_quote_given_in_stress_is_not_withdrawn_for_it(market: Market) -> None:
    """The rule is that the regime turns: what was decided under it has its life for it."""
    market.engine.on_signal(SignalCode.NEWS, receive_ns=market.t, source_ns=market.t, value=-1.0)
    market.watch()
    market.t += 10 * MS
    market.engine.on_timer(market.t)
    assert market.said() == []


def test_silence_withdraws_by_a_timer(tmp_path: Path) -> None:
    market = Market(config_of(tmp_path, "").model_copy())
    request, decision = market.decide()
    quote = market.engine.watch(
        market.t,
        owner="oms",
        name="q",
        requests=[request],
        decisions=[decision],
        expiry_ns=market.t + 3600 * S,
    )
    for _ in range(400):
        market.t += 100 * MS
        market.engine.on_timer(market.t)
    assert withdrawn(market.said()) == [(quote, "DATA_QUALITY")]


def test_two_sides_end_together_whichever_is_hit(market: Market) -> None:
    both = market.watch("both", sides=((0, 1), (0, -1)))
    other = market.watch("other", sides=((0, 1), (1, -1)))
    market.move(0, 4)  # against the ask of the first
    assert withdrawn(market.said()) == [(both, "ADVERSE_MOVE")]
    market.move(1, 4)
    assert withdrawn(market.said()) == [(other, "ADVERSE_MOVE")]
    assert market.engine.watching.counts().live == 0


def test_what_the_client_tells_moves_its_state(market: Market) -> None:
    engine, t = market.engine, market.t
    quote = market.watch(size_lots=10.0)
    assert (
        engine.watch_updated(t, quote, QuoteStateCode.PARTLY_FILLED, size_lots=4.0)
        == QuoteStateCode.PARTLY_FILLED
    )
    assert engine.live_quote(quote).size_lots == 4.0
    market.move(0, -4)
    assert withdrawn(market.said()) == [(quote, "ADVERSE_MOVE")]
    assert not engine.live_quote(quote).acknowledged
    assert engine.watch_acknowledged(t, quote, 1)
    assert engine.live_quote(quote).acknowledged
    assert engine.watch_updated(t, quote, QuoteStateCode.FILLED) == QuoteStateCode.TOO_LATE
    market.move(0, 4)
    filled = market.watch("other")
    assert engine.watch_updated(t, filled, QuoteStateCode.FILLED) == QuoteStateCode.FILLED
    market.move(0, -8)
    assert market.said() == [], "a filled quote is not withdrawn"
    assert engine.watch_updated(t, 77, QuoteStateCode.FILLED) == 0
    with pytest.raises(ValueError, match="state"):
        engine.watch_updated(t, filled, 9)


def test_a_lost_watcher_loses_its_quotes_and_nobody_elses(market: Market) -> None:
    mine = [market.watch(name) for name in ("a", "b")]
    market.watch("a", owner="another")
    assert market.engine.watch_lost(market.t, "oms", "stream reset") == 2
    assert withdrawn(market.said()) == [(quote, "WATCH_LOST") for quote in mine]
    assert market.engine.watching.counts().live == 1
    assert market.engine.watch_lost(market.t, "oms") == 0


def test_a_venue_takes_its_cancels_in_time_and_the_largest_risk_first(market: Market) -> None:
    """10 a second, 2 at once: the others wait their turn, by what may be lost; one that ends before it has ended."""
    quotes = {market.watch(f"q{size}", session=1, size_lots=float(size)): size for size in (5, 3, 9, 1, 7)}
    market.t += MS
    t = market.t
    market.move(0, -4)
    at_once = [quote for quote, _ in withdrawn(market.said())]
    assert len(at_once) == 2
    assert market.engine.watching.counts().waiting == 3
    left = sorted((q for q in quotes if q not in at_once), key=lambda q: -quotes[q])
    for k, quote in enumerate(left):
        due = t + (k + 1) * 100 * MS
        market.t = due - 1
        market.engine.on_timer(market.t)
        assert market.said() == []
        market.t = due
        assert market.engine.next_watch_ns() == due
        market.engine.on_timer(market.t)
        (said, *_) = market.records()
        assert (said["quote"], said["held"], said["reason"]) == (quote, 1, WithdrawCode.ADVERSE_MOVE)
    assert market.engine.watching.counts().held_back == 3


def test_a_quote_that_waits_for_its_cancel_still_expires(market: Market) -> None:
    request, decision = market.decide(session=1)
    for k in range(40):
        market.engine.watch(market.t, owner="oms", name=f"{k}", requests=[request], decisions=[decision])
    market.move(0, -4)
    market.t = decision.expiry_ns
    market.engine.on_timer(market.t)
    counts = market.engine.watching.counts()
    assert counts.live == counts.waiting == 0
    assert counts.expired + counts.withdrawn[WithdrawCode.ADVERSE_MOVE] == 40 and counts.expired > 0


def test_where_the_venue_holds_it_longer_the_end_is_a_withdrawal(market: Market) -> None:
    quote = market.watch(session=0)
    status = market.engine.live_quote(quote)
    assert status.session == "coarse"
    market.t = status.expiry_ns
    market.engine.on_timer(market.t)
    assert market.said() == [("WITHDRAW", quote, "LIFE_ENDED")]
    assert market.engine.live_quote(quote).state == QuoteStateCode.WITHDRAWN


def test_names_ids_and_room(tmp_path: Path) -> None:
    market = Market(config_of(tmp_path, "watch: {quotes_max: 2, forget: 1s}\n"))
    engine = market.engine
    first = market.watch("a")
    before = engine.input_sequence
    with pytest.raises(QuotelifeError, match="a live quote a already"):
        market.watch("a")
    second = market.watch("b")
    assert second == first + 1 and engine.watching.find("oms", "b") == second
    with pytest.raises(QuotelifeError, match="quotes_max"):
        market.watch("c")
    assert engine.input_sequence == before + 4, "three decisions and one watch: what is refused is no input"
    engine.watch_updated(market.t, first, QuoteStateCode.CANCELLED)
    third = market.watch("a")  # an ended quote makes room, and leaves its name
    assert engine.watching.find("oms", "a") == third
    cancelled = engine.live_quote(first)
    assert cancelled is not None and cancelled.state == QuoteStateCode.CANCELLED
    market.t = engine.live_quote(third).expiry_ns + 2 * S
    engine.on_timer(market.t - 2 * S)
    assert len(engine.live_quotes()) == 3, "as many that have ended are known as may be live"
    engine.on_timer(market.t)
    assert engine.live_quotes() == [] and engine.watching.owners() == []


def test_a_declined_request_is_nothing_to_watch(market: Market) -> None:
    market.engine.kill(market.t)
    with pytest.raises(ValueError, match="firm quote"):
        market.watch()


def test_a_side_that_was_declined_ends_nothing(market: Market) -> None:
    """Two ways, of which the market has passed one before it was asked: only the other is out there."""
    priced = market.t
    market.t += 20 * MS
    market.move(0, -9)
    bid, ask = (market.decide(0, side, priced_at_ns=priced) for side in (1, -1))
    assert (bid[1].kind, ask[1].kind) == (DecisionCode.DECLINE, DecisionCode.QUOTE)
    quote = market.engine.watch(
        market.t, owner="oms", name="q", requests=[bid[0], ask[0]], decisions=[bid[1], ask[1]]
    )
    assert market.said() == []
    assert [side[:2] for side in market.engine.live_quote(quote).sides] == [(0, -1)]


VALUE = {"mode": "expected_value", "tolerance_source": "curve", "tolerance": 0.5, "life_min": "100ms"}


def test_what_is_left_is_withdrawn_when_it_is_worth_nothing(tmp_path: Path) -> None:
    """The edge has gone with the price, far from half the threshold: judged by timers, in turn."""
    content = config_of(tmp_path).model_dump(mode="json", by_alias=True)
    weights = dict.fromkeys(content["postures"]["client_priority"]["weights"], 0.0)
    for name in content["postures"]:
        content["postures"][name] |= VALUE | {"weights": weights}
    content["watch"] |= {"withdraw_at": 1.0, "judge_every": "50ms", "judge_most": 1}
    market = Market(Config.model_validate_json(json.dumps(content)))
    quotes = [market.watch(f"{k}", edge_ticks=3.0) for k in range(2)]
    market.t += 60 * MS
    market.engine.on_timer(market.t)
    market.t += 60 * MS
    market.engine.on_timer(market.t)
    assert market.said() == []
    assert market.engine.watching.counts().judged == 2
    market.move(0, -7)
    assert market.said() == []
    for _ in range(4):
        market.t += 60 * MS
        market.engine.on_timer(market.t)
    said = [w for w in market.records() if w["kind"] == WatchCode.WITHDRAW]
    assert [(w["quote"], WithdrawCode(w["reason"])) for w in said] == [
        (q, WithdrawCode.VALUE) for q in quotes
    ]
    assert all(w["value_ticks"] <= 0.0 for w in said) and said[0]["at_ns"] < said[1]["at_ns"]


FAST = {"hit_probability": 0.3, "response_median": "200ms", "response_sigma": 0.3, "informed_share": 0.3}


def by_value(tmp_path: Path, **more: Any) -> Market:
    """A client who answers in some 200 ms or not at all, a threshold that is passed every other second; nothing but
    its value withdraws a quote."""
    content = config_of(tmp_path).model_dump(mode="json", by_alias=True)
    weights = dict.fromkeys(content["postures"]["client_priority"]["weights"], 0.0)
    for name in content["postures"]:
        content["postures"][name] |= VALUE | {"weights": weights}
    for instrument in content["instruments"]:
        instrument["adverse_ticks"] = 3
    content["tiers"]["strategic"]["value"] = FAST
    content["watch"] |= {"withdraw_at": 1.0}
    return Market(Config.model_validate_json(json.dumps(content | more)))


def tick(market: Market, ms: int) -> None:
    """Time passes; the mid goes on as it did, a tick up, a tick down."""
    for k in range(ms // 50):
        market.t += 50 * MS
        market.move(0, (1, -1)[k % 2])


def test_an_old_quote_is_withdrawn_while_a_fresh_one_beside_it_lives(tmp_path: Path) -> None:
    """Same side, price, reference and end: of the older one hardly an accept is to come, but pick-offs are as ever."""
    market = by_value(tmp_path)
    end_ns = market.t + S
    made = market.decide(edge_ticks=2.0)
    old = market.engine.watch(
        market.t, owner="oms", name="old", requests=[made[0]], decisions=[made[1]], expiry_ns=end_ns
    )
    tick(market, 600)
    again = market.decide(edge_ticks=2.0)
    assert again[1].mid_ticks == made[1].mid_ticks and again[1].h_ticks == made[1].h_ticks
    fresh = market.engine.watch(
        market.t, owner="oms", name="fresh", requests=[again[0]], decisions=[again[1]], expiry_ns=end_ns
    )
    assert market.said() == []
    market.t += MS
    market.engine.on_watch_timer(market.t)
    (said,) = [each for each in market.records() if each["kind"] == WatchCode.WITHDRAW]
    assert (said["quote"], WithdrawCode(said["reason"])) == (old, WithdrawCode.VALUE)
    assert said["value_ticks"] < 0.0
    status = market.engine.live_quote(fresh)
    assert status is not None and status.state == QuoteStateCode.LIVE
    assert market.engine.watching.counts().judged == 2


def test_a_quote_is_as_old_as_its_decision_and_not_as_its_watch(tmp_path: Path) -> None:
    """Registered 600 ms after it was decided, or told by a build that did not know when."""
    market = by_value(tmp_path)
    request, decision = market.decide(edge_ticks=2.0)
    tape: list[Any] = []
    market.engine.record_to(
        market.tap, InputTap(lambda name, _, *v: tape.append(v) if name == "change" else None)
    )
    tick(market, 600)
    late = market.engine.watch(
        market.t, owner="oms", name="late", requests=[request], decisions=[decision], expiry_ns=market.t + S
    )
    payload = tape[0][1]
    assert payload["decided_ns"] == decision.now_ns == market.t - 600 * MS
    older = {key: value for key, value in payload.items() if key != "decided_ns"}
    market.engine.apply_watch(Change.WATCHED, {**older, "quote": late + 1, "name": "older"}, market.t)
    assert tape[1][1]["decided_ns"] == market.t, "as it was judged when that was not told"
    market.t += MS
    market.engine.on_watch_timer(market.t)
    assert withdrawn(market.said()) == [(late, "VALUE")]


@pytest.mark.parametrize("learned", [False, True])
def test_what_is_left_is_what_the_decisions_own_curve_and_client_say(tmp_path: Path, learned: bool) -> None:
    """The value told with a withdrawal, from the tier or from what was learned of the client, is V of the conditional
    distribution on the curve of that instant."""
    market = by_value(tmp_path)
    request, decision = market.decide(edge_ticks=2.0)
    if learned:
        for k in range(400):
            told = outcome(market.engine, request, decision, OutcomeCode.HIT if k % 2 else OutcomeCode.EXPIRED,
                           age_ns=(90 + k % 40) * MS if k % 2 else decision.life_ns)  # fmt: skip
            assert market.engine.outcome(market.t, {**told, "outcome": f"o{k}"})
        market.engine.on_timer(market.t)
    end_ns = market.t + 2 * S
    request, decision = market.decide(edge_ticks=2.0)
    assert (decision.learned is not None) is learned
    market.engine.watch(
        market.t, owner="oms", name="q", requests=[request], decisions=[decision], expiry_ns=end_ns
    )
    tick(market, 700)
    market.t += MS
    market.engine.on_watch_timer(market.t)
    (said,) = [each for each in market.records() if each["kind"] == WatchCode.WITHDRAW]
    _, now = market.decide(edge_ticks=2.0)
    tier = market.engine.config.tiers["strategic"].value
    if now.learned is not None:
        hit, informed, mu, sigma = now.learned
        assert sigma < 0.29 and math.exp(mu) < 150 * MS
        tier = tier.model_copy(
            update={"hit_probability": hit, "informed_share": informed, "response_median_ns": math.exp(mu),
                    "response_sigma": sigma}
        )  # fmt: skip
    terms = market.engine.config.postures.client_priority.value
    left = ExpectedValue(tier, terms, watched=True).left(
        now.p, edge_ticks=2.0, h_ticks=now.h_ticks, age_ns=701 * MS, low_ns=50 * MS,
        high_ns=(end_ns - market.t) // 1000 * 1000,
    )  # fmt: skip
    assert WithdrawCode(said["reason"]) is WithdrawCode.VALUE
    assert said["value_ticks"] == pytest.approx(left.life_value_ticks, rel=1e-9)
    assert said["value_ticks"] < -1e-4


def test_sessions_keep_what_waits_when_they_are_numbered_otherwise(tmp_path: Path) -> None:
    market = Market(config_of(tmp_path))
    for size in (1, 2, 3, 4):
        market.watch(f"{size}", session=1, size_lots=float(size))
    market.move(0, -4)
    market.said()
    content = market.engine.config.model_dump(mode="json", by_alias=True)
    content["venue_sessions"]["a-first"] = {"actuation": "absolute"}
    market.engine.apply_config(Config.model_validate_json(json.dumps(content)), market.t)
    assert market.engine.watching.counts().waiting == 2
    del content["venue_sessions"]["slow"]
    market.engine.apply_config(Config.model_validate_json(json.dumps(content)), market.t)
    assert len(withdrawn(market.said())) == 2, "a session that is gone bounds nobody"


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_a_session_that_goes_leaves_the_queue_of_another_running(
    tmp_path: Path, order: tuple[int, int]
) -> None:
    """Quotes of both wait; those of the one that stays go in its time, with nothing else to bring them."""
    content = config_of(tmp_path).model_dump(mode="json", by_alias=True)
    content["venue_sessions"]["third"] = content["venue_sessions"]["slow"]
    market = Market(Config.model_validate_json(json.dumps(content)))
    quotes = {
        session: [market.watch(f"{session}-{k}", session=session) for k in range(4)] for session in order
    }
    market.move(0, -4)
    assert len(withdrawn(market.said())) == 4, "two of each session at once"
    first_ns = market.t + 100 * MS
    market.t += MS
    del content["venue_sessions"]["slow"]
    market.engine.apply_config(Config.model_validate_json(json.dumps(content)), market.t)
    assert {quote for quote, _ in withdrawn(market.said())} < set(quotes[1])
    for left in (2, 1):
        assert market.engine.watching.counts().waiting == left
        market.t = first_ns + (2 - left) * 100 * MS
        assert market.engine.next_watch_ns() == market.t
        market.engine.on_timer(market.t)
        ((quote, _),) = withdrawn(market.said())
        assert quote in quotes[2]
    assert market.engine.watching.counts().waiting == 0


def test_the_same_inputs_say_the_same_and_payloads_are_enough(tmp_path: Path) -> None:
    """Changes as they are journaled, applied to a fresh engine, give byte-equal words in the same order."""
    config = config_of(tmp_path)
    market = Market(config)
    tape: list[tuple[Any, ...]] = []
    words: list[bytes] = []

    def note(name: str, sequence: int, *values: Any) -> None:
        if name == "watch":
            words.append(values[0].tobytes())
        elif name != "label":
            tape.append((name, sequence, *values))

    market.engine.record_to(InputTap(note))
    start = market.engine.input_sequence
    for k in range(30):
        market.watch(f"q{k}", sides=(((k % 2), (1, -1)[k % 3 % 2]),), session=k % 2, size_lots=1.0 + k)
        market.t += 20 * MS
        market.move(k % 2, (-1, 2, -3, 3)[k % 4])
        market.engine.on_timer(market.t)
        market.engine.on_watch_timer(market.t + MS)
        if k % 7 == 0:
            market.engine.watch_acknowledged(market.t, k, 0)
        if k % 5 == 0:
            market.engine.watch_updated(market.t, k, QuoteStateCode.FILLED)
    market.engine.watch_lost(market.t, "oms")
    assert len(words) > 20

    again = Market(config)
    assert again.engine.input_sequence == start
    repeated: list[bytes] = []
    again.engine.record_to(
        InputTap(lambda name, _, *v: repeated.append(v[0].tobytes()) if name == "watch" else None)
    )
    for name, sequence, *values in tape:
        if name == "events":
            buffer = EventBuffer(4096)
            buffer.extend(values[0])
            again.engine.on_events(buffer)
        elif name == "timer":
            again.engine.on_timer(values[0])
        elif name == "watch_timer":
            again.engine.on_watch_timer(values[0])
        elif name == "decision":
            again.engine.decide(values[0], DecisionRecord())
        elif name == "change":
            again.engine.apply_watch(values[0], json.loads(json.dumps(values[1])), values[2])
        assert again.engine.input_sequence >= sequence
    assert repeated == words
    assert repr(again.engine.live_quotes()) == repr(market.engine.live_quotes()), "texts: NaN is not itself"


def test_a_payload_of_a_market_that_is_not_known_any_more_is_withdrawn_at_once(market: Market) -> None:
    tape: list[Any] = []
    market.engine.record_to(InputTap(lambda name, _, *v: tape.append(v) if name == "change" else None))
    market.watch()
    market.engine.record_to(market.tap)
    payload = {
        **tape[0][1],
        "quote": 9,
        "name": "x",
        "sides": [{**tape[0][1]["sides"][0], "instrument": "gone"}],
    }
    market.engine.apply_watch(Change.WATCHED, payload, market.t)
    assert withdrawn(market.said()) == [(9, "DATA_QUALITY")]
    with pytest.raises(QuotelifeError, match="does not read"):
        market.engine.apply_watch(Change.WATCHED, {"quote": 10}, market.t)
