"""What became of a watched quote, by its decision's id: from the journal, by the command, and over a restart."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.explain import watched
from quotelife.explain.journaled import explain_from
from quotelife_server import convert
from quotelife_server.cli.commands import app
from quotelife_server.rpc import CallContext, Stream
from reference.ledger_kit import JournalKit
from reference.service_kit import MS
from reference.watch_kit import WATCH, Watcher

REPORT = "/quote_expiry.v1.QuoteExpiryService/ReportOutcome"
RUN = CliRunner()


def watching(kit: JournalKit) -> Watcher:
    watcher = Watcher()
    entry = kit.service.methods[WATCH]
    assert isinstance(entry, Stream)
    watcher.handler = kit.service.open_stream(entry, watcher, CallContext(WATCH))
    watcher.say(open=expiry.WatchOpen(owner="oms", resume=True))
    return watcher


def quote(kit: JournalKit, name: str, **fields: Any) -> expiry.GetExpiryResponse:
    size = types.Size(quantity="4", unit=types.SIZE_UNIT_LOTS)
    asked = {"watch": True, "watch_owner": "oms", "quote_id": name, "counterparty": "alpha", "size": size}
    call = kit.ask(**asked, **fields)
    kit.work_off()
    assert call.expiry.watched
    return call.expiry


def explained(kit: JournalKit, decision_id: str) -> expiry.ExplainDecisionResponse:
    kit.pass_time(0.2)
    found = explain_from(kit.read(), decision_id)
    assert found is not None
    return convert.explained_answer(found)


def kinds(response: expiry.ExplainDecisionResponse) -> list[str]:
    names = (expiry.WatchedEventKind.Name(each.kind) for each in response.watched.events)
    return [name.removeprefix("WATCHED_EVENT_KIND_") for name in names]


@pytest.fixture
def kit(tmp_path: Path) -> JournalKit:
    return JournalKit(tmp_path)


def test_registration_fills_withdrawal_and_outcome_are_told(kit: JournalKit) -> None:
    watcher = watching(kit)
    reply = quote(kit, "q1")
    other = quote(kit, "q2")
    left = types.Size(quantity="3", unit=types.SIZE_UNIT_LOTS)
    for state, remaining in ((expiry.QUOTE_STATE_PARTLY_FILLED, left), (expiry.QUOTE_STATE_FILLED, None)):
        if state == expiry.QUOTE_STATE_FILLED:
            kit.engine.kill(kit.clock.now_ns())
            kit.work_off()
            watcher.read()
            watcher.say(acknowledge=expiry.WatchAcknowledge(quote_id="q2"))
        watcher.say(update=expiry.WatchUpdate(quote_id="q1", state=state, remaining=remaining))
        kit.work_off()
    told = expiry.Outcome(
        outcome_id="o1",
        decision_id=reply.decision_id,
        kind=expiry.OUTCOME_KIND_HIT,
        at_utc_ns=reply.decided_at_utc_ns + 150 * MS,
        price="62999.9",
        size=types.Size(quantity="1", unit=types.SIZE_UNIT_LOTS),
    )
    kit.send(REPORT, expiry.ReportOutcomeRequest(outcomes=[told]).SerializeToString())
    kit.work_off()

    response = explained(kit, reply.decision_id)
    quoted = response.watched
    assert (quoted.owner, quoted.quote_id, list(quoted.decision_ids)) == ("oms", "q1", [reply.decision_id])
    assert quoted.registered_at_utc_ns == reply.decided_at_utc_ns
    assert quoted.expiry_utc_ns == reply.expiry_utc_ns and quoted.size_lots == 4.0
    assert 0 < quoted.unwatched_expiry_utc_ns <= quoted.expiry_utc_ns
    assert kinds(response) == ["UPDATED", "WITHDRAW", "UPDATED"] and not quoted.incomplete
    part, withdrawn, filled = quoted.events
    assert (part.state, part.size_lots) == (expiry.QUOTE_STATE_PARTLY_FILLED, 3.0)
    assert withdrawn.reason == expiry.WITHDRAW_REASON_KILL_SWITCH and withdrawn.number > 0
    assert not withdrawn.held_back and filled.state == expiry.QUOTE_STATE_FILLED
    (outcome,) = response.outcomes
    assert (outcome.outcome_id, outcome.kind, outcome.counted) == ("o1", expiry.OUTCOME_KIND_HIT, True)
    assert (outcome.age_ns, outcome.price_ticks, outcome.traded_lots) == (150 * MS, 629999.0, 1.0)

    second = explained(kit, other.decision_id)
    assert kinds(second) == ["WITHDRAW", "ACKNOWLEDGED"] and not second.outcomes


def test_a_decision_that_nobody_had_watched_has_no_watch(kit: JournalKit) -> None:
    call = kit.ask(counterparty="alpha")
    kit.work_off()
    response = explained(kit, call.expiry.decision_id)
    assert not response.HasField("watched") and not response.outcomes


def test_both_sides_lead_to_the_watch_of_their_quote(kit: JournalKit) -> None:
    watching(kit)
    reply = quote(kit, "q1", side=types.SIDE_TWO_WAY)
    ids = [side.decision_id for side in reply.sides]
    for each in ids:
        assert list(explained(kit, each).watched.decision_ids) == ids


def test_what_a_restart_says_is_told_too(kit: JournalKit) -> None:
    watching(kit)
    reply = quote(kit, "q1")
    kit.pass_time(0.1)
    kit.restart()
    kit.service.watching.begin()
    response = explained(kit, reply.decision_id)
    assert "RESTORED" in kinds(response)
    assert {"WITHDRAW", "EXPIRED"} & set(kinds(response))


def test_a_withdrawn_quote_is_restored_as_that_and_its_withdrawal_stays_one(kit: JournalKit) -> None:
    watching(kit)
    reply = quote(kit, "q1")
    kit.engine.kill(kit.clock.now_ns())
    kit.pass_time(0.1)
    kit.restart()
    kit.service.watching.begin()
    response = explained(kit, reply.decision_id)
    assert kinds(response) == ["WITHDRAW", "RESTORED"]
    assert response.watched.events[1].state == expiry.QUOTE_STATE_WITHDRAWN
    status = kit.service.watching.status()
    assert (status.registered, list(status.withdrawn), status.unacknowledged) == (0, [], 1)


def test_the_command_shows_it_and_json_has_it(kit: JournalKit) -> None:
    watching(kit)
    reply = quote(kit, "q1")
    kit.engine.kill(kit.clock.now_ns())
    kit.pass_time(0.2)
    arguments = ["explain", reply.decision_id, "--journal", str(kit.folder)]
    page = RUN.invoke(app, arguments)
    assert page.exit_code == 0, page.output
    assert "What became of the quote while it was watched" in page.output
    assert "q1 of oms" in page.output and "KILL_SWITCH" in page.output
    said = json.loads(RUN.invoke(app, [*arguments, "--json"]).output)
    assert said["watched"]["quote_id"] == "q1"
    assert said["watched"]["events"][0]["reason"] == "WITHDRAW_REASON_KILL_SWITCH"


def test_the_search_is_bounded_and_says_so(kit: JournalKit, monkeypatch: pytest.MonkeyPatch) -> None:
    watching(kit)
    reply = quote(kit, "q1")
    for at in range(20):
        quote(kit, f"r{at}")
    kit.engine.kill(kit.clock.now_ns())
    assert not explained(kit, reply.decision_id).watched.incomplete
    monkeypatch.setattr(watched, "RECORDS_MOST", 10)
    response = explained(kit, reply.decision_id)
    assert response.watched.quote_id == "q1" and response.watched.incomplete and kinds(response) == []
