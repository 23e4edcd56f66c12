"""Live quotes in journal and replay: what was said comes out again byte for byte; a restart forgets none of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.errors import QuotelifeError
from quotelife.inputs import Change, DerivedTap, InputTap
from quotelife.journal import state as state_module
from quotelife.journal.format import Kind
from quotelife.journal.reader import Journal
from quotelife.journal.records import Record, decode_change, decode_watch
from quotelife.journal.recovery import recover
from quotelife.journal.state import UNACKNOWLEDGED_NS, OperationalState
from quotelife.journal.storage import DirectoryStorage
from quotelife.records import (
    WATCH_DTYPE,
    DecisionCode,
    DecisionRecord,
    ModeCode,
    QuoteStateCode,
    RequestRecord,
    WatchCode,
    WithdrawCode,
)
from quotelife.replay import verify as module
from quotelife.replay.verify import verify
from reference.market_kit import CONFIG, START_NS, market
from reference.session_kit import Session

S = 1_000_000_000
MS = 1_000_000
EDGE = 8.0


def watched_config() -> Config:
    content = CONFIG.model_dump(mode="json", by_alias=True)
    content["watch"] |= {"withdraw_at": 0.2, "forget": "2s"}
    content["venue_sessions"]["slow"] = {"actuation": "withdraw", "life_max": "1min", "cancels_per_s": 3}
    for name in content["postures"]:
        content["postures"][name] |= {"life_max": "4s", "mode": "expected_value", "below_minimum": "clip"}
    for name in content["tiers"]:
        content["tiers"][name]["value"] = {
            "response_median": "150ms",
            "response_sigma": 0.3,
            "informed_share": 0.3,
        }
    return Config.model_validate_json(json.dumps(content))


class WatchedSession(Session):
    """As a session, and what is firm is watched, filled, acknowledged and lost."""

    watched = 0

    def decide(self, now_ns: int) -> None:
        rng, engine = self.rng, self.engine
        if self.watched % 3 == 0:
            engine.on_watch_timer(now_ns)
        if rng.random() < 0.3:
            super().decide(now_ns)
            return
        names = engine.policy.session_names
        request = RequestRecord(
            rng.randrange(len(engine.instruments)),
            rng.choice((1, -1)),
            now_ns=now_ns,
            counterparty=self._place(len(engine.policy.counterparty_names)),
            size_lots=rng.choice([None, 10.0]),
            session=rng.choice([0xFFFFFFFF, names.index("slow")]),
            edge_ticks=rng.choice([None, EDGE]),
        )
        answer = DecisionRecord()
        engine.decide(request, answer)
        self.figures.decisions += 1
        if answer.kind == DecisionCode.QUOTE:
            self.watched += 1
            engine.watch(
                now_ns + rng.randrange(3 * MS),
                owner=f"oms{rng.randrange(3)}",
                name=str(self.watched),
                requests=[request],
                decisions=[answer],
                boot=self.journal.boot_id,
                # Longer than it is worth, where it is given by value: what is left comes to nothing.
                expiry_ns=answer.expiry_ns + (answer.mode == ModeCode.EXPECTED_VALUE) * 2 * S,
            )
        chance = rng.random()
        known = engine.live_quotes()
        if known and chance < 0.5:
            quote = rng.choice(known)
            if chance < 0.2:
                engine.watch_updated(now_ns, quote.quote, rng.choice([2, 3, 7]), size_lots=1.0)
            else:
                engine.watch_acknowledged(now_ns, quote.quote, quote.number)
        elif chance > 0.98:
            engine.watch_lost(now_ns, f"oms{rng.randrange(3)}", "gone")


def session(
    folder: Path, start_ns: int = START_NS, boot_id: str = "boot1", **settings: Any
) -> WatchedSession:
    return WatchedSession(
        folder / "journal",
        folder / "capture",
        watched_config(),
        start_ns=start_ns,
        boot_id=boot_id,
        **settings,
    )


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """A session that is only read, in which everything was said; the quotes known at its end."""
    folder = tmp_path_factory.mktemp("watched")
    run = session(folder, segment_bytes=200_000)
    run.work(market(60), 1500, 0.25)
    known = run.engine.live_quotes()
    counts = run.engine.watching.counts()
    run.close()
    assert counts.registered > 500 and counts.expired > 20 and counts.held_back > 20 and counts.hints > 20
    for reason in (
        WithdrawCode.VALUE,
        WithdrawCode.ADVERSE_MOVE,
        WithdrawCode.STRESS,
        WithdrawCode.WATCH_LOST,
        WithdrawCode.LIFE_ENDED,
    ):
        assert counts.withdrawn[reason] > 0, reason
    return folder, known


def test_every_word_comes_out_again_from_market_bytes_and_holds_on_its_own(
    day: tuple[Path, list[Any]],
) -> None:
    folder, _ = day
    for report in (verify(folder / "journal"), verify(folder / "journal", folder / "capture")):
        assert report.mismatches == []
        assert (report.decisions, report.equal, report.complete) == (1500, 1500, True)
        assert report.watches == report.watches_equal > 500
        assert (report.watches_missing, report.unequal) == (0, 0)


def bent(field: str, value: Any) -> Any:
    def decode(record: Record) -> Any:
        said = decode_watch(record).copy()
        said[field] = value
        return said

    return decode


def test_words_that_were_changed_are_found(
    day: tuple[Path, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = day
    whole = module.Journal.records

    def changed(self: Any, *args: Any) -> Any:
        for record in whole(self, *args):
            if record.kind is Kind.WATCH and decode_watch(record)["reason"] == WithdrawCode.ADVERSE_MOVE:
                said = np.frombuffer(record.payload, WATCH_DTYPE).copy()
                said["moved_ticks"] = 0.0
                record = record._replace(payload=said.tobytes())
            yield record

    monkeypatch.setattr(module.Journal, "records", changed)
    for report in (verify(folder / "journal"), verify(folder / "journal", folder / "capture")):
        assert report.unequal == report.watches - report.watches_equal > 10
        assert {name for each in report.mismatches for name, _, _ in each.fields} == {"moved_ticks"}


def test_words_that_are_not_there_are_counted(
    day: tuple[Path, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = day
    whole = module.Journal.records

    def some(self: Any, *args: Any) -> Any:
        number = 0
        for record in whole(self, *args):
            number += record.kind is Kind.WATCH
            if record.kind is not Kind.WATCH or number % 10:
                yield record

    complete = verify(folder / "journal").watches
    monkeypatch.setattr(module.Journal, "records", some)
    for report in (verify(folder / "journal"), verify(folder / "journal", folder / "capture")):
        assert abs(report.watches_missing - complete // 10) <= 1 and report.unequal == 0


def test_a_restart_forgets_no_quote(day: tuple[Path, list[Any]]) -> None:
    """Each that had not ended is withdrawn or expires: the market that was not seen meanwhile is no reason to go on.
    Each whose withdrawal nobody had acknowledged is known as it was withdrawn, and no second word is said of it."""
    folder, known = day
    state = recover(DirectoryStorage(str(folder / "journal"), lock=False), 0).state
    open_still = {
        each.quote
        for each in known
        if each.state <= QuoteStateCode.PARTLY_FILLED
        or (each.state == QuoteStateCode.WITHDRAWN and not each.acknowledged)
    }
    now_ns = max(each.expiry_ns for each in known) - S
    carried = {entry["quote"] for entry in state.live_quotes(now_ns)}
    assert open_still <= carried and len(open_still) > 3
    # What the engine has forgotten since is carried over only as a withdrawal that nobody acknowledged.
    assert all(state.quotes[quote]["withdraw"] for quote in carried - open_still)
    read_back = OperationalState.from_json(json.loads(state.to_bytes(now_ns)))
    assert read_back.live_quotes(now_ns) == state.live_quotes(now_ns)

    engine, tap = Engine(watched_config(), start_ns=now_ns), DerivedTap()
    engine.record_to(tap)
    state.restore(engine, now_ns)
    before = {entry["quote"] for entry in state.live_quotes(now_ns) if "said" in entry}
    assert len(before) > 3
    back = {each.quote: each for each in engine.live_quotes()}
    withdrawn = {each.quote: each for each in known if each.state == QuoteStateCode.WITHDRAWN}
    same = (
        "state",
        "withdraw",
        "number",
        "withdrawn_ns",
        "moved_ticks",
        "value_ticks",
        "withdrawn_at",
        "held",
    )
    both = withdrawn.keys() & back.keys()
    assert {each.withdraw for each in back.values()} >= {WithdrawCode.ADVERSE_MOVE, WithdrawCode.WATCH_LOST}
    assert len(both) > 3 and [
        (name, getattr(withdrawn[quote], name)) for quote in sorted(both) for name in same
    ] == [
        (name, pytest.approx(getattr(back[quote], name), nan_ok=True))
        for quote in sorted(both)
        for name in same
    ]
    counts = engine.watching.counts()
    new = sum(each.state == QuoteStateCode.WITHDRAWN for each in back.values()) - len(before)
    assert (counts.registered, sum(counts.withdrawn.values())) == (0, new), (
        "a boot before has counted the others"
    )
    for _ in range(5000):
        if not engine.watching.counts().live:
            break
        now_ns += 100 * MS
        engine.on_timer(now_ns)
    said = [np.frombuffer(each, WATCH_DTYPE)[0] for each in tap.watches()]
    ended = [int(each["quote"]) for each in said if each["kind"] != WatchCode.REQUOTE_HINT]
    assert sorted(ended) == sorted(carried - before)
    assert engine.watching.next_quote == state.next_quote > max(each.quote for each in known)


def three_boots(folder: Path) -> None:
    start_ns = START_NS
    for number in (1, 2, 3):
        run = session(folder, start_ns, f"boot{number}", seed=number)
        run.watched = 10_000 * number  # names of its own
        run.work(market(60, start_ns=start_ns), 900, 0.25)
        assert sum(run.engine.watching.counts().withdrawn.values()) > 5
        start_ns = run.engine.now_ns + 10 * MS
        run.close()


def test_numbers_go_on_over_restarts_and_every_boot_comes_out_again(tmp_path: Path) -> None:
    three_boots(tmp_path)
    said = [decode_watch(each) for each in Journal(tmp_path / "journal").records([Kind.WATCH])]
    assert [int(each["number"]) for each in said] == list(range(1, len(said) + 1))
    withdrawn = [int(each["quote"]) for each in said if each["kind"] == WatchCode.WITHDRAW]
    assert len(withdrawn) == len(set(withdrawn)), "a restart says none again"
    for report in (verify(tmp_path / "journal"), verify(tmp_path / "journal", tmp_path / "capture")):
        assert report.mismatches == []
        assert (report.boots, report.complete, report.unequal, report.watches_missing) == (3, True, 0, 0)
        assert report.watches == len(said)


def test_a_withdrawal_said_again_without_its_move_is_none_of_the_market(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that did not carry over how a quote was withdrawn withdrew it once more at the next boot."""
    whole = OperationalState._change_quote

    def older(self: OperationalState, id: int, **changed: Any) -> None:
        whole(self, id, **{key: value for key, value in changed.items() if key != "said"})

    monkeypatch.setattr(OperationalState, "_change_quote", older)
    three_boots(tmp_path)
    said = [decode_watch(each) for each in Journal(tmp_path / "journal").records([Kind.WATCH])]
    moves = [each for each in said if each["reason"] == WithdrawCode.ADVERSE_MOVE]
    assert any(np.isnan(each["moved_ticks"]) for each in moves)
    for report in (verify(tmp_path / "journal"), verify(tmp_path / "journal", tmp_path / "capture")):
        assert report.mismatches == [] and (report.unequal, report.watches_missing) == (0, 0)


def test_a_quote_is_written_out_once_whatever_becomes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its curve takes most of the time that a registration, a withdrawal or a restart needs."""
    written: list[int] = []
    write = state_module._quote_text

    def counted(quote: dict[str, Any]) -> str:
        written.append(quote["quote"])
        return write(quote)

    monkeypatch.setattr(state_module, "_quote_text", counted)
    run = session(tmp_path)
    told: list[dict[str, Any]] = []
    run.engine.record_to(
        run.journal,
        InputTap(
            lambda name, _, *v: told.append(v[1]) if name == "change" and v[0] is Change.WATCHED else None
        ),
    )
    run.work(market(60), 1500, 0.25)
    run.engine.watch_lost(run.engine.now_ns, "oms1", "gone")
    run.journal.commit()
    counts = run.engine.watching.counts()
    assert sum(counts.withdrawn.values()) > 3 and len(told) > 20
    assert sorted(written) == sorted(each["quote"] for each in told), "withdrawn or not"
    now_ns = run.engine.now_ns
    run.close()

    journal = Journal(DirectoryStorage(str(tmp_path / "journal"), lock=False))
    changes = [decode_change(record) for record in journal.records() if record.kind is Kind.CHANGE]
    assert [each.payload for each in changes if each.kind == Change.WATCHED] == told
    state = recover(DirectoryStorage(str(tmp_path / "journal"), lock=False), 0).state
    carried = state.live_quotes(now_ns)
    assert carried
    del written[:]
    assert json.loads(state.to_bytes(now_ns))["quotes"] == carried
    for entry in carried:
        state.change(
            Change.WATCH_UPDATED,
            {"quote": entry["quote"], "state": QuoteStateCode.PARTLY_FILLED, "size_lots": 2.5},
        )
    changed = state.live_quotes(now_ns)
    assert json.loads(state.to_bytes(now_ns))["quotes"] == changed != carried
    again = session(tmp_path, now_ns, "boot2")
    again.close()
    assert sorted(written) == sorted(2 * [each["quote"] for each in carried]), "here, and by the next boot"


def test_how_old_a_quote_is_outlives_a_restart(day: tuple[Path, list[Any]]) -> None:
    """What was told of it is told again by the next boot. Of a build that did not tell it is as old as its
    registration, wherever that is read: in a state, in a journal's tail, in a replay."""
    folder, _ = day
    storage = DirectoryStorage(str(folder / "journal"), lock=False)
    changes = [decode_change(each) for each in Journal(storage).records() if each.kind is Kind.CHANGE]
    registered = {each.payload["quote"]: each for each in changes if each.kind is Change.WATCHED}
    behind = [each.now_ns - each.payload["decided_ns"] for each in registered.values()]
    assert min(behind) >= 0 and max(behind) > MS, "watched a while after the decision"

    state = recover(storage, 0).state
    now_ns = max(each.now_ns for each in registered.values()) + MS
    engine = Engine(watched_config(), start_ns=now_ns)
    told: list[dict[str, Any]] = []
    engine.record_to(
        InputTap(
            lambda name, _, *v: told.append(v[1]) if name == "change" and v[0] is Change.WATCHED else None
        )
    )
    state.restore(engine, now_ns)
    assert len(told) > 10
    assert {each["quote"]: each["decided_ns"] for each in told} == {
        each["quote"]: registered[each["quote"]].payload["decided_ns"] for each in told
    }

    change = registered[told[0]["quote"]]
    older = {key: value for key, value in change.payload.items() if key != "decided_ns"}
    state = OperationalState()
    state.change(Change.WATCHED, older, change.now_ns)
    assert state.quotes[older["quote"]]["decided_ns"] == change.now_ns
    del told[:]
    live = {**older, "quote": 10**6, "name": "older", "withdraw": 0, "expiry_ns": now_ns + S}
    engine.apply_watch(Change.WATCHED, live, now_ns)
    assert told == [{**live, "decided_ns": now_ns}]


def test_long_after_its_end_a_withdrawal_is_carried_over_no_more() -> None:
    state = OperationalState()
    entry = {"quote": 3, "expiry_ns": 10, "withdraw": 2, "state": 1, "size_lots": None}
    state.change(Change.WATCHED, entry)
    assert state.live_quotes(10 + UNACKNOWLEDGED_NS - 1) == [entry]
    assert state.live_quotes(10 + UNACKNOWLEDGED_NS) == []
    state.change(Change.WATCH_ACKNOWLEDGED, {"quote": 3, "number": 1})
    assert state.live_quotes(0) == [] and state.next_quote == 4


def test_quotes_that_find_no_room_after_a_restart_are_said(day: tuple[Path, list[Any]]) -> None:
    folder, known = day
    state = recover(DirectoryStorage(str(folder / "journal"), lock=False), 0).state
    now_ns = max(each.expiry_ns for each in known) - 3 * S
    content = watched_config().model_dump(mode="json", by_alias=True)
    content["watch"]["quotes_max"] = 1
    content["venue_sessions"]["slow"] |= {"cancels_per_s": 0.01}
    engine = Engine(Config.model_validate_json(json.dumps(content)), start_ns=now_ns)
    carried = state.live_quotes(now_ns)
    live = [quote["quote"] for quote in carried if not quote["withdraw"]]
    (line,) = (line for line in state.restore(engine, now_ns) if "quotes_max" in line)
    assert line.startswith(f"{len(live) - 1} live quotes find no room")
    found = {each.quote: each.withdraw for each in engine.live_quotes()}
    assert found.keys() == {quote["quote"] for quote in carried}, "none is forgotten"
    assert {found[quote] for quote in live[1:]} == {WithdrawCode.WATCH_LOST}
    with pytest.raises(QuotelifeError):
        engine.apply_watch(Change.WATCHED, {}, now_ns)
