"""Live quotes over a restart: where there is room for fewer, and where nobody comes back, none is forgotten."""

from pathlib import Path

import pytest

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.inputs import Change
from quotelife.journal.format import Kind
from quotelife.journal.records import decode_change, decode_watch
from quotelife.records import DecisionRecord, QuoteStateCode, RequestRecord, WatchCode, WithdrawCode
from quotelife_server.rpc import CallContext, Stream
from reference.ledger_kit import JournalKit
from reference.service_kit import S
from reference.watch_kit import WATCH, HandSchedule, Watcher

REPORT = "/quote_expiry.v1.QuoteExpiryService/ReportOutcome"
LIVE = (QuoteStateCode.LIVE, QuoteStateCode.PARTLY_FILLED)


def register(kit: JournalKit, owner: str, names: list[str]) -> dict[str, int]:
    """Quotes that live for ten minutes."""
    now_ns, found = kit.clock.now_ns(), {}
    for name in names:
        request, decision = RequestRecord(0, 1, now_ns=now_ns), DecisionRecord()
        kit.engine.decide(request, decision)
        found[name] = kit.engine.watch(
            now_ns,
            owner=owner,
            name=name,
            requests=[request],
            decisions=[decision],
            boot=kit.service.boot_id,
            expiry_ns=now_ns + 600 * S,
        )
    kit.pass_time(0.2)
    return found


def resume(kit: JournalKit, owner: str) -> tuple[set[str], dict[str, int]]:
    """What its stream is told at once: names of live quotes, and reasons of those withdrawn."""
    watcher = Watcher()
    entry = kit.service.methods[WATCH]
    assert isinstance(entry, Stream)
    watcher.handler = kit.service.open_stream(entry, watcher, CallContext(WATCH))
    watcher.say(open=expiry.WatchOpen(owner=owner, resume=True))
    kit.work_off()
    said = watcher.read()
    live = {quote.quote_id for each in said if each.HasField("resumed") for quote in each.resumed.quotes}
    gone = {each.withdraw.quote_id: each.withdraw.reason for each in said if each.HasField("withdraw")}
    return live, gone


def withdrawals(kit: JournalKit, owner: str) -> list[expiry.WatchWithdraw]:
    """What its next stream is told of those that it has not acknowledged."""
    watcher = Watcher()
    entry = kit.service.methods[WATCH]
    assert isinstance(entry, Stream)
    watcher.handler = kit.service.open_stream(entry, watcher, CallContext(WATCH))
    watcher.say(open=expiry.WatchOpen(owner=owner, resume=True))
    kit.work_off()
    return [each.withdraw for each in watcher.read() if each.HasField("withdraw")]


def restart(kit: JournalKit, quotes_max: int = 100_000) -> None:
    watch = kit.config.watch.model_copy(update={"quotes_max": quotes_max})
    kit.config = kit.config.model_copy(update={"watch": watch})
    kit.restart()
    kit.service.watching.begin()
    kit.work_off()


def let_time_pass(kit: JournalKit, seconds: float) -> None:
    schedule = kit.service.watching.schedule
    assert isinstance(schedule, HandSchedule)
    until_ns = kit.clock.now_ns() + round(seconds * S)
    for at_ns in schedule.due(until_ns):
        kit.clock.set_ns(max(at_ns, kit.clock.now_ns()))
        kit.work_off()
    kit.clock.set_ns(until_ns)


@pytest.fixture
def kit(tmp_path: Path) -> JournalKit:
    return JournalKit(tmp_path)


def test_those_that_find_no_room_are_withdrawn_told_and_journaled(kit: JournalKit) -> None:
    ids = register(kit, "oms", [f"q{k}" for k in range(10)])
    restart(kit, quotes_max=4)
    live, gone = resume(kit, "oms")
    assert live == {"q0", "q1", "q2", "q3"}
    assert gone == dict.fromkeys([f"q{k}" for k in range(4, 10)], expiry.WITHDRAW_REASON_WATCH_LOST)
    said = [decode_watch(record) for record in kit.read().records([Kind.WATCH])]
    withdrawn = {int(each["quote"]) for each in said if each["kind"] == WatchCode.WITHDRAW}
    assert withdrawn == {ids[name] for name in gone}
    restart(kit, quotes_max=4)
    assert resume(kit, "oms") == (live, gone), "and the next start has them yet"


def test_withdrawals_that_nobody_acknowledged_give_way_to_none(kit: JournalKit) -> None:
    register(kit, "gone", [f"g{k}" for k in range(5)])
    kit.engine.watch_lost(kit.clock.now_ns(), "gone", "a test")
    register(kit, "oms", [f"q{k}" for k in range(5)])
    restart(kit, quotes_max=3)
    live, lost = resume(kit, "oms")
    assert (live, set(lost)) == ({"q0", "q1", "q2"}, {"q3", "q4"})
    assert set(resume(kit, "gone")[1]) == {f"g{k}" for k in range(5)}


def test_quotes_whose_owner_never_returns_are_withdrawn_and_journaled(kit: JournalKit) -> None:
    ids = register(kit, "oms", ["q0", "q1"])
    restart(kit)
    assert {quote.state for quote in kit.engine.live_quotes("oms")} == {QuoteStateCode.LIVE}
    let_time_pass(kit, 1.0)
    assert {quote.withdraw for quote in kit.engine.live_quotes("oms")} == {WithdrawCode.WATCH_LOST}
    kit.pass_time(0.2)
    changes = [decode_change(record) for record in kit.read().records([Kind.CHANGE])]
    (lost,) = (each.payload for each in changes if each.kind is Change.WATCH_LOST)
    assert (lost["owner"], lost["reason"]) == ("oms", "did not come back after the restart")
    said = [decode_watch(record) for record in kit.read().records([Kind.WATCH])]
    assert {int(each["quote"]) for each in said} == set(ids.values())
    live, gone = resume(kit, "oms")
    assert not live and set(gone) == {"q0", "q1"}


def test_a_withdrawal_is_the_same_to_the_next_process(kit: JournalKit) -> None:
    """Its number, when it was decided, why and by which move of which market; no other quote ever has its number."""
    register(kit, "oms", ["live"])
    changes = [decode_change(record) for record in kit.read().records([Kind.CHANGE])]
    (payload,) = (each.payload for each in changes if each.kind is Change.WATCHED)
    sides = [{**each, "mid_ticks": each["mid_ticks"] + 50 * each["side"]} for each in payload["sides"]]
    moved = {**payload, "quote": payload["quote"] + 1, "name": "moved", "sides": sides}
    kit.engine.apply_watch(Change.WATCHED, moved, kit.clock.now_ns())
    decided_ns, said = kit.clock.now_ns(), kit.engine.live_quote(moved["quote"])
    assert said is not None
    kit.pass_time(0.2)
    restart(kit)
    (was,) = withdrawals(kit, "oms")
    assert was.reason == expiry.WITHDRAW_REASON_ADVERSE_MOVE and was.moved_ticks == pytest.approx(50)
    assert (was.quote_id, was.decided_at_utc_ns, was.instrument) == ("moved", decided_ns, "BTC-USDT")
    assert was.number == said.number
    numbers = {was.number}
    for _ in range(3):
        restart(kit)
        kit.engine.kill(kit.clock.now_ns())
        kit.engine.enable(kit.clock.now_ns())
        again = {each.quote_id: each for each in withdrawals(kit, "oms")}
        was.repeated_count = again["moved"].repeated_count
        assert again["moved"] == was
        numbers |= {each.number for each in again.values()}
        register(kit, "oms", ["next"])
        let_time_pass(kit, 0.3)
    assert len(numbers) >= 4


def test_a_fill_reported_after_a_restart_ends_its_quote(kit: JournalKit) -> None:
    watcher = Watcher()
    entry = kit.service.methods[WATCH]
    assert isinstance(entry, Stream)
    watcher.handler = kit.service.open_stream(entry, watcher, CallContext(WATCH))
    watcher.say(open=expiry.WatchOpen(owner="oms"))
    call = kit.ask(counterparty="alpha")
    kit.work_off()
    decided = kit.service.recent.find(call.expiry.decision_id)
    assert decided is not None
    now_ns = kit.clock.now_ns()
    kit.engine.watch(
        now_ns,
        owner="oms",
        name="q0",
        requests=decided.requests,
        decisions=decided.decisions,
        boot=kit.service.boot_id,
        expiry_ns=now_ns + 600 * S,
    )
    kit.pass_time(0.2)
    restart(kit)
    told = expiry.Outcome(outcome_id="o1", decision_id=call.expiry.decision_id, kind=expiry.OUTCOME_KIND_HIT)
    kit.send(REPORT, expiry.ReportOutcomeRequest(outcomes=[told]).SerializeToString())
    kit.work_off()
    (quote,) = kit.engine.live_quotes("oms")
    assert quote.state == QuoteStateCode.FILLED
    assert resume(kit, "oms") == (set(), {})
    assert call.expiry.decision == types.DECISION_QUOTE
