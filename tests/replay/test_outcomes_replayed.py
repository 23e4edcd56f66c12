"""Outcomes in journal and capture: decisions and notes come out of a replay byte for byte, and survive a restart."""

import json
from pathlib import Path
from typing import Any

from quotelife.config import Config
from quotelife.counterparty.posterior import OutcomeCode
from quotelife.journal.recovery import recover
from quotelife.journal.state import OperationalState
from quotelife.journal.storage import DirectoryStorage
from quotelife.records import DecisionRecord, RequestRecord
from quotelife.replay.verify import verify
from reference.market_kit import CONFIG, START_NS, market
from reference.outcome_kit import outcome
from reference.session_kit import Session

MS = 1_000_000


def by_value() -> Config:
    content = CONFIG.model_dump(mode="json", by_alias=True)
    for posture in content["postures"].values():
        posture["mode"] = "expected_value"
    return Config.model_validate_json(json.dumps(content))


class Told(Session):
    """Every decision has an outcome, some milliseconds later."""

    under_way: tuple[RequestRecord, DecisionRecord] | None = None

    def decide(self, now_ns: int) -> None:
        if self.under_way is not None:
            kind = self.rng.choice(list(OutcomeCode))
            decision = self.under_way[1]
            age_ns = max(0, now_ns - decision.now_ns) if self.rng.random() < 0.9 else None
            payload = outcome(
                self.engine, *self.under_way, kind, age_ns=age_ns, price_ticks=600_000.0 + self.rng.randrange(9),
                size_lots=float(self.rng.randrange(1, 9)),
            )  # fmt: skip
            self.engine.outcome(now_ns, payload)
            self.under_way = None
            self.figures.changes += 1
        elif self.rng.random() < 0.7:
            request = RequestRecord(
                self.rng.randrange(2), 1, now_ns=now_ns, counterparty=self.rng.randrange(3), edge_ticks=6.0
            )
            self.under_way = request, DecisionRecord()
            self.engine.decide(*self.under_way)
            self.figures.decisions += 1
        else:
            super().decide(now_ns)

    def tick(self, now_ns: int) -> None:
        super().tick(now_ns)
        self.engine.note_counterparties(now_ns)


def session(folder: Path, *, boot_id: str = "boot1", start_ns: int = START_NS, seconds: float = 25.0) -> Told:
    told = Told(folder / "journal", folder / "capture", by_value(), start_ns=start_ns, boot_id=boot_id)
    told.work(market(seconds), decisions=1500, per_batch=0.2)
    return told


def known(engine: Any) -> dict[str, Any]:
    return {name: engine.counterparties.status(name) for name in engine.counterparties.names}


def test_a_replay_gives_equal_decisions_and_equal_notes(tmp_path: Path) -> None:
    told = session(tmp_path)
    marks = known(told.engine)["alpha"].markouts
    assert marks[0].fills > 5 and marks[2].fills > 5
    told.close()
    whole = verify(tmp_path / "journal", tmp_path / "capture")
    assert whole.mismatches == [] and not whole.unverifiable
    assert whole.decisions == whole.equal >= 300
    assert whole.notes == whole.notes_equal >= 2
    alone = verify(tmp_path / "journal")
    assert alone.mismatches == [] and alone.decisions == alone.equal == whole.decisions


def of_many(**value: Any) -> Config:
    content = by_value().model_dump(mode="json", by_alias=True)
    content["counterparties"] = {f"c{k:03d}": {"tier": ("regular", None)[k % 2]} for k in range(150)}
    content["tiers"]["regular"]["value"] |= value
    return Config.model_validate_json(json.dumps(content))


class Reloaded(Told):
    """Many counterparties, and every two seconds two configurations one after the other."""

    reloads = 0

    def decide(self, now_ns: int) -> None:
        for _ in range(8):
            request = RequestRecord(0, 1, now_ns=now_ns, counterparty=self.rng.randrange(150), edge_ticks=6.0)
            decision = DecisionRecord()
            self.engine.decide(request, decision)
            self.figures.decisions += 1
            kind = self.rng.choice([OutcomeCode.HIT, OutcomeCode.EXPIRED])
            payload = outcome(self.engine, request, decision, kind, age_ns=self.rng.randrange(300) * MS)
            if self.rng.random() < 0.8:
                self.engine.outcome(now_ns, payload)

    def tick(self, now_ns: int) -> None:
        self.engine.on_timer(now_ns)
        self.engine.note_counterparties(now_ns)
        self.figures.timers += 1
        if self.figures.timers % 20 == 0:
            self.reloads += 1
            self.engine.apply_config(of_many(loss_in_h=1.0 + self.reloads % 3), now_ns)
            if self.reloads % 2:
                self.engine.on_timer(now_ns)
            self.engine.apply_config(of_many(response_median=f"{500 + 50 * self.reloads}ms"), now_ns)


def test_reloads_with_many_counterparties_are_replayed_to_the_byte_over_a_restart(tmp_path: Path) -> None:
    """Fitted as they come up under a configuration, some by timers, some overtaken by the next one."""
    start_ns = START_NS
    reloads = decisions = 0
    for boot in ("boot1", "boot2"):
        run = Reloaded(tmp_path / "journal", tmp_path / "capture", of_many(), start_ns=start_ns, boot_id=boot)
        run.work(market(7.0, start_ns=start_ns), decisions=5000, per_batch=0.1)
        used = [each.used != each.configured for each in known(run.engine).values()]
        assert sum(used) > 100
        start_ns = run.engine.now_ns + MS
        reloads, decisions = reloads + run.reloads, decisions + run.figures.decisions
        run.close()
    assert reloads == 6
    whole = verify(tmp_path / "journal", tmp_path / "capture")
    assert whole.mismatches == [] and not whole.unverifiable
    assert whole.decisions == whole.equal == decisions > 500
    assert whole.notes == whole.notes_equal >= 2


def test_what_is_known_survives_a_restart(tmp_path: Path) -> None:
    told = session(tmp_path, seconds=12.0)
    before = known(told.engine)
    at_ns = told.engine.now_ns
    told.journal.commit()
    told.storage.close()  # as a process that dies
    assert told.capture.close()
    again = Told(tmp_path / "journal", tmp_path / "capture", by_value(), start_ns=at_ns + MS, boot_id="boot2")
    after = known(again.engine)
    for name, was in before.items():
        now = after[name]
        assert (now.quotes, now.fills, now.refused, now.sizes) == (
            was.quotes,
            was.fills,
            was.refused,
            was.sizes,
        )
        assert now.answers == was.answers and abs(now.censored - was.censored) < 1e-9
        assert now.reported == was.reported
    assert any(was.reported > 50 for was in before.values())
    again.close()


def test_outcomes_since_the_last_note_are_in_the_state_too(tmp_path: Path) -> None:
    told = session(tmp_path, seconds=12.0)
    told.close()
    state = recover(DirectoryStorage(str(tmp_path / "journal")), told.engine.now_ns).state
    assert state.outcomes() and state.counterparties()
    text = state.to_bytes(told.engine.now_ns)
    assert json.loads(text) == json.loads(json.dumps(state.to_json(told.engine.now_ns)))
    again = OperationalState.from_json(json.loads(text))
    assert again.to_bytes(told.engine.now_ns) == text
