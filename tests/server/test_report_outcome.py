"""ReportOutcome: what is taken in once, what is refused, and what it leaves behind a restart."""

from pathlib import Path
from typing import Any

import pytest

from quote_expiry.v1 import admin_service_pb2 as admin
from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.inputs import Change
from quotelife.journal.format import Kind
from quotelife.journal.records import decode_change
from quotelife.journal.state import COUNTED_KEPT
from quotelife_server.handlers import Service
from quotelife_server.metrics import Metrics
from quotelife_server.outcome_methods import EARLIER_MAX, outcome_methods
from quotelife_server.recent import RecentQuotes
from quotelife_server.rpc import CallContext, Code, RpcError, Unary
from reference.faulty_storage import FAULTS
from reference.ledger_kit import JournalKit
from reference.service_kit import CONFIG, MS, Kit, S, refused
from reference.watch_kit import WatchKit

REPORT = "/quote_expiry.v1.QuoteExpiryService/ReportOutcome"
GET = "/quote_expiry.v1.AdminService/GetCounterparty"
LIST = "/quote_expiry.v1.AdminService/ListCounterparties"
HIT, LIFTED, EXPIRED, AWAY, COVER, CANCELLED = (
    expiry.OUTCOME_KIND_HIT,
    expiry.OUTCOME_KIND_LIFTED,
    expiry.OUTCOME_KIND_EXPIRED,
    expiry.OUTCOME_KIND_DONE_AWAY,
    expiry.OUTCOME_KIND_COVER,
    expiry.OUTCOME_KIND_CANCELLED,
)


def quote(kit: Kit, **fields: Any) -> expiry.GetExpiryResponse:
    reply = kit.get(**{"counterparty": "alpha", **fields})
    assert reply.decision == types.DECISION_QUOTE
    return reply


def outcome(
    reply: expiry.GetExpiryResponse, name: str = "o1", kind: Any = HIT, **fields: Any
) -> expiry.Outcome:
    at = {"at_utc_ns": reply.decided_at_utc_ns + 150 * MS, **fields}
    return expiry.Outcome(outcome_id=name, decision_id=reply.decision_id, kind=kind, **at)


def payload(*outcomes: expiry.Outcome) -> bytes:
    return expiry.ReportOutcomeRequest(outcomes=outcomes).SerializeToString()


def report(kit: Kit, *outcomes: expiry.Outcome) -> expiry.ReportOutcomeResponse:
    return expiry.ReportOutcomeResponse.FromString(kit.call(REPORT, payload(*outcomes)))


def known(kit: Kit, name: str = "alpha") -> admin.CounterpartyStatus:
    request = admin.GetCounterpartyRequest(counterparty=name).SerializeToString()
    return admin.GetCounterpartyResponse.FromString(kit.call(GET, request)).counterparty


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


def test_an_outcome_is_taken_in_once(kit: Kit) -> None:
    hit = outcome(quote(kit))
    kit.clock.set_ns(kit.clock.now_ns() + 200 * MS)
    first, again = report(kit, hit), report(kit, hit, hit)
    assert (first.accepted, first.repeated_count) == (1, 0)
    assert (again.accepted, again.repeated_count) == (0, 2)
    status = known(kit)
    assert (status.reported, status.quotes, status.fills, status.answers) == (1, 1.0, 1.0, 1.0)
    assert status.last_utc_ns == hit.at_utc_ns


def test_twice_in_one_call_is_once(kit: Kit) -> None:
    hit = outcome(quote(kit), at_utc_ns=0)
    reply = report(kit, hit, hit)
    assert (reply.accepted, reply.repeated_count) == (1, 1)


def test_another_outcome_under_the_same_id_is_refused_and_nothing_is_taken(kit: Kit) -> None:
    reply = quote(kit)
    report(kit, outcome(reply, at_utc_ns=0))
    other = outcome(quote(kit), "o2", EXPIRED, at_utc_ns=0)
    with refused() as caught:
        report(kit, other, outcome(reply, kind=EXPIRED, at_utc_ns=0))
    assert caught[0].code is Code.INVALID_ARGUMENT
    assert "outcomes[1].outcome_id: was used for another outcome" in caught[0].message
    assert known(kit).reported == 1
    assert report(kit, other).accepted == 1


def test_of_an_unknown_decision_is_named_and_the_others_are_taken(kit: Kit) -> None:
    good = outcome(quote(kit), at_utc_ns=0)
    bad = expiry.Outcome(outcome_id="o2", decision_id="b00t-99999", kind=HIT)
    declined = kit.get(
        instrument="BTC-USDT", counterparty="alpha", client_deadline_utc_ns=kit.clock.now_ns() + 1
    )
    assert declined.decision == types.DECISION_DECLINE
    not_firm = expiry.Outcome(outcome_id="o3", decision_id=declined.decision_id, kind=EXPIRED)
    reply = report(kit, bad, good, not_firm)
    assert reply.accepted == 1
    assert [(each.index, each.outcome_id, each.field) for each in reply.refused] == [
        (0, "o2", "decision_id"),
        (2, "o3", "decision_id"),
    ]
    assert "no firm decision" in reply.refused[0].reason
    # It may be told again once it is known, and is still unknown here.
    assert report(kit, bad).refused and known(kit).reported == 1


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"outcome_id": ""}, "outcomes[0].outcome_id: is required"),
        ({"outcome_id": "a\nb"}, "outcomes[0].outcome_id: must be at most 128 printable"),
        ({"decision_id": ""}, "outcomes[0].decision_id: is required"),
        ({"kind": 0}, "outcomes[0].kind: must be one of the kinds"),
        ({"kind": 77}, "outcomes[0].kind: must be one of the kinds"),
        ({"at_utc_ns": 5}, "outcomes[0].at_utc_ns: lies more than 86400 s back"),
        ({"at_utc_ns": 2**62}, "outcomes[0].at_utc_ns: lies more than 1 s ahead"),
        ({"price": "-1"}, "outcomes[0].price: must be above 0"),
        ({"price": "1e5"}, "outcomes[0].price: must be a decimal"),
        ({"size": types.Size(quantity="0", unit=types.SIZE_UNIT_LOTS)}, "outcomes[0].size.quantity: must be"),
        ({"size": types.Size(quantity="1")}, "outcomes[0].size.unit: must be one of the units"),
        ({"size": types.Size(quantity="1", unit=types.SIZE_UNIT_NOTIONAL)}, "outcomes[0].size.unit: needs a price"),
        ({"side": types.SIDE_TWO_WAY}, "outcomes[0].side: must be SIDE_BUY or SIDE_SELL"),
        ({"side": types.SIDE_SELL}, "outcomes[0].side: a HIT is of the side SIDE_BUY"),
        ({"kind": LIFTED}, "outcomes[0].kind: the quote was not firm on that side"),
    ],
)  # fmt: skip
def test_every_field_is_checked(kit: Kit, fields: dict[str, Any], fault: str) -> None:
    good = outcome(quote(kit), at_utc_ns=0)
    for name, value in fields.items():
        if isinstance(value, types.Size):
            good.size.CopyFrom(value)
        else:
            setattr(good, name, value)
    with refused() as caught:
        report(kit, good)
    assert caught[0].code is Code.INVALID_ARGUMENT
    assert fault in caught[0].message
    assert known(kit).reported == 0


def test_a_call_holds_1_to_1024_outcomes(kit: Kit) -> None:
    for count in (0, 1025):
        with refused() as caught:
            report(kit, *[expiry.Outcome(outcome_id=str(k), decision_id="x", kind=HIT) for k in range(count)])
        assert "outcomes: give 1 to 1024" in caught[0].message


def test_the_side_of_a_two_way_quote_is_that_of_the_kind(kit: Kit) -> None:
    reply = quote(kit, side=types.SIDE_TWO_WAY)
    report(kit, outcome(reply, "o1", LIFTED, at_utc_ns=0))
    assert report(kit, outcome(reply, "o2", HIT, at_utc_ns=0)).accepted == 1
    # One quote: its first outcome counts, the second is a further fill.
    assert (known(kit).quotes, known(kit).reported) == (1.0, 2)


def test_of_a_package_fill_and_time_count_and_nothing_is_marked(kit: Kit) -> None:
    legs = [
        expiry.Leg(
            instrument=name, side=side, ratio=ratio, greeks=expiry.Greeks(delta=0.3, underlying="BTC-USDT")
        )
        for name, side, ratio in (("ETH-USDT", types.SIDE_BUY, "1"), ("BTC-USD", types.SIDE_SELL, "2"))
    ]
    reply = quote(kit, instrument="", legs=legs, side=types.SIDE_BUY)
    with refused() as caught:  # the desk buys it, though it is judged by a sale of the underlying
        report(kit, outcome(reply, "o1", LIFTED, at_utc_ns=0))
    assert "the quote was not firm on that side" in caught[0].message
    assert report(kit, outcome(reply, "o2", HIT, price="12.5")).accepted == 1
    assert (known(kit).fills, known(kit).answers) == (1.0, 1.0)
    assert not known(kit).sizes
    kit.engine.on_timer(kit.clock.now_ns() + 10 * S)
    assert [each.fills for each in known(kit).markouts] == [0.0] * 4


def test_a_cover_behind_a_done_away_is_the_same_quote(kit: Kit) -> None:
    reply = quote(kit)
    report(kit, outcome(reply, "o1", AWAY, at_utc_ns=0), outcome(reply, "o2", COVER, at_utc_ns=0))
    assert (known(kit).quotes, known(kit).reported) == (1.0, 2)


def test_done_away_within_the_life_is_a_refusal(kit: Kit) -> None:
    reply = quote(kit)
    kit.clock.set_ns(kit.clock.now_ns() + S)
    report(kit, outcome(reply, "o1", AWAY))
    late = quote(kit)
    kit.clock.set_ns(kit.clock.now_ns() + 10 * S)
    report(kit, outcome(late, "o2", AWAY, at_utc_ns=late.decided_at_utc_ns + 9 * S))
    assert known(kit).refused == pytest.approx(2 ** (-1 / 500))
    assert known(kit).censored == 1.0


def test_a_time_before_the_decision_is_a_fault_and_nothing_is_taken(kit: Kit) -> None:
    other, reply = quote(kit), quote(kit)
    early = reply.decided_at_utc_ns - S - 1
    with refused() as caught:
        report(kit, outcome(other, "o1", at_utc_ns=0), outcome(reply, "o2", at_utc_ns=early))
    assert caught[0].code is Code.INVALID_ARGUMENT
    assert "outcomes[1].at_utc_ns: lies more than 1 s before the decision" in caught[0].message
    assert known(kit).reported == 0


@pytest.mark.parametrize("place", ["before the decision", "when nobody held it"])
def test_a_fill_at_a_time_that_cannot_be_is_one_within_the_life(tmp_path: Path, place: str) -> None:
    estimates = []
    for told in (False, True):
        kit = Kit(tmp_path)
        replies = [quote(kit) for _ in range(20)]
        kit.clock.set_ns(kit.clock.now_ns() + 10 * S)
        for k, reply in enumerate(replies):
            at = -900 * MS if place == "before the decision" else reply.life_ns + 101 * MS
            report(kit, outcome(reply, f"o{k}", at_utc_ns=reply.decided_at_utc_ns + at if told else 0))
        last_ns = kit.clock.now_ns()
        for k in range(100):
            kit.engine.on_timer(last_ns + k * 100 * MS)
        assert known(kit).last_utc_ns == last_ns
        estimates.append(known(kit).estimated)
    assert estimates[0] == estimates[1]
    assert estimates[0].response_median_ns > 100 * MS


def test_a_fill_while_the_venue_held_it_counts_at_its_time(kit: Kit) -> None:
    # The session holds it for 10 s and waits for a cancel: a fill beyond the life is one that the cancel came late for.
    reply = quote(kit, venue_session="coarse")
    at = reply.decided_at_utc_ns + reply.life_ns + S
    kit.clock.set_ns(at + S)
    report(kit, outcome(reply, at_utc_ns=at))
    assert known(kit).last_utc_ns == at


def test_as_many_quotes_count_once_as_memory_holds(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    reply, other = quote(kit), quote(kit)
    recent = RecentQuotes("b00t", COUNTED_KEPT + 100, 60 * S)
    for each in (reply, other):
        found = kit.service.recent.find(each.decision_id)
        assert found is not None
        recent.keep("", "", "alpha", found.requests, found.decisions)
    service = Service(
        kit.engine,
        kit.clock,
        boot_id="b00t",
        metrics=Metrics(),
        replies=kit.service.replies,
        in_flight=kit.service.in_flight,
        retry_delay_ns=MS,
        recent=recent,
    )
    counted = [reply.decision_id, *(f"b00t-x{k}" for k in range(COUNTED_KEPT - 1))]
    monkeypatch.setattr(service.ledger, "recalled_counted", lambda: counted)
    entry = outcome_methods(service)[REPORT]
    assert isinstance(entry, Unary)
    for name, of in (("o1", other), ("o2", reply)):
        entry.handle(payload(outcome(of, name, at_utc_ns=0)), CallContext(REPORT))
    assert (known(kit).reported, known(kit).quotes) == (2, 1.0)


def test_what_is_remembered_is_as_configured(kit: Kit) -> None:
    recent = RecentQuotes("b00t", 2, S)
    service = Service(
        kit.engine,
        kit.clock,
        boot_id="b00t",
        metrics=Metrics(),
        replies=kit.service.replies,
        in_flight=kit.service.in_flight,
        retry_delay_ns=MS,
        recent=recent,
    )
    assert service.recent is recent  # empty as it is


def test_the_size_asked_for_is_learned(kit: Kit) -> None:
    size = types.Size(quantity="2", unit=types.SIZE_UNIT_LOTS)
    report(kit, outcome(quote(kit, size=size), at_utc_ns=0))
    assert [(each.instrument, each.mean_lots) for each in known(kit).sizes] == [("BTC-USDT", 2.0)]


def marked(kit: WatchKit, name: str = "alpha") -> float:
    """Fills that are marked 100 ms later, where the market stands still."""
    for _ in range(5):
        kit.clock.set_ns(kit.clock.now_ns() + 50 * MS)
        kit.fresh()
    return known(kit, name).markouts[0].fills


def lots(count: str) -> types.Size:
    return types.Size(quantity=count, unit=types.SIZE_UNIT_LOTS)


@pytest.mark.parametrize(
    ("slices", "fills"),
    [
        (["2"] * 50, 1.0),  # more than was quoted
        (["0.5", "1", "1", "0.5"], 1.0),  # the third is too much, the fourth fits
        (["", "2", ""], 1.0),  # the first may be all of it
        (["0.02"] * 110, 1.0),
        (["1.5", "1"], 0.75),
    ],
)
def test_fills_of_one_quote_teach_as_one_at_most(tmp_path: Path, slices: list[str], fills: float) -> None:
    kit = WatchKit(tmp_path)
    reply = quote(kit, size=lots("2"), price="62999.9")
    told = [
        outcome(reply, f"o{k}", at_utc_ns=0, **({"size": lots(each)} if each else {}))
        for k, each in enumerate(slices)
    ]
    assert report(kit, *told).accepted == len(told)
    assert (known(kit).reported, known(kit).fills) == (len(told), 1.0)
    assert marked(kit) == pytest.approx(fills, rel=1e-9)


def test_each_side_of_a_two_way_quote_teaches_as_one_fill(tmp_path: Path) -> None:
    kit = WatchKit(tmp_path)
    reply = quote(kit, side=types.SIDE_TWO_WAY, size=lots("2"))
    for k in range(4):
        report(kit, outcome(reply, f"o{k}", (HIT, LIFTED)[k % 2], at_utc_ns=0, price="63000", size=lots("2")))
    assert marked(kit) == 2.0


@pytest.mark.parametrize(
    ("fields", "prices", "far"),
    [
        (
            {},
            ["0.000000000000000001", "62300", "63700"],
            "630.003 (price_bounds) from the mid at pricing, 63",
        ),
        ({"price": "62500"}, ["61800", "63700"], "from the price quoted and from the mid at pricing, 63"),
        ({"edge": "500"}, ["61800", "63700"], "from the price quoted and from the mid at pricing, 63"),
    ],
)
def test_a_fill_price_lies_near_the_quote_or_the_market(
    kit: Kit, fields: dict[str, Any], prices: list[str], far: str
) -> None:
    reply = quote(kit, **fields)
    for price in prices:
        with refused() as caught:
            report(kit, outcome(reply, at_utc_ns=0, price=price))
        assert caught[0].code is Code.INVALID_ARGUMENT
        assert "outcomes[0].price: lies more than 63" in caught[0].message and far in caught[0].message
        assert "correct it, or leave it out" in caught[0].message
    near = ["62500", "63500", *(["62000"] if fields else [])]
    told = [outcome(reply, f"o{k}", at_utc_ns=0, price=price) for k, price in enumerate(near)]
    assert report(kit, *told).accepted == len(near)


def test_how_far_a_fill_price_may_lie_is_configured_and_never_more_than_half(tmp_path: Path) -> None:
    wide = "desks:\n  broad: {price_bounds: {bps: 10000, spreads: 1000000}}"
    kit = Kit(tmp_path, text=CONFIG.replace("desks:", wide))
    reply = quote(kit)
    assert report(kit, outcome(reply, "o1", at_utc_ns=0, price="32000")).accepted == 1
    with refused() as caught:
        report(kit, outcome(reply, "o2", at_utc_ns=0, price="31000"))
    assert "outcomes[0].price: lies more than 31" in caught[0].message


def test_the_price_of_a_better_dealer_is_held_against_nothing(kit: Kit) -> None:
    assert report(kit, outcome(quote(kit), "o1", COVER, at_utc_ns=0, price="70000")).accepted == 1


def test_counterparties_are_shown_by_name_and_listed(kit: Kit) -> None:
    assert known(kit, "beta").estimated == known(kit, "beta").configured
    with refused() as caught:
        known(kit, "nobody")
    assert caught[0].code is Code.NOT_FOUND and "nobody is not configured" in caught[0].message
    reply = admin.ListCounterpartiesResponse.FromString(kit.call(LIST, b""))
    assert not reply.counterparties and not reply.more
    report(
        kit, outcome(quote(kit, counterparty="beta"), "b", at_utc_ns=0), outcome(quote(kit), "a", at_utc_ns=0)
    )
    reply = admin.ListCounterpartiesResponse.FromString(kit.call(LIST, b""))
    assert [each.counterparty for each in reply.counterparties] == ["alpha", "beta"]
    request = admin.ListCounterpartiesRequest(after="alpha").SerializeToString()
    reply = admin.ListCounterpartiesResponse.FromString(kit.call(LIST, request))
    assert [each.counterparty for each in reply.counterparties] == ["beta"]


# --- with a journal ---------------------------------------------------------------------------------------------


def ask(kit: JournalKit) -> expiry.GetExpiryResponse:
    call = kit.ask(counterparty="alpha", side=types.SIDE_BUY)
    kit.work_off()
    assert call.expiry.decision == types.DECISION_QUOTE
    return call.expiry


def journaled(kit: JournalKit) -> list[dict[str, Any]]:
    changes = (decode_change(record) for record in kit.read().records([Kind.CHANGE]))
    return [change.payload for change in changes if change.kind is Change.OUTCOME]


@pytest.mark.parametrize("durability", ["process-crash", "power-loss"])
def test_it_is_acknowledged_after_it_is_in_the_journal(tmp_path: Path, durability: str) -> None:
    kit = JournalKit(tmp_path, durability=durability)
    call = kit.send(REPORT, payload(outcome(ask(kit), at_utc_ns=0, price="62990.1")))
    assert call.outcome is None and journaled(kit) == []
    kit.work_off()
    assert expiry.ReportOutcomeResponse.FromString(call.reply).accepted == 1
    (kept,) = journaled(kit)
    assert (kept["outcome"], kept["counterparty"], kept["price_ticks"]) == ("o1", "alpha", 629901.0)
    assert kept["h_ticks"] >= 1 and kept["life_ns"] > 0 and kept["mid_ticks"] > 0 and kept["counts"] is True


def test_a_repeat_is_known_over_a_restart_and_so_is_what_it_taught(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path)
    first = outcome(ask(kit), at_utc_ns=0)
    kit.send(REPORT, payload(first))
    kit.work_off()
    kit.restart()
    assert kit.engine.counterparties.known == ["alpha"]
    again = kit.send(REPORT, payload(first))
    kit.work_off()
    assert expiry.ReportOutcomeResponse.FromString(again.reply).repeated_count == 1
    other = expiry.Outcome(outcome_id="o1", decision_id=first.decision_id, kind=EXPIRED)
    clash = kit.send(REPORT, payload(other)).error
    assert clash.code is Code.INVALID_ARGUMENT
    status = kit.engine.counterparties.status("alpha")
    assert status is not None and (status.reported, status.fills) == (1, 1.0)


# --- of decisions of an earlier start ----------------------------------------------------------------------------


def reported(kit: JournalKit, *outcomes: expiry.Outcome) -> expiry.ReportOutcomeResponse:
    call = kit.send(REPORT, payload(*outcomes))
    kit.work_off()
    return expiry.ReportOutcomeResponse.FromString(call.reply)


def test_a_fill_is_taken_after_a_restart_as_it_would_have_been_before(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path)
    size = types.Size(quantity="2", unit=types.SIZE_UNIT_LOTS)
    before, after = (
        kit.ask(counterparty="alpha", rfq_id=rfq, quote_id=f"q-{rfq}", price="62999.9", size=size)
        for rfq in ("r1", "r2")
    )
    kit.work_off()
    told = {"price": "62999.9", "size": size}
    assert reported(kit, outcome(before.expiry, "o1", **told)).accepted == 1
    kit.restart()
    late = reported(kit, outcome(after.expiry, "o2", **told))
    assert (late.accepted, list(late.refused)) == (1, [])
    by_id = {each["outcome"]: each for each in journaled(kit)}
    first, second = by_id["o1"], by_id["o2"]
    assert second["boot"] == first["boot"] == "b00t1" and second["quote"] == "q-r2"
    differ = {"outcome", "decision", "first", "quote"}
    assert {k: v for k, v in second.items() if k not in differ} == {
        k: v for k, v in first.items() if k not in differ
    }
    status = kit.engine.counterparties.status("alpha")
    assert status is not None and (status.reported, status.fills) == (2, pytest.approx(2.0, abs=0.01))


def test_the_checks_after_a_restart_are_the_same(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path)
    buy = ask(kit)
    declined = kit.ask(counterparty="alpha", client_deadline_utc_ns=kit.clock.now_ns() + 1)
    kit.work_off()
    assert declined.expiry.decision == types.DECISION_DECLINE
    kit.restart()
    wrong = kit.send(REPORT, payload(outcome(buy, kind=LIFTED, at_utc_ns=0))).error
    assert "the quote was not firm on that side" in wrong.message
    not_firm = expiry.Outcome(outcome_id="o2", decision_id=declined.expiry.decision_id, kind=EXPIRED)
    beyond = expiry.Outcome(outcome_id="o3", decision_id="b00t1-999999999", kind=HIT)
    nonsense = expiry.Outcome(outcome_id="o4", decision_id="b00t1-²", kind=HIT)
    reply = reported(kit, not_firm, beyond, nonsense, outcome(buy, "o5", at_utc_ns=0))
    assert [each.index for each in reply.refused] == [0, 1, 2] and reply.accepted == 1


def test_one_quote_counts_once_over_a_restart(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path)
    call = kit.ask(counterparty="alpha", side=types.SIDE_TWO_WAY)
    kit.work_off()
    buy, sell = call.expiry.sides
    fills = [
        expiry.Outcome(outcome_id=name, decision_id=side.decision_id, kind=kind)
        for name, side, kind in (("o1", sell, LIFTED), ("o2", buy, HIT), ("o3", buy, HIT))
    ]
    reported(kit, fills[0])
    kit.restart()
    reported(kit, fills[1])
    kit.restart()
    reported(kit, fills[2])
    counts = {each["outcome"]: each["counts"] for each in journaled(kit)}
    assert counts == {"o1": True, "o2": False, "o3": False}
    status = kit.engine.counterparties.status("alpha")
    assert status is not None and status.reported == 3
    assert status.quotes == pytest.approx(1.0)


def test_what_was_filled_before_a_restart_is_not_taught_again(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path)
    call = kit.ask(counterparty="alpha", size=lots("2"))
    kit.work_off()
    reported(kit, outcome(call.expiry, "o1", at_utc_ns=0, size=lots("2")))
    kit.restart()
    assert reported(kit, outcome(call.expiry, "o2", at_utc_ns=0, size=lots("2"))).accepted == 1
    by_id = {each["outcome"]: each for each in journaled(kit)}
    first, second = by_id["o1"], by_id["o2"]
    assert (first["size_lots"], first["traded_lots"]) == (2.0, 2.0)
    assert (second["size_lots"], second["traded_lots"], second["counts"]) == (None, 2.0, False)


def test_a_package_is_known_over_a_restart(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path)
    legs = [
        expiry.Leg(
            instrument=name, side=side, ratio=ratio, greeks=expiry.Greeks(delta=0.3, underlying="BTC-USDT")
        )
        for name, side, ratio in (("ETH-USDT", types.SIDE_BUY, "1"), ("BTC-USD", types.SIDE_SELL, "2"))
    ]
    call = kit.ask(instrument="", legs=legs, side=types.SIDE_BUY, counterparty="alpha")
    kit.work_off()
    kit.restart()
    leg = call.expiry.package.legs[0].decision_id
    reply = reported(
        kit,
        outcome(call.expiry, "o1", HIT, price="12.5"),
        expiry.Outcome(outcome_id="o2", decision_id=leg, kind=HIT),
    )
    assert reply.accepted == 1 and [each.outcome_id for each in reply.refused] == ["o2"]
    (kept,) = journaled(kit)
    assert (kept["price_ticks"], kept["mid_ticks"], kept["instrument"]) == (None, 0.0, "BTC-USDT")


def test_a_quote_of_long_ago_is_not_taken_after_a_restart_either(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path)
    buy = ask(kit)
    kit.restart()  # 20 s later
    keep_ns = kit.service.recent.keep_ns
    kit.clock.set_ns(buy.expiry_utc_ns + keep_ns - S)
    assert reported(kit, outcome(buy, "o1", EXPIRED)).accepted == 1
    kit.clock.set_ns(buy.expiry_utc_ns + keep_ns + S)
    (refusal,) = reported(kit, outcome(buy, "o2", EXPIRED)).refused
    assert "ended too long ago (server.recent.keep)" in refusal.reason


def test_an_answer_that_was_taken_back_has_no_outcome(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path)
    buy = ask(kit)
    sequence = int(buy.decision_id.rpartition("-")[2])
    kit.journal.writer.refuse((sequence,))
    kit.pass_time(0.2)
    kit.restart()
    assert reported(kit, outcome(buy, "o1", at_utc_ns=0)).refused


def test_an_instrument_is_found_by_its_name_and_refused_on_another_grid(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path)
    call = kit.ask(counterparty="alpha", instrument="ETH-USDT")
    buy = ask(kit)
    kit.work_off()
    instruments = list(kit.config.instruments)
    place = next(k for k, each in enumerate(instruments) if each.name == "ETH-USDT")
    moved = [each for each in instruments if each.name != "BTC-USDT"]
    kit.config = kit.config.model_copy(update={"instruments": tuple(moved)})
    kit.restart()
    reply = reported(kit, outcome(call.expiry, "o1", price="3100"), outcome(buy, "o2"))
    assert reply.accepted == 1
    assert "BTC-USDT is not configured any more" in reply.refused[0].reason
    assert journaled(kit)[-1]["instrument"] == "ETH-USDT"
    coarse = instruments[place].model_copy(update={"tick_size": instruments[place].tick_size * 2})
    kit.config = kit.config.model_copy(update={"instruments": (coarse, *moved[1:])})
    kit.restart()
    (refusal,) = reported(kit, outcome(call.expiry, "o3", price="3100")).refused
    assert "another tick_size or lot_size" in refusal.reason


def test_a_call_looks_for_so_many_in_the_journal(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path)
    calls = [kit.ask(counterparty="alpha", instrument="ETH-USDT") for _ in range(EARLIER_MAX + 2)]
    kit.work_off()
    kit.restart()
    told = [outcome(call.expiry, str(at), at_utc_ns=0) for at, call in enumerate(calls)]
    first = reported(kit, *told)
    assert (first.accepted, len(first.refused)) == (EARLIER_MAX, 2)
    assert "report it again" in first.refused[0].reason
    again = reported(kit, *told)
    assert (again.accepted, again.repeated_count) == (2, EARLIER_MAX)


def test_while_the_journal_fails_what_came_first_stands_and_nothing_more_is_taken_in(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path)
    reply = ask(kit)
    FAULTS[next(iter(FAULTS))](kit.storage)
    failing = kit.send(REPORT, payload(outcome(reply, "o1", at_utc_ns=0)))
    kit.work_off()
    assert isinstance(failing.outcome, RpcError) and failing.error.code is Code.UNAVAILABLE
    refusal = kit.send(REPORT, payload(outcome(reply, "o2", at_utc_ns=0))).error
    assert refusal.code is Code.UNAVAILABLE
    status = kit.engine.counterparties.status("alpha")
    assert status is not None and status.reported == 1  # o1, in force, and recorded once that can be
    assert journaled(kit) == []
